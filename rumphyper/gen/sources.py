"""Where the frames to send come from: made here, or from a capture file."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from rumphyper.errors import LinkEndedError, LinkError
from rumphyper.gen.flows import Flow
from rumphyper.gen.numbered import SHORTEST, Ends, Numbered, base, check_length
from rumphyper.link.capture import Record
from rumphyper.link.pcapread import PcapReader

AHEAD = 512
"""Frames that are read from a file at once."""


class Source(Protocol):
    """Gives frames to be sent."""

    def take(self, limit: int, now: float) -> Sequence[bytes]:
        """At most ``limit`` frames that are due; none: wait, or it is over."""

    def wait(self, now: float) -> float:
        """Seconds until more is due; only meant where `take` gave none."""

    def end(self) -> bytes | None:
        """What to send when all is over, if anything."""

    @property
    def over(self) -> bool:
        """Whether no frame is left."""


class Counted:
    """Frames with numbers, from `Numbered`, as many as are wanted."""

    over = False

    def __init__(self, numbered: Numbered) -> None:
        self.numbered = numbered

    def take(self, limit: int, now: float) -> Sequence[bytes]:
        return self.numbered.take(limit)

    def wait(self, now: float) -> float:
        return 0.0

    def end(self) -> bytes | None:
        return self.numbered.end()


class Plain:
    """The same frame of each flow again and again, of any length from 42 octets on."""

    over = False

    def __init__(self, ends: Ends, flows: Sequence[Flow], length: int) -> None:
        check_length(length, SHORTEST)
        self._frames = [base(ends, flow, length) for flow in flows]
        self._at = 0

    def take(self, limit: int, now: float) -> Sequence[bytes]:
        frames, at = self._frames, self._at
        if len(frames) == 1:
            return frames * limit
        some = (frames[at:] + frames * (limit // len(frames) + 1))[:limit]
        self._at = (at + limit) % len(frames)
        return some

    def wait(self, now: float) -> float:
        return 0.0

    def end(self) -> bytes | None:
        return None


class Capture:
    """The frames of a capture file, with the times between them.

    ``speed`` is how many times as fast; 0 sends as fast as can be. The file is
    played ``times`` times. Times that go back count as no time at all. Raises
    what opening and reading the file raises, LinkError when it has no frame.
    """

    def __init__(self, name: str, speed: float = 1.0, times: int = 1) -> None:
        self._name = name
        self._speed = speed
        self._left = times - 1
        self._records: deque[Record] = deque()
        self._reader: PcapReader | None = PcapReader(name)
        self._begin: float | None = None
        self._offset = 0.0
        self._before: int | None = None
        self.dropped = 0
        """Frames of the file that were cut off, or too short for Ethernet."""

        self._fill()
        if not self._records:
            cause = "there is no whole Ethernet frame in it"
            raise LinkError(f"pcap:{name}", cause, "take another file")

    def _fill(self) -> None:
        """Read on when nothing is left of what was read; from the start at the end."""
        while not self._records and self._reader is not None:
            try:
                self._records += self._reader.recv_records(AHEAD)
            except LinkEndedError:
                self.dropped += self._reader.counters.dropped
                self._reader.close()
                again = self._left > 0 and self._before is not None
                self._left -= 1
                self._reader = PcapReader(self._name) if again else None
                self._before = None
            except BaseException:
                self._reader.close()
                raise

    @property
    def over(self) -> bool:
        return not self._records

    def take(self, limit: int, now: float) -> Sequence[bytes]:
        frames: list[bytes] = []
        if self._begin is None:
            self._begin = now
        while len(frames) < limit and self._records and self._due() <= now:
            record = self._records.popleft()
            self._offset = self._due_offset(record)
            self._before = record.time_ns
            frames.append(record.data)
            if not self._records:
                self._fill()
        return frames

    def _due_offset(self, record: Record) -> float:
        """Seconds from the beginning to a frame's time."""
        if not self._speed or self._before is None:
            return self._offset
        gap = max(0, record.time_ns - self._before) / 1e9
        return self._offset + gap / self._speed

    def _due(self) -> float:
        return (self._begin or 0.0) + self._due_offset(self._records[0])

    def wait(self, now: float) -> float:
        return max(0.0, self._due() - now) if self._records else 0.0

    def end(self) -> bytes | None:
        return None

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
