"""``rumphyper run`` and the examples, as users start them."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.command import ROOT, argv, fails, finish, line, run, started
from tests.real.netbsd_session import NAMESPACE, require_tap
from tests.real.rump import require_rump

pytestmark = pytest.mark.rump


@pytest.fixture(autouse=True)
def _libraries() -> None:
    require_rump()


def script(folder: Path, text: str) -> Path:
    path = folder / "script.py"
    path.write_text(text)
    return path


def test_a_script_with_arguments(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        "import sys, rumphyper\n"
        "assert kernel is rumphyper.current_kernel()\n"
        "print(__name__, sys.argv[1:], kernel.interface('shmif0').mtu)\n"
        "lo0 = kernel.interface('lo0')\n"
        "print(*(str(a) for a in lo0.addresses if a.version == 4))\n"
        "sys.exit(7)\n",
    )
    spec = f"shmif0=shmif:{tmp_path}/bus,10.5.0.1/24,mtu=1400,gw=10.5.0.9"
    done = run("run", "-i", spec, path, "-i", "--json")
    assert done.returncode == 7
    assert done.stdout.splitlines() == [
        "__main__ ['-i', '--json'] 1400",
        "127.0.0.1/8",
    ]
    assert re.search(r"^shmif0 +\d", done.stderr, re.M)


def test_an_exception_of_the_script_is_its_own(tmp_path: Path) -> None:
    path = script(tmp_path, "def f():\n    1 / 0\nf()\n")
    done = subprocess.run(
        argv("run", path), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert f'File "{path}", line 3' in done.stderr
    assert "runpy" not in done.stderr
    assert "rumphyper/" not in done.stderr


def test_json(tmp_path: Path) -> None:
    path = script(tmp_path, "kernel.socket().close()\n")
    done = run("run", "--json", "-i", f"shmif0=shmif:{tmp_path}/bus,10.5.0.1/24", path)
    (answer,) = map(json.loads, done.stdout.splitlines())
    lo0, shmif0 = answer["interfaces"]
    assert lo0["addresses"] == ["::1/128", "fe80::1/64", "127.0.0.1/8"]
    assert (shmif0["name"], shmif0["mtu"]) == ("shmif0", 1500)
    assert {"received", "sent_bytes", "dropped"} <= shmif0["counters"].keys()


def test_without_a_script_it_stays_until_ctrl_c(mode: str, tmp_path: Path) -> None:
    bus = f"shmif:{tmp_path}/bus"
    interface = f"shmif0={bus},10.5.0.1/24,fd05::1/64"
    words = ("run", "--hypercalls", mode, "--ncpu", "1", "-i", interface)
    with started(*words) as process:
        assert line(process.stdout).startswith("NetBSD ")
        while line(process.stdout) != "Ctrl-C ends it.":
            pass
        for own, target in (("10.5.0.2/24", "10.5.0.1"), ("fd05::2/64", "fd05::1")):
            pinged = run("ping", bus, target, "-I", own, "-c", "3", "-i", "0.05")
            assert pinged.returncode == 0, pinged
        process.send_signal(signal.SIGINT)
        status, out, err = finish(process)
    assert (status, err) == (0, "")
    row = next(row.split() for row in out.splitlines() if row.startswith("shmif0"))
    assert int(row[1]) >= 8  # six requests, and the neighbours' questions
    assert int(row[3]) >= 8


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("-i", "foo0=shmif:/x"), "foo interfaces have no link"),
        (("-i", "shmif0=shmif:/no/such/folder/bus"), "No such file"),
        (("-i", "lo0=127.0.0.1/99"), "127.0.0.1/99"),
        (("--serve", "ftp://x"), "no way to a server"),
        (("--serve", "tcp://0:7000"), "whoever reaches this address is root"),
        (("--serve", "unix:///etc/passwd"), "is no socket"),
        (("--components", "net,netinet,flux"), "librumpnet_flux.so"),
        (("--ncpu", "0"), "between 1 and 64"),
        (("/no/such/script.py",), "no such script"),
    ],
)
def test_what_cannot_be_done(words: tuple[str, ...], text: str) -> None:
    assert text in fails("run", *words)


LOOP = """
import socket
a = kernel.socket(socket.AF_INET, socket.SOCK_DGRAM)
a.bind(("127.0.0.1", 0))
for _ in range(3000):
    a.sendto(bytes(100), a.getsockname())
    a.recv(200)
if BLOCK:
    a.recv(200)
"""


@pytest.mark.parametrize("kind", ["waits", "works", "blocks"])
def test_sigint_at_any_moment(kind: str, tmp_path: Path) -> None:
    """From the load of the libraries to the end: a summary and no traceback."""
    dice = random.Random(kind)
    words: list[str | Path] = ["run", "-i", f"shmif0=shmif:{tmp_path}/bus,10.5.0.1/24"]
    if kind != "waits":
        words.append(script(tmp_path, f"BLOCK = {kind == 'blocks'}\n{LOOP}"))
    summaries = 0
    for _ in range(2):
        running = [
            subprocess.Popen(
                argv(*words),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for process in running:
            maps = Path(f"/proc/{process.pid}/maps")
            while "librumpnet" not in maps.read_text() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(dice.uniform(0, 0.3))
            process.send_signal(signal.SIGINT)
        for process in running:
            status, out, err = finish(process)
            assert status in ((0,) if kind == "waits" else (0, 130)), err
            assert "xception" not in err
            summaries += "dropped" in out + err
    assert summaries >= 1


def test_two_kernels() -> None:
    done = subprocess.run(
        [sys.executable, "examples/two_kernels.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert "client: rump kernel -> lenrek pmur" in done.stdout


DRIVER = """
import http.server, runpy, socket, subprocess, sys, threading, time
for words in ("addr add 10.0.0.1/24 dev tap0", "link set tap0 up"):
    subprocess.run(["ip", *words.split()], check=True)

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"page " * 20000)

server = http.server.ThreadingHTTPServer(("10.0.0.1", 8000), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()

def example(name, *arguments):
    sys.argv = [name, *arguments]
    try:
        runpy.run_path(f"examples/{name}.py", run_name="__main__")
    except SystemExit as end:
        print(name, "ended with", end.code, flush=True)

example("ping_linux", "10.0.0.1", "3")
example("http_get", "http://10.0.0.1:8000/")
threading.Thread(target=example, args=("udp_echo", "7"), daemon=True).start()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(0.5)
    for _ in range(10):
        sock.sendto(b"hello", ("10.0.0.2", 7))
        try:
            print("echo", sock.recv(100), flush=True)
            break
        except OSError:
            time.sleep(0.1)
"""


def test_examples_over_a_tap(mode: str, tmp_path: Path) -> None:
    require_tap()
    words = ("-i", "virt0=tap:tap0,10.0.0.2/24", script(tmp_path, DRIVER))
    done = subprocess.run(
        [*NAMESPACE, *argv("run", "--hypercalls", mode, *words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("64 octets from 10.0.0.1") == 3
    assert "ping_linux ended with 0" in done.stdout
    assert "page " * 20000 in done.stdout
    assert "http_get ended with 0" in done.stdout
    assert "echo b'hello'" in done.stdout
