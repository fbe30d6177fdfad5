"""xenstore, grants and event channels for real: dom0's xenstored, Xen's tables."""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rumphyper.errors import HostError
from rumphyper.xen import (
    EventChannels,
    GrantCopier,
    Grants,
    MappedGrants,
    Permission,
    Xenstore,
    domain_kind,
    xen_version,
)
from rumphyper.xen.errors import XenstoreError, XenstoreGoneError
from rumphyper.xen.nodes import SOCKETS, XENBUS
from rumphyper.xen.operations import Operations
from rumphyper.xen.wire import Kind
from tests.vm.xen_support import run

pytestmark = pytest.mark.vm("xen")
BASE = "/local/domain/0/rumphyper"


@pytest.fixture(params=[XENBUS, SOCKETS[0]], ids=["xenbus", "socket"])
def store(request: pytest.FixtureRequest) -> Iterator[Xenstore]:
    with Xenstore(request.param) as store:
        assert store.name == request.param
        store.remove(BASE)
        yield store
    with Xenstore() as store:
        store.remove(BASE)


def test_this_is_seen_to_be_dom0_on_its_version_of_xen() -> None:
    assert domain_kind() == "dom0"
    versions = Path("/sys/hypervisor/version")
    major, minor = (int((versions / name).read_text()) for name in ("major", "minor"))
    assert xen_version() == (major, minor)


# -- xenstore -------------------------------------------------------------------


def test_keys_are_written_read_listed_and_removed(store: Xenstore) -> None:
    store.write(f"{BASE}/a/b", "text")
    store.write("rumphyper/a/number", 7)  # relative: dom0's own
    store.write(f"{BASE}/a/octets", b"\xff\0x")
    store.mkdir(f"{BASE}/a/empty")
    assert run("xenstore-read", f"{BASE}/a/b") == "text\n"
    assert store.read(f"{BASE}/a/number") == "7"
    assert store.read_octets(f"{BASE}/a/octets") == b"\xff\0x"
    assert sorted(store.list(f"{BASE}/a")) == ["b", "empty", "number", "octets"]
    assert store.list(f"{BASE}/a/empty") == []
    assert store.domain_path(0) == "/local/domain/0"
    store.remove(f"{BASE}/a")
    store.remove(f"{BASE}/a")
    assert store.get(f"{BASE}/a/b") is None
    with pytest.raises(XenstoreError, match=f"{BASE}/a/b: xenstore says No such") as no:
        store.read(f"{BASE}/a/b")
    assert no.value.errno == errno.ENOENT


def test_permissions_are_set_and_told(store: Xenstore) -> None:
    store.write(f"{BASE}/key", "")
    wanted = [Permission(0, "n"), Permission(7, "r")]
    store.set_permissions(f"{BASE}/key", wanted)
    assert store.permissions(f"{BASE}/key") == wanted
    assert "r7" in run("xenstore-ls", "-p", BASE)


def test_a_transaction_is_all_or_nothing_and_tried_again(store: Xenstore) -> None:
    tries: list[str] = []

    def work(inside: Operations) -> str:
        seen = inside.get(f"{BASE}/count") or "0"
        inside.write(f"{BASE}/count", int(seen) + 1)
        if len(tries) < 2:  # somebody interferes
            run("xenstore-write", f"{BASE}/count", str(10 * (len(tries) + 1)))
        tries.append(seen)
        return seen

    assert store.transact(work) == "20"
    assert tries == ["0", "10", "20"]
    assert store.read(f"{BASE}/count") == "21"

    def refused(inside: Operations) -> None:
        inside.write(f"{BASE}/count", "lost")
        raise KeyError

    with pytest.raises(KeyError):
        store.transact(refused)
    assert store.read(f"{BASE}/count") == "21"


def test_watches_tell_of_changes_by_select_and_asyncio(store: Xenstore) -> None:
    with store.watch(f"{BASE}/w") as watch:
        assert watch.wait(5)
        assert watch.changes() == [f"{BASE}/w"]  # as xenstored has it
        assert not watch.wait(0)
        run("xenstore-write", f"{BASE}/w/x", "1", f"{BASE}/other", "1")
        while not watch.queue:
            assert select.select([store], [], [], 10)[0]
            store.pump()
        assert f"{BASE}/w/x" in watch.changes()

        async def change() -> list[str]:
            came = asyncio.Event()

            def pump() -> None:
                store.pump()
                if watch.queue:
                    came.set()

            asyncio.get_running_loop().add_reader(store, pump)
            other = await asyncio.create_subprocess_exec(
                "xenstore-write", f"{BASE}/w/y", "1"
            )
            await asyncio.wait_for(came.wait(), 20)
            await other.wait()
            return watch.changes()

        assert f"{BASE}/w/y" in asyncio.run(change())
    run("xenstore-write", f"{BASE}/w/x", "2")
    assert store.read(f"{BASE}/w/x") == "2"
    assert not watch.queue


def test_many_requests_are_in_flight_at_once(store: Xenstore) -> None:
    for number in range(40):
        store.write(f"{BASE}/{number}", f"value {number}")
    asked = [
        store.submit(Kind.READ, f"{BASE}/{number}\0".encode(), str(number))
        for number in range(40)
    ]
    for number in reversed(range(40)):
        assert asked[number].result(10) == f"value {number}".encode()
    wrong: list[str] = []

    def read(number: int) -> None:
        for _ in range(20):
            if store.read(f"{BASE}/{number}") != f"value {number}":
                wrong.append(str(number))

    threads = [threading.Thread(target=read, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


def test_closing_ends_a_wait(store: Xenstore) -> None:
    watch = store.watch(BASE)
    watch.wait(5)
    watch.changes()
    threading.Timer(0.3, store.close).start()
    with pytest.raises(XenstoreGoneError, match="was closed"):
        watch.wait(30)
    with pytest.raises(XenstoreGoneError):
        store.read("domid")


# -- grants ---------------------------------------------------------------------


def test_granted_pages_are_mapped_and_shared() -> None:
    with Grants(0, 3, writable=True) as ours:
        assert len(set(ours.refs)) == 3
        ours.memory[4096:4101] = b"hello"
        with MappedGrants(0, ours.refs[1:]) as theirs:
            assert theirs.memory[:5] == b"hello"
            theirs.memory[4096:4099] = b"yes"
            assert ours.memory[8192:8195] == b"yes"


def test_what_is_not_granted_is_refused() -> None:
    with Grants(7, 1, writable=True) as ours:  # to another domain
        with pytest.raises(HostError, match=rf"grants {ours.refs[0]} of domain 0"):
            MappedGrants(0, ours.refs)
        copier = GrantCopier(0, mmap.mmap(-1, 4096))
        assert copier.read([(0, ours.refs[0], 0, 10)])[0] < 0
        copier.close()
    with pytest.raises(HostError, match="5000 pages for domain 0: No space"):
        Grants(0, 5000, writable=True)


def test_pieces_are_copied_between_domains_many_at_once() -> None:
    buffer = mmap.mmap(-1, 8192)
    with Grants(0, 2, writable=True) as ours, Grants(0, 1, writable=False) as fixed:
        ours.memory[:4] = b"abcd"
        ours.memory[4096 + 100 : 4096 + 104] = b"wxyz"
        copier = GrantCopier(0, buffer)
        pieces = [(0, ours.refs[0], 1, 3), (4094, ours.refs[1], 100, 4)]
        assert copier.read(pieces) == [0, 0]
        assert (buffer[:3], buffer[4094:4098]) == (b"bcd", b"wxyz")
        buffer[:2] = b"12"
        done = copier.write([(0, ours.refs[1], 4094, 2), (0, fixed.refs[0], 0, 2)])
        assert done[0] == 0
        assert done[1] < 0  # granted to be read only
        assert ours.memory[8190:] == b"12"
        assert copier.read([]) == []
        copier.close()


def test_the_kernel_tells_when_somebody_unmaps_or_dies() -> None:
    with Grants(0, 1, writable=True) as ours, EventChannels() as events:
        ours.memory[9] = 1
        port = events.bind_unbound(0)
        with EventChannels() as others:
            theirs = others.bind_interdomain(0, port)
            mapped = MappedGrants(0, ours.refs)
            mapped.notify_unmap(9, theirs)
            mapped.close()
            assert events.wait(10) == [port]
        assert ours.memory[9] == 0


# -- event channels ---------------------------------------------------------------


def test_events_arrive_are_masked_and_unmasked() -> None:
    with EventChannels() as ours, EventChannels() as theirs:
        first, second = ours.bind_unbound(0), ours.bind_unbound(0)
        others = [theirs.bind_interdomain(0, port) for port in (first, second)]
        assert ours.drain() or True  # binding may fire
        assert ours.pending() == []
        theirs.notify(others[0])
        assert select.select([ours], [], [], 10)[0]
        assert ours.wait(10) == [first]
        theirs.notify(others[0])
        theirs.notify(others[1])
        assert ours.wait(10) == [second]  # the first is masked
        ours.unmask([first, second])
        assert ours.wait(10) == [first]
        ours.notify(second)
        assert others[1] in theirs.wait(10)
        ours.unbind(second)
        with pytest.raises(HostError, match=f"port {second}"):
            ours.notify(second)


def test_nothing_is_left_of_pages_and_ports_that_were_freed() -> None:
    """Xen and Linux hand out the lowest or the last freed: the same ones again."""
    seen = set()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):  # 2,000 pages; the module's limit is 1,024
        with Grants(0, 40, writable=True) as ours, EventChannels() as events:
            mapped = MappedGrants(0, ours.refs[:2])
            seen.add((events.bind_unbound(0), len(ours.refs)))
            mapped.close()
    assert len(seen) == 1
    assert len(os.listdir("/proc/self/fd")) == before
