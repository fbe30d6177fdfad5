"""Which format a capture file has, and the errors that opening one meets."""

from __future__ import annotations

import errno
import os
import stat

from rumphyper.errors import CorruptError, HostError, LinkstrError
from rumphyper.link.capture import Decoder, Octets, Record
from rumphyper.link.pcapfile import PcapDecoder, PcapFormat
from rumphyper.link.pcapng import SECTION, PcapngDecoder

_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.EACCES: "check the permissions",
    errno.EISDIR: "name a file",
    errno.ENOSPC: "make room on the disk",
}


def host_error(name: str, action: str, error: OSError) -> HostError:
    """Return the error for a file that the host would not open, read or write."""
    number = error.errno or 0
    cause = f"cannot {action}: {os.strerror(number)}"
    return HostError(name, cause, _REMEDIES.get(number, ""), number)


def open_read(name: str) -> int:
    """Open ``name`` (``-``: standard input) for reading; never waits."""
    try:
        if name == "-":
            return os.dup(0)
        # without O_NONBLOCK a FIFO that nobody writes to yet would block here
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise host_error(name, "open", error) from error
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise host_error(name, "read", IsADirectoryError(errno.EISDIR, ""))
    return fd


def open_write(name: str, append: bool) -> int:
    """Open ``name`` (``-``: standard output) for writing, mode 0600 if new.

    A FIFO waits here for its reader.
    """
    if name == "-" and append:
        raise LinkstrError("pcap:-", "a pipe has no end to append to", 'use mode="w"')
    # appending reads first: the file's format, and whether it is whole
    how = os.O_RDWR if append else os.O_WRONLY | os.O_TRUNC
    try:
        if name == "-":
            return os.dup(1)
        return os.open(name, how | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise host_error(name, "open", error) from error


class CaptureDecoder:
    """Reads pcap and pcapng, whichever comes in; see `Decoder`."""

    def __init__(self, name: str) -> None:
        self.octets = Octets(name)
        self._inner: Decoder | None = None

    @property
    def classic(self) -> PcapFormat | None:
        """The format of a classic file; None for pcapng and before its header."""
        inner = self._inner
        return inner.form if isinstance(inner, PcapDecoder) else None

    def feed(self, data: bytes) -> None:
        """Add octets that follow the ones so far."""
        self.octets.feed(data)

    def pull(self) -> Record | None:
        """Return the next frame, or None when more octets must come first.

        Raises CorruptError and UnsupportedError, again at each further call.
        """
        if self._inner is None:
            if self.octets.left < 4:
                return None
            self._inner = self._detect()
        return self._inner.pull()

    def end(self) -> None:
        """Raise CorruptError when the octets break off inside something."""
        octets = self.octets
        if self._inner is not None and not octets.left and self._inner.started:
            return
        inside = self._inner.inside if self._inner else "the file header"
        raise CorruptError(
            octets.name,
            f"cut off inside {inside} at offset {octets.offset}: "
            f"{octets.left} octets are there",
            "the capture was not finished; follow=True waits for the rest",
        )

    def _detect(self) -> Decoder:
        magic = self.octets.data[:4]
        form = PcapFormat.of(magic)
        if form is not None:
            return PcapDecoder(self.octets, form)
        if int.from_bytes(magic, "big") == SECTION:
            return PcapngDecoder(self.octets)
        raise self.octets.corrupt("magic", f"0x{magic.hex()}", "not pcap or pcapng")
