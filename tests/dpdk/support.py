"""What the tests of DPDK share: each runs in a process of its own.

EAL can be started once in a process, so a test is a forked child; it closes EAL at
its end and must leave nothing behind.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable
from typing import ParamSpec

import pytest

from rumphyper.dpdk import eal
from rumphyper.dpdk.library import dpdk
from rumphyper.errors import LibraryError, UnsupportedError
from rumphyper.link import open_link
from rumphyper.link.dpdk_link import DpdkLink
from tests.debian import missing
from tests.namespace import in_child, in_namespace

P = ParamSpec("P")

SOURCE = bytes.fromhex("b2a000000001")
EXPERIMENTAL = bytes.fromhex("88b5")


def open_dpdk(rest: str, **options: object) -> DpdkLink:
    link = open_link(f"dpdk:{rest}", **options)
    assert isinstance(link, DpdkLink)
    return link


def need_dpdk() -> None:
    """Skip the test without DPDK; in CI, which installs it, fail."""
    try:
        dpdk()
    except (LibraryError, UnsupportedError) as error:
        missing(str(error))


def _body(test: Callable[[], None]) -> None:
    os.environ["TMPDIR"] = folder = tempfile.mkdtemp(prefix="rumphyper-test-")
    tempfile.tempdir = None
    try:
        test()
    finally:
        running = eal.running()
        if running is not None:
            running.close()
        left = os.listdir(folder)
        if not left:
            os.rmdir(folder)
    assert left == []


def alone(test: Callable[P, None]) -> Callable[P, None]:
    """Run a test in a child, which closes EAL and leaves nothing behind."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        need_dpdk()
        kind, text = in_child(lambda: _body(lambda: test(*args, **kwargs)))
        if kind == "skip":
            pytest.skip(text)
        if kind != "ok":
            pytest.fail(text, pytrace=False)

    return run


def alone_in_namespace(test: Callable[P, None]) -> Callable[P, None]:
    """Like `alone`, in a fresh network namespace."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        need_dpdk()
        in_namespace(lambda: _body(lambda: test(*args, **kwargs)))

    return run


def frame(payload: bytes, target: bytes = b"\xff" * 6) -> bytes:
    """An Ethernet frame of a type for experiments."""
    return target + SOURCE + EXPERIMENTAL + payload


def gather(link: DpdkLink, count: int, timeout: float = 5.0) -> list[bytes]:
    """Receive until ``count`` frames are there or nothing comes for a while."""
    frames: list[bytes] = []
    while len(frames) < count:
        some = link.recv(timeout=timeout)
        if not some:
            break
        frames += some
    return frames


def check_pools(link: DpdkLink) -> None:
    """Every mbuf is back in its pool."""
    assert link.tx_pool.available == link.tx_pool.count
    assert link.rx_pool.available == link.rx_pool.count
