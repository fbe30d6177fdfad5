"""Accesses to registers, made in a guest for test_pci_accesses.py to count."""

from __future__ import annotations

from rumphyper.pci import Device
from tests.vm.pci import E1000E, EDU, VIRTIO_NET, vfio

MARKER = 0x5EED0000
"""What edu's liveness register gets before and after."""
LIVENESS, DMA_SOURCE = 0x04, 0x80
STATUS, QUEUE = 0x14, 0x16


def views(edu: Device, virtio: Device) -> None:
    """One read and one write of each width, through views."""
    words, longs = edu.bar(0).view(32), edu.bar(0).view(64)
    halves, octets = virtio.bar(4).view(16), virtio.bar(4).view(8)
    words[LIVENESS // 4] = 1
    _ = words[LIVENESS // 4]
    longs[DMA_SOURCE // 8] = 1 << 40
    _ = longs[DMA_SOURCE // 8]
    halves[QUEUE // 2] = 1
    _ = halves[QUEUE // 2]
    octets[STATUS] = 1
    _ = octets[STATUS]


def calls(edu: Device, virtio: Device) -> None:
    """The same by `Bar.read` and `Bar.write`."""
    edu.bar(0).write(LIVENESS, 1)
    edu.bar(0).read(LIVENESS)
    edu.bar(0).write(DMA_SOURCE, 1 << 40, 64)
    edu.bar(0).read(DMA_SOURCE, 64)
    virtio.bar(4).write(QUEUE, 1, 16)
    virtio.bar(4).read(QUEUE, 16)
    virtio.bar(4).write(STATUS, 1, 8)
    virtio.bar(4).read(STATUS, 8)


def main() -> None:
    with vfio(EDU) as edu, vfio(VIRTIO_NET) as virtio, vfio(E1000E) as card:
        bars = edu.bar(0), virtio.bar(4), card.bar(2)
        words, octets = bars[0].view(32), bars[0].view(8)
        for step in range(5):
            words[LIVENESS // 4] = MARKER + step
            if step == 0:
                views(edu, virtio)
            elif step == 1:
                calls(edu, virtio)
            elif step == 2:
                bars[2].write(0, 8)
                bars[2].read(0)
                bars[2].read(4)
            elif step == 3:  # how it must not be done
                bytes(octets[LIVENESS : LIVENESS + 4])


if __name__ == "__main__":
    main()
