"""Programs that know nothing of it, brought to our server by librumphijack."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.command import argv, fails, finish, line, started
from tests.judges import tool
from tests.real.netbsd_session import NAMESPACE, require_tap
from tests.real.serving.kit import PATIENCE, library, run_client, serving
from tests.real.serving.program import PAGE

pytestmark = pytest.mark.rump


def hijacked(url: str) -> dict[str, str]:
    """The environment of a program whose sockets shall be the kernel's."""
    path = library("librumphijack.so.0")
    return {
        **os.environ,
        "RUMP_SERVER": url,
        "LD_LIBRARY_PATH": str(path.parent),
        "LD_PRELOAD": str(path),
    }


@pytest.mark.parametrize("mode", ["hybrid", "python"])
@pytest.mark.parametrize("words", [(), ("timeout", "20")])
def test_curl(mode: str, words: tuple[str, ...]) -> None:
    """A page from the kernel's loopback; with ``timeout``, which forks and execs."""
    command = [*words, tool("curl"), "-sS", "http://127.0.0.1/"]
    with serving(mode) as kernel:
        before = kernel.settled()
        for _ in range(3):
            done = subprocess.run(
                command,
                env=hijacked(kernel.url),
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout == PAGE
        # NetBSD's own clients are served beside them.
        assert run_client(kernel.url, "fork") == {"status": 0, "another": True}
        wanted = {"processes": before["processes"]}
        assert wanted.items() <= kernel.settled(wanted).items()
        assert kernel.ask("state")["problems"] == []


DRIVER = """
import http.server, os, subprocess, threading
for words in ("addr add 10.0.0.1/24 dev tap0", "link set tap0 up"):
    subprocess.run(["ip", *words.split()], check=True)

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"to {self.client_address[0]} ".encode() * 20000)

server = http.server.ThreadingHTTPServer(("10.0.0.1", 8000), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
done = subprocess.run(
    ["curl", "-sS", "http://10.0.0.1:8000/"],
    env={**os.environ, "RUMP_SERVER": kernel.served, "LD_PRELOAD": HIJACK},
    capture_output=True, text=True, timeout=20,
)
print(done.stderr, done.returncode, done.stdout == "to 10.0.0.2 " * 20000)
"""


def test_curl_over_a_tap(tmp_path: Path) -> None:
    """From Linux through NetBSD to Linux: the server sees NetBSD's address."""
    require_tap()
    tool("curl")
    hijack = library("librumphijack.so.0")
    script = tmp_path / "script.py"
    script.write_text(f"HIJACK = {str(hijack)!r}\n{DRIVER}")
    interface = "virt0=tap:tap0,10.0.0.2/24"
    words = ("run", "-i", interface, "--serve", f"unix://{tmp_path}/rump", script)
    done = subprocess.run(
        [*NAMESPACE, *argv(*words)],
        env={**os.environ, "LD_LIBRARY_PATH": str(hijack.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == " 0 True", done


def test_run_serves_until_ctrl_c(tmp_path: Path) -> None:
    """It says how to use it, and that is how it is used."""
    library("librumphijack.so.0")
    curl = tool("curl")
    with started("run", "--serve", f"unix://{tmp_path}/rump") as process:
        while not (said := line(process.stdout)).startswith("serving "):
            pass
        assert said == f"serving unix://{tmp_path}/rump, for example:"
        words = line(process.stdout).split()
        assert line(process.stdout) == "Ctrl-C ends it."
        assert words[-2:] == ["curl", "http://ADDRESS/"]
        mode = os.stat(tmp_path / "rump").st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        done = subprocess.run(
            [curl, "-sS", "http://127.0.0.1:1/"],
            env={**os.environ, **dict(word.split("=", 1) for word in words[:-2])},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 7  # nobody listens there in the kernel
        in_use = fails("run", "--serve", f"unix://{tmp_path}/rump")
        assert "another server listens there" in in_use
        process.send_signal(signal.SIGINT)
        status, out, err = finish(process)
    assert (status, err) == (0, "")
    lo0 = re.search(r"^lo0 +(\d+)", out, re.M)
    assert lo0 is not None
    assert int(lo0[1]) >= 2  # curl's attempt went through the kernel
    assert not os.path.exists(tmp_path / "rump")


def test_a_socket_that_was_left_is_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        with started("run", "--serve", f"unix://{tmp_path}/rump") as process:
            while not line(process.stdout).startswith("serving "):
                pass
            process.kill()
            process.wait()
        assert os.path.exists(tmp_path / "rump")


def test_the_stock_server_serves_by_the_same_option(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/rump"
    with started("run", "--hypercalls", "native", "--serve", url) as process:
        while not line(process.stdout).startswith("serving "):
            pass
        assert line(process.stdout).split()[0] == f"RUMP_SERVER={url}"
        assert stat.S_IMODE(os.stat(tmp_path / "rump").st_mode) == 0o600
        assert run_client(url, "threads")["answers"]
        process.send_signal(signal.SIGINT)
        assert finish(process)[0] == 0
    assert not os.path.exists(tmp_path / "rump")


def test_what_the_stock_server_cannot_do(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/rump"
    native = ("run", "--hypercalls", "native", "--serve")
    assert "NetBSD's calls only" in fails(*native, url, "--serve-abi", "linux")
    assert "does not tell its port" in fails(*native, "tcp://127.0.0.1:0")
