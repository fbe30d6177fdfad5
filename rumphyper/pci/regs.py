"""Registers of PCI configuration space, as data.

Source: the kernel's include/uapi/linux/pci_regs.h; base classes from
include/linux/pci_ids.h and the PCI Code and ID Assignment Specification. Offsets
are in octets; those of a capability count from its start.
"""

from __future__ import annotations

CONFIG_SIZE = 256
CONFIG_EXTENDED_SIZE = 4096
HEADER_SIZE = 64

COMMAND = 0x04
STATUS = 0x06
BAR0 = 0x10
CAPABILITY_LIST = 0x34
INTERRUPT_PIN = 0x3D

COMMAND_MASTER = 0x004
COMMAND_INTX_DISABLE = 0x400

STATUS_CAPABILITIES = 0x10

BAR_IO = 0x1
BAR_IO_MASK = 0xFFFFFFFC
BAR_64 = 0x4
BAR_TYPE = 0x6
BAR_MEMORY_MASK = 0xFFFFFFF0

CAP_NEXT = 1
CAP_POWER = 0x01
CAP_MSI = 0x05
CAP_VENDOR = 0x09
CAP_EXPRESS = 0x10
CAP_MSIX = 0x11

CAPABILITIES = {
    CAP_POWER: "power management",
    0x02: "AGP",
    0x03: "vital product data",
    0x04: "slot identification",
    CAP_MSI: "MSI",
    0x06: "CompactPCI hot swap",
    0x07: "PCI-X",
    0x08: "HyperTransport",
    CAP_VENDOR: "vendor specific",
    0x0A: "debug port",
    0x0B: "CompactPCI resource control",
    0x0C: "hot plug",
    0x0D: "bridge subsystem id",
    0x0E: "AGP 8x",
    0x0F: "secure device",
    CAP_EXPRESS: "PCI Express",
    CAP_MSIX: "MSI-X",
    0x12: "SATA",
    0x13: "advanced features",
    0x14: "enhanced allocation",
}

EXT_VENDOR = 0x0B
EXT_SERIAL = 0x03

EXTENDED_CAPABILITIES = {
    0x01: "advanced error reporting",
    0x02: "virtual channel",
    EXT_SERIAL: "device serial number",
    0x04: "power budgeting",
    0x05: "root complex link declaration",
    0x06: "root complex internal link control",
    0x07: "root complex event collector",
    0x08: "multi-function virtual channel",
    0x09: "virtual channel (with MFVC)",
    0x0A: "root complex register block",
    EXT_VENDOR: "vendor specific",
    0x0C: "configuration access",
    0x0D: "access control services",
    0x0E: "alternative routing id",
    0x0F: "address translation",
    0x10: "SR-IOV",
    0x11: "MR-IOV",
    0x12: "multicast",
    0x13: "page request",
    0x15: "resizable BAR",
    0x16: "dynamic power allocation",
    0x17: "TPH requester",
    0x18: "latency tolerance reporting",
    0x19: "secondary PCI Express",
    0x1A: "protocol multiplexing",
    0x1B: "process address space id",
    0x1D: "downstream port containment",
    0x1E: "L1 power substates",
    0x1F: "precision time measurement",
    0x23: "designated vendor specific",
    0x25: "data link feature",
    0x26: "physical layer 16 GT/s",
    0x2E: "data object exchange",
}

# Power management (CAP_POWER).
POWER_CAPABILITIES = 2
POWER_VERSION = 0x0007
POWER_D1 = 0x0200
POWER_D2 = 0x0400
POWER_STATE = 0x0003

# Message signalled interrupts (CAP_MSI, CAP_MSIX).
MSI_FLAGS = 2
MSI_ENABLE = 0x0001
MSI_CAPABLE_SHIFT = 1
MSI_ACTIVE_SHIFT = 4
MSI_COUNT = 0x7
MSI_64BIT = 0x0080
MSI_MASKABLE = 0x0100
MSIX_FLAGS = 2
MSIX_ENABLE = 0x8000
MSIX_MASK_ALL = 0x4000
MSIX_SIZE = 0x07FF
MSIX_BAR = 0x7

# PCI Express (CAP_EXPRESS).
EXP_FLAGS = 0x02
EXP_LINK_CAPABILITIES = 0x0C
EXP_LINK_STATUS = 0x12
EXP_VERSION = 0xF
EXP_KIND_SHIFT = 4
EXP_PAYLOAD = 0x7
EXP_FLR = 1 << 28
EXP_CONTROL_PAYLOAD_SHIFT = 5
EXP_CONTROL_READ_SHIFT = 12
EXP_SPEED = 0xF
EXP_WIDTH_SHIFT = 4
EXP_WIDTH = 0x3F

EXP_KINDS = {
    0x0: "endpoint",
    0x1: "legacy endpoint",
    0x4: "root port",
    0x5: "upstream port",
    0x6: "downstream port",
    0x7: "PCIe to PCI bridge",
    0x8: "PCI to PCIe bridge",
    0x9: "root complex integrated endpoint",
    0xA: "root complex event collector",
}
EXP_SPEEDS = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0, 6: 64.0}
"""GT/s of each value of a link speed field."""

EXT_HEADER_VERSION_SHIFT = 16
EXT_HEADER_NEXT_SHIFT = 20

CLASSES = {
    0x00: "unclassified device",
    0x01: "mass storage controller",
    0x02: "network controller",
    0x03: "display controller",
    0x04: "multimedia controller",
    0x05: "memory controller",
    0x06: "bridge",
    0x07: "communication controller",
    0x08: "generic system peripheral",
    0x09: "input device controller",
    0x0A: "docking station",
    0x0B: "processor",
    0x0C: "serial bus controller",
    0x0D: "wireless controller",
    0x0E: "intelligent controller",
    0x0F: "satellite communications controller",
    0x10: "encryption controller",
    0x11: "signal processing controller",
    0x12: "processing accelerator",
    0x13: "non-essential instrumentation",
    0x40: "coprocessor",
    0xFF: "unassigned class",
}
"""Names of the base classes, for hosts without pci.ids."""
