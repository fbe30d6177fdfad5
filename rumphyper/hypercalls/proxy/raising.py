"""Signals of the kernel for processes that are clients.

The kernel raises them with locks held, so nobody may be waited for here.
Facts: NetBSD sys/rump/librump/rumpkern/signals.c (rumpsig_raise).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.proxy.frames import RAISE, REQ, pack

if TYPE_CHECKING:
    from rumphyper.hypercalls.proxy.client import Client
    from rumphyper.hypercalls.proxy.server import Server


def raise_signal(server: Server, handle: int, signo: int) -> int:
    """Raise NetBSD's signal ``signo`` in a client; NetBSD's errno."""
    client = server.clients.get(handle)
    if client is None or client.gone:
        return Errno.EFAULT
    call = server.here.call
    if call is not None and call.client is client:
        call.out += _frame(client, signo)  # in time for the errno of the call
        return 0
    if client.add_signal(signo):
        server.pool.post(lambda worker: _send(server, client))
    return 0


def _send(server: Server, client: Client) -> None:
    with server.entered(client) as refused:
        if refused:
            return
        frames = [_frame(client, signo) for signo in client.take_signals()]
        try:
            client.send(b"".join(frames))
        except OSError as error:
            server.fail(client, error)


def _frame(client: Client, signo: int) -> bytes:
    return pack(next(client.numbers), REQ, RAISE, signo)
