"""A server of the syscall proxy that does what a script says, for faults only."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import rumphyper
from rumphyper.hypercalls.proxy import frames
from rumphyper.hypercalls.proxy.decoder import Decoder
from rumphyper.hypercalls.proxy.frames import Frame, pack
from rumphyper.kernel.remote import RemoteKernel

BANNER = b"RUMPSP-0.4-NetBSD-7.99.34/amd64\n"


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._decoder = Decoder(frames.TO_SERVER)

    def recv(self) -> Frame:
        """The next frame of the client; EOFError when it has hung up."""
        while (frame := self._decoder.next()) is None:
            octets = self.sock.recv(65536)
            if not octets:
                raise EOFError
            self._decoder.feed(octets)
        return frame

    def send(self, *parts: bytes) -> None:
        self.sock.sendall(b"".join(parts))

    def answer(self, call: Frame, result: int = 0, error: int = 0) -> None:
        """The end of a system call."""
        body = frames.SYSRESP.pack(error, result, 0)
        self.send(pack(call.reqno, frames.RESP, frames.SYSCALL, 0, body))

    def ask(self, kind: int, body: bytes = b"", word: int = 0, number: int = 0) -> None:
        """A request of the server's."""
        self.send(pack(number, frames.REQ, kind, word, body))

    def copyin(self, start: int, size: int, kind: int = frames.COPYIN) -> Frame:
        """Ask for memory; what the client answers."""
        self.ask(kind, frames.COPYDATA.pack(size, start), number=77)
        return self.recv()

    def copyout(self, start: int, octets: bytes, size: int | None = None) -> None:
        """Write to memory."""
        length = len(octets) if size is None else size
        self.ask(frames.COPYOUT, frames.COPYDATA.pack(length, start) + octets)

    def gone(self) -> bool:
        """Whether the client has hung up without another word."""
        try:
            self.recv()
        except (EOFError, ConnectionError):
            return True
        return False

    def greet(self) -> None:
        """Banner and handshake as they should be."""
        self.send(BANNER)
        hello = self.recv()
        assert (hello.type, hello.word) == (frames.HANDSHAKE, frames.GUEST)
        body = frames.INT.pack(0)
        self.send(pack(hello.reqno, frames.RESP, frames.HANDSHAKE, 0, body))


Script = Callable[[Peer], None]


@contextlib.contextmanager
def listening(folder: Path, script: Script) -> Iterator[str]:
    """A URL where one client after the other meets ``script``.

    What a script raises is raised here at the end.
    """
    raised: list[BaseException] = []
    path = str(folder / "fake")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                sock.settimeout(10)
                with sock:
                    try:
                        script(Peer(sock))
                    except BaseException as error:
                        raised.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
    assert not thread.is_alive(), "the script hangs"
    if raised:
        raise raised[0]


@contextlib.contextmanager
def serving(folder: Path, script: Script) -> Iterator[RemoteKernel]:
    """A client of a server that greets and then does what ``script`` says."""

    def whole(peer: Peer) -> None:
        peer.greet()
        script(peer)

    with listening(folder, whole) as url, rumphyper.connect(url, timeout=5) as kernel:
        yield kernel
