"""The summary of a trace: a table like that of strace -c."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rumphyper.errors import UnsupportedError
from rumphyper.hypercalls.tracerecord import Total
from rumphyper.hypercalls.tracesink import lost_line

_HEAD = "% time     seconds  usecs/call     calls    errors hypercall"
_RULE = "------ ----------- ----------- --------- --------- ----------------"

ORDERS: Mapping[str, Callable[[tuple[str, Total]], object]] = {
    "time": lambda item: (-item[1].nanoseconds, item[0]),
    "calls": lambda item: (-item[1].calls, item[0]),
    "errors": lambda item: (-item[1].errors, item[0]),
    "name": lambda item: item[0],
}
"""What the lines may be sorted by."""


def summary(totals: Mapping[str, Total], lost: int = 0, sort: str = "time") -> str:
    """The table, with a last line when records were lost.

    The time of a call is that of the clock on the wall, waiting included.
    Raises UnsupportedError for an unknown ``sort``.
    """
    if sort not in ORDERS:
        raise UnsupportedError(
            f"sort {sort!r}", "no such order", f"known: {', '.join(ORDERS)}"
        )
    every = Total()
    for total in totals.values():
        every.add(total)
    lines = [_HEAD, _RULE]
    for name, total in sorted(totals.items(), key=ORDERS[sort]):  # type: ignore[arg-type]
        lines.append(_line(total, every.nanoseconds, name))
    lines += [_RULE, _line(every, every.nanoseconds, "total")]
    if lost:
        lines.append(lost_line(lost))
    return "\n".join(lines) + "\n"


def _line(total: Total, whole: int, name: str) -> str:
    share = 100 * total.nanoseconds / whole if whole else 0.0
    each = total.nanoseconds / total.calls / 1000 if total.calls else 0.0
    return (
        f"{share:6.2f} {total.nanoseconds / 1e9:11.6f} {each:11.3f} "
        f"{total.calls:9} {total.errors or '':9} {name}"
    )
