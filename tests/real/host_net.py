"""The host's side of the scenarios: the socket module itself."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path
from typing import Any


class HostNet:
    """See scenarios.Net."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socketpair = socket.socketpair
        self.create_connection = socket.create_connection
        self.select = select.select
        self.poll = select.poll
        self.fs = os
        self.open = open

    def socket(self, family: int = 2, type: int = 1, proto: int = 0) -> Any:
        return socket.socket(family, type, proto)

    def create_server(self, address: Any, **options: Any) -> Any:
        return socket.create_server(address, **options)

    def path(self, name: str) -> str:
        return str(self._folder / name)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def adopt(self, fd: int) -> Any:
        return socket.socket(fileno=fd)
