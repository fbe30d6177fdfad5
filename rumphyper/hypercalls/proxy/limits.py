"""How much clients of the syscall proxy may ask for."""

from __future__ import annotations

import attrs


@attrs.frozen
class Limits:
    """Bounds of one server. What goes beyond is refused; nothing else suffers.

    The stock server has 255 clients, 128 workers, and no other bound.
    """

    clients: int = 1024
    """Connections; at most half of the descriptors that the process may have."""

    workers: int = 512
    """Threads: a system call that sleeps occupies one."""

    calls: int = 128
    """System calls of one client at the same time; further ones get EAGAIN."""

    preforks: int = 64
    """Forks of one client that no child has claimed."""

    orphans: int = 1024
    """Unclaimed forks of all clients."""

    spare: int = 8
    """Idle threads that are kept."""

    patience: float = 30.0
    """Seconds for a client to answer, or to take what is sent to it."""

    greeting: float = 10.0
    """Seconds after which a client without a handshake has to make room."""

    orphanage: float = 60.0
    """Seconds that an unclaimed fork lasts after its parent is gone."""
