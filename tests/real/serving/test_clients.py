"""NetBSD's own client library on our server, and on the stock one for comparison."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import time

import pytest

from tests.real.serving.kit import (
    PATIENCE,
    finish,
    library,
    run_client,
    serving,
    start_client,
)
from tests.real.serving.raw import GETUID, PIPE2, READ, RECVFROM, SETUID, WRITE, Raw

pytestmark = pytest.mark.rump

MODES = ("hybrid", "libc", "python")
JOBS: dict[str, tuple[str, ...]] = {
    "sockets": (),
    "files": ("/tmp",),
    "fork": (),
    "execute": (),
    "threads": (),
    "signal": (),
}
RIGHT = {
    "sockets": {
        "same": True,
        "family": 2,
        "echoes": 40,
        "not a socket": 9,
        "bad address": 14,
    },
    "files": {
        "written": True,
        "same": True,
        "link": True,
        "no file": 2,
        "too long": 63,
        "closed": 9,
    },
    "fork": {"status": 0, "another": True},
    "execute": {"same process": True, "kept": 0, "lost": 9},
    "threads": {"one process": True, "answers": True},
    "signal": {"errno": 32, "signals": [signal.SIGPIPE]},
}


@pytest.mark.parametrize("mode", ["native", *MODES])
@pytest.mark.parametrize("scheme", ["unix", "tcp"])
def test_the_stock_client(mode: str, scheme: str) -> None:
    """One set of expectations for both servers."""
    with serving(mode, scheme) as kernel:
        before = kernel.settled()
        for job, words in JOBS.items():
            assert run_client(kernel.url, job, *words) == RIGHT[job], job
        wanted = {"processes": before["processes"]}
        assert wanted.items() <= kernel.settled(wanted).items()
        assert kernel.ask("works")
        assert kernel.ask("state")["problems"] == []
        left = kernel.end()["threads"]
        assert not [name for name in left if name.startswith("sysproxy")]


@pytest.mark.parametrize("mode", MODES)
def test_fifty_clients_at_the_same_time(mode: str) -> None:
    with serving(mode) as kernel:
        clients = [start_client(kernel.url, "sockets") for _ in range(25)]
        clients += [start_client(kernel.url, "files", "/tmp") for _ in range(25)]
        for number, client in enumerate(clients):
            right = RIGHT["sockets" if number < 25 else "files"]
            assert finish(client) == right
        assert kernel.ask("works")
        assert kernel.ask("state")["problems"] == []


@pytest.mark.parametrize("mode", MODES)
def test_clients_that_are_killed_at_work(mode: str) -> None:
    """At any moment: in a call, in a copy, asleep in the kernel."""
    dice = random.Random(mode)
    with serving(mode) as kernel:
        before = kernel.settled()
        for _ in range(6):
            clients = [start_client(kernel.url, "load") for _ in range(4)]
            clients += [start_client(kernel.url, "block") for _ in range(2)]
            for client in clients:
                assert client.stdout is not None
                assert client.stdout.readline()
            time.sleep(dice.uniform(0, 0.1))
            for client in clients:
                client.send_signal(signal.SIGKILL)
                client.communicate(timeout=PATIENCE)
            assert kernel.ask("works")
        assert run_client(kernel.url, "sockets") == RIGHT["sockets"]
        wanted = {name: before[name] for name in ("processes", "descriptors")}
        assert wanted.items() <= kernel.settled(wanted).items()
        assert kernel.ask("state")["problems"] == []


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_left_of_five_hundred_clients(mode: str) -> None:
    with serving(mode, spare=3) as kernel:
        before = kernel.settled()
        for number in range(500):
            with Raw(kernel.url) as raw:
                fd = raw.udp()
                if number % 5 == 0:
                    raw.call(RECVFROM, fd, 0x1000, 10, 0, 0, 0)
        wanted = {name: before[name] for name in ("processes", "descriptors")}
        now = kernel.settled(wanted)
        assert wanted.items() <= now.items()
        workers = now["threads"] - before["threads"]
        assert workers < 3
        assert now["lwps"] - before["lwps"] == workers
        assert now["problems"] == []


@pytest.mark.parametrize("mode", ["native", *MODES])
def test_credentials_are_the_processs(mode: str) -> None:
    """What one call sets holds for all later ones, on whichever lwp."""
    with serving(mode) as kernel, Raw(kernel.url) as raw:
        assert raw.syscall(PIPE2, 0x1000, 0)[0] == 0
        reader, writer = struct.unpack("=ii", raw.copied[0x1000])
        raw.call(READ, reader, 0x2000, 1)
        time.sleep(0.1)  # it is asleep, on an lwp
        assert raw.syscall(WRITE, writer, 0x3000, 1) == (0, 1)  # on another one
        time.sleep(0.1)
        assert raw.syscall(SETUID, 1000)[0] == 0
        assert raw.syscall(GETUID) == (0, 1000)
        raw.call(READ, reader, 0x2000, 1)
        time.sleep(0.1)
        assert raw.syscall(GETUID) == (0, 1000)  # on the other one


@pytest.mark.parametrize("mode", ["native", *MODES])
def test_a_client_ends_the_kernel(mode: str) -> None:
    """Its root may: reboot(2), which ends the process that holds the kernel."""
    with serving(mode) as kernel:
        client = start_client(kernel.url, "reboot")
        assert kernel.process.wait(PATIENCE) == 0
        assert not os.path.exists(kernel.path)
        try:
            client.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            client.kill()
            pytest.fail("the client was not told")


def test_the_end_of_the_kernel_ends_its_clients() -> None:
    library("librumpclient.so.0")
    with serving() as kernel:
        asleep = [Raw(kernel.url) for _ in range(3)]
        for raw in asleep:
            raw.call(RECVFROM, raw.udp(), 0x1000, 10, 0, 0, 0)
        left = kernel.end()["threads"]
        assert not [name for name in left if name.startswith("sysproxy")]
        assert all(raw.is_cut() for raw in asleep)
        assert not os.path.exists(kernel.path)
