"""Hosts on one bridge of several kinds of link: they ping and move TCP.

The bridge is the command in a process of its own; each host is a network
namespace with an interface that Linux drives. One end after the other is
killed and started again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

from rumphyper.dpdk.library import dpdk
from rumphyper.errors import LibraryError, UnsupportedError
from tests.bridge.hosts import Host, hosts, move_tcp
from tests.cli.command import finish, line, started
from tests.link.tap_support import interfaces, ip, until
from tests.namespace import isolated

Bridged = subprocess.Popen[str]


def all_talk(some: list[Host]) -> None:
    for one, other in itertools.permutations(some, 2):
        assert one.answers(other, 1), f"{one.address} does not reach {other.address}"
    for one, other in zip(some, some[1:] + some[:1], strict=True):
        assert one.answers(other, 5) >= 5
        move_tcp(one, other)


def opened_again(bridge: Bridged, link: str) -> list[str]:
    """What the bridge says until it has a link again, whose interface may go then."""
    told = [line(bridge.stderr)]
    while f"{link}: open again" not in told[-1]:
        told.append(line(bridge.stderr))
    return told


@contextlib.contextmanager
def joined(folder: Path) -> Iterator[tuple[Bridged, list[Host], list[str]]]:
    """A bridge, hosts for its links, and what links those are.

    Each has a host but the bus: `behind` puts the second one there.
    """
    links = ["tap:t0", f"shmif:{folder}/bus", "packet:v0", "dpdk:net_tap0,iface=d0"]
    try:
        dpdk()
    except (LibraryError, UnsupportedError) as error:
        if os.environ.get("CI") == "true":
            raise  # it installs DPDK
        warnings.warn(f"the test does without DPDK: {error}", stacklevel=2)
        del links[3]
    with contextlib.ExitStack() as stack:
        some = stack.enter_context(hosts(len(links)))
        ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
        ip("link", "set", "v0", "up")
        some[2].take("v1")
        bridge = stack.enter_context(started("bridge", *links, "--reopen"))
        assert line(bridge.stdout).startswith("bridging")
        some[0].take("t0")
        if len(links) > 3:
            some[3].take("d0")
        yield bridge, some, links


@contextlib.contextmanager
def behind(host: Host, bus: str) -> Iterator[Bridged]:
    """Put a host on a bus: a bridge of its own joins it to its TAP."""
    words = ("bridge", "tap:t1", bus, "--patch", "--loop-check", "0")
    with started(*words) as bridge:
        assert line(bridge.stdout).startswith("bridging")
        host.take("t1")
        yield bridge


@isolated
def test_hosts_on_one_bridge_and_one_that_comes_back(tmp_path: Path) -> None:
    with joined(tmp_path) as (bridge, some, links):
        with behind(some[1], links[1]) as far:
            all_talk(some)
            far.kill()  # with whatever lock it holds
            far.wait()
            assert some[0].answers(some[1], 1, 1) == 0
        with behind(some[1], links[1]):
            all_talk(some)
        bridge.send_signal(signal.SIGINT)
        status, out, err = finish(bridge)
    assert status == 0
    # Moving an interface to a host takes it down for a moment.
    assert all("is down" in said or "go again" in said for said in err.splitlines())
    assert f"bridge of {len(links)} links" in out


@isolated
def test_an_interface_and_the_bridge_itself_come_back(tmp_path: Path) -> None:
    with joined(tmp_path) as (bridge, some, links), behind(some[1], links[1]):
        assert some[0].answers(some[1], 1)
        subprocess.run(some[0].command("ip", "link", "del", "eth0"), check=True)
        opened_again(bridge, links[0])  # --reopen makes it anew
        some[0].take("t0")
        all_talk(some)
        bridge.kill()
        bridge.wait()
        with started("bridge", *links) as again:
            assert line(again.stdout).startswith("bridging")
            some[0].take("t0")
            if len(links) > 3:
                some[3].take("d0")
            all_talk(some)


@isolated
def test_each_end_dies_in_turn_and_comes_back(tmp_path: Path) -> None:
    """A host is killed, and with it what it had of the wire; another takes its place.

    The kernel deletes the interfaces of a host that is gone: the bridge's own TAP and
    net_tap's, and the near end of the veth with the far one.
    """
    with joined(tmp_path) as (bridge, some, links), behind(some[1], links[1]):
        all_talk(some)
        told: list[str] = []
        for number, name in ((0, "t0"), (2, "v1"), (3, "d0"))[: len(links) - 1]:
            some[number].die()
            one, other = [host for host in some if host is not some[number]][:2]
            assert one.answers(other, 1)
            some[number] = Host.born(some[number].address)
            if name == "v1":
                assert until(lambda: "v0" not in interfaces(), 20)
                ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
                ip("link", "set", "v0", "up")
            told += opened_again(bridge, links[number])
            some[number].take(name)
            all_talk(some)
        bridge.send_signal(signal.SIGINT)
        status, _, err = finish(bridge)
    assert status == 0
    told += err.splitlines()
    for link in (links[0], *links[2:]):
        assert any(f"{link}: " in said and "dead: " in said for said in told), told
