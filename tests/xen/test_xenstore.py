"""xenstore's client where xenstored fails it; the real one is in tests/vm."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from rumphyper.errors import HostError
from rumphyper.xen import Xenstore, domain_kind
from rumphyper.xen.errors import (
    XenstoreError,
    XenstoreGoneError,
    XenstoreProtocolError,
    XenstoreTimeoutError,
)
from rumphyper.xen.wire import HEADER, MOST, Kind, Message
from tests.xen.xenstored import Xenstored, reply


def test_an_error_is_told_with_key_cause_and_remedy(
    daemon: Xenstored, store: Xenstore
) -> None:
    daemon.answer = lambda asked: reply(asked, b"EACCES\0", Kind.ERROR)
    with pytest.raises(XenstoreError, match="a/b: xenstore says Permission") as error:
        store.read("a/b")
    assert error.value.errno == errno.EACCES
    assert error.value.remedy
    daemon.answer = lambda asked: reply(asked, b"EWEIRD\0", Kind.ERROR)
    with pytest.raises(XenstoreError, match="says EWEIRD"):
        store.get("a/b")


def test_an_answer_that_does_not_come_is_waited_for_in_vain(
    daemon: Xenstored, store: Xenstore
) -> None:
    late: list[bytes] = []

    def slow(asked: Message) -> bytes:
        late.append(reply(asked, b"late"))
        return b""

    daemon.answer = slow
    store.timeout = 0.2
    with pytest.raises(XenstoreTimeoutError, match=r"a: xenstored did not answer"):
        store.read("a")
    # When it comes after all it is nobody's, and harms nothing.
    daemon.answer = lambda asked: late[0] + reply(asked, b"in time")
    store.timeout = 10
    assert store.read("b") == "in time"


def test_a_xenstored_that_dies_fails_who_waits_and_who_comes(
    daemon: Xenstored, store: Xenstore
) -> None:
    daemon.answer = lambda asked: b""
    asked = [store.submit(Kind.READ, b"a\0", "a") for _ in range(3)]
    threading.Timer(0.2, daemon.die).start()
    for pending in asked:
        with pytest.raises(XenstoreGoneError, match="xenstored is gone"):
            pending.result(10)
    with pytest.raises(XenstoreGoneError):
        store.read("a")
    with pytest.raises(XenstoreGoneError):
        store.pump()


@pytest.mark.parametrize(
    ("octets", "named"),
    [
        (HEADER.pack(Kind.READ, 99, 0, 0), "request 99, which is not in flight"),
        (HEADER.pack(Kind.READ, 2, 0, 5000), "5000 octets, more than 4096"),
        (HEADER.pack(Kind.WRITE, 2, 0, 0), "type 2 was answered by type 11"),
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(
    daemon: Xenstored, store: Xenstore, octets: bytes, named: str
) -> None:
    daemon.answer = lambda asked: octets
    with pytest.raises(XenstoreProtocolError, match=named):
        store.read("a")


def test_answers_in_another_order_find_their_requests(
    daemon: Xenstored, store: Xenstore
) -> None:
    kept: list[bytes] = []

    def gather(asked: Message) -> bytes:
        kept.insert(0, reply(asked, asked.payload))
        return b"".join(kept) if len(kept) == 5 else b""

    daemon.answer = gather
    asked = [store.submit(Kind.READ, b"%d" % n, "x") for n in range(5)]
    assert [pending.result(10) for pending in asked] == [b"%d" % n for n in range(5)]


def test_a_watch_gets_its_events_and_no_others(
    daemon: Xenstored, store: Xenstore
) -> None:
    watch = store.watch("a")

    def event(token: bytes) -> bytes:
        return Message(Kind.WATCH_EVENT, 0, 0, b"a/b\0" + token + b"\0").encode()

    daemon.answer = lambda asked: (
        event(b"nobody's")
        + event(watch.token.encode())
        + Message(Kind.WATCH_EVENT, 0, 0, b"").encode()
        + reply(asked, b"")
    )
    store.read("x")
    assert watch.wait(0)
    assert watch.changes() == ["a/b"]
    daemon.answer = lambda asked: reply(asked, b"OK\0")
    watch.close()
    watch.close()


def test_a_transaction_that_never_succeeds_is_given_up(
    daemon: Xenstored, store: Xenstore
) -> None:
    tried: list[int] = []

    def answer(asked: Message) -> bytes:
        if asked.kind == Kind.TRANSACTION_END:
            return reply(asked, b"EAGAIN\0", Kind.ERROR)
        return reply(asked, b"7\0")

    daemon.answer = answer
    with pytest.raises(XenstoreError, match="Resource temporarily") as error:
        store.transact(lambda inside: tried.append(1))
    assert error.value.errno == errno.EAGAIN
    assert len(tried) == 100
    daemon.answer = lambda asked: reply(asked, b"none\0")
    with pytest.raises(XenstoreProtocolError, match="'none' is not a number"):
        store.transact(lambda inside: None)


def test_what_cannot_be_sent_is_refused_before(store: Xenstore) -> None:
    for path in ("", "a\0b", "x" * 4000):
        with pytest.raises(XenstoreError, match="are no path"):
            store.read(path)
    with pytest.raises(XenstoreError, match=f"xenstore takes {MOST}"):
        store.write("a", "x" * MOST)
    store.write("a", "x")  # it still works


def test_closing_wakes_who_waits_and_is_idempotent(
    daemon: Xenstored, store: Xenstore
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    daemon.answer = lambda asked: b""
    threading.Timer(0.2, store.close).start()
    began = time.monotonic()
    with pytest.raises(XenstoreGoneError, match="was closed"):
        store.read("a")
    assert time.monotonic() - began < 9
    store.close()
    end = time.monotonic() + 9  # whichever of the two closes it may not be done
    while len(os.listdir("/proc/self/fd")) != before - 3:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_two_threads_close_at_once_is_closed_once(
    daemon: Xenstored, store: Xenstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed twice, a number may be somebody else's by then."""
    closed: list[int] = []
    close = os.close

    def recorded(fd: int) -> None:
        closed.append(fd)
        close(fd)

    monkeypatch.setattr("rumphyper.xen.channel.os.close", recorded)
    daemon.answer = lambda asked: b""
    closers = [threading.Thread(target=store.close) for _ in range(4)]

    def read() -> None:
        with pytest.raises(XenstoreGoneError):
            store.read("a")

    reader = threading.Thread(target=read)
    # The reader holds on to the channel until all of them have come.
    come = threading.Event()
    receive = store.channel._receive

    def late(timeout: float | None) -> list[Message]:
        messages = receive(timeout)
        come.wait(9)
        return messages

    monkeypatch.setattr(store.channel, "_receive", late)
    reader.start()
    for thread in closers:
        thread.start()
    time.sleep(0.2)
    come.set()
    for thread in (reader, *closers):
        thread.join(9)
    monkeypatch.undo()
    assert len(closed) == len(set(closed)) == 3


def test_without_xen_the_error_says_what_to_do(tmp_path: Path) -> None:
    if domain_kind() != "none":
        pytest.skip("this host runs on Xen")
    with pytest.raises(HostError, match=r"does not run on Xen .*boot it as a Xen"):
        Xenstore("/dev/xen/xenbus")
    with pytest.raises(HostError, match=r"/none"):
        Xenstore(str(tmp_path / "none"))


def test_the_kind_of_domain_is_read_from_sysfs(tmp_path: Path) -> None:
    assert domain_kind(str(tmp_path)) == "none"
    (tmp_path / "type").write_text("xen\n")
    (tmp_path / "properties").mkdir()
    for features, kind in (("00000705", "domU"), ("00000f05", "dom0")):
        (tmp_path / "properties" / "features").write_text(f"{features}\n")
        assert domain_kind(str(tmp_path)) == kind
