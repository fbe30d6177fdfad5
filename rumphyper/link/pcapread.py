"""Reading capture files: whole ones, pipes, and files that still grow."""

from __future__ import annotations

import time
from collections.abc import Sequence

from typing_extensions import Buffer

from rumphyper.errors import LinkEndedError, LinkError, RumphyperError
from rumphyper.link.base import BATCH, ETHER_HEADER, VLAN_TAG, Link
from rumphyper.link.capture import SNAPLEN, Record
from rumphyper.link.pcapdecode import CaptureDecoder
from rumphyper.link.pcapsource import PcapSource
from rumphyper.net.mac import random_mac


class PcapReader(Link):
    """A link on which the frames of a capture arrive; nothing can be sent.

    At the end of the file ``recv`` raises LinkEndedError, unless the file is
    followed. Frames that the capture has cut off and those shorter than an
    Ethernet header are counted as dropped; ``cut`` true returns the former.
    """

    def __init__(
        self,
        name: str,
        *,
        follow: bool = False,
        cut: bool = False,
        mac: bytes | None = None,
    ) -> None:
        mtu = SNAPLEN - ETHER_HEADER - VLAN_TAG
        super().__init__(f"pcap:{name}", mac or random_mac(), mtu)
        self._cut = cut
        self._decoder = CaptureDecoder(name)
        self._ahead: Record | None = None
        self._over: RumphyperError | None = None
        self._source = PcapSource(name, follow)
        try:
            if self._source.regular:  # a foreign file is refused here, not later
                self._look_ahead()
                if self._over is not None and not isinstance(
                    self._over, LinkEndedError
                ):
                    raise self._over
        except BaseException:
            self.close()
            raise

    def recv(self, limit: int = BATCH, timeout: float | None = None) -> list[bytes]:
        """Return the next frames of the file; see `Link.recv`.

        Raises CorruptError where the file breaks its format, UnsupportedError
        at a frame of another link type, each after the frames before it.
        """
        return [record.data for record in self.recv_records(limit, timeout)]

    def recv_stamped(
        self, limit: int = BATCH, timeout: float | None = None
    ) -> list[tuple[int, bytes]]:
        """Like ``recv``, each frame with its time in nanoseconds since 1970."""
        records = self.recv_records(limit, timeout)
        return [(record.time_ns, record.data) for record in records]

    def recv_records(
        self, limit: int = BATCH, timeout: float | None = None
    ) -> list[Record]:
        """Like ``recv``, with all that the file says of each frame."""
        end = None if timeout is None else time.monotonic() + timeout
        with self.rx_lock:
            while True:
                self.check_open()
                records = self._collect(limit)
                if records:
                    return records
                if self._over is not None:
                    raise self._over
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return []
                self._source.wait(left)

    def send(self, frames: Sequence[Buffer]) -> int:
        """Raise LinkError: the file is only read."""
        self.check_open()
        raise LinkError(
            self.linkstr, "is open for reading", 'open it with mode="w" or mode="a"'
        )

    def fileno(self) -> int:
        """A descriptor that is readable when ``recv`` would not wait."""
        self.check_open()
        return self._source.fileno()

    def _collect(self, limit: int) -> list[Record]:
        """Return what is there of the file without waiting."""
        records: list[Record] = []
        size = 0
        while len(records) < limit and not self._closed:
            record = self._next()
            if record is None:
                break
            if len(record.data) < ETHER_HEADER or (record.cut and not self._cut):
                self.counters.dropped += 1
                continue
            records.append(record)
            size += len(record.data)
        self.counters.received += len(records)
        self.counters.received_bytes += size
        self._look_ahead()
        return records

    def _look_ahead(self) -> None:
        """Have the next frame at hand, and `fileno` say whether it is."""
        if self._ahead is None:
            self._ahead = self._next()
        self._source.ready(self._ahead is not None or self._over is not None)

    def _next(self) -> Record | None:
        """Return the next frame; None when there is none now, or ever."""
        record, self._ahead = self._ahead, None
        while record is None and self._over is None:
            try:
                record = self._decoder.pull()
                if record is None and not self._feed():
                    break
            except RumphyperError as error:
                self._over = error
        return record

    def _feed(self) -> bool:
        """Give the decoder more of the file; false when there is none now."""
        data = self._source.read()
        if data is None:
            return False
        if not data:
            self._decoder.end()
            raise LinkEndedError(self.linkstr, "the file has ended")
        self._decoder.feed(data)
        return True

    def _wake(self) -> None:
        self._source.wake()

    def _release(self) -> None:
        self._source.close()
