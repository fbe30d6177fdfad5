"""netmap links with NetBSD, and with netmap's own programs on the other side.

RUMPHYPER_NETMAP_APPS names a folder with pkt-gen and bridge.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import time
from collections.abc import Iterator

import pytest

import rumphyper
from rumphyper.link.present import present
from tests.real.rump import require_rump
from tests.vm.netmap_support import (
    broadcast,
    exchange,
    mark_for_guest,
    mixed,
    opened,
    patient,
    run,
)

pytestmark = mark_for_guest()

COUNT = 20_000


# -- NetBSD  --------------------------------------------------------------------


@patient(120)
def test_netbsd_answers_pings_through_a_vale_switch() -> None:
    require_rump()
    kernel = rumphyper.boot()
    virt0 = kernel.create_interface("virt0", "vale0:netbsd")
    virt0.add_address("10.0.0.2/24")
    virt0.up()
    with opened("vale0:other"):  # a third port, so that the switch has to choose
        pinged = run(
            "ping", "vale0:host", "10.0.0.2", "-I", "10.0.0.1/24", "-c", "20",
            "-i", "0", "-W", "10", "-s", "1400", "--json",
        )  # fmt: skip
    answer = json.loads(pinged.stdout)
    assert (answer["received"], answer["damaged"]) == (20, 0)


# -- links to be watched  -------------------------------------------------------


def test_ports_of_switches_are_listed_to_be_watched() -> None:
    frames = mixed(100)
    with opened("vale7:a") as a, opened("vale7:b") as b:
        links, errors = present()
        assert errors == []
        listed = [link.linkstr for link in links if link.linkstr.startswith("vale7:")]
        assert listed == ["vale7:a/rt", "vale7:b/rt"]
        for linkstr in listed:
            with opened(linkstr) as monitor:
                assert exchange(a, b, frames) == frames
                seen: list[bytes] = []
                while len(seen) < len(frames):
                    some = monitor.recv(timeout=5)
                    assert some
                    seen += some
                assert seen == frames


# -- netmap's own programs  -----------------------------------------------------

APPS = os.environ.get("RUMPHYPER_NETMAP_APPS", "")
with_apps = pytest.mark.skipif(
    not APPS, reason="RUMPHYPER_NETMAP_APPS names no folder with pkt-gen and bridge"
)


@contextlib.contextmanager
def app(*words: str) -> Iterator[subprocess.Popen[str]]:
    """One of netmap's programs, ended afterwards."""
    command = [os.path.join(APPS, words[0]), *words[1:]]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@with_apps
@patient(120)
def test_netmaps_bridge_carries_our_frames_byte_by_byte() -> None:
    frames = mixed(COUNT)
    with (
        opened("netmap:p{1") as a,
        opened("netmap:p{2") as b,
        app("bridge", "-i", "netmap:p}1", "-i", "netmap:p}2") as _,
    ):
        time.sleep(2)
        assert exchange(a, b, frames, pace=256) == frames
        assert exchange(b, a, frames[:500]) == frames[:500]


@with_apps
@patient(180)
@pytest.mark.parametrize(
    ("ours", "theirs"), [("vale0:a", "vale0:b"), ("netmap:p{1", "netmap:p}1")]
)
def test_netmaps_pkt_gen_sends_to_us_and_receives_from_us(
    ours: str, theirs: str
) -> None:
    # A switch drops what has no room: the ring has some for seconds of a busy host.
    with opened(ours, slots=8192 if ours.startswith("vale") else 0) as link:
        with app("pkt-gen", "-i", theirs, "-f", "tx", "-n", str(COUNT), "-l", "200",
                 "-w", "1", "-R", "5000"):  # fmt: skip
            got: list[bytes] = []
            while len(got) < COUNT:
                some = link.recv(1024, timeout=20)
                assert some
                got += some
        assert {len(frame) for frame in got} == {200}
        assert len({frame[42:] for frame in got}) == 1
        with app(
            "pkt-gen", "-i", theirs, "-f", "rx", "-n", str(COUNT), "-w", "1"
        ) as gen:
            time.sleep(3)
            frame = broadcast(random.Random(1).randbytes(100))
            sent = 0
            while sent < COUNT:
                sent += link.generate(frame, min(64, COUNT - sent))
                time.sleep(0.005)
            assert gen.stdout is not None
            output = gen.communicate(timeout=30)[0]
        assert f"Received {COUNT} packets" in output
