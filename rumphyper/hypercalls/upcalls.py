"""The upcalls: what a kernel hands to rumpuser_init, and the host may call.

Facts: struct rumpuser_hyperup of NetBSD sys/rump/include/rump/rumpuser.h; how
they are used: lib/librumpuser/rumpuser_int.h and rumpuser_component.c.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

_pointer = ctypes.c_void_p
_int = ctypes.c_int

UPCALLS: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
    ("hyp_schedule", None, ()),
    ("hyp_unschedule", None, ()),
    ("hyp_backend_unschedule", None, (_int, ctypes.POINTER(_int), _pointer)),
    ("hyp_backend_schedule", None, (_int, _pointer)),
    ("hyp_lwproc_switch", None, (_pointer,)),
    ("hyp_lwproc_release", None, ()),
    ("hyp_lwproc_rfork", _int, (_pointer, _int, ctypes.c_char_p)),
    ("hyp_lwproc_newlwp", _int, (_int,)),
    ("hyp_lwproc_curlwp", _pointer, ()),
    ("hyp_syscall", _int, (_int, _pointer, ctypes.POINTER(ctypes.c_long))),
    ("hyp_lwpexit", None, ()),
    ("hyp_execnotify", None, (ctypes.c_char_p,)),
    ("hyp_getpid", _int, ()),
)
"""Name, result and parameters of each upcall, in the table's order."""

SPARE = 8
"""Reserved pointers behind them in the table."""


class Hyperup(ctypes.Structure):
    """The table itself: addresses of C functions, struct rumpuser_hyperup."""

    _fields_ = [(name, _pointer) for name, _, _ in UPCALLS] + [
        ("hyp__extra", _pointer * SPARE)
    ]


def upcall_type(name: str) -> Any:
    """The ctypes function type of the upcall ``name``."""
    for known, result, parameters in UPCALLS:
        if known == name:
            return ctypes.CFUNCTYPE(result, *parameters)
    raise KeyError(name)


def _nothing(*values: Any) -> int:
    return 0


@attrs.define(eq=False)
class Upcalls:
    """The kernel's upcalls as Python functions; before rumpuser_init no-ops.

    Every call releases the GIL: an upcall may wait for a virtual CPU whose
    holder waits for the GIL.
    """

    schedule: Callable[[], Any] = _nothing
    """Get a virtual CPU; without an lwp the kernel makes a temporary one."""

    unschedule: Callable[[], Any] = _nothing
    backend_unschedule: Callable[..., Any] = _nothing
    """(0, int pointer, interlock): give up the virtual CPU and kernel locks."""

    backend_schedule: Callable[[int, int], Any] = _nothing
    """(locks, interlock): get a virtual CPU and the kernel locks back."""

    lwproc_switch: Callable[[int], Any] = _nothing
    lwproc_release: Callable[[], Any] = _nothing
    lwproc_rfork: Callable[..., int] = _nothing
    lwproc_newlwp: Callable[[int], int] = _nothing
    lwproc_curlwp: Callable[[], int | None] = _nothing
    syscall: Callable[..., int] = _nothing
    lwpexit: Callable[[], Any] = _nothing
    execnotify: Callable[[bytes], Any] = _nothing
    getpid: Callable[[], int] = _nothing
    loaded: bool = False
    """Whether a kernel has given its table."""

    _cells: list[tuple[ctypes.c_int, Any]] = attrs.field(factory=list)
    """Where kernels write how many locks were given up: made once, used again."""

    def load(self, address: int) -> None:
        """Copy the table at ``address``; missing (NULL) entries stay no-ops."""
        table = Hyperup.from_address(address)
        for name, _, _ in UPCALLS:
            function = getattr(table, name)
            if function:
                bound = upcall_type(name)(function)
                setattr(self, name.removeprefix("hyp_"), bound)
        self.loaded = True

    def give_up(self, interlock: int = 0) -> int:
        """Give up the virtual CPU; returns the kernel locks to be taken again."""
        try:
            cell = self._cells.pop()
        except IndexError:
            number = _int(0)
            cell = number, ctypes.byref(number)
        self.backend_unschedule(0, cell[1], interlock)
        locks = cell[0].value
        self._cells.append(cell)
        return locks

    def take(self, locks: int, interlock: int = 0) -> None:
        """Get a virtual CPU and ``locks`` kernel locks back."""
        self.backend_schedule(locks, interlock)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Around something that may wait: without the virtual CPU."""
        locks = self.give_up()
        try:
            yield
        finally:
            self.backend_schedule(locks, 0)
