"""Which way a TAP's frames go, where some are refused and where all are not."""

from __future__ import annotations

import errno
import os

import pytest

from rumphyper.errors import RumphyperError, UnsupportedError
from rumphyper.host import thunks
from rumphyper.host.batches import NEVER, cost
from rumphyper.host.syscalls import number
from rumphyper.host.uring_batch import Batch
from rumphyper.host.walk_batch import _thunks
from rumphyper.link import open_link, tap_choice
from rumphyper.link.tap import TapLink, open_tap
from rumphyper.link.tap_batch import UringIo, WalkIo
from tests.link.tap_support import (
    arrivals,
    gather,
    interfaces,
    open_fds,
    open_io,
    packet_socket,
    some_frames,
)
from tests.namespace import isolated
from tests.seccomp import refuse


@pytest.mark.parametrize("io", ["walk", "plain"])
@isolated
def test_where_io_uring_is_refused_plain_calls_do_the_work(io: str) -> None:
    if io == "walk":
        open_io("tap0", io).close()  # skips where there are no thunks
    refuse(number("io_uring_setup"), errno.EPERM)
    cost.cache_clear()
    if io == "plain":
        os.environ[thunks.SWITCH] = "0"
        _thunks.cache_clear()
    with open_link("tap:tap0") as link, packet_socket("tap0") as host:
        assert isinstance(link, TapLink)
        assert link.io == io
        assert "seccomp" in link.fallback
        frames = some_frames(100, seed=5)
        assert link.send(frames) == 100
        assert arrivals(host, 100) == frames
        for one in frames:
            host.send(one)
        assert gather(link, 100) == frames
    before = open_fds()
    with pytest.raises(UnsupportedError, match="seccomp"):
        open_link("tap:tap0", io="uring", persistent=True)
    assert open_fds() == before
    assert interfaces() == ["lo"]


@isolated
def test_where_the_driver_would_wait_plain_calls_do_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As before Linux 6.4: every operation with RWF_NOWAIT is unsupported."""

    def unsupported(self: Batch, count: int) -> list[int]:
        return [-errno.EOPNOTSUPP] * count

    monkeypatch.setattr(Batch, "run", unsupported)
    monkeypatch.setattr(tap_choice, "cost", lambda kind: float(kind is not Batch))
    before = open_fds()
    with open_tap("tap0") as link:
        assert link.io in ("walk", "plain")
        assert "Linux 6.4" in link.fallback
    with pytest.raises(RumphyperError, match=r"Linux 6\.4"):
        open_tap("tap0", io="uring")
    assert open_fds() == before


@pytest.mark.parametrize(
    ("uring", "walk", "io", "why"),
    [
        (2.0, 1.0, "walk", "a system call costs 1 ns here, by io_uring 2 ns"),
        (1.0, 2.0, "uring", ""),
        (1.0, NEVER, "uring", ""),
    ],
)
@isolated
def test_what_costs_less_is_taken(
    uring: float, walk: float, io: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_io("tap0", io).close()  # skips where it cannot be had
    costs = {UringIo.kind: uring, WalkIo.kind: walk}
    monkeypatch.setattr(tap_choice, "cost", costs.__getitem__)
    with open_tap("tap0") as link:
        assert (link.io, link.fallback) == (io, why)
