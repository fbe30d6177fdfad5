"""Frames that the kernel sends, gathered to bursts for the link."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence

import pytest
from typing_extensions import Buffer

from rumphyper.errors import LinkEndedError
from rumphyper.hypercalls import sendqueue
from rumphyper.hypercalls.errno import Errno
from rumphyper.hypercalls.families.virtif import Virtif
from rumphyper.hypercalls.sendqueue import FEW, FRAMES
from tests.hypercalls.support import Setup
from tests.hypercalls.test_files import iovecs
from tests.hypercalls.virtifs import RECEIVER_IS_THERE, Interfaces, Memory, until


class Bursts(Memory):
    """A link that takes bursts while its gate is open."""

    sends_in_bursts = True

    def __init__(self, room: int = 1 << 30) -> None:
        super().__init__(room)
        self.gate = threading.Event()
        self.gate.set()
        self.sizes: list[int] = []
        self.threads: list[int] = []
        self.trouble: Exception | None = None

    def send(self, frames: Sequence[Buffer]) -> int:
        self.gate.wait(20)
        if self.trouble is not None:
            raise self.trouble
        taken = super().send(frames[: self.room - len(self.sent)])
        self.sizes.append(taken)
        self.threads.append(threading.get_ident())
        return taken


def numbered(number: int) -> bytes:
    """A frame that no other number has, of some length."""
    return number.to_bytes(8, "little").ljust(14 + number * 37 % 1400, b"\xa5")


class Sender:
    """Sends frames as the kernel does, all from the same memory."""

    def __init__(self, setup: Setup, user: int) -> None:
        self.setup = setup
        self.user = user
        self.memory = ctypes.create_string_buffer(1 << 16)

    def send(self, frame: bytes) -> None:
        half = len(frame) // 2
        ctypes.memset(self.memory, 0, len(self.memory))
        ctypes.memmove(self.memory, frame, len(frame))
        at = ctypes.addressof(self.memory)
        parts = [
            (ctypes.c_char * size).from_address(at + start)
            for start, size in ((0, half), (half, len(frame) - half))
        ]
        self.setup.call("virt_send", self.user, iovecs(*parts), 2)
        ctypes.memset(self.memory, 0xFF, len(self.memory))


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of frames goes on for as long as a test does."""
    monkeypatch.setattr(sendqueue, "TIGHT_NS", 10**12)
    monkeypatch.setattr(sendqueue, "PAUSE_MS", 10**6)


def lone(library: ctypes.CDLL, link: Bursts) -> tuple[Interfaces, Virtif, Sender]:
    """An interface that has sent nothing."""
    virtif = Virtif({"0": link})
    kernel = Interfaces(library, virtif)
    result, user, _ = kernel.create(b"0")
    assert result == 0
    until(lambda: RECEIVER_IS_THERE in kernel.setup.kernel.names())
    return kernel, virtif, Sender(kernel.setup, user)


def opened(library: ctypes.CDLL, link: Bursts) -> tuple[Interfaces, Virtif, Sender]:
    """An interface in the middle of a run of frames."""
    kernel, virtif, sender = lone(library, link)
    for number in range(1 + FEW):
        sender.send(numbered(number))
    assert len(link.sent) == 1 + FEW
    link.sent.clear()
    link.sizes.clear()
    kernel.setup.kernel.events.clear()
    return kernel, virtif, sender


def refuses(fd: int) -> bool:
    """Whether nothing can be written to a descriptor."""
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY


def destroy(sender: Sender) -> None:
    assert sender.setup.call("virt_dying", sender.user) == 0
    sender.setup.call("virt_destroy", sender.user)


def test_a_lone_frame_is_sent_by_its_thread(
    library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until frames come close together, and again after a pause."""
    link = Bursts()
    kernel, _, sender = lone(library, link)
    monkeypatch.setattr(sendqueue, "PAUSE_MS", 20)
    for turn in range(3):
        kernel.setup.kernel.events.clear()
        for number in range(1 + FEW):
            sender.send(numbered(number))
            assert link.sent.pop() == numbered(number)
            assert link.threads.pop() == threading.get_ident()
        names = kernel.setup.kernel.names()
        assert names.count("hyp_backend_unschedule") == 1 + FEW
        assert names.count("hyp_backend_schedule") == 1 + FEW
        sender.send(numbered(turn))
        until(lambda: link.sent == [numbered(turn)])  # noqa: B023
        assert link.threads.pop() != threading.get_ident()
        assert kernel.setup.kernel.names() == names  # the virtual CPU was kept
        link.sent.clear()
        until(lambda: refuses(sender.user))
    destroy(sender)
    assert kernel.setup.reports == []


def test_frames_apart_are_lone(
    library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Bursts()
    _, _, sender = lone(library, link)
    monkeypatch.setattr(sendqueue, "TIGHT_NS", 0)
    for number in range(50):
        sender.send(numbered(number))
        assert link.sent[number:] == [numbered(number)]
    assert set(link.threads) == {threading.get_ident()}
    destroy(sender)


def test_frames_become_bursts(library: ctypes.CDLL) -> None:
    """Those that come while a burst is being sent are the next one."""
    link = Bursts()
    kernel, virtif, sender = opened(library, link)
    link.gate.clear()
    for number in range(1 + FRAMES + 7):
        sender.send(numbered(number))
    link.gate.set()
    until(lambda: len(link.sent) == 1 + FRAMES + 7)
    assert link.sent == [numbered(number) for number in range(1 + FRAMES + 7)]
    assert max(link.sizes) > 7
    assert len(link.sizes) < 10
    destroy(sender)
    assert virtif.interfaces() == []
    assert kernel.setup.reports == []


def test_more_frames_than_may_wait(library: ctypes.CDLL) -> None:
    """The kernel then waits itself, without its virtual CPU; the order is kept."""
    link = Bursts()
    kernel, virtif, sender = opened(library, link)
    link.gate.clear()
    opening = threading.Timer(0.5, link.gate.set)
    opening.start()
    for number in range(3000):
        sender.send(numbered(number))
    opening.join()
    until(lambda: len(link.sent) == 3000)
    assert link.sent == [numbered(number) for number in range(3000)]
    assert virtif.interfaces()[0].dropped == 0
    assert kernel.setup.kernel.names()[:2] == [
        "hyp_backend_unschedule", "hyp_backend_schedule"
    ]  # fmt: skip
    destroy(sender)
    assert kernel.setup.reports == []


def test_many_senders(library: ctypes.CDLL) -> None:
    """Each one's frames come whole and in order."""
    link = Bursts()
    kernel, _, sender = opened(library, link)

    def work(mine: int) -> None:
        own = Sender(kernel.setup, sender.user)
        for number in range(500):
            own.send(numbered(4 * number + mine))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(link.sent) == 2000)
    numbers = [int.from_bytes(frame[:8], "little") for frame in link.sent]
    assert link.sent == [numbered(number) for number in numbers]
    for mine in range(4):
        assert [n for n in numbers if n % 4 == mine] == list(range(mine, 2000, 4))
    destroy(sender)


def test_dying_sends_what_waits(library: ctypes.CDLL) -> None:
    link = Bursts()
    kernel, virtif, sender = opened(library, link)
    link.gate.clear()
    for number in range(100):
        sender.send(numbered(number))
    threading.Timer(0.2, link.gate.set).start()
    assert kernel.setup.call("virt_dying", sender.user) == 0
    assert link.sent == [numbered(number) for number in range(100)]
    assert link.closed
    for number in range(500):  # the kernel may: nobody waits
        sender.send(numbered(number))
    assert virtif.interfaces()[0].dropped == 500
    kernel.setup.call("virt_destroy", sender.user)
    assert len(link.sent) == 100
    assert virtif.interfaces() == []
    assert kernel.setup.reports == []


def test_a_forked_process_does_not_keep_an_interface(library: ctypes.CDLL) -> None:
    """It has descriptors of the queue, too."""
    link = Bursts()
    kernel, virtif, sender = opened(library, link)
    sender.send(numbered(0))
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    try:
        before = time.monotonic()
        destroy(sender)
        assert time.monotonic() < before + 30
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert link.sent == [numbered(0)]
    assert virtif.interfaces() == []
    assert kernel.setup.reports == []


def test_close_of_the_hypervisor_sends_what_waits(library: ctypes.CDLL) -> None:
    link = Bursts()
    kernel, _, sender = opened(library, link)
    link.gate.clear()
    for number in range(50):
        sender.send(numbered(number))
    threading.Timer(0.2, link.gate.set).start()
    receivers = [t for t in threading.enumerate() if t.name == "virtif 0"]
    kernel.setup.hv.close()
    assert link.sent == [numbered(number) for number in range(50)]
    assert link.closed
    for receiver in receivers:  # it needs the kernel until it has ended
        receiver.join(10)
        assert not receiver.is_alive()


def test_what_the_link_does_not_take_is_counted(library: ctypes.CDLL) -> None:
    link = Bursts(room=5)
    kernel, virtif, sender = opened(library, link)
    interface = virtif.interfaces()[0]
    for number in range(12):
        sender.send(numbered(number))
    until(lambda: len(link.sent) + interface.dropped == 12)
    assert link.sent == [numbered(number) for number in range(5)]
    assert kernel.setup.reports == []
    link.room = 1 << 30
    link.gate.clear()
    for size in (5000, 60, 2, 61, link.max_frame, link.max_frame + 1):
        sender.send(bytes([size & 0xFF]) * size)
    link.gate.set()
    until(lambda: len(link.sent) + interface.dropped == 18)
    assert [len(frame) for frame in link.sent[5:]] == [60, 61, link.max_frame]
    assert interface.dropped == 7 + 3
    assert kernel.setup.reports
    assert all("octets" in report for report in kernel.setup.reports)
    sender.send(b"")  # nothing at all: nothing is sent, nothing ends
    sender.send(numbered(99))
    until(lambda: link.sent[-1] == numbered(99))
    destroy(sender)


@pytest.mark.parametrize("error", [LinkEndedError("x", "it is gone"), ValueError("a")])
def test_trouble_is_told_once(library: ctypes.CDLL, error: Exception) -> None:
    link = Bursts()
    kernel, virtif, sender = opened(library, link)
    interface = virtif.interfaces()[0]
    link.trouble = error
    for number in range(3):
        sender.send(numbered(number))
        until(lambda: interface.dropped == number + 1)  # noqa: B023
    assert len(kernel.setup.reports) == 1
    link.trouble = None
    sender.send(numbered(7))
    until(lambda: link.sent == [numbered(7)])
    destroy(sender)


def test_beside_a_link_that_takes_frames_one_by_one(library: ctypes.CDLL) -> None:
    """Python sends for both then, and what waited goes first."""
    link, plain = Bursts(), Memory()
    kernel, virtif, sender = opened(library, link)
    virtif.links["1"] = plain
    link.gate.clear()
    for number in range(10):
        sender.send(numbered(number))
    _, other, _ = kernel.create(b"1")
    link.gate.set()
    for number in range(10, 20):
        sender.send(numbered(number))
    Sender(kernel.setup, other).send(numbered(0))
    assert link.sent == [numbered(number) for number in range(20)]
    assert plain.sent == [numbered(0)]
    destroy(Sender(kernel.setup, other))
    sender.send(numbered(20))
    until(lambda: len(link.sent) == 21)
    destroy(sender)
    assert kernel.setup.reports == []


def test_many_times(library: ctypes.CDLL) -> None:
    virtif = Virtif()
    kernel = Interfaces(library, virtif)
    threads = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        virtif.links["0"] = link = Bursts()
        result, user, _ = kernel.create(b"0")
        assert result == 0
        sender = Sender(kernel.setup, user)
        sender.send(numbered(number))
        destroy(sender)
        assert link.sent == [numbered(number)]
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert kernel.setup.reports == []


def test_no_more_descriptors(
    library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interface is refused with the host's reason, and its link closed."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socketpair", refuse)
    link = Bursts()
    virtif = Virtif({"0": link})
    kernel = Interfaces(library, virtif)
    assert kernel.create(b"0")[:2] == (Errno.EMFILE, 0)
    assert "open files" in kernel.setup.reports[0]
    assert link.closed
    assert virtif.interfaces() == []
