"""The memory of clients, as the kernel reaches it in the middle of a call.

Facts: NetBSD lib/librumpuser/rumpuser_sp.c (copyin_req, send_copyout_req,
anonmmap_req, send_raise_req), sys/rump/librump/rumpkern/rumpcopy.c.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rumphyper.errors import ProtocolError
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.proxy.frames import (
    ADDRESS,
    ANONMMAP,
    COPYDATA,
    COPYIN,
    COPYINSTR,
    COPYOUT,
    HEADER,
    REQ,
    SIZE,
    pack,
)
from rumphyper.hypercalls.proxy.stream import Answer

if TYPE_CHECKING:
    from rumphyper.hypercalls.proxy.client import Client
    from rumphyper.hypercalls.proxy.server import Server

GATHERED = 1 << 16
"""Octets for a client that are kept back at most."""

_COPYOUT = HEADER.size + COPYDATA.size
_WAIT = 0
_READ, _READ_WRITE = 0x100, 0x200  # PyBUF_READ, PyBUF_WRITE
_view: Callable[[int, int, int], memoryview] = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int
)(("PyMemoryView_FromMemory", ctypes.pythonapi))


class ClientMemory:
    """Copies between the kernel and a server's clients, by handle, on any thread.

    All return NetBSD's errno. They are called with the virtual CPU, which they
    give up while they wait.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._clients = server.clients
        self._pool = server.pool
        self._here = server.here
        self._patience = server.limits.patience

    def copyin(self, handle: int, raddr: int, laddr: int, length: int) -> int:
        """Copy ``length`` octets at ``raddr`` of the client to ``laddr``."""
        if not length:
            return 0
        answer = Answer(COPYIN, _view(laddr, length, _READ_WRITE))
        return self._ask(handle, COPYIN, COPYDATA.pack(length, raddr), answer)

    def copyinstr(self, handle: int, raddr: int, laddr: int, size: Any) -> int:
        """Copy a string with its NUL; at most ``size[0]`` octets, which it gets."""
        room = size[0]
        if not room:
            return 0
        answer = Answer(COPYIN, _view(laddr, room, _READ_WRITE), shorter=True)
        error = self._ask(handle, COPYINSTR, COPYDATA.pack(room, raddr), answer)
        size[0] = answer.size
        return error

    def anonmmap(self, handle: int, length: int, address: Any) -> int:
        """Map zeroed pages in the client; ``address[0]`` gets where."""
        room = bytearray(ADDRESS.size)
        answer = Answer(ANONMMAP, memoryview(room))
        error = self._ask(handle, ANONMMAP, SIZE.pack(length), answer)
        if error:
            return error
        (address[0],) = ADDRESS.unpack(room)
        return 0 if any(room) else Errno.ENOMEM

    def copyout(self, handle: int, laddr: int, raddr: int, length: int) -> int:
        """Copy ``length`` octets at ``laddr`` to ``raddr`` of the client."""
        call = self._here.call
        if call is None or call.client.handle != handle:
            return self._copyout(handle, laddr, raddr, length)
        client = call.client
        if client.gone or client.executing:
            return Errno.EFAULT
        out = call.out
        if len(out) + length > GATHERED:
            return self._copyout(handle, laddr, raddr, length)
        out += HEADER.pack(_COPYOUT + length, next(client.numbers), REQ, COPYOUT, 0)
        out += COPYDATA.pack(length, raddr)
        out += ctypes.string_at(laddr, length)
        return 0

    def _copyout(self, handle: int, laddr: int, raddr: int, length: int) -> int:
        def act(client: Client) -> bool:
            number = next(client.numbers)
            head = HEADER.pack(_COPYOUT + length, number, REQ, COPYOUT, 0)
            data = _view(laddr, length, _READ) if length else b""
            self._here.send(client, head + COPYDATA.pack(length, raddr), data)
            return True

        return self._on(handle, act)

    def _on(self, handle: int, act: Callable[[Client], bool]) -> int:
        """Do something with a client, without the virtual CPU; EFAULT or 0."""
        upcalls = self._server.upcalls
        call = self._here.call
        inside = call is not None and call.client.handle == handle
        client = call.client if call and inside else self._clients.get(handle)
        if client is None or client.executing or (not inside and client.enter()):
            return Errno.EFAULT
        locks = upcalls.give_up()
        try:
            return 0 if act(client) else Errno.EFAULT
        except (OSError, EOFError, ProtocolError) as error:
            self._server.fail(client, error)
            return Errno.EFAULT
        finally:
            if not inside:
                self._server.leave_later(client)
            upcalls.take(locks)

    def _ask(self, handle: int, type: int, body: bytes, answer: Answer) -> int:
        def act(client: Client) -> bool:
            number = next(client.numbers)
            client.answers[number] = answer
            if client.gone or client.executing:
                # Whoever reads may have it already, and be writing.
                if client.answers.pop(number, None) is None:
                    answer.wait()
                return False
            try:
                self._exchange(client, pack(number, REQ, type, 0, body), answer)
            except (OSError, EOFError, ProtocolError) as error:
                self._server.fail(client, error)
                answer.wait()  # until nobody can write into its room any more
            return not answer.failed

        return self._on(handle, act)

    def _exchange(self, client: Client, request: bytes, answer: Answer) -> None:
        """Send a request and read until its answer is there, or let others read."""
        if not client.reading.acquire(blocking=False):
            self._here.send(client, request)
            if not answer.wait(self._patience):
                raise TimeoutError
            return
        # Unwatched before the request goes out: the answer wakes nobody else.
        self._pool.ignore(client.fd)
        try:
            self._here.send(client, request)
            deadline = time.monotonic() + self._patience
            while not answer.done:
                if time.monotonic() > deadline:
                    raise TimeoutError
                frame = client.stream.next(_WAIT)
                if frame is not None:
                    self._server.dispatch(client, frame)
        except BlockingIOError:  # SO_RCVTIMEO is over
            raise TimeoutError from None
        finally:
            client.reading.release()
            self._pool.watch(client.fd)
