"""The recorded devices as lspci(8) reads them: capabilities and names."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from rumphyper.pci.capabilities import capabilities
from rumphyper.pci.capability import (
    ExpressCapability,
    MsiCapability,
    MsixCapability,
    PowerCapability,
    SerialNumber,
)
from rumphyper.pci.ids import Names
from rumphyper.pci.place import hex_dump
from tests.judges import tool
from tests.pci.recorded import E1000, E1000E, EDU, VIRTIO_NET, space

DEVICES = {
    "edu": space(EDU),
    "e1000": space(E1000),
    "e1000e": space(E1000E, 4096),
    "virtio-net": space(VIRTIO_NET),
}


def lspci(folder: Path, config: bytes, *flags: str) -> str:
    """What lspci says of a device whose space we have dumped."""
    dump = folder / "dump"
    dump.write_text("\n".join(["00:00.0 x", *hex_dump(config, 0), ""]))
    command = [tool("lspci"), "-F", str(dump), *flags]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=20
    ).stdout


@pytest.mark.parametrize("name", DEVICES)
def test_capabilities_are_lspcis(name: str, tmp_path: Path) -> None:
    said = lspci(tmp_path, DEVICES[name], "-vv").split("\tCapabilities: ")[1:]
    found = capabilities(DEVICES[name])
    assert len(found) == len(said)
    for mine, text in zip(found, said, strict=True):
        where = re.match(r"\[([0-9a-f]+)(?: v(\d+))?\]", text)
        assert where, text
        assert mine.offset == int(where[1], 16)
        assert mine.version == int(where[2] or 0)
        if isinstance(mine, PowerCapability):
            assert f"Power Management version {mine.revision}" in text
            assert f"Status: D{mine.state} " in text
        elif isinstance(mine, MsiCapability):
            assert f"Count={mine.active}/{mine.vectors} " in text
            assert ("64bit+" in text, "Enable+" in text) == (mine.wide, mine.enabled)
        elif isinstance(mine, MsixCapability):
            assert f"MSI-X: Enable{'+' if mine.enabled else '-'} " in text
            assert f"Count={mine.vectors} Masked{'+' if mine.masked else '-'}" in text
            table = f"table: BAR={mine.table_bar} offset={mine.table_offset:08x}"
            assert table in text
            assert f"BAR={mine.pending_bar} offset={mine.pending_offset:08x}" in text
        elif isinstance(mine, ExpressCapability):
            assert f"Express (v{mine.revision}) " in text
            assert mine.kind.lower() in text.lower()
            assert f"DevCap:\tMaxPayload {mine.payload_max} bytes" in text
            payloads = f"MaxPayload {mine.payload} bytes, "
            assert payloads + f"MaxReadReq {mine.read_request} bytes" in text
            assert ("FLReset+" in text) == mine.function_reset
        elif isinstance(mine, SerialNumber):
            assert f"Serial Number {mine.describe()}" in text
        else:
            assert mine.name.split()[0].lower() in text.lower()


@pytest.mark.parametrize("name", DEVICES)
def test_names_are_lspcis(name: str, tmp_path: Path) -> None:
    """Both read the same pci.ids; ``Device`` is lspci's word for no name."""
    config = DEVICES[name]
    vendor, device = (int.from_bytes(config[at : at + 2], "little") for at in (0, 2))
    names = Names()
    said = lspci(tmp_path, config, "-vmm", "-nn").splitlines()
    lines = dict(line.split(":\t", 1) for line in said if ":\t" in line)
    for key, mine in (
        ("Class", names.kind(int.from_bytes(config[9:12], "little"))),
        ("Vendor", names.vendor(vendor) or "Vendor"),
        ("Device", names.device(vendor, device) or "Device"),
    ):
        assert lines[key].rpartition(" [")[0] == mine
