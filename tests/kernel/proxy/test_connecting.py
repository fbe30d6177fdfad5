"""Reaching a server, or something that is none."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import socket
import threading
import time
from pathlib import Path

import pytest

import rumphyper
from rumphyper.errors import (
    ProtocolError,
    RumphyperError,
    ServerError,
    ServerGoneError,
    UrlError,
)
from rumphyper.hypercalls.proxy import frames
from rumphyper.hypercalls.proxy.frames import pack
from rumphyper.kernel.remotehandshake import Prefork
from tests.kernel.proxy.fakeserver import BANNER, Peer, Script, listening, serving


def descriptors() -> set[str]:
    """What this process has open."""
    return {
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    }


def test_the_greeting(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.recv(), 42)
        assert peer.gone()

    with serving(tmp_path, script) as kernel:
        assert (kernel.version, kernel.machine) == ("7.99.34", "amd64")
        assert repr(kernel) == f"<RemoteKernel {kernel.url} NetBSD 7.99.34>"
        assert kernel.syscall("getpid") == 42
        kernel.close()
        assert repr(kernel) == f"<RemoteKernel {kernel.url} closed>"
        kernel.close()


def test_the_programs_name_goes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/a-name-beyond-16-octets"])
    names: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.send(BANNER)
        hello = peer.recv()
        names.append(hello.body)
        body = frames.INT.pack(0)
        peer.send(pack(hello.reqno, frames.RESP, frames.HANDSHAKE, 0, body))

    with listening(tmp_path, script) as url:
        rumphyper.connect(url).close()
    assert names == [b"a-name-beyond-1\0"]


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="start the server") as caught:
        rumphyper.connect(f"unix://{tmp_path}/nothing")
    assert caught.value.errno == errno.ENOENT
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with pytest.raises(ConnectionError, match="refused") as refused:
            rumphyper.connect(f"tcp://127.0.0.1:{port}")
        assert refused.value.errno == errno.ECONNREFUSED
    (tmp_path / "file").touch()
    with pytest.raises(ServerError):
        rumphyper.connect(f"unix://{tmp_path}/file")
    with pytest.raises(UrlError):
        rumphyper.connect("localhost:1234")


def says(*parts: bytes) -> Script:
    """Sends ``parts`` one by one, the first at once, the others when asked."""

    def script(peer: Peer) -> None:
        for part in parts:
            peer.send(part)
            with contextlib.suppress(ConnectionResetError):
                peer.sock.recv(65536)

    return script


def half_an_answer(peer: Peer) -> None:
    says(BANNER)(peer)
    peer.send(response(frames.HANDSHAKE, bytes(4))[:-1])


def response(kind: int, body: bytes) -> bytes:
    return pack(1, frames.RESP, kind, 0, body)


AT_ONCE = "closed the connection at once"
BROKEN_OFF = "closed the connection in the handshake"
NO_ANSWER = "not the answer to our handshake"
OTHERS: dict[str, tuple[Script, str]] = {
    "ssh": (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "something else listens"),
    "an old one": (says(BANNER.replace(b"0.4", b"0.3")), r"version 0\.3"),
    "another machine": (says(BANNER.replace(b"amd64", b"i386")), "i386"),
    "no line's end": (says(b"RUMPSP-0.4-" + b"x" * 200), "not a rump"),
    "more than a line": (says(BANNER + bytes(24)), "not a rump"),
    "nothing": (lambda peer: None, AT_ONCE),
    "half a line": (lambda peer: peer.send(BANNER[:9]), "not a rump"),
    "ends early": (lambda peer: peer.send(BANNER), BROKEN_OFF),
    "half an answer": (
        half_an_answer,
        BROKEN_OFF,
    ),
    "noise": (says(BANNER, bytes(24)), "HANDSHAKE request"),
    "a request": (says(BANNER, pack(1, frames.REQ, frames.RAISE, 9)), NO_ANSWER),
    "another number": (
        says(BANNER, response(frames.HANDSHAKE, bytes(4))),
        NO_ANSWER,
    ),
    "a long answer": (says(BANNER, response(frames.HANDSHAKE, bytes(5))), "not 28"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_server(name: str, tmp_path: Path) -> None:
    script, cause = OTHERS[name]
    before = descriptors()
    with listening(tmp_path, script) as url, pytest.raises(ProtocolError, match=cause):
        rumphyper.connect(url, timeout=5)
    assert descriptors() == before


@pytest.mark.parametrize("by_frame", [True, False])
def test_a_refusal(by_frame: bool, tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.send(BANNER)
        number = peer.recv().reqno
        if by_frame:
            peer.send(pack(number, frames.ERROR, 0, frames.ERR_AUTH))
        else:
            body = frames.INT.pack(1)  # NetBSD's EPERM
            peer.send(pack(number, frames.RESP, frames.HANDSHAKE, 0, body))

    with (
        listening(tmp_path, script) as url,
        pytest.raises(ServerError, match="refuses us") as caught,
    ):
        rumphyper.connect(url, timeout=5)
    assert caught.value.errno == errno.EPERM


def test_a_slow_sender_is_not_waited_for(tmp_path: Path) -> None:
    """Each octet comes in time; the timeout is for the whole."""
    stop = threading.Event()

    def script(peer: Peer) -> None:
        for octet in BANNER:
            if stop.wait(0.1):
                return
            try:
                peer.send(bytes([octet]))
            except OSError:  # it has given up before we have heard of it
                return

    with listening(tmp_path, script) as url:
        start = time.monotonic()
        with pytest.raises(ServerError, match=r"within 0\.5 s"):
            rumphyper.connect(url, timeout=0.5)
        stop.set()
        assert time.monotonic() - start < 3


def test_a_silent_listener_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(ServerError, match=r"no answer within 0\.2 s"):
            rumphyper.connect(f"unix://{tmp_path}/s", timeout=0.2)


def test_closing_ends_what_is_just_connecting_again(tmp_path: Path) -> None:
    """Else it would be there after `close`, and nobody would end it."""
    again, go_on = threading.Event(), threading.Event()
    ends: list[bool] = []

    def script(peer: Peer) -> None:
        if not ends:
            peer.greet()
            ends.append(True)
            return  # the connection is lost
        again.set()
        go_on.wait(10)
        peer.greet()
        ends.append(peer.gone())

    with listening(tmp_path, script) as url:
        kernel = rumphyper.connect(url, timeout=5, reconnect=5)
        with pytest.raises(ServerGoneError):
            kernel.syscall("getpid")

        def call() -> None:
            with pytest.raises(ServerGoneError):
                kernel.syscall("getpid")

        caller = threading.Thread(target=call)
        caller.start()
        assert again.wait(10)
        kernel.close()
        go_on.set()
        caller.join(10)
        assert kernel.closed
    assert ends == [True, True]


def test_errors_and_preforks_can_be_sent_to_other_processes() -> None:
    error = ServerError("thing", "cause", "remedy", 5)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.errno) == ("thing: cause (remedy)", 5)
    assert isinstance(again, RumphyperError)
    from rumphyper.hypercalls.proxy.url import parse

    prefork = Prefork(parse("tcp://127.0.0.1:5"), bytes(range(16)))
    assert pickle.loads(pickle.dumps(prefork)) == prefork
    assert "\\x0f" not in repr(prefork), "the word is a secret"
