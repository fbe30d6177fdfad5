"""The server of the syscall proxy: clients come, have calls made, and go.

Facts: NetBSD lib/librumpuser/rumpuser_sp.c (spserver, handlereq,
serv_handlesyscall, serv_handledisco).
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator

from rumphyper.errors import ProtocolError
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.proxy.abi import Abi
from rumphyper.hypercalls.proxy.arrivals import Arrivals
from rumphyper.hypercalls.proxy.call import Call, Here
from rumphyper.hypercalls.proxy.client import Client
from rumphyper.hypercalls.proxy.frames import (
    ERR_AUTH,
    ERR_INEXEC,
    ERR_TRYAGAIN,
    ERROR,
    RESP,
    SYSCALL,
    SYSRESP,
    Frame,
    is_exec,
    pack,
)
from rumphyper.hypercalls.proxy.handshakes import Handshakes
from rumphyper.hypercalls.proxy.limits import Limits
from rumphyper.hypercalls.proxy.listen import Listener
from rumphyper.hypercalls.proxy.pool import Pool
from rumphyper.hypercalls.proxy.process import Worker
from rumphyper.hypercalls.proxy.waking import Waking
from rumphyper.hypercalls.upcalls import Upcalls

END = 2.0
"""Seconds that clients' calls, then threads, may take to end."""

REPORTS = 100
"""Lines about clients at most: they must not fill the disk."""

_CALLS = 0x7FFFFFFF


class Server:
    """Serves a kernel's system calls to whoever connects to ``listener``.

    ``banner`` is the line that clients get first. ``say`` is told, in a line
    each, of clients that break the protocol or do not respond.
    """

    def __init__(
        self,
        upcalls: Upcalls,
        listener: Listener,
        banner: bytes,
        say: Callable[[str], object],
        limits: Limits,
        choose: Callable[[socket.socket], Abi],
    ) -> None:
        self.upcalls = upcalls
        self.listener = listener
        self.limits = limits
        self.clients: dict[int, Client] = {}
        """By handle, until nothing is left of them."""

        self.here = Here()
        self.pool = Pool(lambda: Worker(upcalls), self._ready, self._failed, limits)
        self.handshakes = Handshakes(self, choose)
        self.waking = Waking(self)
        self._say = say
        self._reports = REPORTS
        self._arrivals = Arrivals(self, banner)
        self._connected: dict[int, Client] = {}
        self._fewer = threading.Condition()
        self._closing = False
        self._pid = os.getpid()
        os.register_at_fork(after_in_child=self._forget)

    def start(self) -> None:
        """Begin to serve. Raises HostError when the kernel has no lwp for it."""
        try:
            self.pool.start()
            self.waking.start()
        except BaseException:
            self._closing = True
            self.listener.close()
            self.pool.stop(END)
            self.waking.close()
            raise
        self.pool.add(self._arrivals.fd)

    def close(self) -> None:
        """End: the socket goes, then the clients and their processes. Idempotent."""
        if os.getpid() != self._pid:
            return
        with self._fewer:
            if self._closing:
                return
            self._closing = True
        self.pool.remove(self._arrivals.fd)
        self.listener.close()
        for client in list(self.clients.values()):
            self.fail(client, EOFError())
        with self._fewer:
            self._fewer.wait_for(lambda: not self.clients, END)
        self.pool.finish(self.handshakes.end, END)
        self.pool.stop(END)
        self.waking.close()

    def farewell(self, handle: int) -> None:
        """The kernel ends, perhaps by a call of the client ``handle``: tell it."""
        self.listener.close()
        call = self.here.call
        if call is not None and call.client.handle == handle:
            with contextlib.suppress(OSError):
                call.client.send(_result(call.reqno, 0, 0, 0))

    def _forget(self) -> None:
        """In a forked child: drop what only the parent can use."""
        if not self._closing:
            self._closing = True
            self.listener.forget()
            self.pool.forget()
            self.waking.forget()
            for client in list(self.clients.values()):
                client.socket.close()

    # What clients send

    def welcome(self, client: Client) -> None:
        """Serve a client that has been accepted."""
        self.clients[client.handle] = self._connected[client.fd] = client
        self.pool.add(client.fd)
        if self._closing:
            self.fail(client, EOFError())

    def _ready(self, worker: Worker, fd: int) -> None:
        client = self._connected.get(fd)
        if client is None:
            if fd == self._arrivals.fd and not self._closing:
                self._arrivals.accept()
            elif self.waking.is_timer(fd):
                self.waking.again(worker)
            return
        if not client.reading.acquire(blocking=False):
            return  # who reads will watch again
        frame, entered = None, False
        problem: BaseException | None = None
        try:
            frame = client.stream.next()
            if frame is not None:
                entered = self._admit(client, frame)
                if entered and frame.type != SYSCALL:
                    # Before anything else that this client sends.
                    self.handshakes.handle(worker, client, frame)
        except BlockingIOError:
            pass
        except Exception as error:
            problem = error
        client.reading.release()
        self.pool.watch(fd)
        if problem is not None:
            self.fail(client, problem)
        if not entered:
            return
        if frame is not None and frame.type == SYSCALL:
            self._syscall(worker, client, frame)
        self.leave(worker, client)

    def dispatch(self, client: Client, frame: Frame) -> None:
        """Let a worker handle a request; for the thread that reads it."""
        if self._admit(client, frame):
            self.pool.post(lambda worker: self._handle(worker, client, frame))

    def _admit(self, client: Client, frame: Frame) -> bool:
        """Enter for a request, or refuse it; for the thread that reads it."""
        refused = client.enter()
        if not refused:
            if is_exec(frame) and client.process is not None:
                client.execute()
            return True
        if refused == Errno.ENOTCONN:
            pass
        elif frame.type == SYSCALL:
            client.send(_refusal(client, frame.reqno, refused))
        else:
            why = ERR_INEXEC if refused == Errno.EBUSY else ERR_TRYAGAIN
            client.send(pack(frame.reqno, ERROR, 0, why))
        return False

    def _handle(self, worker: Worker, client: Client, frame: Frame) -> None:
        if frame.type == SYSCALL:
            self._syscall(worker, client, frame)
        else:
            try:
                self.handshakes.handle(worker, client, frame)
            except Exception as error:
                self.fail(client, error)
        self.leave(worker, client)

    def _syscall(self, worker: Worker, client: Client, frame: Frame) -> None:
        process, reqno = client.process, frame.reqno
        call = Call(client, reqno)
        try:
            if process is None:
                client.send(pack(reqno, ERROR, 0, ERR_AUTH))
                raise ProtocolError("SYSCALL request", "no handshake came before it")
            if frame.word > _CALLS:
                result = _refusal(client, reqno, Errno.ENOSYS)
            elif not self.pool.another():
                result = _refusal(client, reqno, Errno.EAGAIN)
            else:
                self.here.call = call
                try:
                    words = process.call(worker, frame.word, frame.body)
                finally:
                    self.here.call = None
                result = _result(reqno, *words)
            if not (client.gone or client.executing):
                client.send(call.out + result)
        except Exception as error:
            self.fail(client, error)

    # Clients go

    @contextlib.contextmanager
    def entered(self, client: Client) -> Iterator[int]:
        """Enter and leave on any thread; gives the errno of a refusal, or 0."""
        refused = client.enter()
        try:
            yield refused
        finally:
            if not refused:
                self.leave_later(client)

    def leave_later(self, client: Client) -> None:
        """Leave on a thread that is no worker."""
        then = client.leave()
        if then is not None:
            self.pool.post(lambda worker: then(worker, client))

    def leave(self, worker: Worker, client: Client) -> None:
        """Leave, and do what has waited for that."""
        then = client.leave()
        if then is not None:
            then(worker, client)

    def fail(self, client: Client, problem: BaseException) -> None:
        """End the connection, because of a problem or (EOFError) in peace.

        Not for the thread that reads. Its process ends a little later.
        """
        if not client.die():
            return
        client.stop_reading()
        self._connected.pop(client.fd, None)
        self.pool.remove(client.fd)
        if isinstance(problem, TimeoutError):
            self.report("a client was cut off: it does not take or answer what it gets")
        elif isinstance(problem, ProtocolError):
            self.report(f"a client was cut off: {problem}")
        elif not isinstance(problem, (OSError, EOFError)):  # it has just gone
            self._failed(problem)
        self.pool.post(lambda worker: self._bury(worker, client))

    def _bury(self, worker: Worker, client: Client) -> None:
        with client.main:
            if client.process is not None:
                self.waking.wake(worker, client, client.process)
        then = client.when_left(self._free)
        if then is not None:
            then(worker, client)

    def _free(self, worker: Worker, client: Client) -> None:
        if client.process is not None:
            client.process.end(worker)
        client.socket.close()
        with self._fewer:
            del self.clients[client.handle]
            self._fewer.notify_all()

    def report(self, text: str) -> None:
        """Tell of a problem, unless there have been very many."""
        if self._reports > 0:
            self._reports -= 1
            self._say(f"syscall proxy: {text}")

    def _failed(self, error: BaseException) -> None:
        self.report(f"{type(error).__name__}: {error}")


def _result(reqno: int, error: int, first: int, second: int) -> bytes:
    return pack(reqno, RESP, SYSCALL, 0, SYSRESP.pack(error, first, second))


def _refusal(client: Client, reqno: int, error: int) -> bytes:
    if client.process is not None:
        error = client.process.abi.errno(error)
    return _result(reqno, error, -1, 0)
