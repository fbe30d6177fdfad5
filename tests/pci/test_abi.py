"""The tables of pci against the kernel's headers, through a C compiler."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from rumphyper.host import mapping
from rumphyper.pci import memory, regs
from rumphyper.pci import vfio_abi as abi
from tests.judges import tool

VFIO = {
    "VFIO_GET_API_VERSION": abi.GET_API_VERSION,
    "VFIO_CHECK_EXTENSION": abi.CHECK_EXTENSION,
    "VFIO_SET_IOMMU": abi.SET_IOMMU,
    "VFIO_GROUP_GET_STATUS": abi.GROUP_GET_STATUS,
    "VFIO_GROUP_SET_CONTAINER": abi.GROUP_SET_CONTAINER,
    "VFIO_GROUP_GET_DEVICE_FD": abi.GROUP_GET_DEVICE_FD,
    "VFIO_DEVICE_GET_REGION_INFO": abi.DEVICE_GET_REGION_INFO,
    "VFIO_DEVICE_GET_IRQ_INFO": abi.DEVICE_GET_IRQ_INFO,
    "VFIO_DEVICE_SET_IRQS": abi.DEVICE_SET_IRQS,
    "VFIO_DEVICE_RESET": abi.DEVICE_RESET,
    "VFIO_IOMMU_GET_INFO": abi.IOMMU_GET_INFO,
    "VFIO_IOMMU_MAP_DMA": abi.IOMMU_MAP_DMA,
    "VFIO_IOMMU_UNMAP_DMA": abi.IOMMU_UNMAP_DMA,
    "VFIO_API_VERSION": abi.API_VERSION,
    "VFIO_TYPE1v2_IOMMU": abi.TYPE1V2_IOMMU,
    "VFIO_NOIOMMU_IOMMU": abi.NOIOMMU_IOMMU,
    "VFIO_GROUP_FLAGS_VIABLE": abi.GROUP_VIABLE,
    "VFIO_REGION_INFO_FLAG_MMAP": abi.REGION_MMAP,
    "VFIO_REGION_INFO_FLAG_CAPS": abi.REGION_CAPS,
    "VFIO_REGION_INFO_CAP_SPARSE_MMAP": abi.REGION_CAP_SPARSE_MMAP,
    "VFIO_PCI_CONFIG_REGION_INDEX": abi.REGION_CONFIG,
    "VFIO_PCI_INTX_IRQ_INDEX": abi.IRQ_INDEXES["intx"],
    "VFIO_PCI_MSI_IRQ_INDEX": abi.IRQ_INDEXES["msi"],
    "VFIO_PCI_MSIX_IRQ_INDEX": abi.IRQ_INDEXES["msix"],
    "VFIO_PCI_ERR_IRQ_INDEX": abi.IRQ_INDEXES["error"],
    "VFIO_PCI_REQ_IRQ_INDEX": abi.IRQ_INDEXES["request"],
    "VFIO_IRQ_SET_DATA_NONE": abi.IRQ_DATA_NONE,
    "VFIO_IRQ_SET_DATA_EVENTFD": abi.IRQ_DATA_EVENTFD,
    "VFIO_IRQ_SET_ACTION_MASK": abi.IRQ_MASK,
    "VFIO_IRQ_SET_ACTION_UNMASK": abi.IRQ_UNMASK,
    "VFIO_IRQ_SET_ACTION_TRIGGER": abi.IRQ_TRIGGER,
    "VFIO_IOMMU_INFO_PGSIZES": abi.IOMMU_PAGE_SIZES,
    "VFIO_IOMMU_INFO_CAPS": abi.IOMMU_CAPS,
    "VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE": abi.IOMMU_CAP_RANGES,
    "VFIO_DMA_MAP_FLAG_READ|VFIO_DMA_MAP_FLAG_WRITE": abi.DMA_READ_WRITE,
}

REGISTERS = {
    "PCI_CFG_SPACE_SIZE": regs.CONFIG_SIZE,
    "PCI_CFG_SPACE_EXP_SIZE": regs.CONFIG_EXTENDED_SIZE,
    "PCI_STD_HEADER_SIZEOF": regs.HEADER_SIZE,
    "PCI_COMMAND": regs.COMMAND,
    "PCI_STATUS": regs.STATUS,
    "PCI_BASE_ADDRESS_0": regs.BAR0,
    "PCI_CAPABILITY_LIST": regs.CAPABILITY_LIST,
    "PCI_INTERRUPT_PIN": regs.INTERRUPT_PIN,
    "PCI_COMMAND_MASTER": regs.COMMAND_MASTER,
    "PCI_COMMAND_INTX_DISABLE": regs.COMMAND_INTX_DISABLE,
    "PCI_STATUS_CAP_LIST": regs.STATUS_CAPABILITIES,
    "PCI_BASE_ADDRESS_SPACE_IO": regs.BAR_IO,
    "(unsigned)PCI_BASE_ADDRESS_IO_MASK": regs.BAR_IO_MASK,
    "PCI_BASE_ADDRESS_MEM_TYPE_64": regs.BAR_64,
    "PCI_BASE_ADDRESS_MEM_TYPE_MASK": regs.BAR_TYPE,
    "(unsigned)PCI_BASE_ADDRESS_MEM_MASK": regs.BAR_MEMORY_MASK,
    "PCI_CAP_LIST_NEXT": regs.CAP_NEXT,
    "PCI_CAP_ID_PM": regs.CAP_POWER,
    "PCI_CAP_ID_MSI": regs.CAP_MSI,
    "PCI_CAP_ID_VNDR": regs.CAP_VENDOR,
    "PCI_CAP_ID_EXP": regs.CAP_EXPRESS,
    "PCI_CAP_ID_MSIX": regs.CAP_MSIX,
    "PCI_EXT_CAP_ID_DSN": regs.EXT_SERIAL,
    "PCI_EXT_CAP_ID_VNDR": regs.EXT_VENDOR,
    "PCI_PM_PMC": regs.POWER_CAPABILITIES,
    "PCI_PM_CAP_VER_MASK": regs.POWER_VERSION,
    "PCI_PM_CAP_D1": regs.POWER_D1,
    "PCI_PM_CAP_D2": regs.POWER_D2,
    "PCI_PM_CTRL": regs.POWER_CAPABILITIES + 2,
    "PCI_PM_CTRL_STATE_MASK": regs.POWER_STATE,
    "PCI_MSI_FLAGS": regs.MSI_FLAGS,
    "PCI_MSI_FLAGS_ENABLE": regs.MSI_ENABLE,
    "PCI_MSI_FLAGS_QMASK": regs.MSI_COUNT << regs.MSI_CAPABLE_SHIFT,
    "PCI_MSI_FLAGS_QSIZE": regs.MSI_COUNT << regs.MSI_ACTIVE_SHIFT,
    "PCI_MSI_FLAGS_64BIT": regs.MSI_64BIT,
    "PCI_MSI_FLAGS_MASKBIT": regs.MSI_MASKABLE,
    "PCI_MSIX_FLAGS": regs.MSIX_FLAGS,
    "PCI_MSIX_FLAGS_ENABLE": regs.MSIX_ENABLE,
    "PCI_MSIX_FLAGS_MASKALL": regs.MSIX_MASK_ALL,
    "PCI_MSIX_FLAGS_QSIZE": regs.MSIX_SIZE,
    "PCI_MSIX_TABLE": regs.MSIX_FLAGS + 2,
    "PCI_MSIX_PBA": regs.MSIX_FLAGS + 6,
    "PCI_MSIX_TABLE_BIR": regs.MSIX_BAR,
    "PCI_EXP_FLAGS": regs.EXP_FLAGS,
    "PCI_EXP_DEVCAP": regs.EXP_FLAGS + 2,
    "PCI_EXP_DEVCTL": regs.EXP_FLAGS + 6,
    "PCI_EXP_LNKCAP": regs.EXP_LINK_CAPABILITIES,
    "PCI_EXP_LNKSTA": regs.EXP_LINK_STATUS,
    "PCI_EXP_FLAGS_VERS": regs.EXP_VERSION,
    "PCI_EXP_FLAGS_TYPE": 0xF << regs.EXP_KIND_SHIFT,
    "PCI_EXP_DEVCAP_PAYLOAD": regs.EXP_PAYLOAD,
    "PCI_EXP_DEVCAP_FLR": regs.EXP_FLR,
    "PCI_EXP_DEVCTL_PAYLOAD": regs.EXP_PAYLOAD << regs.EXP_CONTROL_PAYLOAD_SHIFT,
    "PCI_EXP_DEVCTL_READRQ": regs.EXP_PAYLOAD << regs.EXP_CONTROL_READ_SHIFT,
    "PCI_EXP_LNKCAP_SLS": regs.EXP_SPEED,
    "PCI_EXP_LNKCAP_MLW": regs.EXP_WIDTH << regs.EXP_WIDTH_SHIFT,
    "PCI_EXP_LNKSTA_CLS": regs.EXP_SPEED,
    "PCI_EXP_LNKSTA_NLW": regs.EXP_WIDTH << regs.EXP_WIDTH_SHIFT,
}

MEMORY = {
    "MAP_FIXED": mapping.MAP_FIXED,
    "MAP_POPULATE": mapping.MAP_POPULATE,
    "MAP_HUGETLB": mapping.MAP_HUGETLB,
    "MAP_FIXED_NOREPLACE": mapping.MAP_FIXED_NOREPLACE,
    "MAP_HUGE_SHIFT": memory.HUGE_SHIFT_POSITION,
    "MAP_HUGE_2MB": 21 << memory.HUGE_SHIFT_POSITION,
}

LAYOUTS = {
    "vfio_group_status": (abi.GROUP_STATUS, ["argsz", "flags"]),
    "vfio_region_info": (
        abi.REGION_INFO,
        ["argsz", "flags", "index", "cap_offset", "size", "offset"],
    ),
    "vfio_irq_info": (abi.IRQ_INFO, ["argsz", "flags", "index", "count"]),
    "vfio_irq_set": (abi.IRQ_SET, ["argsz", "flags", "index", "start", "count"]),
    "vfio_iommu_type1_info": (
        abi.IOMMU_INFO,
        ["argsz", "flags", "iova_pgsizes", "cap_offset"],
    ),
    "vfio_iova_range": (abi.IOVA_RANGE, ["start", "end"]),
    "vfio_iommu_type1_dma_map": (
        abi.DMA_MAP,
        ["argsz", "flags", "vaddr", "iova", "size"],
    ),
    "vfio_iommu_type1_dma_unmap": (
        abi.DMA_UNMAP,
        ["argsz", "flags", "iova", "size"],
    ),
    "vfio_info_cap_header": (abi.CAP_HEADER, ["id", "version", "next"]),
}


def evaluate(folder: Path, headers: list[str], expressions: list[str]) -> list[int]:
    """What C makes of each expression."""
    lines = [f"#include <{header}>" for header in ("stdio.h", "stddef.h", *headers)]
    lines.append("int main(void) {")
    lines += [f'printf("%llu\\n", (unsigned long long)({e}));' for e in expressions]
    source, program = folder / "values.c", folder / "values"
    source.write_text("\n".join([*lines, "return 0; }"]))
    compiler = tool("gcc")
    subprocess.run([compiler, "-o", program, source], check=True, timeout=60)
    said = subprocess.run([program], check=True, capture_output=True, timeout=10)
    return [int(line) for line in said.stdout.split()]


@pytest.mark.parametrize(
    ("header", "table"),
    [
        ("linux/vfio.h", VFIO),
        ("linux/pci_regs.h", REGISTERS),
        ("linux/mman.h", MEMORY),
    ],
)
def test_numbers(header: str, table: dict[str, int], tmp_path: Path) -> None:
    said = evaluate(tmp_path, [header], list(table))
    assert dict(zip(table, said, strict=True)) == table


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, tmp_path: Path) -> None:
    """The size of a structure, and the offset of each member."""
    layout, members = LAYOUTS[name]
    asked = [f"sizeof(struct {name})"]
    asked += [f"offsetof(struct {name}, {member})" for member in members]
    codes = layout.format.lstrip("=")[: len(members)]
    offsets = [struct.calcsize("=" + codes[:place]) for place in range(len(members))]
    assert evaluate(tmp_path, ["linux/vfio.h"], asked) == [layout.size, *offsets]


def test_chains_that_loop_or_leave_end() -> None:
    """The kernel's answers, but a cut-off buffer must not hang us either."""
    info = bytearray(64)
    abi.CAP_HEADER.pack_into(info, 16, 1, 1, 32)
    abi.CAP_HEADER.pack_into(info, 32, 3, 1, 16)
    assert list(abi.info_capabilities(bytes(info), 16)) == [(1, 24), (3, 40)]
    abi.CAP_HEADER.pack_into(info, 32, 3, 1, 60)
    assert list(abi.info_capabilities(bytes(info), 16)) == [(1, 24), (3, 40)]
    assert list(abi.info_capabilities(bytes(info), 0)) == []
