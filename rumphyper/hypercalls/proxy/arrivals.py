"""Clients come: connections are accepted, greeted, and sent away when too many."""

from __future__ import annotations

import itertools
import resource
import socket
import time
from typing import TYPE_CHECKING

from rumphyper.errors import ProtocolError
from rumphyper.hypercalls.proxy.client import Client

if TYPE_CHECKING:
    from rumphyper.hypercalls.proxy.server import Server

PAUSE = 0.1
"""Seconds before the next attempt when the host has no descriptor to give."""

BATCH = 64
"""Clients to accept before others get their turn."""


class Arrivals:
    """Accepts the clients of a server; ``banner`` is the line they get first."""

    def __init__(self, server: Server, banner: bytes) -> None:
        self._server = server
        self._banner = banner
        self._handles = itertools.count(1)
        self.fd = server.listener.socket.fileno()
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._room = min(server.limits.clients, descriptors // 2)

    def accept(self) -> None:
        """Accept who has come, and watch for the next."""
        server = self._server
        try:
            for _ in range(BATCH):
                sock = server.listener.accept()
                client = self._greet(sock)
                if client is None:
                    sock.close()
                else:
                    server.welcome(client)
        except (BlockingIOError, ConnectionError):
            pass
        except OSError as error:
            server.report(f"no connection can be accepted: {error.strerror}")
            server.pool.another()
            time.sleep(PAUSE)
        server.pool.watch(self.fd)

    def _greet(self, sock: socket.socket) -> Client | None:
        server = self._server
        if len(server.clients) >= self._room and not self._make_room():
            server.report(f"more than {self._room} clients: one was sent away")
            return None
        try:
            sock.send(self._banner, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
            return Client(sock, next(self._handles), server.limits)
        except OSError:  # it has gone again
            return None

    def _make_room(self) -> bool:
        """Send somebody away who has been silent since it came, if there is one."""
        long_ago = time.monotonic() - self._server.limits.greeting
        for client in list(self._server.clients.values()):  # the oldest first
            if client.process is None and not client.gone and client.born < long_ago:
                silent = ProtocolError("client", "it does not say who it is")
                self._server.fail(client, silent)
                return True
        return False
