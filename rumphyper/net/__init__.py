"""Frame formats and a small IP stack, without input or output."""
