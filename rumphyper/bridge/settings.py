"""How a bridge is to behave."""

from __future__ import annotations

from typing import Literal

import attrs

from rumphyper.bridge.table import AGEING, MOST

Mode = Literal["learn", "hub", "patch"]
Full = Literal["drop", "wait"]
Waiting = Literal["adaptive", "epoll", "busy"]


@attrs.frozen
class Settings:
    """Everything about a bridge besides its links; see docs/bridge.md."""

    mode: Mode = "learn"
    """``learn`` who lives where, be a ``hub``, or ``patch`` two links together."""

    full: Full = "drop"
    """What happens to frames for a link whose queue is full."""

    waiting: Waiting = "adaptive"
    """Sleep in ``epoll``, be ``busy``, or look a few times before sleeping."""

    ageing: float = AGEING
    addresses: int = MOST
    vlan: bool = False
    """Whether an address is learnt for each VLAN by itself."""

    storm: int = 0
    """Group frames a second that each port may flood; 0 for no limit."""

    loop_check: float = 5.0
    """Seconds between two probes for loops; 0 for none."""

    reopen: bool = False
    """Whether links that died are opened again."""
