"""The Python examples of README and docs/ that no other test runs, as they stand.

Those of PCI cards and netmap run in guests, see tests/vm/test_pages.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.judges import tool
from tests.real.netbsd_session import NAMESPACE, ROOT, require_tap
from tests.real.proxy_kit import our_server
from tests.real.rump import require_rump, without_chance

FRAME = "frame = bytes(60)\n"

WEB = """
import subprocess, threading, socket, time
def web():
    server = socket.create_server(("", 80))
    while "tap0" not in [name for _, name in socket.if_nameindex()]:
        time.sleep(0.01)
    for words in ("addr add 10.0.0.1/24 dev tap0", "link set tap0 up"):
        subprocess.run(["ip", *words.split()], check=True)
    while True:
        server.accept()[0].sendall(b"page")
threading.Thread(target=web, daemon=True).start()
"""
"""A web server on Linux' end of tap0, once that is there."""


def examples(page: str) -> list[str]:
    """The Python blocks of a page."""
    text = (ROOT / page).read_text()
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def shown(source: str, folder: Path) -> str:
    """What a program prints, in a namespace and with its files in ``folder``."""
    for word in NAMESPACE:
        if not word.startswith("-"):
            tool(word)
    for place in ("/tmp/", "/dev/shm/"):
        source = source.replace(place, f"{folder}/")
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-c", source],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), source
    return without_chance(done.stdout)


def test_a_link_of_the_readme(tmp_path: Path) -> None:
    """Frames of others, and not its own, are what it gets: another sends one."""
    first = examples("README.md")[0]
    other = (
        "import rumphyper, threading\n"
        "other = rumphyper.open_link('shmif:/tmp/bus')\n"
        "threading.Timer(0.3, lambda: other.send([bytes(100)])).start()\n"
    )
    assert shown(other + first, tmp_path) == "100\n"


def test_the_bus_of_its_page(tmp_path: Path) -> None:
    (example,) = examples("docs/shmif.md")
    other = (
        "import rumphyper, threading\n"
        "other = rumphyper.open_link('shmif:/dev/shm/bus')\n"
        "threading.Timer(0.3, lambda: other.send([bytes(100)])).start()\n"
    )
    assert shown(FRAME + other + example, tmp_path) == "100\n"


def test_the_device_of_its_page(tmp_path: Path) -> None:
    require_tap()
    (example,) = examples("docs/tap.md")
    shown(example, tmp_path)


def test_the_captures_of_their_page(tmp_path: Path) -> None:
    """The second example writes what the first could have read."""
    (example,) = examples("docs/pcap.md")
    made = (
        "import rumphyper\n"
        "with rumphyper.open_link('pcap:ping.pcapng', mode='w') as link:\n"
        "    link.send([bytes(60), bytes(61)])\n"
    )
    copied = "with rumphyper.open_link('pcap:copy.pcap') as link: print(list(link))\n"
    out = shown(made + FRAME + example + copied, tmp_path)
    assert out == f"60\n61\n{[bytes(61)]}\n"


def test_the_event_loop_of_its_page(tmp_path: Path) -> None:
    (example,) = examples("docs/asyncio.md")
    assert re.fullmatch(r"[1-3] frames\n", shown(example, tmp_path))


@pytest.mark.rump
def test_a_kernel_of_the_readme(tmp_path: Path) -> None:
    require_rump()
    require_tap()
    example = examples("README.md")[1].replace("80))", "80)); print(sock.recv(9))")
    assert shown(f"{WEB}import rumphyper\n{example}", tmp_path) == "b'page'\n"


@pytest.mark.rump
def test_a_kernel_of_its_page(tmp_path: Path) -> None:
    require_rump()
    require_tap()
    seen = "print(page.recv(9))\n"
    source = WEB + examples("docs/netbsd.md")[0] + seen
    assert shown(source, tmp_path) == "b'page'\n"


@pytest.mark.rump
def test_interfaces_of_the_page_of_netbsd(tmp_path: Path) -> None:
    require_rump()
    require_tap()
    booted = "import rumphyper\nkernel = rumphyper.boot()\n"
    seen = "print(virt0.name, shmif0.name)\n"
    source = booted + examples("docs/netbsd.md")[3] + seen
    assert shown(source, tmp_path) == "virt0 shmif0\n"


@pytest.mark.rump
def test_components_of_the_page_of_netbsd(tmp_path: Path) -> None:
    require_rump()
    source = "import rumphyper\n" + examples("docs/netbsd.md")[1]
    assert (
        shown(source + "print(kernel.socket().fileno() >= 0)\n", tmp_path) == "True\n"
    )


@pytest.mark.rump
def test_the_client_of_the_readme(tmp_path: Path) -> None:
    """Against our own server, whose socket takes the place of the example's."""
    require_rump()
    with our_server() as served:
        source = "import rumphyper\n" + examples("README.md")[2]
        source = source.replace("unix:///tmp/rump.sock", served.url)
        done = subprocess.run(
            [sys.executable, "-c", source],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "'dev'" in done.stdout
