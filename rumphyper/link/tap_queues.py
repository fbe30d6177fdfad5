"""Several queues of one TAP device as if they were one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from typing_extensions import Buffer

from rumphyper.link.tap_io import TapIo


class QueuesIo(TapIo):
    """Sends by the first queue, receives from all of them.

    One queue out keeps the order of frames; and since the driver sends a
    flow's frames to the queue that the flow last came from (tun.c,
    tun_automq_select_queue), the answers come in order too.
    """

    def __init__(self, ios: Sequence[TapIo]) -> None:
        self._ios = list(ios)
        self._turn = 0
        self.name = self._ios[0].name

    def send(self, frames: Sequence[Buffer], sizes: Sequence[int], alike: int) -> int:
        return self._ios[0].send(frames, sizes, alike)

    def recv(self, limit: int) -> list[bytes]:
        frames: list[bytes] = []
        for io in self._round():
            frames += io.recv(limit - len(frames))
            if len(frames) == limit:
                self.drained = False
                break
        return frames

    def recv_views(self, limit: int) -> Sequence[Buffer]:
        frames: list[Buffer] = []
        for io in self._round():
            frames += io.recv_views(limit - len(frames))
            if len(frames) == limit:
                self.drained = False
                break
        return frames

    def _round(self) -> Iterator[TapIo]:
        """Every queue, from another one on each time: none is left waiting."""
        self._turn = turn = (self._turn + 1) % len(self._ios)
        self.drained = True
        for io in self._ios[turn:] + self._ios[:turn]:
            yield io
            self.drained = self.drained and io.drained

    def close(self) -> None:
        for io in self._ios:
            io.close()
