"""Writing capture files: to a file, a FIFO or standard output."""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Sequence

from typing_extensions import Buffer

from rumphyper.errors import LinkEndedError
from rumphyper.link import pcapng
from rumphyper.link.base import BATCH, ETHER_HEADER, VLAN_TAG, Link
from rumphyper.link.capture import SNAPLEN, Record
from rumphyper.link.pcapdecode import CaptureDecoder, host_error, open_write
from rumphyper.link.pcapfile import PcapFormat
from rumphyper.link.waiter import Waiter
from rumphyper.net.mac import random_mac

CHUNK = 256 * 1024


class PcapWriter(Link):
    """A link that keeps what is sent; nothing is ever received from it.

    Each batch is written at once, so that who follows the file sees whole
    frames. A pipe that is full makes ``send`` wait for its reader: a capture
    with holes would lie. New files have mode 0600, as frames may be secret.
    """

    def __init__(
        self,
        name: str,
        *,
        append: bool = False,
        format: str = "pcap",
        nanosecond: bool = True,
        mac: bytes | None = None,
    ) -> None:
        mtu = SNAPLEN - ETHER_HEADER - VLAN_TAG
        super().__init__(f"pcap:{name}", mac or random_mac(), mtu)
        self.name = name
        self._fd = open_write(name, append)
        try:
            self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
            self._classic = PcapFormat("<", nanosecond) if format == "pcap" else None
            header = self._classic.header() if self._classic else pcapng.header()
            if append and self._regular and os.fstat(self._fd).st_size:
                header = self._continue()
            self._waiter = Waiter(self._fd)
            self._ready = os.eventfd(1, os.EFD_CLOEXEC)
        except BaseException:
            os.close(self._fd)
            raise
        try:
            self._write(header)
        except BaseException:
            self.close()
            raise

    def send(self, frames: Sequence[Buffer]) -> int:
        """Write the frames, stamped with the time of day; all are taken.

        Raises FrameError, LinkClosedError, LinkEndedError when the reader of a
        pipe has gone, and HostError (disk full): what was written of the batch
        is taken back from a file.
        """
        now = time.time_ns()
        return self.send_stamped([(now, frame) for frame in frames])

    def send_stamped(self, frames: Sequence[tuple[int, Buffer]]) -> int:
        """Like ``send``, each frame with its time in nanoseconds since 1970."""
        self.check_frames([frame for _time, frame in frames])
        records = []
        for stamp, frame in frames:
            data = bytes(frame)
            records.append(Record(stamp, data, len(data)))
        return self.send_records(records)

    def send_records(self, records: Sequence[Record]) -> int:
        """Like ``send``, for records as they were read, cut or not."""
        batch = list(records)
        encode = self._classic.encode if self._classic else pcapng.encode
        with self.tx_lock:
            self.check_open()
            self._write(encode(batch))
            self.counters.sent += len(batch)
            self.counters.sent_bytes += sum(len(record.data) for record in batch)
        return len(batch)

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        """Raise LinkEndedError: nothing ever arrives from a file being written."""
        self.check_open()
        raise LinkEndedError(
            self.linkstr, "is open for writing", 'read it with mode="r"'
        )

    def fileno(self) -> int:
        """A descriptor that is always readable: ``recv`` never waits."""
        self.check_open()
        return self._ready

    @property
    def pipe(self) -> int | None:
        """The pipe that is written to, for poll(2); None for a file."""
        self.check_open()
        return None if self._regular else self._fd

    def _write(self, data: bytes) -> None:
        """Write all of it, or take back what was written of it from a file."""
        if self._regular:
            start = os.lseek(self._fd, 0, os.SEEK_END)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._fd, view) :]
            except OSError as error:
                os.ftruncate(self._fd, start)
                raise host_error(self.name, "write", error) from error
            return
        self._write_pipe(memoryview(data))

    def _write_pipe(self, view: memoryview) -> None:
        # PIPE_BUF octets fit without waiting when poll says so: the wait is
        # then always in the waiter, where close() can end it.
        while view:
            self._waiter.wait(None, select.POLLOUT)
            self.check_open()
            try:
                view = view[os.write(self._fd, view[: select.PIPE_BUF]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise LinkEndedError(self.linkstr, "its reader has gone") from error
            except OSError as error:
                raise host_error(self.name, "write", error) from error

    def _continue(self) -> bytes:
        """Check that the file is whole; return what to write before frames.

        A classic file goes on in its own byte order and resolution; a pcapng
        file gets a new section.
        """
        decoder = CaptureDecoder(self.name)
        os.lseek(self._fd, 0, os.SEEK_SET)
        while data := os.read(self._fd, CHUNK):
            decoder.feed(data)
            while decoder.pull() is not None:
                pass
        decoder.end()
        self._classic = decoder.classic
        return b"" if self._classic else pcapng.header()

    def _wake(self) -> None:
        self._waiter.wake()

    def _release(self) -> None:
        self._waiter.close()
        os.close(self._ready)
        os.close(self._fd)
