"""Hosts on one bridge of several kinds of link: they ping and move TCP.

The bridge is the command in a process of its own; each host is a network
namespace with an interface that Linux drives. One end after the other is
killed and started again.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
from pathlib import Path

from rumphyper.link import SCHEMES
from tests.bridge.hosts import Host, hosts, move_tcp
from tests.cli.command import finish, line, started
from tests.link.tap_support import interfaces, ip, until
from tests.namespace import isolated


def behind(
    host: Host, tap: str, bus: str
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """A host on a bus: a bridge of its own joins it to its TAP."""
    return started("bridge", f"tap:{tap}", bus, "--patch", "--loop-check", "0")


def all_talk(some: list[Host]) -> None:
    for one, other in itertools.permutations(some, 2):
        assert one.reaches(other), f"{one.address} does not reach {other.address}"
    for one, other in zip(some, some[1:] + some[:1], strict=True):
        assert one.pings(other, 5)
        move_tcp(one, other)


@isolated
def test_hosts_on_one_bridge(tmp_path: Path) -> None:
    bus = f"shmif:{tmp_path}/bus"
    links = ["tap:t0", bus]
    with contextlib.ExitStack() as stack:
        some = stack.enter_context(hosts(3 if "packet" in SCHEMES else 2))
        if "packet" in SCHEMES:
            ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
            ip("link", "set", "v0", "up")
            some[2].take("v1")
            links.append("packet:v0")
        bridge = stack.enter_context(started("bridge", *links, "--reopen"))
        assert line(bridge.stdout).startswith("bridging")
        some[0].take("t0")
        far = stack.enter_context(behind(some[1], "t1", bus))
        assert line(far.stdout).startswith("bridging")
        some[1].take("t1")
        all_talk(some)

        far.kill()  # the host on the bus is gone, and comes back
        far.wait()
        assert not some[0].pings(some[1], 1)
        again = stack.enter_context(behind(some[1], "t1", bus))
        assert line(again.stdout).startswith("bridging")
        some[1].take("t1")
        all_talk(some)

        subprocess.run(some[0].command("ip", "link", "del", "eth0"), check=True)
        assert until(lambda: "t0" in interfaces())  # --reopen makes it anew
        some[0].take("t0")
        all_talk(some)

        bridge.kill()  # and now the bridge itself
        bridge.wait()
        bridge = stack.enter_context(started("bridge", *links))
        assert line(bridge.stdout).startswith("bridging")
        some[0].take("t0")
        all_talk(some)
        bridge.send_signal(signal.SIGINT)
        status, out, err = finish(bridge)
        assert (status, err) == (0, "")
        assert f"bridge of {len(links)} links" in out
