"""xenstore: the tree of keys by which Xen's domains agree on devices.

`Xenstore` speaks to xenstored through the kernel (/dev/xen/xenbus, in any domain)
or over its Unix socket (in its own domain), with the same methods. Paths are
absolute, or relative to the domain's own, /local/domain/N. Facts: Xen
docs/misc/xenstore.txt.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from rumphyper.errors import RumphyperError
from rumphyper.host.libc import from_oserror
from rumphyper.xen.channel import Channel, Pending
from rumphyper.xen.errors import XenstoreError
from rumphyper.xen.nodes import NETBSD_XENBUS, SOCKETS, XENBUS, open_node
from rumphyper.xen.operations import Operations
from rumphyper.xen.wire import Kind, Message, number, path_octets, text, texts

ATTEMPTS = 100
"""How often a transaction is tried before its EAGAIN counts."""
TIMEOUT = 10.0
T = TypeVar("T")


class Transaction(Operations):
    """Requests that take effect together, or not at all."""

    def __init__(self, store: Xenstore, number: int) -> None:
        self._store = store
        self.number = number

    def ask(self, kind: Kind, payload: bytes, thing: str) -> bytes:
        return self._store.submit(kind, payload, thing, self.number).result(
            self._store.timeout
        )


class Watch:
    """The changes at and below ``path``; iterate over `changes`, wait with `wait`.

    One is there from the beginning, as xenstored has it.
    """

    def __init__(self, store: Xenstore, path: str, token: str) -> None:
        self._store = store
        self.path = path
        self.token = token
        self.queue: deque[str] = deque()

    def changes(self) -> list[str]:
        """The paths that have changed, without waiting."""
        found = [self.queue.popleft() for _ in range(len(self.queue))]
        return list(dict.fromkeys(found))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a change, at most so many seconds; whether there is one."""
        return self._store.channel.until(lambda: bool(self.queue), timeout)

    def close(self) -> None:
        """Watch no more. Idempotent."""
        self._store.unwatch(self)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Xenstore(Operations):
    """A connection to xenstored.

    ``path`` names a device node or a socket; by default the socket where there is
    one, else the kernel's node. ``timeout`` is how many seconds an answer may
    take. Threads may share it. Raises HostError when it cannot be opened.
    """

    def __init__(self, path: str | None = None, timeout: float = TIMEOUT) -> None:
        self.timeout = timeout
        self._tokens = itertools.count(1)
        self._watches: dict[str, Watch] = {}
        self._lock = threading.Lock()
        name = _place() if path is None else path
        fd = _connect(name)
        serial = not stat.S_ISSOCK(os.fstat(fd).st_mode)
        self.channel = Channel(fd, name, self._event, one_by_one=serial)

    @property
    def name(self) -> str:
        """The node or socket."""
        return self.channel.name

    def fileno(self) -> int:
        """For select, poll and asyncio: `pump` has something to do."""
        return self.channel.fileno()

    def pump(self) -> None:
        """Take what xenstored has sent, for the watches, without waiting."""
        self.channel.pump()

    def submit(
        self, kind: Kind, payload: bytes, thing: str, transaction: int = 0
    ) -> Pending:
        """Send a request without waiting for its answer."""
        return self.channel.submit(kind, payload, thing, transaction)

    def ask(self, kind: Kind, payload: bytes, thing: str) -> bytes:
        return self.submit(kind, payload, thing).result(self.timeout)

    def domain_path(self, domain: int) -> str:
        """Where a domain's own keys are: /local/domain/N."""
        payload = f"{domain}\0".encode()
        return text(self.ask(Kind.GET_DOMAIN_PATH, payload, f"domain {domain}"))

    # -- transactions ------------------------------------------------------------

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Do ``work`` in a transaction, again and again while others interfere.

        Where it raises, nothing has happened.
        """
        for attempt in itertools.count(1):
            begun = self.ask(Kind.TRANSACTION_START, b"\0", "transaction")
            transaction = Transaction(self, number(text(begun), "transaction"))
            try:
                result = work(transaction)
            except BaseException:
                with contextlib.suppress(RumphyperError):
                    transaction.ask(Kind.TRANSACTION_END, b"F\0", "transaction")
                raise
            try:
                transaction.ask(Kind.TRANSACTION_END, b"T\0", "transaction")
            except XenstoreError as error:
                if error.errno != errno.EAGAIN or attempt == ATTEMPTS:
                    raise
            else:
                return result
        raise AssertionError

    # -- watches --------------------------------------------------------------------

    def watch(self, path: str) -> Watch:
        """Begin to watch a path."""
        watch = Watch(self, path, f"rumphyper-{next(self._tokens)}")
        with self._lock:
            self._watches[watch.token] = watch
        try:
            self.ask(Kind.WATCH, self._control(watch), path)
        except BaseException:
            self._watches.pop(watch.token, None)
            raise
        return watch

    def unwatch(self, watch: Watch) -> None:
        """End a watch. Idempotent."""
        with self._lock:
            if self._watches.pop(watch.token, None) is None:
                return
        self.ask(Kind.UNWATCH, self._control(watch), watch.path)

    @staticmethod
    def _control(watch: Watch) -> bytes:
        return path_octets(watch.path) + b"\0" + watch.token.encode() + b"\0"

    def _event(self, message: Message) -> None:
        found = texts(message.payload)
        watch = self._watches.get(found[1]) if len(found) > 1 else None
        if watch is not None:  # else one that has just been closed
            watch.queue.append(found[0])

    # -- the end ------------------------------------------------------------------

    def close(self) -> None:
        """End watches and the connection; who waits gets an error. Idempotent."""
        self.channel.close()

    def __enter__(self) -> Xenstore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _candidates() -> Iterator[str]:
    named = os.environ.get("XENSTORED_PATH")
    if named:
        yield named
    yield from (*SOCKETS, XENBUS, NETBSD_XENBUS)


def _place() -> str:
    """The first way to xenstored that this host has."""
    return next((path for path in _candidates() if os.path.exists(path)), XENBUS)


def _connect(path: str) -> int:
    """A descriptor that does not wait, of a socket or a device node."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return open_node(path)
    except OSError:
        return open_node(path)  # which says what is missing
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(path)
        except OSError as error:
            raise from_oserror(error, path, "start xenstored") from None
        connection.setblocking(False)
        return connection.detach()
