"""Joining links: frames that arrive at one of them go out by the others."""

from rumphyper.bridge.bridge import Bridge
from rumphyper.bridge.settings import Settings

__all__ = ["Bridge", "Settings"]
