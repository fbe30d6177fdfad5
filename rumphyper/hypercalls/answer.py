"""What answers one hypercall, as addresses that C can call."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

from rumphyper.hypercalls.around import as_function
from rumphyper.hypercalls.guard import guard
from rumphyper.hypercalls.record import Hypercall
from rumphyper.hypercalls.report import Reporter
from rumphyper.hypercalls.slots import VARIADIC_WORDS
from rumphyper.hypercalls.threadstate import hold_thread_state

Seen = Callable[[Hypercall, tuple[Any, ...], Any, int, "int | None"], object]
"""Gets a call's values, result, start (CLOCK_MONOTONIC) and duration in
nanoseconds; the duration is None for a call that is going to be made and of which
no more will be heard. It must not raise."""

_forever: list[object] = []
"""Callbacks that C may be inside of at any time, also when others answer."""


class Answer:
    """A Python function, guarded already, or the address of C code.

    ``seen`` is told of the calls that go through `observed` and `watcher`. Each
    callback is made when it is first asked for and then kept.
    """

    def __init__(
        self,
        call: Hypercall,
        target: Callable[..., Any] | int,
        seen: Seen,
        reporter: Reporter,
    ) -> None:
        self.call = call
        self.target = target
        self._seen = seen
        self._reporter = reporter
        self._made: dict[str, int] = {}

    @property
    def native(self) -> bool:
        """Whether C code answers."""
        return isinstance(self.target, int)

    @property
    def plain(self) -> int:
        """What answers, with nothing between."""
        if isinstance(self.target, int):
            return self.target
        target = self.target
        return self._keep("plain", lambda: self._callback(target))

    @property
    def observed(self) -> int:
        """What answers, inside of a Python function that sees the call."""
        return self._keep("observed", lambda: self._callback(self._observe()))

    @property
    def watcher(self) -> int:
        """C code that sees a call before it is made, and returns 1.

        For C code that does not return, or whose arguments Python cannot pass on.
        """
        return self._keep("watcher", self._watch)

    def _keep(self, kind: str, make: Callable[[], Any]) -> int:
        if kind not in self._made:
            callback = make()
            _forever.append(callback)
            self._made[kind] = ctypes.cast(callback, ctypes.c_void_p).value or 0
        return self._made[kind]

    def _callback(self, function: Callable[..., Any]) -> Any:
        extra = VARIADIC_WORDS if self.call.variadic else 0
        return self.call.callback_type(extra)(function)

    def _observe(self) -> Callable[..., Any]:
        call, seen, clock = self.call, self._seen, time.monotonic_ns
        function = as_function(call, self.target)

        def noted(*values: Any) -> Any:
            seen(call, values, None, clock(), None)
            return function(*values)

        def observed(*values: Any) -> Any:
            hold_thread_state()  # where C answers, nobody else has held it
            start = clock()
            result = function(*values)
            seen(call, values, result, start, clock() - start)
            return result

        return guard(call, noted if call.noreturn else observed, self._reporter)

    def _watch(self) -> Any:
        call, seen = self.call, self._seen

        def watch(*values: Any) -> int:
            try:
                seen(call, values, None, time.monotonic_ns(), None)
            except BaseException:  # nothing may cross into C, nor stop the call
                pass
            return 1

        arguments = (argument.type.callback_type() for argument in call.arguments)
        extra = [ctypes.c_size_t] * (VARIADIC_WORDS if call.variadic else 0)
        return ctypes.CFUNCTYPE(ctypes.c_int, *arguments, *extra)(watch)
