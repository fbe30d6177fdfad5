"""Tests that run in a network namespace of their own.

The test runs in a child process that has left this one's namespace behind, so
whatever it makes is gone when it ends, and no privilege is needed where user
namespaces are allowed. Its failure is the test's, with the child's traceback.
"""

from __future__ import annotations

import functools
import os
import pickle
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec

import pytest

from rumphyper.errors import HostError
from rumphyper.host.netns import enter_new

P = ParamSpec("P")

TIMEOUT = 60.0
"""Seconds that a test may take."""


def isolated(test: Callable[P, None]) -> Callable[P, None]:
    """Run a test in a child with a fresh network namespace, without IPv6 noise."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        in_namespace(lambda: test(*args, **kwargs))

    return run


def in_namespace(body: Callable[[], None], *, user: bool | None = None) -> None:
    """Run ``body`` in a child with a fresh network namespace.

    ``user`` is as for `enter_new`. Skips the test where namespaces or
    /dev/net/tun are not to be had.
    """
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("/dev/net/tun is not there")
    kind, text = in_child(lambda: _enter_and_run(body, user))
    if kind == "skip":
        pytest.skip(text)
    if kind != "ok":
        pytest.fail(text, pytrace=False)


def _enter_and_run(body: Callable[[], None], user: bool | None) -> None:
    try:
        enter_new(user=user)
    except HostError as error:
        pytest.skip(f"no network namespace: {error}")
    for which in ("all", "default"):
        # Router solicitations and the like would mix with the test's frames.
        path = f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6"
        if os.path.exists(path):
            with open(path, "w", encoding="ascii") as file:
                file.write("1")
    body()


def in_child(body: Callable[[], None]) -> tuple[str, str]:
    """Run ``body`` in a forked child; return how it ended and what it said."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        outcome = ("ok", "")
        try:
            body()
        except pytest.skip.Exception as skipped:
            outcome = ("skip", str(skipped))
        except BaseException:
            outcome = ("fail", traceback.format_exc())
        try:
            os.write(writer, pickle.dumps(outcome)[:60000])
        finally:
            os._exit(0)
    os.close(writer)
    try:
        said = b""
        while select.select([reader], [], [], TIMEOUT)[0]:
            part = os.read(reader, 1 << 16)
            if not part:
                break
            said += part
        else:
            os.kill(child, signal.SIGKILL)
            return "fail", f"the test took longer than {TIMEOUT:.0f} s"
    finally:
        os.close(reader)
        _, status = os.waitpid(child, 0)
    if not said:
        return "fail", f"the child ended with status {status:#x} and no word"
    outcome = pickle.loads(said)
    return str(outcome[0]), str(outcome[1])


def other_namespace() -> tuple[int, int]:
    """A process in a namespace of its own: its id, and what to close to end it."""
    ready, tell = os.pipe()
    stay, stop = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(stop)
        enter_new(user=False)
        os.write(tell, b"x")
        os.read(stay, 1)
        os._exit(0)
    os.close(tell)
    os.close(stay)
    assert os.read(ready, 1) == b"x"
    os.close(ready)
    return child, stop
