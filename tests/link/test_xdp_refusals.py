"""XDP links that cannot be had: the error names the cause and the remedy."""

from __future__ import annotations

import errno
import os

import pytest

from rumphyper.errors import (
    HostError,
    LinkstrError,
    RumphyperError,
    UnsupportedError,
)
from rumphyper.host.syscalls import number as syscall_number
from rumphyper.link import open_link, xdp_abi
from rumphyper.link.xdp import XdpLink
from tests.link.tap_support import (
    arrivals,
    frame,
    ip,
    open_fds,
    packet_socket,
)
from tests.link.veth_support import veth
from tests.link.xdp_support import open_near, program
from tests.namespace import in_namespace, isolated
from tests.seccomp import refuse

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may load an XDP program"
)


@isolated
def test_what_cannot_be_opened_says_why() -> None:
    veth()
    ip("link", "add", "low", "type", "bridge")
    before = open_fds()
    cases: list[tuple[str, dict[str, object], type[RumphyperError], str]] = [
        ("nosuch", {}, HostError, "no such interface .*ip link"),
        ("low", {}, HostError, "is down .*ip link set low up.*up=True"),
        ("a b", {}, LinkstrError, "white space"),
        ("near", {"queue": 7}, HostError, "queue 7 of xdp:near: there is no such"),
        ("near", {"queues": 2}, HostError, "queue 1 of xdp:near: there is no such"),
        ("near", {"queues": 0}, LinkstrError, "queues=0"),
        ("near", {"entries": 100}, LinkstrError, "power of two"),
        ("near", {"mode": "warp"}, LinkstrError, "auto, native or generic"),
        ("near", {"zero_copy": True}, UnsupportedError, "no zero copy .*leave"),
        ("near", {"colour": 1}, LinkstrError, "docs/xdp.md"),
    ]
    for name, options, kind, text in cases:
        with pytest.raises(kind, match=text):
            open_link(f"xdp:{name}", **options)
    ip("link", "set", "low", "up")
    with pytest.raises(UnsupportedError, match="attaches no native XDP"):
        open_link("xdp:low", mode="native")
    with open_link("xdp:low") as link:
        assert isinstance(link, XdpLink)
        assert link.mode == "generic"
    assert program("near") == program("low") == 0
    with open_near(zero_copy=False) as link:
        assert not link.zero_copy
        with pytest.raises(HostError, match="another AF_XDP socket has it"):
            open_near()
        assert link.send([frame(b"still there")]) == 1
    assert open_fds() == before


def test_without_the_right_to_load_a_program_it_sends_only() -> None:
    """As in a user namespace, whose root may do all else."""

    def body() -> None:
        veth()
        before = open_fds()
        with pytest.raises(HostError, match=r"CAP_BPF.*run as root"):
            open_near()
        assert open_fds() == before
        with open_near(receive=False) as link, packet_socket("far") as there:
            assert link.mode == ""
            assert link.send([frame(b"x")] * 40) == 40
            assert arrivals(there, 40) == [frame(b"x")] * 40

    in_namespace(body, user=True)


@isolated
def test_without_any_right_it_names_the_capability() -> None:
    veth()
    os.setuid(65534)
    with pytest.raises(HostError, match="CAP_NET_RAW"):
        open_near()


@isolated
def test_a_kernel_without_bpf() -> None:
    veth()
    refuse(syscall_number("bpf"), errno.ENOSYS)
    with pytest.raises(UnsupportedError, match=r"no bpf\(2\).*CONFIG_BPF_SYSCALL"):
        open_near()


def test_a_kernel_without_af_xdp(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family of sockets that no kernel has, as AF_XDP is to some."""
    monkeypatch.setattr(xdp_abi, "AF_XDP", 255)

    @isolated
    def body() -> None:
        veth()
        before = open_fds()
        with pytest.raises(UnsupportedError, match=r"CONFIG_XDP_SOCKETS, or packet:"):
            open_near()
        assert open_fds() == before

    body()
