"""A bridge of netmap ports: by swapped buffers where they are of one region."""

from __future__ import annotations

import pytest

from rumphyper.link.netmap_forward import Forwarder
from tests.bridge.kit import bridged
from tests.vm.netmap_support import mark_for_guest, mixed, opened

pytestmark = mark_for_guest()

COUNT = 5000


@pytest.mark.parametrize("mode", ["patch", "learn"])
@pytest.mark.parametrize("loop_check", [0.0, 0.2])
def test_frames_cross_in_order(
    mode: str, loop_check: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped: list[int] = []
    move = Forwarder.move

    def counted(self: Forwarder, limit: int = 1024) -> int:
        swapped.append(move(self, limit))
        return swapped[-1]

    monkeypatch.setattr(Forwarder, "move", counted)
    frames = mixed(COUNT)
    with opened("netmap:p{1") as near, opened("netmap:p}2") as far:
        with bridged(
            "netmap:p}1", "netmap:p{2", mode=mode, full="wait", loop_check=loop_check
        ) as (bridge, said):
            for one, other in ((near, far), (far, near)):
                got: list[bytes] = []
                sent = 0
                while len(got) < COUNT:
                    sent += one.send(frames[sent : sent + 300])
                    some = other.recv(1024, timeout=5)
                    assert some
                    got += [f for f in some if f[12:14] == b"\x88\xb5"]
                assert got == frames
            assert bridge.ports[0].losses.full == bridge.ports[1].losses.full == 0
        assert said == []
    if mode == "learn":
        assert swapped == []
    elif not loop_check:
        assert sum(swapped) == 2 * COUNT
