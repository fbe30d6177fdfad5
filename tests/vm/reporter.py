"""The part of pytest inside a guest: each result goes to the host at once.

One JSON object a line, appended to a file in the writable share: ``start`` with
a test's node id, ``report`` with what pytest makes of a report for other
processes, ``finish``.
"""

from __future__ import annotations

import faulthandler
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.vm.guest import SHARE
from tests.vm.marker import limit

REPORTS = "reports"
"""The file's name in the share."""
BEFORE = 0.9
"""The share of its time after which a test's threads show where they are."""


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reporter(config), "vm-reporter")


class Reporter:
    """The hooks that tell the host."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        flags = os.O_WRONLY | os.O_CLOEXEC
        path = f"{SHARE}/{REPORTS}"
        self._reports = os.open(path, flags | os.O_APPEND | os.O_CREAT, 0o644)
        self._console = os.open("/dev/console", flags)

    def _tell(self, what: str, value: object) -> None:
        line = json.dumps({what: value}, default=str) + "\n"
        os.write(self._reports, line.encode())

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        seconds = limit(item) * BEFORE
        faulthandler.dump_traceback_later(seconds, file=self._console)
        self._tell("start", item.nodeid)
        yield
        self._tell("finish", item.nodeid)
        faulthandler.cancel_dump_traceback_later()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook: Any = self._config.hook
        data = hook.pytest_report_to_serializable(config=self._config, report=report)
        self._tell("report", data)
