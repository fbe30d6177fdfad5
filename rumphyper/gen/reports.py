"""When a loop tells how it goes."""

from __future__ import annotations

from collections.abc import Callable

from rumphyper.gen.pace import NEVER


class Reports:
    """Calls ``show`` every ``period`` seconds from ``begin`` on, or never."""

    def __init__(
        self, begin: float, period: float | None, show: Callable[[], None]
    ) -> None:
        self._period = period or 0.0
        self._show = show
        self.next = NEVER if period is None else begin + period
        """When the next one is due, in seconds of the monotonic clock."""

    def tell(self, now: float) -> None:
        """Show if it is time. What was missed meanwhile is not made up for."""
        if now >= self.next:
            self._show()
            self.next = max(self.next + self._period, now)
