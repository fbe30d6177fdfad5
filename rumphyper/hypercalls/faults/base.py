"""What all faults have in common: where they stand, and what they count."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from rumphyper.hypercalls.around import Around
from rumphyper.hypercalls.catalogue import lookup
from rumphyper.hypercalls.hypervisor import Hypervisor


class Attachment(Protocol):
    """What stands before hypercalls of a kernel for a while."""

    def attach(self, hypervisor: Hypervisor) -> None:
        """Stand before them, also while a kernel runs.

        Raises UnsupportedError when a hypercall cannot have it.
        """

    def detach(self) -> None:
        """Go away again: the answers are those from before. Idempotent."""

    def end(self) -> None:
        """The kernel is about to be shut down: leave it what it needs for that."""


class Fault:
    """Something that goes wrong on purpose in the hypercalls of ``arounds``.

    ``text`` is the fault in words, as on the command line.
    """

    def __init__(self, text: str, arounds: Mapping[str, Around]) -> None:
        self.text = text
        self.arounds = {lookup(name).name: one for name, one in arounds.items()}
        """What stands before each hypercall, by its full name."""

        self.calls = 0
        """How often these hypercalls have been made."""

        self.injected = 0
        """How many of the calls were not what they would have been."""

        self.waited = 0.0
        """Seconds for which calls were held up."""

        self.tell: Callable[[str], object] | None = None
        """Gets a line when the fault strikes for the first time."""

        self.lock = threading.Lock()
        """For counting and for dice: calls come from any thread."""

        self.hypervisor: Hypervisor | None = None
        for name, around in self.arounds.items():
            around.check(lookup(name))

    def attach(self, hypervisor: Hypervisor) -> None:
        """Begin: stand before the hypercalls of ``hypervisor``."""
        self.detach()
        self.hypervisor = hypervisor
        for name, around in self.arounds.items():
            hypervisor.add_around(name, around)

    def detach(self) -> None:
        """End: take back `attach`; the counters stay. Idempotent."""
        hypervisor, self.hypervisor = self.hypervisor, None
        if hypervisor is not None:
            for name, around in self.arounds.items():
                hypervisor.remove_around(name, around)

    def end(self) -> None:
        """The kernel shuts down without the fault."""
        self.detach()

    def gives_way(self) -> bool:
        """Whether somebody waits for the kernel to let the main thread out.

        NetBSD asks for memory until it gets some, and Ctrl-C waits until then.
        """
        return self.hypervisor is not None and bool(self.hypervisor.interrupted())

    def strike(self, what: str) -> None:
        """Count an injection; ``what`` says what was done. Without the lock."""
        with self.lock:
            self.injected += 1
            first = self.injected == 1
        if first and self.tell is not None:
            self.tell(f"fault {self.text}: {what}")

    def as_dict(self) -> dict[str, object]:
        """The counters, for ``--json``."""
        return {
            "fault": self.text,
            "calls": self.calls,
            "injected": self.injected,
            "waited": round(self.waited, 6),
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.text}: {self.injected} of {self.calls}>"
