"""pci/irq: an eventfd that this process itself counts up, as a kernel would."""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Iterator

import pytest

from rumphyper.pci.errors import DeviceClosedError
from rumphyper.pci.irq import EventInterrupt, unsupported


@pytest.fixture
def interrupt() -> Iterator[EventInterrupt]:
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    interrupt = EventInterrupt("PCI device x: msi interrupt 3", "msi", 3, fd)
    yield interrupt
    interrupt.close()


def fire(interrupt: EventInterrupt, times: int = 1) -> None:
    os.eventfd_write(interrupt.fileno(), times)


def test_interrupts_are_counted_once(interrupt: EventInterrupt) -> None:
    assert interrupt.read() == 0
    fire(interrupt)
    fire(interrupt, 2)
    assert select.select([interrupt], [], [], 0)[0] == [interrupt]
    assert interrupt.wait(0) == 3
    assert interrupt.read() == 0
    assert interrupt.wait(0.01) == 0
    assert select.select([interrupt], [], [], 0)[0] == []
    interrupt.unmask()


def test_a_thread_waits(interrupt: EventInterrupt) -> None:
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(interrupt.wait(20)))
    thread.start()
    fire(interrupt)
    thread.join(20)
    assert counts == [1]


def test_asyncio_waits(interrupt: EventInterrupt) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        came = asyncio.Event()
        loop.add_reader(interrupt.fileno(), came.set)
        loop.call_later(0.01, fire, interrupt)
        await asyncio.wait_for(came.wait(), 20)
        loop.remove_reader(interrupt.fileno())
        return interrupt.read()

    assert asyncio.run(main()) == 1


def test_closing_wakes_who_waits() -> None:
    before = set(os.listdir("/proc/self/fd"))
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    interrupt = EventInterrupt("x", "msi", 0, fd)
    errors: list[Exception] = []
    ready = threading.Barrier(4)

    def wait() -> None:
        ready.wait()
        try:
            interrupt.wait()
        except DeviceClosedError as error:
            errors.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    interrupt.close()
    interrupt.close()
    for thread in threads:
        thread.join(20)
    assert len(errors) == 3
    for call in (interrupt.wait, interrupt.read, interrupt.fileno, interrupt.unmask):
        with pytest.raises(DeviceClosedError, match="it was closed"):
            call()
    assert set(os.listdir("/proc/self/fd")) == before


def test_what_there_is_instead() -> None:
    error = unsupported("PCI device x", "msix", {"intx": 1, "msi": 0, "request": 1})
    assert str(error) == (
        "PCI device x: the device has no msix interrupt (it has intx (1), request (1))"
    )
