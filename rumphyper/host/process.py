"""A process in 32 bits: a token by which others can tell that it is gone.

A token has the process id in its low 22 bits (Linux gives no greater one,
PID_MAX_LIMIT), above them 2 bits of the process's start time and 8 bits of a
digest of where that id means something: the boot and the pid and time
namespaces. A process with another digest cannot be judged from here, even
though a process with that id may exist or not. 0 is nobody's token.

What goes wrong with such few bits goes wrong on the safe side but for one
case: two namespaces with the same digest (1 in 256), where a process that
lives in the other one is taken for gone.
"""

from __future__ import annotations

import os
import zlib

import attrs

_PID_BITS = 22
_START_BITS = 2
_PID_MASK = (1 << _PID_BITS) - 1


@attrs.frozen
class ProcessState:
    """What /proc/PID/stat says: see proc_pid_stat(5)."""

    letter: str
    """R, S, D, T (stopped), t (traced), Z (zombie), X ..."""
    threads: int
    start: int
    """Clock ticks since boot."""

    @property
    def gone(self) -> bool:
        """Dead, though its parent may not have waited for it yet.

        A thread group whose first thread has ended looks like a zombie too,
        but counts its other threads.
        """
        return self.letter in "ZXx" and self.threads <= 1


def state_of(pid: int) -> ProcessState | None:
    """The state of a process; None when there is none with that id."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The name, in parentheses, may hold anything: the rest is behind the last.
    fields = text[text.rindex(b")") + 2 :].split()
    return ProcessState(fields[0].decode("ascii"), int(fields[17]), int(fields[19]))


def _here() -> int:
    """8 bits that stand for this boot and these namespaces."""
    parts = []
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        parts.append(file.read().strip())
    for name in ("pid", "time"):
        try:
            parts.append(b"%d" % os.stat(f"/proc/self/ns/{name}").st_ino)
        except FileNotFoundError:  # a kernel without that kind
            parts.append(b"-")
    return zlib.crc32(b" ".join(parts)) & 0xFF


def token_of(pid: int) -> int:
    """The token of a process that is there; 0 when /proc does not tell."""
    try:
        state = state_of(pid)
        if state is None or not 0 < pid <= _PID_MASK:
            return 0
        start = state.start & ((1 << _START_BITS) - 1)
        return (_here() << _START_BITS | start) << _PID_BITS | pid
    except (OSError, ValueError):
        return 0


_own = 0


def own_token() -> int:
    """This process's token; 0 when /proc does not tell. Cheap."""
    global _own
    if not _own:
        _own = token_of(os.getpid())
    return _own


def _forget() -> None:
    global _own
    _own = 0


os.register_at_fork(after_in_child=_forget)


def pid_of(token: int) -> int:
    """The process id in a token."""
    return token & _PID_MASK


def is_gone(token: int) -> bool | None:
    """Whether the process of a token is dead; None when nobody here can tell."""
    own, pid = own_token(), pid_of(token)
    if not own or not pid or (token ^ own) >> (_PID_BITS + _START_BITS):
        return None
    try:
        os.kill(pid, 0)  # asks the kernel even where /proc hides other users
    except ProcessLookupError:
        return True
    except OSError:
        pass
    state = state_of(pid)
    if state is None:
        return False
    return state.gone or token_of(pid) != token


def _mappings(pid: str) -> set[tuple[bytes, bytes]]:
    """Device and inode, as /proc/PID/maps spells them, of the files mapped."""
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            lines = [line.split(None, 5) for line in file]
    except OSError:
        return set()
    return {(line[3], line[4]) for line in lines if len(line) > 4}


def users_of(inode: int) -> dict[int, str]:
    """Which processes map a file that this one maps: their states' letters by id.

    ``inode`` is that of os.fstat; the device is taken from this process's own
    mapping, because some file systems give another one there. Finds only
    processes whose /proc/PID/maps this user may read.
    """
    number = b"%d" % inode
    wanted = {mapping for mapping in _mappings("self") if mapping[1] == number}
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and wanted & _mappings(name):
            state = state_of(int(name))
            if state is not None:
                found[int(name)] = state.letter
    return found
