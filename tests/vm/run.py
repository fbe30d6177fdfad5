"""Tests of one kind in a guest, their reports as they come."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tests.vm.guest import Guest
from tests.vm.kinds import Kind
from tests.vm.reporter import REPORTS

POLL = 0.03
"""Seconds between two looks at the file of reports."""


class Crash(Exception):
    """The guest ended or hung; says so with the console's last lines."""


class Run:
    """One guest with one pytest in it.

    ``limits`` has the node ids of the tests to run, and for each how many
    seconds it may take; ``options`` are pytest's.
    """

    def __init__(
        self, kind: Kind, limits: Mapping[str, float], options: Sequence[str]
    ) -> None:
        self.kind = kind
        self.running: str | None = None
        """The test that the guest is at; after a crash, the one to blame."""
        self._limits = limits
        self._reports: dict[str, list[Any]] = defaultdict(list)
        self._finished: set[str] = set()
        pytest = ["python", "-m", "pytest", "-p", "tests.vm.reporter"]
        # Plugins that happen to be installed take seconds to import there.
        plain = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        self._guest = Guest(kind, [*pytest, *options, "--", *limits], plain)
        self._fd: int | None = None
        self._rest = b""
        self._deadline = time.monotonic() + kind.boot_timeout

    def reports(self, nodeid: str) -> list[Any]:
        """A test's reports, serialised by pytest, when it has finished.

        Raises Crash when the guest ends or hangs before that.
        """
        while nodeid not in self._finished:
            ended = self._guest.ended()
            if self._read():
                continue
            if ended:
                raise Crash(self._story("has ended"))
            if time.monotonic() > self._deadline:
                seconds = self._allowed()
                raise Crash(self._story(f"has said nothing for {seconds:g} s"))
            time.sleep(POLL)
        return self._reports.pop(nodeid)

    def _allowed(self) -> float:
        if self.running is None:
            return self.kind.boot_timeout
        return self._limits.get(self.running, self.kind.timeout)

    def _read(self) -> bool:
        """Take what the guest has written; whether there was anything."""
        path = self._guest.share / REPORTS
        if self._fd is None:
            if not path.exists():
                return False
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        data = os.read(self._fd, 1 << 20)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            ((what, value),) = json.loads(line).items()
            if what == "start":
                self.running = value
            elif what == "finish":
                self.running = None
                self._finished.add(value)
            else:
                # JSON has made lists of the tuples that pytest checks for.
                for name in ("location", "longrepr"):
                    if isinstance(value[name], list):
                        value[name] = tuple(value[name])
                self._reports[value["nodeid"]].append(value)
        if data:
            self._deadline = time.monotonic() + self._allowed()
        return bool(data)

    def _story(self, what: str) -> str:
        where = f"during {self.running}" if self.running else "between tests"
        how = ""
        if self._guest.ended():
            status = self._guest.wait()
            how = " by a panic or reset" if status is None else f" with status {status}"
        console = self._guest.tail()
        return (
            f"the {self.kind.name} guest {what}{how} {where}; its console:\n{console}"
        )

    def close(self) -> None:
        """End the guest."""
        self._guest.close()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
