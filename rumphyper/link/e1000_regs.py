"""Registers of Intel's e1000 family, as data.

Names and numbers as in Intel's manuals (PCI/PCI-X Family of Gigabit Ethernet
Controllers; 82574 datasheet) and Linux's drivers/net/ethernet/intel/e1000/e1000_hw.h,
e1000e/regs.h and e1000e/defines.h. Registers have 32 bits; offsets are in octets.
"""

from __future__ import annotations

import attrs

VENDOR = 0x8086


@attrs.frozen
class Model:
    """A controller that the driver knows; ``express`` is e1000e's, not e1000's."""

    name: str
    express: bool


MODELS = {
    0x100E: Model("82540EM", express=False),
    0x100F: Model("82545EM", express=False),
    0x10D3: Model("82574L", express=True),
}
"""By device id, those that the driver was run on."""

# General.
CTRL = 0x0000
STATUS = 0x0008

CTRL_LRST = 1 << 3
CTRL_ASDE = 1 << 5
CTRL_SLU = 1 << 6
CTRL_FRCSPD = 1 << 11
CTRL_FRCDPX = 1 << 12
CTRL_RST = 1 << 26
CTRL_RFCE = 1 << 27
CTRL_TFCE = 1 << 28
CTRL_VME = 1 << 30
CTRL_PHY_RST = 1 << 31

STATUS_LU = 1 << 1

# Interrupts. Reading ICR clears it.
ICR = 0x00C0
ITR = 0x00C4
IMS = 0x00D0
IMC = 0x00D8

ICR_RXDMT0 = 1 << 4
ICR_RXO = 1 << 6
ICR_RXT0 = 1 << 7

# The receiver, and its one ring.
RCTL = 0x0100
RDBAL = 0x2800
RDBAH = 0x2804
RDLEN = 0x2808
RDH = 0x2810
RDT = 0x2818
RDTR = 0x2820
RADV = 0x282C
RFCTL = 0x5008
MRQC = 0x5818

RCTL_EN = 1 << 1
RCTL_UPE = 1 << 3
RCTL_MPE = 1 << 4
RCTL_BAM = 1 << 15
RCTL_SECRC = 1 << 26

# Filters. Reading the statistic MPC clears it.
MTA = 0x5200
MTA_WORDS = 128
RAL = 0x5400
RAH = 0x5404
RA_STEP = 8
RA_COUNT = 16
RAH_AV = 1 << 31
MPC = 0x4010

# The transmitter, and its one ring.
TCTL = 0x0400
TIPG = 0x0410
TDBAL = 0x3800
TDBAH = 0x3804
TDLEN = 0x3808
TDH = 0x3810
TDT = 0x3818
TXDCTL = 0x3828

TCTL_EN = 1 << 1
TCTL_PSP = 1 << 3
TCTL_CT = 0x0F << 4
"""How often half duplex retries."""
TCTL_COLD = 0x3F << 12
"""Full duplex's collision distance, in octets."""
TIPG_COPPER = 8 | 8 << 10 | 6 << 20
TXDCTL_GRAN = 1 << 24
TXDCTL_COUNT_DESC = 1 << 22
"""To be set on an 82571 and later (e1000_initialize_hw_bits_82571)."""
