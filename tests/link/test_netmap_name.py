"""The grammar of netmap's port names, against an oracle that builds them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import LinkstrError
from rumphyper.link.linkstr import split_linkstr
from rumphyper.link.netmap_abi import Mode, RegisterFlag
from rumphyper.link.netmap_name import PortName, parse

LETTERS = "abcXYZ019_"
IDENTIFIER = st.text(LETTERS, min_size=1, max_size=6)
SUFFIXES = st.one_of(
    st.just(("", Mode.ALL_NIC, 0)),
    st.just(("^", Mode.SW, 0)),
    st.just(("*", Mode.NIC_SW, 0)),
    st.integers(0, 4094).map(lambda n: (f"^{n}", Mode.ONE_SW, n)),
    st.integers(0, 4094).map(lambda n: (f"-{n}", Mode.ONE_NIC, n)),
)
BITS = {"x": 0x800, "z": 0x400, "t": 0x100, "r": 0x200, "R": 0x2000, "T": 0x4000}


@given(
    switch=st.none() | st.text(LETTERS, max_size=4),
    port=st.text(LETTERS + ".:", min_size=1, max_size=12),
    pipe=st.just("") | st.tuples(st.sampled_from("{}"), IDENTIFIER).map("".join),
    suffix=SUFFIXES,
    flags=st.text("".join(BITS), max_size=6),
    memory=st.just(0) | st.integers(1, 65535),
)
def test_every_name_of_the_grammar_is_understood(
    switch: str | None,
    port: str,
    pipe: str,
    suffix: tuple[str, Mode, int],
    flags: str,
    memory: int,
) -> None:
    text, mode, ring = suffix
    name = port + pipe if switch is None else f"vale{switch}:{port}{pipe}"
    linkstr = f"netmap:{name}" if switch is None else name
    linkstr += text + (f"/{flags}" if flags else "") + (f"@{memory}" if memory else "")
    bits = 0
    for flag in flags:
        bits |= BITS[flag]
    found = parse(linkstr)
    assert found == PortName(name, mode, ring, RegisterFlag(bits), memory)
    assert found.pipe == bool(pipe)
    assert found.vale == (name.startswith("vale") and ":" in name)
    assert split_linkstr(linkstr)[0].module == "rumphyper.link.netmap"


@given(linkstr=st.text("netmapvl01:{}^*-/@xrztRTq é\0", max_size=24))
def test_what_is_not_of_the_grammar_points_at_a_character(linkstr: str) -> None:
    error: LinkstrError | None = None
    try:
        name = parse(linkstr)
    except LinkstrError as caught:
        error = caught
    if error is not None:
        place = re.search(r"character (\d+) \((.*?)\):", str(error), re.DOTALL)
        assert place
        at = int(place[1]) - 1
        assert 0 <= at <= len(linkstr)
        assert place[2] == (repr(linkstr[at]) if at < len(linkstr) else "the end")
        assert error.remedy
    else:
        assert name.name
        assert name.name in linkstr


@pytest.mark.parametrize(
    ("linkstr", "place", "cause"),
    [
        ("netmap", "7 (the end)", "the ':' is missing"),
        ("netmap:", "8 (the end)", "the port's name is empty"),
        ("netmap:^", "8 ('^')", "the port's name is empty"),
        ("netmap0:x", "1 ('n')", "unknown prefix"),
        ("vale-:x", "5 ('-')", "not in a switch's id"),
        ("vale0:", "7 (the end)", "the port's name is empty"),
        ("netmap:x{", "10 (the end)", "the pipe's id is empty"),
        ("netmap:x{a{b", "11 ('{')", "not in a pipe's id"),
        ("netmap:eth0-", "13 (the end)", "the ring's number is missing"),
        ("netmap:eth0-x", "13 ('x')", "the ring's number is missing"),
        ("netmap:eth0-4095", "13 ('4')", "the ring's number is out of range"),
        ("netmap:eth0^1x", "14 ('x')", "it does not belong there"),
        ("netmap:eth0*/", "14 (the end)", "no flag behind the '/'"),
        ("netmap:eth0/xq", "14 ('q')", "it does not belong there"),
        ("netmap:eth0@", "13 (the end)", "the memory region's id is missing"),
        ("netmap:eth0@0", "13 ('0')", "the memory region's id is out of range"),
        ("netmap:eth0@65536", "13 ('6')", "the memory region's id is out of range"),
        ("netmap:eth0@1/x", "14 ('/')", "it does not belong there"),
        ("netmap:" + "x" * 64, "8 ('x')", "more than 63 octets"),
        ("netmap:eth 0", "8 ('e')", "has blanks"),
    ],
)
def test_the_place_and_the_cause(linkstr: str, place: str, cause: str) -> None:
    with pytest.raises(LinkstrError) as caught:
        parse(linkstr)
    assert f"character {place}" in str(caught.value)
    assert cause in str(caught.value)
