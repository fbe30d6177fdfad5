"""``rumphyper pci`` on this host; with devices to bind it is in tests/vm."""

from __future__ import annotations

import json
import subprocess

import pytest

from rumphyper.pci import Sysfs
from tests.cli.command import fails, run
from tests.judges import tool


def test_the_list_is_lspcis() -> None:
    listed = json.loads(run("pci", "list", "--json").stdout)
    lines = run("pci", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [each["address"] for each in listed]
    if not Sysfs().addresses():
        assert listed == []  # lspci calls that an error
        return
    said = subprocess.check_output([tool("lspci"), "-D", "-n"], text=True)
    assert [
        f"{each['address']} {each['class'] >> 8:04x}: "
        f"{each['vendor']:04x}:{each['device']:04x}"
        for each in listed
    ] == [line.partition(" (rev")[0] for line in said.splitlines()]


def test_showing_one() -> None:
    addresses = Sysfs().addresses()
    if not addresses:
        pytest.skip("this host has no PCI devices")
    shown = json.loads(run("pci", "show", "--json", str(addresses[0])).stdout)
    text = run("pci", "show", str(addresses[0])).stdout
    assert text.startswith(f"{addresses[0]} ")
    assert f"[{shown['vendor']:04x}:{shown['device']:04x}]" in text
    for capability in shown["capabilities"] or ():
        assert f"{capability['offset']:#x} {capability['name']}" in text


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("show", "ffff:00:00.0"), "PCI device ffff:00:00.0: there is none"),
        (("show", "lo"), "neither a PCI address nor the interface of a PCI device"),
        (("bind", "vfio-pci", "00:40.0"), "neither a PCI address"),
        (("unbind", "ffff:00:00.0"), "there is none"),
        (("read", "ffff:00:00.0", "config:0"), "there is none"),
        (("read", "ffff:00:00.0", "bar9:0"), "write config:OFFSET or barN:OFFSET"),
    ],
)
def test_what_cannot_be_done(words: tuple[str, ...], cause: str) -> None:
    assert cause in fails("pci", *words)


def test_words_that_do_not_parse() -> None:
    for words in (("pci",), ("pci", "nosuch"), ("pci", "bind", "vfio-pci")):
        done = run(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "usage: rumphyper pci" in done.stderr
