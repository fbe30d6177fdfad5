"""Telling people what went wrong inside a hypercall, once and not in a flood."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable

import attrs

from rumphyper.errors import RumphyperError
from rumphyper.hypercalls.errno import Errno


class HypercallError(RumphyperError):
    """A hypercall that cannot be answered as it was asked.

    ``errno`` is the NetBSD errno that the kernel gets where the hypercall can
    return one; the text is reported on the error output.
    """

    def __init__(
        self,
        thing: str,
        cause: str,
        remedy: str = "",
        errno: int = Errno.EINVAL,
    ) -> None:
        super().__init__(thing, cause, remedy)
        self.errno = int(errno)


def _to_stderr(text: str) -> None:
    stream = sys.stderr
    if stream is not None:
        stream.write(text)
        stream.flush()


@attrs.define(eq=False)
class Reporter:
    """Writes each different problem once; counts all of them.

    ``write`` takes a text that ends with a newline; by default it goes to
    sys.stderr. Nothing that it raises gets out.
    """

    write: Callable[[str], object] = _to_stderr
    problems: dict[str, int] = attrs.field(factory=dict)
    """How often each problem was met, by its text."""

    _lock: threading.RLock = attrs.field(factory=threading.RLock)

    def say(self, text: str) -> None:
        """Report a problem of one line."""
        self._report(text, f"rumphyper: {text}\n")

    def exception(self, name: str, error: BaseException) -> None:
        """Report what the function behind the hypercall ``name`` raised.

        An error of this package says all by itself; anything else gets a
        traceback.
        """
        if isinstance(error, RumphyperError):
            self.say(f"{name}: {error}")
            return
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        line = where.tb_lineno if where is not None else 0
        key = f"{name}: {type(error).__name__} at line {line}: {error}"
        trace = "".join(traceback.format_exception(error))
        self._report(key, f"rumphyper: exception in {name}\n{trace}")

    def _report(self, key: str, text: str) -> None:
        try:
            with self._lock:
                count = self.problems.get(key, 0)
                self.problems[key] = count + 1
            if not count:
                self.write(text)
        except Exception:  # the report must not become the next problem
            pass
