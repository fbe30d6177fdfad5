"""Reaching a server of the syscall proxy and becoming a process of its kernel.

The server sends its banner; the client asks for a process with a HANDSHAKE:
as a guest, or by the word that a PREFORK got, which makes it a copy of the
process that asked for it. Source: NetBSD lib/librumpclient/rumpclient.c
(doconnect, handshake_req), lib/librumpuser/rumpuser_sp.c (handlereq).
"""

from __future__ import annotations

import os
import socket
import sys
import time

import attrs

from rumphyper.errors import ProtocolError, ServerError
from rumphyper.hypercalls.errno import to_host
from rumphyper.hypercalls.proxy import frames
from rumphyper.hypercalls.proxy.banner import MAX_BANNER, Banner
from rumphyper.hypercalls.proxy.decoder import Decoder
from rumphyper.hypercalls.proxy.frames import Frame
from rumphyper.hypercalls.proxy.url import ProxyUrl

FIRST_REQUEST = 1 << 32
"""The number of the first request. Servers count theirs from 0, so that an
error that answers an answer of ours is never taken for a call's."""

_REMEDIES = {
    FileNotFoundError: "start the server first (rump_server URL)",
    ConnectionRefusedError: "start the server first (rump_server URL)",
    BlockingIOError: "others wait to be let in: is it stopped or busy?",
    PermissionError: "the socket belongs to another user",
}


@attrs.frozen
class Prefork:
    """A process that waits to be taken over: see `RemoteKernel.prefork`."""

    url: ProxyUrl
    word: bytes = attrs.field(repr=False)
    """Who knows it gets the process."""


@attrs.define(eq=False)
class Opened:
    """A connection on which the handshake is over."""

    socket: socket.socket
    banner: Banner
    decoder: Decoder


def open_server(url: ProxyUrl, timeout: float | None, word: bytes = b"") -> Opened:
    """Connect and shake hands, within ``timeout`` seconds as a whole.

    ``word`` is that of a `Prefork`; without it the process is a new one. Raises
    ServerError when nobody answers in time or the server refuses, ProtocolError
    when it is no rump kernel's server or one of another version.
    """
    thing = f"rump kernel at {url}"
    deadline = None if timeout is None else time.monotonic() + timeout
    sock = socket.socket(url.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(url.sockaddr)
        if url.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened = _greet(sock, deadline, word, thing)
        sock.settimeout(None)
        return opened
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):
            span = "" if timeout is None else f" within {timeout} s"
            raise ServerError(
                thing, f"no answer{span}", "is it stopped or busy?"
            ) from None
        if isinstance(error, OSError) and not isinstance(error, ServerError):
            raise ServerError(
                thing,
                error.strerror or str(error),
                _REMEDIES.get(type(error), ""),
                error.errno or 0,
            ) from error
        raise


def _greet(
    sock: socket.socket, deadline: float | None, word: bytes, thing: str
) -> Opened:
    """Everything that is said before the first call."""
    decoder = Decoder(frames.TO_CLIENT)
    try:
        banner = _banner(sock, deadline)
        sock.sendall(_request(word))
        frame = _answer(sock, decoder, deadline)
    except (BrokenPipeError, ConnectionResetError):
        raise ProtocolError(
            "syscall proxy", "the server closed the connection in the handshake"
        ) from None
    _check(frame, thing)
    return Opened(sock, banner, decoder)


def _left(sock: socket.socket, deadline: float | None) -> None:
    """Let the next receive wait until ``deadline``; TimeoutError when it is over."""
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)


def _banner(sock: socket.socket, deadline: float | None) -> Banner:
    """Read the server's line; it sends nothing more until it is asked."""
    line = b""
    while b"\n" not in line and len(line) <= MAX_BANNER:
        _left(sock, deadline)
        more = sock.recv(MAX_BANNER + 1 - len(line))
        if not more:
            break
        line += more
    if not line:
        raise ProtocolError(
            "syscall proxy",
            "the server closed the connection at once",
            "it has as many clients as it takes, or is not a rump kernel's",
        )
    banner = Banner.parse(line)
    banner.check()
    return banner


def _request(word: bytes) -> bytes:
    """The HANDSHAKE: by a PREFORK's word, or as a guest with our program's name."""
    if word:
        kind, body = frames.FORK_OF, frames.FORK.pack(word, 0)
    else:
        name = os.path.basename(sys.argv[0]) if sys.argv else ""
        # The stock server writes a NUL behind what it gets. 16 octets leave
        # room for it in the memory that malloc(3) really gives.
        kind, body = frames.GUEST, os.fsencode(name)[:15].ljust(16, b"\0")
    return frames.pack(FIRST_REQUEST - 1, frames.REQ, frames.HANDSHAKE, kind, body)


def _answer(sock: socket.socket, decoder: Decoder, deadline: float | None) -> Frame:
    while (frame := decoder.next()) is None:
        _left(sock, deadline)
        octets = sock.recv(4096)
        if not octets:
            raise BrokenPipeError
        decoder.feed(octets)
    return frame


def _check(frame: Frame, thing: str) -> None:
    """Raise unless the server has agreed."""
    if frame.reqno != FIRST_REQUEST - 1 or frame.cls == frames.REQ:
        raise ProtocolError(
            frames.describe(frame.cls, frame.type), "not the answer to our handshake"
        )
    if frame.cls == frames.ERROR:
        number = frames.errno_of(frame.word)
    elif frame.type != frames.HANDSHAKE:
        raise ProtocolError(
            frames.describe(frame.cls, frame.type), "not the answer to our handshake"
        )
    else:
        (number,) = frames.INT.unpack(frame.body)
    if number:
        host = to_host(number)
        raise ServerError(
            thing, f"the server refuses us: {os.strerror(host)}", "", host
        )
