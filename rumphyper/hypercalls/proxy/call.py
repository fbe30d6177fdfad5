"""What a thread is doing for a client.

What is copied to a client in a call is kept until the call ends, or something
has to be asked of the client: then all goes out in one piece, and the client
wakes up once.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rumphyper.hypercalls.proxy.client import Client


class Call:
    """A system call of a client that is under way on this thread."""

    __slots__ = ("client", "out", "reqno")

    def __init__(self, client: Client, reqno: int) -> None:
        self.client = client
        self.reqno = reqno
        self.out = bytearray()
        """Frames that are kept back."""


class Here(threading.local):
    """What the calling thread is doing for a client."""

    call: Call | None = None

    def send(self, client: Client, *pieces: bytes | memoryview) -> None:
        """Send, after what was kept back for the client on this thread."""
        call = self.call
        if call is not None and call.client is client and call.out:
            out, call.out = call.out, bytearray()
            client.send(out + pieces[0], *pieces[1:])
        else:
            client.send(*pieces)
