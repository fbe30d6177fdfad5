"""The XDP program that hands an interface's frames to sockets, and its life.

Five instructions: look the frame's queue up in a map of sockets and redirect it
there; where there is none, the host's stack gets it. It is attached by a bpf link,
so it goes when this process does. Facts: Linux include/uapi/linux/bpf.h (struct
xdp_md, bpf_redirect_map) and Documentation/networking/af_xdp.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from typing import Literal

from rumphyper.errors import HostError, RumphyperError, UnsupportedError
from rumphyper.host import bpf
from rumphyper.host.bpf import instruction

Mode = Literal["auto", "native", "generic"]

XDP_PASS = 2
FLAGS_SKB, FLAGS_DRV = 2, 4
_QUEUE_INDEX = 16
"""Offset in struct xdp_md of rx_queue_index."""

_LOAD_WORD, _LOAD_64, _MOVE, _CALL, _EXIT = 0x61, 0x18, 0xB7, 0x85, 0x95
_PSEUDO_MAP_FD = 1
_REDIRECT_MAP = 51
NAME = "rumphyper_xdp"


def code(sockets: int) -> bytes:
    """The program for the map of sockets with this descriptor."""
    return b"".join(
        (
            instruction(_LOAD_WORD, target=2, source=1, offset=_QUEUE_INDEX),
            instruction(_LOAD_64, target=1, source=_PSEUDO_MAP_FD, value=sockets),
            instruction(0),  # the high half of the descriptor
            instruction(_MOVE, target=3, value=XDP_PASS),
            instruction(_CALL, value=_REDIRECT_MAP),
            instruction(_EXIT),
        )
    )


def probe() -> None:
    """Load the program and let it go. Raises HostError, UnsupportedError."""
    with contextlib.ExitStack() as held:
        table = bpf.create_map(bpf.MAP_TYPE_XSKMAP, 4, 4, 1, NAME)
        held.callback(os.close, table)
        held.callback(os.close, bpf.load_program(bpf.PROG_TYPE_XDP, code(table), NAME))


class Program:
    """A program on an interface that gives each queue's frames to its socket."""

    def __init__(
        self, linkstr: str, index: int, sockets: Mapping[int, int], mode: Mode
    ) -> None:
        """Load and attach; ``sockets`` has a descriptor for each queue's number.

        To be called in the interface's namespace. Raises HostError (not
        permitted, another program is there) and UnsupportedError.
        """
        self._linkstr = linkstr
        with contextlib.ExitStack() as held:
            entries = max(sockets) + 1
            kind = bpf.MAP_TYPE_XSKMAP
            table = bpf.create_map(kind, 4, 4, entries, NAME)
            held.callback(os.close, table)
            for queue, fd in sockets.items():
                bpf.update_map(table, queue, fd, NAME)
            program = bpf.load_program(bpf.PROG_TYPE_XDP, code(table), NAME)
            held.callback(os.close, program)
            fd, self.mode = self._attach(program, index, mode)
            held.callback(os.close, fd)  # first: it detaches the program
            self._held = held.pop_all()

    def _attach(self, program: int, index: int, mode: Mode) -> tuple[int, str]:
        ways = {"native": FLAGS_DRV, "generic": FLAGS_SKB}
        if mode != "auto":
            ways = {mode: ways[mode]}
        failure: RumphyperError | None = None
        for name, flags in ways.items():
            try:
                link = bpf.create_link(
                    program, index, bpf.ATTACH_XDP, flags, self._linkstr
                )
                return link, name
            except HostError as error:
                failure = self._explained(error, name)
                if error.errno in (errno.EPERM, errno.EBUSY, errno.EEXIST):
                    break
        assert failure is not None
        raise failure

    def _explained(self, error: HostError, mode: str) -> RumphyperError:
        if error.errno in (errno.EBUSY, errno.EEXIST):
            cause = "the interface has an XDP program already"
            remedy = "end the program that put it there; `ip link` shows its number"
            return HostError(self._linkstr, cause, remedy, error.errno)
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ERANGE):
            cause = f"the kernel or the driver attaches no {mode} XDP: {error.cause}"
            remedy = (
                "needs Linux 5.9; native: a driver with XDP and an MTU below a page"
            )
            return UnsupportedError(self._linkstr, cause, remedy)
        return error

    def close(self) -> None:
        """Take the program off the interface. Idempotent."""
        self._held.close()
