"""Links: one end of something that carries Ethernet frames, per back end."""

from rumphyper.link.base import BATCH, Counters, Link
from rumphyper.link.linkstr import SCHEMES, open_link

__all__ = ["BATCH", "SCHEMES", "Counters", "Link", "open_link"]
