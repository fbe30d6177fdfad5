"""What the doctor says of PCI, with an IOMMU and without."""

from __future__ import annotations

import json

import pytest

from rumphyper.doctor.pci import check_pci, check_uio, check_vfio
from rumphyper.pci import Sysfs
from tests.hypercalls.support import run_python
from tests.vm.pci import E1000, E1000E, EDU, address, uio, vfio


@pytest.mark.vm("pci")
def test_with_an_iommu() -> None:
    found = check_pci()
    assert found.status == "ready"
    assert found.reason == (
        f"{len(Sysfs().addresses())} devices; "
        f"links drive pci:{address(E1000)} (82540EM, bound to e1000), "
        f"pci:{address(E1000E)} (82574L, bound to e1000e)"
    )
    found = check_vfio()
    assert found.status == "ready"
    assert "IOMMU groups; no device is bound" in found.reason
    with vfio(EDU) as device:
        assert check_vfio().reason.endswith(f"bound: {device.address}")


@pytest.mark.vm("bare-pci")
def test_without_an_iommu() -> None:
    found = check_vfio()
    assert (found.status, found.reason) == (
        "unsupported",
        "the host has no IOMMU in use",
    )
    with uio(EDU) as device:
        found = check_uio()
        assert found.status == "ready"
        assert f"uio_pci_generic; bound: {device.address}; 64 huge" in found.reason


@pytest.mark.vm("pci")
def test_all_of_it_on_a_processor_that_is_too_old_for_dpdk() -> None:
    """QEMU's qemu64 has no SSE4.2: DPDK's libraries would be the doctor's end."""
    done = run_python(
        "import json\n"
        "from rumphyper.doctor import check_all\n"
        "print(json.dumps({f.name: [f.status, f.reason] for f in check_all()}))\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["shmif"][0] == "ready"
    assert found["dpdk"][0] == "unsupported"
    assert "SSE4.2" in found["dpdk"][1]
