"""How clients come by their processes: as guests, by fork, by exec.

A fork takes two steps: the parent has its process copied and gets a secret
(PREFORK), its child connects and shows it (HANDSHAKE, FORK). So the descriptors
are copied before the parent can close them or go.

Facts: NetBSD lib/librumpuser/rumpuser_sp.c (handlereq, serv_handleexec).
"""

from __future__ import annotations

import functools
import math
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import attrs

from rumphyper.errors import ProtocolError
from rumphyper.hypercalls.proxy.abi import Abi
from rumphyper.hypercalls.proxy.frames import (
    AUTH,
    ERR_AUTH,
    ERR_INVALID_PREFORK,
    ERR_MALFORMED_REQUEST,
    ERR_NOMEM,
    ERR_RFORK_FAILED,
    ERROR,
    EXEC,
    FORK,
    FORK_OF,
    GUEST,
    HANDSHAKE,
    INT,
    PREFORK,
    RESP,
    Frame,
    pack,
)
from rumphyper.hypercalls.proxy.process import Process, Worker

if TYPE_CHECKING:
    from rumphyper.hypercalls.proxy.client import Client
    from rumphyper.hypercalls.proxy.server import Server


@attrs.frozen(eq=False)
class Prefork:
    """A copy of a process that no child has claimed yet."""

    lwp: int
    abi: Abi
    parent: Client


class Handshakes:
    """What a server does with all requests that are no system calls."""

    def __init__(self, server: Server, choose: Callable[[socket.socket], Abi]) -> None:
        self._server = server
        self._choose = choose
        self._preforks: dict[bytes, Prefork] = {}
        self._lock = threading.Lock()

    def handle(self, worker: Worker, client: Client, frame: Frame) -> None:
        """Do what a request asks for, with the client entered.

        Raises ProtocolError for what cannot be done, after telling the client,
        and OSError when that does not work.
        """
        process, what = client.process, frame.word
        if frame.type == PREFORK and process is not None:
            self._prefork(worker, client, process, frame)
        elif frame.type != HANDSHAKE:
            self._refuse(client, frame, ERR_AUTH, "no handshake came before it")
        elif what == GUEST and process is None:
            self._guest(worker, client, frame)
        elif what == FORK_OF and process is None:
            self._fork(worker, client, frame)
        elif what == EXEC and process is not None:
            self._exec(worker, client, process, frame)
        elif process is None:
            self._refuse(client, frame, ERR_AUTH, f"nobody comes by kind {what}")
        else:
            self._refuse(client, frame, ERR_MALFORMED_REQUEST, "a second one")

    def _guest(self, worker: Worker, client: Client, frame: Frame) -> None:
        abi, name = self._choose(client.socket), _name(frame.body)

        def make() -> Process | int:
            made = Process.guest(worker, abi, client.handle, name)
            return made or ERR_RFORK_FAILED

        self._establish(client, frame, make)

    def _fork(self, worker: Worker, client: Client, frame: Frame) -> None:
        if len(frame.body) != FORK.size:
            self._refuse(client, frame, ERR_MALFORMED_REQUEST, "a wrong length")
        secret, cancel = FORK.unpack(frame.body)

        def make() -> Process | int:
            with self._lock:
                prefork = self._preforks.pop(secret, None)
            if prefork is None:
                return ERR_INVALID_PREFORK
            if cancel:
                worker.discard(prefork.lwp)
                raise EOFError
            made = Process.adopt(worker, prefork.abi, client.handle, prefork.lwp)
            return made or ERR_RFORK_FAILED

        self._establish(client, frame, make)

    def _establish(
        self, client: Client, frame: Frame, make: Callable[[], Process | int]
    ) -> None:
        """Give the client the process that ``make`` makes, or its error."""
        with client.main:
            if client.gone:
                return
            made = make()
            if isinstance(made, Process):
                client.process = made
        if isinstance(made, int):
            why = (
                "no such fork" if made == ERR_INVALID_PREFORK else "the kernel refused"
            )
            self._refuse(client, frame, made, why)
        _welcome(client, frame.reqno)

    def _prefork(
        self, worker: Worker, client: Client, process: Process, frame: Frame
    ) -> None:
        if not self._make_room(worker, client):
            client.send(pack(frame.reqno, ERROR, 0, ERR_NOMEM))
            return
        with client.main:
            if client.gone:
                return
            error, lwp = process.fork(worker, client.handle)
        if error:
            client.send(pack(frame.reqno, ERROR, 0, ERR_RFORK_FAILED))
            return
        secret = secrets.token_bytes(AUTH.size)
        with self._lock:
            self._preforks[secret] = Prefork(lwp, process.abi, client)
        client.send(pack(frame.reqno, RESP, PREFORK, 0, secret))

    def _make_room(self, worker: Worker, client: Client) -> bool:
        """End copies that nobody will claim; whether there is room for one more."""
        limits = self._server.limits
        long_ago = time.monotonic() - limits.orphanage
        over: list[Prefork] = []
        with self._lock:
            every = list(self._preforks.items())
            for secret, prefork in every:  # the oldest first
                full = len(self._preforks) >= limits.orphans
                if prefork.parent.died < (math.inf if full else long_ago):
                    over.append(self._preforks.pop(secret))
            mine = sum(p.parent is client for p in self._preforks.values())
            room = mine < limits.preforks and len(self._preforks) < limits.orphans
        for prefork in over:
            worker.discard(prefork.lwp)
        return room

    def end(self, worker: Worker) -> None:
        """End all copies."""
        with self._lock:
            left = list(self._preforks.values())
            self._preforks.clear()
        for prefork in left:
            worker.discard(prefork.lwp)

    def _exec(
        self, worker: Worker, client: Client, process: Process, frame: Frame
    ) -> None:
        with client.main:
            if client.gone:
                return
            self._server.waking.wake(worker, client, process)
        client.when_left(functools.partial(self._executed, frame))

    def _executed(self, frame: Frame, worker: Worker, client: Client) -> None:
        """The calls of the old program have ended."""
        with client.main:
            if client.gone or client.process is None:
                return
            client.process.executed(worker, _name(frame.body))
            client.executing = False
        if client.enter():
            return
        try:
            _welcome(client, frame.reqno)
        except OSError as error:
            self._server.fail(client, error)
        self._server.leave(worker, client)

    def _refuse(self, client: Client, frame: Frame, error: int, why: str) -> NoReturn:
        client.send(pack(frame.reqno, ERROR, 0, error))
        kind = "PREFORK" if frame.type == PREFORK else "HANDSHAKE"
        raise ProtocolError(f"{kind} request", why)


def _name(body: bytes) -> bytes:
    """A program's name; the kernel cuts it off where it is too long."""
    return body.partition(b"\0")[0]


def _welcome(client: Client, reqno: int) -> None:
    client.send(pack(reqno, RESP, HANDSHAKE, 0, INT.pack(0)))
