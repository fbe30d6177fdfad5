"""Numbers of errors and signals, against the headers of both systems."""

from __future__ import annotations

import ctypes
import errno
import re
import signal
from pathlib import Path

import pytest

from rumphyper.hypercalls import errno as errors
from rumphyper.hypercalls import signals
from rumphyper.hypercalls.errno import Errno
from tests.hypercalls.support import shared_object
from tests.hypercalls.test_catalogue import tree

LIMIT = 4096
REALTIME = 33
"""NetBSD's first realtime signal; the stock library translates none of them."""


def defined(header: str, prefix: str) -> dict[str, int]:
    """The numbers that a header of NetBSD defines by name."""
    text = (tree() / header).read_text()
    lines = re.findall(rf"^#define\s+({prefix}[A-Z0-9]+)\s+(\d+)\b", text, re.M)
    return {name: int(number) for name, number in lines}


def test_names_of_netbsd() -> None:
    """Every errno of NetBSD's, by its name and number; none is invented."""
    found = defined("sys/sys/errno.h", "E")
    last = found.pop("ELAST")
    assert {name: found[name] for name in Errno.__members__} == dict(
        Errno.__members__.items()
    )
    assert set(found.values()) == {int(number) for number in Errno}
    assert max(Errno) == last


def test_host_to_netbsd() -> None:
    """Every errno that Linux has: the one of that name, else EINVAL."""
    for number in errno.errorcode:
        names = [name for name, one in vars(errno).items() if one == number]
        known = [Errno[name] for name in names if name in Errno.__members__]
        # Of two names with one number (ENOTSUP, EOPNOTSUPP) NetBSD's first wins.
        assert errors.to_netbsd(number) == min(known, default=Errno.EINVAL), names
    for number in (-1, 41, 58, 134, LIMIT):
        assert errors.to_netbsd(number) == Errno.EINVAL
    assert errors.to_netbsd(0) == 0


def test_netbsd_to_host(tmp_path: Path) -> None:
    """As NetBSD's own function for programs that make rump system calls."""
    header = tree() / "sys/rump/include/rump/rumperrno2host.h"
    judge = shared_object(
        tmp_path,
        f'#include <errno.h>\n#include "{header}"\n'
        "int translate(int number) { return rump_errno2host(number); }",
    )
    for number in range(-2, 200):
        assert errors.to_host(number) == judge.translate(number), number


def test_errno_round_trip() -> None:
    """What both have comes back as it was."""
    for number in Errno:
        host = errors.to_host(number)
        if host == errno.EINVAL and number != Errno.EINVAL:
            continue  # Linux has none of that name
        expected = Errno.EOPNOTSUPP if number == Errno.ENOTSUP else number
        assert errors.to_netbsd(host) == expected


def test_signals_of_netbsd() -> None:
    """Names and numbers as in NetBSD's header."""
    found = defined("sys/sys/signal.h", "SIG")
    names = dict(enumerate(signals.NETBSD_SIGNALS, 1))
    assert {name: found[name] for name in names.values()} == {
        name: number for number, name in names.items()
    }
    assert set(names) == set(range(1, REALTIME))


def test_signals_both_ways() -> None:
    """Each has the host's number of its name; back again it is itself."""
    missing = set()
    for number, name in enumerate(signals.NETBSD_SIGNALS, 1):
        host = getattr(signal, name, None)
        if host is None:
            missing.add(name)
            assert signals.to_host(number) == 0
        else:
            assert signals.to_host(number) == host
            assert signals.to_netbsd(host) == number
    assert missing == {"SIGEMT", "SIGINFO"}
    known = {signals.to_host(number) for number in range(1, REALTIME)}
    for number in (*range(65), -1, LIMIT):
        if number not in known or number == 0:
            assert signals.to_netbsd(number) == 0
    for number in (-1, 0, *range(REALTIME, 70), LIMIT):
        assert signals.to_host(number) == 0


@pytest.mark.rump
def test_stock_signals(stock_path: str) -> None:
    """The stock library's own function agrees; it has -1 where the host has none."""
    translate = ctypes.CDLL(stock_path).rumpuser__sig_rump2host
    for number in range(1, 70):
        assert max(0, translate(number)) == signals.to_host(number), number
