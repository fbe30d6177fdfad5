"""A xenstored that answers by whatever function a test sets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from rumphyper.xen.wire import Decoder, Message

Answer = Callable[[Message], bytes]


class Xenstored:
    """Answers each request by whatever function the test sets."""

    def __init__(self, path: str) -> None:
        self.answer: Answer = lambda asked: reply(asked, b"OK\0")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.client = socket.socket(socket.AF_UNIX)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        self.client, _ = self.listener.accept()
        decoder = Decoder()
        try:
            while octets := self.client.recv(1 << 16):
                for asked in decoder.feed(octets):
                    self.client.sendall(self.answer(asked))
        except OSError:
            pass

    def die(self) -> None:
        self.client.shutdown(socket.SHUT_RDWR)


def reply(asked: Message, payload: bytes, kind: int | None = None) -> bytes:
    kind = asked.kind if kind is None else kind
    return Message(kind, asked.request, asked.transaction, payload).encode()
