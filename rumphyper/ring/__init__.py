"""Shared-memory layouts as code over any writable buffer. Opens nothing."""
