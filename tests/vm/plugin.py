"""Tests that need another kernel, run inside a QEMU guest.

A test file below tests/vm that says ::

    pytestmark = pytest.mark.vm("pci")

is collected here as any other, but its tests run in a guest of that kind (see
`tests.vm.kinds`), all of them in one pytest after one boot. The guest has
Debian's kernel, the whole of this host's files read-only and in place, so this
very Python environment, and a /dev, /proc, /sys, /tmp and /run of its own. It
is root there. Each result, with its traceback or the reason of its skip, is
this pytest's. A test that hangs or takes the kernel down fails with the
console's last lines, and those after it get a new guest.
``pytest.mark.vm("pci", timeout=90)`` allows a test more seconds than its kind.

Fixtures live and die in the guest, those of a session's scope too. What a test
imports must be importable on the host, where nothing else of it is run.

By hand::

    python -m tests.vm shell pci
    python -m tests.vm run pci tests/vm/test_devices.py -k edu
    python -m tests.vm exec pci rumphyper doctor

Environment: ``RUMPHYPER_VM_ACCEL`` is QEMU's accelerator, tcg by default;
``RUMPHYPER_TEST_CACHE`` the directory of unpacked packages; all variables that
begin with RUMPHYPER are handed on to the guest.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.vm.kinds import Kind
from tests.vm.marker import inside, kind_of, limit
from tests.vm.run import Crash, Run


class Guests:
    """The guests of a pytest session: one at a time for each kind of test."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._runs: dict[str, Run] = {}
        self._outcomes: dict[str, BaseException] = {}
        """What to raise, by node ids, and by kinds that have no working guest."""
        self._done: set[str] = set()

    def reports(self, item: pytest.Item, kind: Kind) -> list[Any]:
        """The serialised reports of one test, from the guest that runs it.

        The first call for a kind boots one for all its tests. Fails or skips the
        test, as pytest's functions do, where there is no report.
        """
        while True:
            for name in (item.nodeid, kind.name):
                if name in self._outcomes:
                    raise self._outcomes[name]
            try:
                reports = self._run(kind).reports(item.nodeid)
            except Crash as crash:
                run = self._runs.pop(kind.name)
                run.close()
                outcome = pytest.fail.Exception(str(crash), pytrace=False)
                self._outcomes[run.running or kind.name] = outcome
            else:
                self._done.add(item.nodeid)
                return reports

    def _run(self, kind: Kind) -> Run:
        """The run of a kind's tests that is under way, or a new one."""
        if kind.name not in self._runs:
            try:
                run = Run(kind, self._waiting(kind), self._options())
            except (Exception, pytest.skip.Exception, pytest.fail.Exception) as error:
                self._outcomes[kind.name] = error
                raise
            self._runs[kind.name] = run
        return self._runs[kind.name]

    def _waiting(self, kind: Kind) -> dict[str, float]:
        """The tests that have had no result yet, with their limits in seconds."""
        items = [item for item in self._session.items if kind_of(item) == kind]
        done = self._done | self._outcomes.keys()
        return {item.nodeid: limit(item) for item in items if item.nodeid not in done}

    def _options(self) -> list[str]:
        config = self._session.config
        options = [
            "-p",
            "no:cacheprovider",
            "--color=no",
            f"--rootdir={config.rootpath}",
        ]
        options += [f"--tb={config.option.tbstyle}", *["-v"] * config.option.verbose]
        if config.inipath is not None:
            options += ["-c", str(config.inipath)]
        return options

    def close(self) -> None:
        for run in self._runs.values():
            run.close()
        self._runs.clear()


GUESTS = pytest.StashKey[Guests]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(
    session: pytest.Session, items: list[pytest.Item]
) -> None:
    """Put the tests for guests last, kind by kind."""
    if not inside():
        session.stash[GUESTS] = Guests(session)
        items.sort(key=lambda item: getattr(kind_of(item), "name", ""))


def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> bool | None:
    """Take the reports of a test for a guest from there."""
    kind = kind_of(item)
    if kind is None or inside():
        return None
    hook: Any = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    guests = item.session.stash[GUESTS]
    call = pytest.CallInfo.from_call(
        lambda: guests.reports(item, kind),
        when="call",
        reraise=(KeyboardInterrupt, pytest.exit.Exception),
    )
    if call.excinfo is None:
        for data in call.result:
            report = hook.pytest_report_from_serializable(config=item.config, data=data)
            hook.pytest_runtest_logreport(report=report)
    else:
        report = hook.pytest_runtest_makereport(item=item, call=call)
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    # What an earlier test on the host has left set up for this one's neighbours.
    state: Any = item.session
    state._setupstate.teardown_exact(nextitem)
    return True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the guests that are still there."""
    if GUESTS in session.stash:
        session.stash[GUESTS].close()
