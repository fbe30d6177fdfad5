"""Where a server listens, and who may connect."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from pathlib import Path

import attrs
import pytest

from rumphyper.errors import HostError
from rumphyper.hypercalls.proxy.listen import Listener, remove_stale, turn
from rumphyper.hypercalls.proxy.url import parse


def listen(url: str, remote: bool = False) -> Listener:
    return Listener(parse(url, serving=True), remote)


def unix(folder: Path) -> str:
    return f"unix://{folder}/socket"


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o177])
def test_a_socket_is_its_owners(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        listener = listen(unix(tmp_path))
    finally:
        os.umask(before)
    mode = (tmp_path / "socket").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    listener.close()
    listener.close()
    assert os.listdir(tmp_path) == []


def test_somebody_listens_there(tmp_path: Path) -> None:
    listener = listen(unix(tmp_path))
    with pytest.raises(HostError, match="another server listens there") as failure:
        listen(unix(tmp_path))
    assert failure.value.errno == errno.EADDRINUSE
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "socket"))
        while True:  # the first to come was the other server, which only looked
            connection = listener.accept()
            client.send(b"x")
            if connection.recv(1):
                break
            connection.close()
        connection.close()
    listener.close()


def test_somebody_listens_there_and_has_no_time(tmp_path: Path) -> None:
    """A full queue is no reason to take the socket away."""
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(tmp_path / "socket"))
        busy.listen(0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "socket"))
            with pytest.raises(HostError, match="another server listens there"):
                listen(unix(tmp_path))


def test_nobody_listens_there_any_more(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "socket"))
    listen(unix(tmp_path)).close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["file", "folder", "link", "fifo"])
def test_no_socket_at_all(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "socket"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/nowhere")
    with pytest.raises(HostError, match="exists and is no socket"):
        listen(unix(tmp_path))
    assert os.listdir(tmp_path) == ["socket"]


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot listen there: No such file") as failure:
        listen(f"unix://{tmp_path}/no/socket")
    assert failure.value.errno == errno.ENOENT


def test_the_socket_of_a_successor_stays(tmp_path: Path) -> None:
    first = listen(unix(tmp_path))
    os.unlink(tmp_path / "socket")
    second = listen(unix(tmp_path))
    first.close()
    assert os.listdir(tmp_path) == ["socket"]
    second.close()


def test_servers_that_start_at_the_same_time(tmp_path: Path) -> None:
    """Of many that find a socket left behind one gets it, for good."""
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "socket"))
        gate = threading.Barrier(4)
        got: list[Listener] = []

        def start(gate: threading.Barrier = gate, got: list[Listener] = got) -> None:
            gate.wait()
            try:
                got.append(listen(unix(tmp_path)))
            except HostError:
                pass

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        [listener] = got
        with pytest.raises(HostError):
            remove_stale(str(tmp_path / "socket"))
        listener.close()


def test_somebody_keeps_the_folder_to_himself(tmp_path: Path) -> None:
    with (
        turn(str(tmp_path)),
        pytest.raises(HostError, match="temporarily unavailable"),
    ):
        listen(unix(tmp_path))


def test_tcp() -> None:
    listener = listen("tcp://127.0.0.1:0")
    assert listener.url.port
    with socket.create_connection((listener.url.host, listener.url.port)) as client:
        client.settimeout(10)
        listener.socket.setblocking(True)
        with listener.accept() as connection:
            nodelay = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert nodelay
            connection.send(b"x")
            assert client.recv(1) == b"x"
    with pytest.raises(HostError, match="Address already in use"):
        Listener(attrs.evolve(listener.url))
    listener.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "*", "192.0.2.1", "128.0.0.1"])
def test_other_hosts(host: str) -> None:
    with pytest.raises(HostError, match="is root in the kernel") as failure:
        listen(f"tcp://{host}:0")
    assert failure.value.errno == errno.EACCES


def test_other_hosts_on_request() -> None:
    listen("tcp://0.0.0.0:0", remote=True).close()
    listen("tcp://127.9.9.9:0").close()
