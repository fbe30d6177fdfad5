"""Where a server of the syscall proxy listens.

Whoever can connect is root in the kernel: so unix sockets have mode 0600, and
TCP, which knows no owner, stays on the loopback unless it is asked for.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import socket
import stat
import time
from collections.abc import Iterator

import attrs

from rumphyper.errors import HostError
from rumphyper.hypercalls.proxy.url import ProxyUrl

MODE = 0o600
BACKLOG = 256
TURN = 1.0
"""Seconds to wait for others who look after a socket in the same folder."""


class Listener:
    """A listening socket, not blocking; `close` removes a unix socket's file.

    ``remote`` permits a TCP address outside of the loopback. Raises HostError.
    """

    def __init__(self, url: ProxyUrl, remote: bool = False) -> None:
        check_address(url, remote)
        self._file: tuple[int, int] | None = None
        self.socket = socket.socket(url.family, socket.SOCK_STREAM)
        try:
            self.socket.setblocking(False)
            if url.scheme == "unix":
                self._bind_path(url.path)
            else:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.socket.bind((url.host, url.port))
                url = attrs.evolve(url, port=self.socket.getsockname()[1])
                self.socket.listen(BACKLOG)
        except OSError as error:
            self.socket.close()
            raise HostError(
                str(url),
                f"cannot listen there: {error.strerror}",
                "choose another address, or end who uses it",
                error.errno or 0,
            ) from None
        except BaseException:
            self.socket.close()
            raise
        self.url = url
        """Where clients connect: with the port that port 0 has become."""

    def _bind_path(self, path: str) -> None:
        # On Linux the socket's own mode becomes that of its file, so at no
        # moment can anybody else connect.
        os.fchmod(self.socket.fileno(), MODE)
        with turn(os.path.dirname(path)):
            remove_stale(path)
            self.socket.bind(path)
            # Within the turn: a socket that does not listen looks like a stale one.
            self.socket.listen(BACKLOG)
        status = os.lstat(path)
        self._file = status.st_dev, status.st_ino

    def accept(self) -> socket.socket:
        """The next client's connection, blocking; BlockingIOError without one."""
        connection, _ = self.socket.accept()
        if connection.family == socket.AF_INET:
            with contextlib.suppress(OSError):  # it may have gone again
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def close(self) -> None:
        """Stop listening. Idempotent."""
        file, self._file = self._file, None
        with contextlib.suppress(OSError):
            if file is not None:
                status = os.lstat(self.url.path)
                if (status.st_dev, status.st_ino) == file:
                    os.unlink(self.url.path)
        self.forget()

    def forget(self) -> None:
        """Close the descriptor only: in a child, the file is the parent's."""
        self.socket.close()


def check_address(url: ProxyUrl, remote: bool) -> None:
    """Raise HostError for a TCP address that others can reach, unless ``remote``."""
    if url.scheme != "tcp" or remote or ipaddress.ip_address(url.host).is_loopback:
        return
    raise HostError(
        str(url),
        "whoever reaches this address is root in the kernel; there is no password",
        "use 127.0.0.1 and a tunnel, or ask for it by remote=True (--serve-remote)",
        errno.EACCES,
    )


@contextlib.contextmanager
def turn(folder: str) -> Iterator[None]:
    """One server at a time looks after sockets in ``folder``.

    So none takes the new socket of another one for a stale one.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + TURN
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        yield
    finally:
        os.close(fd)


def remove_stale(path: str) -> None:
    """Remove the socket that a server left at ``path`` when it was killed.

    Raises HostError (EADDRINUSE) if somebody listens there, or if it is no
    socket at all.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise HostError(
            path, "exists and is no socket", "choose another path", errno.EADDRINUSE
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # somebody listens, and is busy
    raise HostError(
        path,
        "another server listens there",
        "choose another path, or end that one",
        errno.EADDRINUSE,
    )
