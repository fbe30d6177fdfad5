"""Recording what a kernel was answered, as it happens."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from typing import Any

import attrs

from rumphyper.host.libc import from_oserror
from rumphyper.hypercalls.around import Around, Function
from rumphyper.hypercalls.hypervisor import Hypervisor
from rumphyper.hypercalls.replay.codecs import CODECS, Codec
from rumphyper.hypercalls.replay.recording import HEADER, Answer

REMEDY = "choose another file, or make room"


class Recorder:
    """Writes the answers of the hypercalls of `CODECS` to the file ``path``.

    The file is made by `attach`, for its owner only: what is recorded may have
    keys in it. Each answer is written at once, so that a crash loses none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.answers = 0
        """How many have been written."""

        self._fd = -1
        self._lock = threading.Lock()
        self._hypervisor: Hypervisor | None = None
        self._arounds = {
            name: Around(self._recording(name, codec)) for name, codec in CODECS.items()
        }

    def attach(self, hypervisor: Hypervisor) -> None:
        """Begin, with an empty file. Raises HostError when it cannot be written."""
        self.detach()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
        try:
            fd = os.open(self.path, flags, 0o600)
            try:
                os.set_blocking(fd, True)  # no pipe without a reader is waited for
                _write(fd, HEADER)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise from_oserror(error, self.path, REMEDY) from None
        self._fd, self.answers = fd, 0
        self._hypervisor = hypervisor
        for name, around in self._arounds.items():
            hypervisor.add_around(name, around)

    def detach(self) -> None:
        """Stop, and complete the file. Idempotent."""
        hypervisor, self._hypervisor = self._hypervisor, None
        if hypervisor is None:
            return
        for name, around in self._arounds.items():
            hypervisor.remove_around(name, around)
        with self._lock:
            self._add({"end": self.answers}, hypervisor)
            self._close()

    def end(self) -> None:
        """The kernel shuts down: what it still asks is of no use to a replay."""
        self.detach()

    def as_dict(self) -> dict[str, object]:
        """What was done, for ``--json``."""
        return {"file": self.path, "answers": self.answers}

    def _recording(self, name: str, codec: Codec) -> Callable[..., Any]:
        def answer(original: Function, *arguments: Any) -> Any:
            asked = codec.asked(*arguments)
            result = original(*arguments)
            given = {} if result else codec.given(*arguments)
            found = Answer(name, asked, int(result), given)
            with self._lock:
                hypervisor = self._hypervisor
                if hypervisor is not None and self._add(
                    attrs.asdict(found), hypervisor
                ):
                    self.answers += 1
            return result

        return answer

    def _add(self, line: dict[str, Any], hypervisor: Hypervisor) -> bool:
        """Write a line; false, and never again, when that fails."""
        if self._fd < 0:
            return False
        try:
            _write(self._fd, line)
        except OSError as error:
            hypervisor.reporter.say(f"recording ends: {from_oserror(error, self.path)}")
            self._close()
            return False
        return True

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _write(fd: int, value: dict[str, Any]) -> None:
    """Write ``value`` as a line, whole."""
    octets = json.dumps(value).encode() + b"\n"
    if os.write(fd, octets) != len(octets):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
