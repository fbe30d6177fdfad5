"""A client that speaks the protocol by hand, rightly or not."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from typing_extensions import Self

from rumphyper.hypercalls.proxy import frames as f
from rumphyper.hypercalls.proxy.url import parse

GETPID, READ, WRITE, CLOSE, REBOOT = 20, 3, 4, 6, 208
SETUID, GETUID = 23, 24
SOCKET, BIND, RECVFROM, PIPE2, OPEN = 394, 104, 29, 453, 5
PATIENCE = 20


class Cut(Exception):
    """The server has closed the connection."""


class Raw:
    """A connection; the memory of the client is what ``memory`` says."""

    def __init__(self, url: str, guest: bool = True) -> None:
        place = parse(url)
        self.sock = socket.socket(place.family)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(place.sockaddr)
        self.banner = b""
        while not self.banner.endswith(b"\n"):
            self.banner += self._recv(1)
        self.number = 0
        self.memory: dict[int, bytes] = {}
        """What is copied in, by address."""

        self.copied: dict[int, bytes] = {}
        """What was copied out, by address."""

        if guest:
            self.handshake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def _recv(self, size: int) -> bytes:
        octets = b""
        while len(octets) < size:
            try:
                piece = self.sock.recv(size - len(octets))
            except ConnectionError:
                piece = b""
            if not piece:
                raise Cut
            octets += piece
        return octets

    def send(self, octets: bytes) -> None:
        try:
            self.sock.sendall(octets)
        except ConnectionError:
            raise Cut from None

    def request(self, type: int, word: int = 0, body: bytes = b"") -> int:
        """Send a request; its number."""
        self.number += 1
        self.send(f.pack(self.number, f.REQ, type, word, body))
        return self.number

    def frame(self) -> f.Frame:
        """The next frame that comes; raises Cut when the server has closed."""
        length, reqno, cls, type, word = f.HEADER.unpack(self._recv(f.HEADER.size))
        return f.Frame(reqno, cls, type, word, self._recv(length - f.HEADER.size))

    def response(self, number: int) -> f.Frame:
        """The response to a request, serving the memory meanwhile."""
        while True:
            frame = self.frame()
            if frame.cls == f.REQ:
                self.serve(frame)
            elif frame.reqno == number:
                return frame

    def serve(self, frame: f.Frame) -> None:
        """Do what the server asks for."""
        if frame.type == f.COPYOUT:
            _, where = f.COPYDATA.unpack_from(frame.body)
            self.copied[where] = frame.body[f.COPYDATA.size :]
        elif frame.type in (f.COPYIN, f.COPYINSTR):
            size, where = f.COPYDATA.unpack(frame.body)
            data = self.memory.get(where, bytes(size))[:size]
            if frame.type == f.COPYIN:
                data = data.ljust(size, b"\0")
            self.send(f.pack(frame.reqno, f.RESP, f.COPYIN, 0, data))

    def handshake(self, kind: int = f.GUEST, body: bytes = b"raw\0") -> f.Frame:
        return self.response(self.request(f.HANDSHAKE, kind, body))

    def call(self, number: int, *args: int) -> int:
        """Send a system call; its number as a request."""
        body = b"".join(struct.pack("=q", value) for value in args)
        return self.request(f.SYSCALL, number, body)

    def syscall(self, number: int, *args: int) -> tuple[int, int]:
        """Make a system call: errno and result."""
        frame = self.response(self.call(number, *args))
        assert (frame.cls, frame.type) == (f.RESP, f.SYSCALL), frame
        error, result, _ = f.SYSRESP.unpack(frame.body)
        return error, result

    def works(self) -> bool:
        return self.syscall(GETPID)[0] == 0

    def is_cut(self) -> bool:
        """Read to the end; whether the server has closed."""
        with contextlib.suppress(Cut):
            while True:
                self.frame()
        return True

    def udp(self) -> int:
        """A socket that nothing will ever arrive at."""
        error, fd = self.syscall(SOCKET, 2, 2, 0)
        assert not error
        return fd


def bind(raw: Raw) -> f.Frame:
    """The COPYIN that comes in the middle of a bind."""
    raw.call(BIND, raw.udp(), 0x1000, 16)
    frame = raw.frame()
    assert (frame.cls, frame.type) == (f.REQ, f.COPYIN)
    return frame


def cut_by(url: str, act: Callable[[Raw], Any], guest: bool = True) -> list[f.Frame]:
    """Let a new client do something wrong: what it gets before it is cut off."""
    got: list[f.Frame] = []
    with Raw(url, guest) as raw:
        try:
            act(raw)
            while True:
                got.append(raw.frame())
        except Cut:
            return got


def rss(pid: int) -> int:
    """Resident memory in octets."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
