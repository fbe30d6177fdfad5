"""io_uring: rings and batches over datagram sockets, which keep messages apart."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.errors import HostError, UnsupportedError
from rumphyper.host import uring, uring_abi
from rumphyper.host.syscalls import number
from rumphyper.host.uring import Ring
from rumphyper.host.uring_batch import Batch
from tests.judges import tool
from tests.namespace import in_child
from tests.seccomp import refuse

REFUSED = uring.refusal()

pytestmark = pytest.mark.skipif(bool(REFUSED), reason=f"io_uring: {REFUSED}")

EAGAIN = -errno.EAGAIN


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a datagram socket, not blocking."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_numbers_are_those_of_the_kernels_header() -> None:
    """gcc judges every constant and layout of uring_abi."""
    names = {
        "IORING_OFF_SQ_RING": uring_abi.OFF_SQ_RING,
        "IORING_OFF_SQES": uring_abi.OFF_SQES,
        "IORING_FEAT_SINGLE_MMAP": uring_abi.FEAT_SINGLE_MMAP,
        "IORING_FEAT_NODROP": uring_abi.FEAT_NODROP,
        "IORING_FEAT_SUBMIT_STABLE": uring_abi.FEAT_SUBMIT_STABLE,
        "IORING_FEAT_RW_CUR_POS": uring_abi.FEAT_RW_CUR_POS,
        "IORING_ENTER_GETEVENTS": uring_abi.ENTER_GETEVENTS,
        "IORING_REGISTER_BUFFERS": uring_abi.REGISTER_BUFFERS,
        "IORING_UNREGISTER_BUFFERS": uring_abi.UNREGISTER_BUFFERS,
        "IORING_REGISTER_FILES": uring_abi.REGISTER_FILES,
        "IORING_UNREGISTER_FILES": uring_abi.UNREGISTER_FILES,
        "IORING_OP_READ_FIXED": uring_abi.OP_READ_FIXED,
        "IORING_OP_WRITE_FIXED": uring_abi.OP_WRITE_FIXED,
        "IORING_OP_READ": uring_abi.OP_READ,
        "IORING_OP_WRITE": uring_abi.OP_WRITE,
        "IOSQE_FIXED_FILE": uring_abi.IOSQE_FIXED_FILE,
        "RWF_NOWAIT": uring_abi.RWF_NOWAIT,
        "sizeof(struct io_uring_params)": ctypes.sizeof(uring_abi.Params),
        "sizeof(struct io_uring_sqe)": uring_abi.SQE.size,
        "sizeof(struct io_uring_cqe)": uring_abi.CQE.size,
        "offsetof(struct io_uring_sqe, len)": uring_abi.SQE_LENGTH_WORD * 4,
        "offsetof(struct io_uring_cqe, res)": uring_abi.CQE_RESULT_WORD * 4,
        "offsetof(struct io_uring_sqe, addr)": 16,
        "offsetof(struct io_uring_sqe, rw_flags)": 28,
        "offsetof(struct io_uring_sqe, user_data)": 32,
        "offsetof(struct io_uring_sqe, buf_index)": 40,
        "sizeof(struct io_sqring_offsets)": ctypes.sizeof(uring_abi.SqOffsets),
        "sizeof(struct io_cqring_offsets)": ctypes.sizeof(uring_abi.CqOffsets),
        "offsetof(struct io_sqring_offsets, array)": uring_abi.SqOffsets.array.offset,  # type: ignore[attr-defined]
        "offsetof(struct io_cqring_offsets, cqes)": uring_abi.CqOffsets.cqes.offset,  # type: ignore[attr-defined]
        "offsetof(struct io_uring_params, sq_off)": uring_abi.Params.sq_off.offset,
        "offsetof(struct io_uring_params, cq_off)": uring_abi.Params.cq_off.offset,
    }
    lines = [
        f'_Static_assert({name} == {value}ULL, "{name}");'
        for name, value in names.items()
    ]
    source = "#include <stddef.h>\n#include <linux/io_uring.h>\n" + "\n".join(lines)
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(
            [tool("gcc"), "-x", "c", "-c", "-", "-o", str(Path(folder) / "x.o")],
            input=source,
            capture_output=True,
            text=True,
            check=False,
        )
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("fixed", [True, False])
def test_messages_are_read_in_order_and_the_rest_is_empty(
    pair: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    fixed: bool,
) -> None:
    if not fixed:  # as where the limit on locked memory is low

        def refuse(self: Ring, address: int, size: int) -> None:
            raise HostError("io_uring", "no", errno=errno.ENOMEM)

        monkeypatch.setattr(Ring, "register_buffer", refuse)
    near, far = pair
    with Batch(near.fileno(), 8, 100, write=False) as batch:
        assert batch.fixed is fixed
        chance = random.Random(7)
        for _ in range(200):
            sent = [
                chance.randbytes(chance.randint(1, 100))
                for _ in range(chance.randint(0, 5))
            ]
            for message in sent:
                far.send(message)
            count = chance.randint(len(sent) or 1, 8)
            results = batch.run(count)
            sizes = [len(message) for message in sent]
            assert results == sizes + [EAGAIN] * (count - len(sent))
            held = [bytes(batch.slots[n][:size]) for n, size in enumerate(sizes)]
            assert held == sent


def test_messages_are_written_in_order_until_there_is_no_room(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    with Batch(near.fileno(), 16, 64, write=True) as batch:
        for turn in range(50):
            lengths = [1 + (turn * 7 + n * 13) % 64 for n in range(1 + turn % 9)]
            for n, length in enumerate(lengths):
                batch.slots[n][:length] = bytes([turn, n] * 32)[:length]
            batch.set_lengths(lengths)
            assert batch.run(len(lengths)) == lengths
            for n, length in enumerate(lengths):
                assert far.recv(100) == bytes([turn, n] * 32)[:length]
        batch.set_alike(10)
        results: list[int] = []
        while not results or results[-1] > 0:
            results += batch.run(16)
        first = results.index(EAGAIN)
        assert set(results[:first]) == {10}
        assert len([1 for _ in range(first) if far.recv(100)]) == first
        with pytest.raises(BlockingIOError):
            far.recv(1)


def test_alike_results_are_recognised_wherever_they_lie_in_the_ring(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    with Batch(near.fileno(), 8, 64, write=False) as batch:
        for turn in range(100):
            count, odd = 1 + turn % 7, turn % 3 == 0
            for n in range(count):
                far.send(b"x" * (21 if odd and n == count - 1 else 20))
            assert batch.run_alike(count, 20) == (-1 if odd else count)
            assert batch.results(count) == [20] * (count - 1) + [20 + odd]


def test_results_follow_their_addresses_when_completions_come_out_of_order(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    with Batch(near.fileno(), 8, 64, write=False) as batch:
        for size in (5, 6, 7):
            far.send(b"x" * size)
        batch.run(3)
        start = 2 * batch._first
        with batch._ring.cqes.cast("Q") as words:
            swapped = [*words[start + 2 : start + 4], *words[start : start + 2]]
            for place, word in enumerate(swapped):
                words[start + place] = word
            assert batch.results(3) == [5, 6, 7]
            words[start] += 1
        with pytest.raises(HostError, match="operation that is not there"):
            batch.results(3)


def test_nothing_beyond_the_slots_is_ever_asked_of_the_kernel(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    with Batch(pair[0].fileno(), 5, 64, write=True) as batch:
        for count in (0, -1, 9):
            with pytest.raises(HostError):
                batch.run(count)
        for lengths in ([65], [-1], [1] * 6):
            with pytest.raises(HostError, match="lengths beyond"):
                batch.set_lengths(lengths)
    with pytest.raises(HostError, match="closed"):
        batch.run(1)
    for count, size in ((0, 1), (1, 0), (-1, 5)):
        with pytest.raises(HostError, match="slots"):
            Batch(pair[0].fileno(), count, size, write=False)
    for entries in (0, -1, uring_abi.MAX_ENTRIES + 1):
        with pytest.raises(HostError, match="entries"):
            Ring(entries)


def test_a_closed_batch_holds_neither_descriptors_nor_the_file() -> None:
    before = open_fds()
    for _ in range(50):
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        batch = Batch(near.fileno(), 4, 64, write=False)
        far.send(b"kept")
        assert batch.run(2)[0] == 4
        lent = batch.slots[0][:4]
        batch.close()
        batch.close()
        near.close()
        with pytest.raises(ConnectionRefusedError):  # the last reference is gone
            far.send(b"nobody")
        far.close()
        assert bytes(lent) == b"kept"
    assert open_fds() == before


def test_a_descriptor_that_is_none_is_an_error_that_leaks_nothing() -> None:
    before = open_fds()
    with pytest.raises(HostError) as caught:
        Batch(987_654, 4, 64, write=False)
    assert caught.value.errno == errno.EBADF
    assert open_fds() == before


def test_signals_do_not_disturb_a_run(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    hits = 0

    def hit(*_: object) -> None:
        nonlocal hits
        hits += 1

    old = signal.signal(signal.SIGALRM, hit)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        with Batch(near.fileno(), 8, 64, write=False) as batch:
            turn = 0
            while hits < 100:
                turn += 1
                message = turn.to_bytes(4, "big")
                far.send(message)
                assert batch.run(2) == [4, EAGAIN]
                assert bytes(batch.slots[0][:4]) == message
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@pytest.mark.parametrize(
    ("refused", "cause"),
    [
        (errno.ENOSYS, "this kernel has no io_uring"),
        (errno.EPERM, "forbidden by a filter of system calls"),
        (errno.ENOMEM, "not enough memory may be locked"),
        (errno.EMFILE, os.strerror(errno.EMFILE)),
    ],
)
def test_a_refusal_says_why(refused: int, cause: str) -> None:
    def body() -> None:
        refuse(number("io_uring_setup"), refused)
        assert cause in uring.refusal()
        kind = UnsupportedError if refused in (errno.ENOSYS, errno.EPERM) else HostError
        with pytest.raises(kind, match="plain") as caught:
            Ring(4)
        assert caught.value.remedy

    kind, text = in_child(body)
    assert kind == "ok", text


def test_a_refusal_by_the_sysctl_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    setting = tmp_path / "io_uring_disabled"
    setting.write_text("2\n")
    monkeypatch.setattr(uring, "DISABLED", str(setting))

    def body() -> None:
        refuse(number("io_uring_setup"), errno.EPERM)
        assert uring.refusal() == "forbidden by kernel.io_uring_disabled=2"

    kind, text = in_child(body)
    assert kind == "ok", text
