"""Ranges of addresses and ports."""

from __future__ import annotations

import pytest

from rumphyper.errors import LinkstrError
from rumphyper.gen.flows import MOST_FLOWS, Range, flows, parse_range


def test_what_pkt_gen_takes() -> None:
    one = parse_range("10.0.0.1")
    assert (len(one), one.first_port, one.last_port) == (1, 1234, 1234)
    many = parse_range("10.0.0.255-10.0.1.1:2000-2001")
    assert len(many) == 6
    assert [f"{address}:{port}" for address, port in many.ends()] == [
        "10.0.0.255:2000", "10.0.0.255:2001", "10.0.1.0:2000", "10.0.1.0:2001",
        "10.0.1.1:2000", "10.0.1.1:2001",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0", "10.0.0.2-10.0.0.1", "10.0.0.1:", "10.0.0.1:5-4", "10.0.0.1:65536",
     "10.0.0.1:-1", "10.0.0.1-", "fe80::1", "10.0.0.1:a"],
)  # fmt: skip
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_range(text)


def test_every_source_goes_to_every_target() -> None:
    made = flows(parse_range("10.0.0.1:5-6"), parse_range("10.1.0.1-10.1.0.2:7"))
    assert [(flow.source_port, str(flow.target)) for flow in made] == [
        (5, "10.1.0.1"), (6, "10.1.0.1"), (5, "10.1.0.2"), (6, "10.1.0.2"),
    ]  # fmt: skip


def test_too_many() -> None:
    with pytest.raises(LinkstrError, match=f"at most {MOST_FLOWS}"):
        flows(Range(0, 1 << 31), parse_range("10.0.0.1"))
