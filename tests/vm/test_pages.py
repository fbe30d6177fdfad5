"""The Python examples of the pages on PCI cards, on a guest's devices."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.hypercalls.support import run_python
from tests.real.rump import require_rump
from tests.vm.pci import E1000, E1000E, SYSFS, address

DOCS = Path(__file__).parents[2] / "docs"
SHOWN = "0000:00:03.0"


def examples(page: str, place: object = SHOWN) -> list[str]:
    """The Python blocks of a page, for the card at another place."""
    text = (DOCS / page).read_text().replace(SHOWN, str(place))
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.mark.vm("pci")
def test_the_link_of_the_page_of_e1000() -> None:
    """It asks QEMU's router for its address, which that answers."""
    place = address(E1000)
    (example,) = examples("e1000.md", place)
    source = (
        "from ipaddress import IPv4Address\n"
        "from rumphyper.net.probe import who_has\n"
        "from rumphyper.pci import bind\n"
        f"binding = bind('{place}', 'vfio-pci')\n"
        "frame = who_has(b'\\x02\\0\\0\\0\\0\\1', IPv4Address('10.0.2.15'),"
        " IPv4Address('10.0.2.2'))\n"
        f"{example}binding.restore()\n"
    )
    done = run_python(source)
    assert (done.returncode, done.stderr) == (0, "")
    assert [int(word) >= 42 for word in done.stdout.split()] == [True]


@pytest.mark.vm("pci")
def test_the_device_of_the_page_of_pci() -> None:
    place = address(E1000E)
    before = SYSFS.driver(place)
    done = run_python(examples("pci.md", place)[0])
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout, 16) & 0xFFFFFFFF  # STATUS, with the link up
    assert SYSFS.driver(place) == before


@pytest.mark.rump
@pytest.mark.vm("pci", timeout=90)
def test_the_kernel_of_the_page_of_pci() -> None:
    require_rump("pci", "pci_if_wm")
    place = address(E1000E)
    shown = "print(kernel.interface('wm0').addresses)\nkernel.close()\n"
    done = run_python(f"import rumphyper\n{examples('pci.md', place)[1]}{shown}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "10.0.2.15" in done.stdout
