"""Much traffic: between two processes, a million frames, stops in the middle of it."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from rumphyper.dpdk.bpf import Program
from rumphyper.dpdk.eal import running
from rumphyper.dpdk.forward import Forwarder
from rumphyper.link.dpdk_link import DpdkLink
from tests.dpdk.support import alone, check_pools, frame, gather, open_dpdk
from tests.link.tap_support import until

MILLION = 1_000_000


def wait_for_peer(link: DpdkLink) -> None:
    assert until(lambda: link.port.link().up, timeout=10)


def send_all(link: DpdkLink, frames: list[bytes]) -> None:
    """Offer again what was not taken, at most for ten seconds."""
    end = time.monotonic() + 10
    while frames:
        frames = frames[link.send(frames) :]
        assert time.monotonic() < end


def other_end(rest: str, told: int, tell: int) -> None:
    """A process that sends everything back, addresses swapped, until told to stop.

    It opens its end when it is told, and tells when it has done so.
    """
    os.read(told, 1)
    with open_dpdk(rest) as link:
        os.write(tell, b"x")
        wait_for_peer(link)
        link.rewrite(Program().swap_macs())
        forwarder = Forwarder(link.port, link.port, size=32)
        os.set_blocking(told, False)
        while True:
            if not forwarder.move():
                try:
                    os.read(told, 1)
                    break
                except BlockingIOError:
                    time.sleep(0.0005)
    end = running()
    assert end is not None
    end.close()


@pytest.mark.parametrize("role", ["server", "client"])
@alone
def test_memif_between_two_processes(role: str, tmp_path: Path) -> None:
    """A client connects when its port starts: the server has to be there."""
    rests = {
        side: f"net_memif0,role={side},socket={tmp_path}/sock,socket-abstract=no"
        for side in ("server", "client")
    }
    told, tell = os.pipe()
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(tell)
            other_end(rests["client" if role == "server" else "server"], told, say)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(told)
    if role == "client":
        os.write(tell, b"x")
        os.read(hear, 1)
    chance = random.Random(9)
    with open_dpdk(rests[role]) as link:
        if role == "server":
            os.write(tell, b"x")
        wait_for_peer(link)
        # What is sent while the other end sets its rings up is lost.
        probe = [frame(b"probe")]

        def answered() -> bool:
            return bool(link.send(probe) and link.recv(timeout=0.2))

        assert until(answered, timeout=10)
        while link.recv(timeout=0.2):
            pass
        for _ in range(100):
            frames = [frame(chance.randbytes(chance.randint(0, 1500)))] * 3
            frames += [frame(chance.randbytes(1500)) for _ in range(61)]
            send_all(link, frames)
            swapped = [one[6:12] + one[:6] + one[12:] for one in frames]
            assert gather(link, 64) == swapped
        os.close(tell)
        assert os.waitpid(child, 0)[1] == 0
        assert until(lambda: not link.port.link().up)
        assert link.send([bytes(60)]) == 0
        assert link.recv(timeout=0.05) == []
        assert link.tx_pool.available == link.tx_pool.count


@alone
def test_a_million_frames_leave_every_mbuf_in_its_pool() -> None:
    """By copies, by views, by forwarding; some frames are of several mbufs."""
    chance = random.Random(10)
    batches = [
        [frame(chance.randbytes(chance.randint(0, most))) for _ in range(250)]
        for most in (200, 240, 240, 240, 400)
    ]
    with (
        open_dpdk("net_ring0", buffer=256) as source,
        open_dpdk("net_ring1") as target,
    ):
        before = [
            pool.available
            for link in (source, target)
            for pool in (link.rx_pool, link.tx_pool)
        ]
        forwarder = Forwarder(source.port, target.port, size=64)
        for turn in range(MILLION // 250):
            batch = batches[4 if turn % 50 == 0 else turn % 4]
            assert source.send(batch) == 250
            if turn % 4 == 3:
                moved = 0
                while moved < 250:
                    moved += forwarder.move()
                assert gather(target, 250) == batch
            elif turn % 4:
                got = 0
                while got < 250:
                    got += len(source.recv_views(250, timeout=1))
            else:
                assert gather(source, 250) == batch
        source.recv(timeout=0)  # gives back what the last views lent
        assert source.counters.sent == MILLION
        assert source.counters.received + forwarder.received == MILLION
        after = [
            pool.available
            for link in (source, target)
            for pool in (link.rx_pool, link.tx_pool)
        ]
        assert after == before


@alone
def test_stops_and_starts_under_traffic() -> None:
    """One thread sends, one receives, one stops and starts the port."""
    one = frame(bytes(100))
    with open_dpdk("net_ring0") as link:
        over = threading.Event()
        strange: list[bytes] = []
        failures: list[BaseException] = []

        def guarded(body: object) -> threading.Thread:
            def run() -> None:
                try:
                    while not over.is_set():
                        body()  # type: ignore[operator]
                except BaseException as error:
                    failures.append(error)

            thread = threading.Thread(target=run)
            thread.start()
            return thread

        def receive() -> None:
            strange.extend(got for got in link.recv(timeout=0.005) if got != one)

        threads = [guarded(lambda: link.send([one] * 64)), guarded(receive)]
        for _ in range(50):
            link.stop()
            time.sleep(0.001)
            link.start()
            time.sleep(0.002)
        over.set()
        for thread in threads:
            thread.join(10)
        assert failures == []
        assert strange == []
        assert link.counters.received > 0
        while link.recv(timeout=0.01):
            pass
        assert link.counters.received == link.counters.sent
        check_pools(link)
