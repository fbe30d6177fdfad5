"""What cannot be is told with its cause and remedy, and leaves nothing half made."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rumphyper.dpdk import library
from rumphyper.dpdk.arguments import Options
from rumphyper.dpdk.devices import unplug
from rumphyper.dpdk.eal import eal, running, start
from rumphyper.dpdk.layouts import LAYOUTS
from rumphyper.errors import (
    HostError,
    LibraryError,
    LinkClosedError,
    LinkEndedError,
    LinkstrError,
    RumphyperError,
    UnsupportedError,
)
from rumphyper.link.dpdk_name import Device, parse
from rumphyper.link.dpdk_pci import check_pci
from tests.dpdk.support import alone, alone_in_namespace, frame, need_dpdk, open_dpdk
from tests.judges import tool
from tests.namespace import in_child
from tests.pci.tree import E1000E_ADDRESS, VIRTIO_ADDRESS, make_tree

# -- libraries ---------------------------------------------------------------------


def test_no_dpdk_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "LAYOUTS", {97: LAYOUTS[23]})
    monkeypatch.setattr(library, "FOLDERS", ())
    with pytest.raises(LibraryError, match=r"no librte_eal\.so.*apt-get install dpdk"):
        library.dpdk.__wrapped__()


def test_a_dpdk_of_an_unknown_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    need_dpdk()
    monkeypatch.setattr(library, "LAYOUTS", {97: LAYOUTS[23]})
    with pytest.raises(UnsupportedError, match=r"librte_eal\.so\.\d+.*known are"):
        library.dpdk.__wrapped__()


@pytest.mark.parametrize(
    ("version", "error", "cause"),
    [
        (
            "DPDK 22.11.1",
            "LibraryError",
            "librte_eal.so.26 says that it is DPDK 22.11.1",
        ),
        ("DPDK 25.11.0", "LibraryError", "DPDK 25.11.0 lacks librte_mempool.so.26"),
        ("DPDK 30.11.0", "UnsupportedError", "'DPDK 30.11.0' are not known"),
    ],
)
def test_libraries_of_mixed_versions(
    version: str, error: str, cause: str, tmp_path: Path
) -> None:
    """A librte_eal.so.26 that the loader finds first, made by a compiler."""
    source = f'const char *rte_version(void) {{ return "{version}"; }}'
    target = str(tmp_path / "librte_eal.so.26")
    options = ["-shared", "-fPIC", "-x", "c", "-", "-o", target]
    subprocess.run([tool("gcc"), *options], input=source, text=True, check=True)
    program = """
        from rumphyper.dpdk.library import dpdk
        from rumphyper.errors import RumphyperError
        try:
            dpdk()
        except RumphyperError as error:
            print(type(error).__name__, error)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.startswith(f"{error} ")
    assert cause in ran.stdout


# -- EAL ---------------------------------------------------------------------------


@alone
def test_eal_is_started_once() -> None:
    first = start()
    with pytest.raises(HostError, match="running already"):
        start()
    assert eal() is first
    first.close()
    first.close()
    for call in (start, eal):
        with pytest.raises((HostError, LinkClosedError), match="closed"):
            call()


@alone
def test_no_huge_pages() -> None:
    """The host never has as many as that; the process lives on."""
    with pytest.raises(HostError, match=r"huge.*nr_hugepages.*hugepages=False"):
        start(Options(hugepages=True, memory=1 << 19))
    with pytest.raises(HostError, match="refused before"):
        start()


@pytest.mark.parametrize(
    "options",
    [
        Options(memory=0),
        Options(memory=1 << 30),
        Options(cpus=[4096]),
        Options(cpus=[]),
        Options(pci=["eth0"]),
    ],
)
@alone
def test_options_that_cannot_be(options: Options) -> None:
    with pytest.raises(HostError):
        start(options)
    start().close()  # it has not been spoilt


@alone
def test_an_argument_that_eal_does_not_know() -> None:
    with pytest.raises(HostError, match="--nonsense"):
        start(Options(arguments=["--nonsense"]))


@alone
def test_without_rights() -> None:
    """As nobody: memory without huge pages still does, a TAP does not."""
    if os.geteuid():
        pytest.skip("only root can become nobody")
    os.chmod(os.environ["TMPDIR"], 0o777)

    def child() -> None:
        os.setgid(65534)
        os.setuid(65534)
        with open_dpdk("net_ring0") as link:
            link.send([frame(bytes(50))])
            assert link.recv(timeout=1) == [frame(bytes(50))]
        with pytest.raises(HostError, match="net_tap0"):
            open_dpdk("net_tap0")
        eal().close()

    assert in_child(child) == ("ok", "")


@alone
def test_the_thread_that_starts_eal_may_run_where_it_might() -> None:
    before = os.sched_getaffinity(0)
    start()
    assert os.sched_getaffinity(0) == before


@alone
def test_a_child_cannot_use_it() -> None:
    link = open_dpdk("net_ring0")

    def child() -> None:
        for call in (lambda: link.recv(timeout=0), lambda: link.send([bytes(60)])):
            with pytest.raises(HostError, match="parent"):
                call()
        with pytest.raises(HostError, match="parent"):
            open_dpdk("net_ring1")

    assert in_child(child) == ("ok", "")
    link.send([frame(bytes(50))])
    assert link.recv(timeout=1) == [frame(bytes(50))]


@alone
def test_what_dpdk_logs_reaches_the_user() -> None:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger = logging.getLogger("rumphyper.dpdk")
    logger.addHandler(Keep())
    logger.setLevel(logging.INFO)
    started = start()
    started.log.drain()
    assert any(line.startswith("EAL: ") for line in lines)
    with pytest.raises(HostError, match="Couldn't open /nonexistent"):
        open_dpdk("net_pcap0,rx_pcap=/nonexistent")


# -- devices -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "device"),
    [
        ("0", Device("port", "0")),
        ("net_tap0", Device("vdev", "net_tap0")),
        ("net_tap0,iface=x,mac=fixed", Device("vdev", "net_tap0", "iface=x,mac=fixed")),
        ("03:00.1", Device("pci", "0000:03:00.1")),
        ("0000:0A:00.0,x=1", Device("pci", "0000:0a:00.0", "x=1")),
    ],
)
def test_names(rest: str, device: Device) -> None:
    assert parse(rest) == device


@pytest.mark.parametrize(
    "rest",
    ["-1", "eth0", "0,x=1", "NET_TAP0", "03:00", "03:00.9", ",iface=x", "net tap"],
)
def test_names_that_do_not_parse(rest: str) -> None:
    with pytest.raises(LinkstrError, match="dpdk:"):
        open_dpdk(rest)
    assert running() is None


@pytest.mark.parametrize(
    "options",
    [
        {"mtu": -1},
        {"mtu": 1 << 16},
        {"rx_queues": 0},
        {"ring": 1 << 17},
        {"mbufs": -1},
        {"buffer": 1 << 17},
        {"mac": "01:00:00:00:00:00"},
        {"nosuch": 1},
    ],
)
def test_options_of_links_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(LinkstrError):
        open_dpdk("net_ring0", **options)
    assert running() is None


@alone_in_namespace
def test_devices_that_cannot_be() -> None:
    refused: list[tuple[str, dict[str, object], str]] = [
        ("net_nosuch0", {}, "no driver net_nosuch"),
        ("net_tap0,nonsense=1", {}, r"no argument 'nonsense'.*iface="),
        ("net_tap0,iface=a_name_that_is_too_long", {}, "too_long"),
        ("net_af_packet0,iface=nosuch", {}, "No such device"),
        ("net_null0,size=x", {}, "net_null"),
        ("net_tap0", {"rx_queues": 17}, "rx_queues=17, and net_tap has 16"),
        ("net_null0", {"buffer": 256}, "several mbufs"),
        ("net_null0", {"mbufs": 1 << 22}, "memory"),
        ("77", {}, "no such port"),
    ]
    for rest, options, text in refused:
        with pytest.raises(RumphyperError, match=text):
            open_dpdk(rest, **options)
    started = running()
    assert started is not None
    assert started.in_use == set()
    with open_dpdk("net_null0") as link:  # nothing of it was left plugged
        assert link.port.number == 0


def test_pci_devices_that_dpdk_cannot_have(tmp_path: Path) -> None:
    sysfs = make_tree(tmp_path)
    with pytest.raises(
        HostError, match=r"e1000e has it.*pci bind vfio-pci 0000:00:07\.0"
    ):
        check_pci(E1000E_ADDRESS, sysfs)
    with pytest.raises(HostError, match="no driver has it"):
        check_pci(VIRTIO_ADDRESS, sysfs)
    with pytest.raises(HostError, match=r"no such PCI device.*0000:00:07\.0"):
        check_pci("0000:99:00.0", sysfs)
    device = tmp_path / "bus/pci/devices" / VIRTIO_ADDRESS
    (device / "driver").symlink_to(tmp_path / "bus/pci/drivers/vfio-pci")
    check_pci(VIRTIO_ADDRESS, sysfs)


@alone
def test_a_device_that_goes_under_a_link() -> None:
    """Somebody else removes it: its queues are touched no more."""
    link = open_dpdk("net_ring0")
    link.send([frame(bytes(50))] * 10)
    assert len(link.recv_views(5, timeout=1)) == 5
    unplug(link.port.eal, "vdev", "net_ring0")
    with pytest.raises(LinkEndedError, match="removed"):
        link.send([bytes(60)])
    with pytest.raises(LinkEndedError, match="removed"):
        link.recv(timeout=5)
    link.close()
    with open_dpdk("net_ring0") as again:
        again.send([frame(b"again")])
        assert again.recv(timeout=1) == [frame(b"again")]
