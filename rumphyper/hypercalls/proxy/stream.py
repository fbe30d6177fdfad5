"""What a client sends: frames, and answers that go where they are wanted.

A frame is read into no buffer of the stream's own. A request's body, at most a
kilobyte, gets memory of its own once its header has been checked; the answer to
a copyin goes straight to the memory that the kernel gave for it.
"""

from __future__ import annotations

import socket
import threading

from rumphyper.errors import ProtocolError
from rumphyper.hypercalls.proxy.frames import (
    ERROR,
    HEADER,
    REQ,
    TO_SERVER,
    Frame,
    describe,
)

HEADER_SIZE = HEADER.size
_NOTHING = memoryview(b"")


class Answer:
    """What the server waits for: the client's response to one request.

    ``room`` gets the response's body, which fills it unless ``shorter`` may
    come. ``type`` is the response's type.
    """

    __slots__ = ("_lock", "done", "failed", "room", "shorter", "size", "type")

    def __init__(self, type: int, room: memoryview, shorter: bool = False) -> None:
        self.type = type
        self.room = room
        self.shorter = shorter
        self.size = 0
        """Octets of the body."""

        self.done = False
        self.failed = False
        """Whether the client refused, or has gone."""

        self._lock = threading.Lock()
        self._lock.acquire()

    def end(self, failed: bool) -> None:
        """Say that the answer is there, or that there will be none."""
        if not self.done:
            self.failed = failed
            self.done = True
            self._lock.release()

    def wait(self, patience: float = -1) -> bool:
        """Wait until another thread has read it; False if that takes too long."""
        return self.done or self._lock.acquire(timeout=patience)


class Stream:
    """The reading side of one connection; for one thread at a time.

    ``answers`` has who waits for a response, by the request's number; who has
    got it is taken out.
    """

    def __init__(self, sock: socket.socket, answers: dict[int, Answer]) -> None:
        self._recv_into = sock.recv_into
        self._answers = answers
        self._header = bytearray(HEADER_SIZE)
        self._have = 0
        self._body = self._whole = _NOTHING
        self._answer: Answer | None = None

    def next(self, flags: int = socket.MSG_DONTWAIT) -> Frame | None:
        """Read on; the request that is complete with it, if any.

        Without one an answer has been delivered, or more has to come. At most
        two reads: call it again. Raises BlockingIOError when there is nothing,
        EOFError at the client's end, ProtocolError, OSError.
        """
        have = self._have
        if have < HEADER_SIZE:
            room = memoryview(self._header)[have:] if have else self._header
            have += self._receive(room, flags)
            self._have = have
            if have < HEADER_SIZE:
                return None
            self._begin()
        if self._body:
            count = self._receive(self._body, flags)
            self._body = self._body[count:]
            if self._body:
                return None
        return self._complete()

    def _receive(self, room: bytearray | memoryview, flags: int) -> int:
        count = self._recv_into(room, 0, flags)
        if not count:
            if self._have:
                raise ProtocolError("client", "the end came in the middle of a frame")
            raise EOFError
        return count

    def _begin(self) -> None:
        """Check the header; make room for the body."""
        length, reqno, cls, type, _ = HEADER.unpack(self._header)
        bound = TO_SERVER.get((cls, type))
        if bound is None:
            raise ProtocolError(describe(cls, type), "no frame that may come here")
        size = length - HEADER_SIZE
        if not bound[0] <= size <= bound[1]:
            raise ProtocolError(describe(cls, type), f"a length of {length} octets")
        if cls == REQ:
            self._body = self._whole = memoryview(bytearray(size))
            return
        answer = self._answers.pop(reqno, None)
        if answer is None:
            raise ProtocolError(describe(cls, type), "nobody has asked for it")
        self._answer = answer  # from here on ours to end
        if cls == ERROR:
            return
        room = answer.room
        if type != answer.type:
            raise ProtocolError(describe(cls, type), "not what was asked for")
        if size > len(room) or (size < len(room) and not answer.shorter):
            raise ProtocolError(
                describe(cls, type), f"{size} octets where {len(room)} were asked for"
            )
        answer.size = size
        self._body = room[:size]

    def _complete(self) -> Frame | None:
        self._have = 0
        self._body = _NOTHING
        _, reqno, cls, type, word = HEADER.unpack(self._header)
        if cls == REQ:
            return Frame(reqno, cls, type, word, bytes(self._whole))
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.end(failed=cls == ERROR)
        return None

    def abandon(self) -> None:
        """Nothing more will be read: end the answers that are waited for.

        For the thread that reads: nobody may write into their rooms any more.
        """
        self._body = _NOTHING
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.end(failed=True)
        while self._answers:
            _, answer = self._answers.popitem()
            answer.end(failed=True)
