"""pci/address: what is written and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.pci import Address
from rumphyper.pci.errors import PciAddressError


@given(
    st.builds(
        Address,
        st.integers(0, 0xFFFFFFFF),
        st.integers(0, 255),
        st.integers(0, 31),
        st.integers(0, 7),
    )
)
def test_what_is_written_reads_back(address: Address) -> None:
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("00:1f.7", "0000:00:1f.7"),
        ("0000:3a:00.0", "0000:3a:00.0"),
        ("10000:E1:00.1", "10000:e1:00.1"),
        (" 1:2:3.4\n", "0001:02:03.4"),
    ],
)
def test_ways_of_writing(text: str, written: str) -> None:
    assert str(Address.parse(text)) == written


def test_the_order_is_the_buss() -> None:
    texts = ["0001:00:00.0", "00:02.0", "00:01.1", "0a:00.0", "00:01.0"]
    assert [str(each) for each in sorted(map(Address.parse, texts))] == [
        "0000:00:01.0",
        "0000:00:01.1",
        "0000:00:02.0",
        "0000:0a:00.0",
        "0001:00:00.0",
    ]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "not domain:bus:device.function"),
        ("eth0", "not domain:bus:device.function"),
        ("00:03", "not domain:bus:device.function"),
        ("0000:00:03.0.1", "not domain:bus:device.function"),
        ("00:20.0", "device 0x20 is not in 0 to 0x1f"),
        ("00:00.8", "function 0x8 is not in 0 to 0x7"),
        ("0x0:0:0.0", "not domain:bus:device.function"),
    ],
)
def test_what_cannot_be(text: str, cause: str) -> None:
    with pytest.raises(PciAddressError) as caught:
        Address.parse(text)
    assert repr(text) in str(caught.value)
    assert cause in str(caught.value)
    assert caught.value.remedy


@given(st.text(max_size=20))
def test_no_text_does_more_than_refuse(text: str) -> None:
    try:
        address = Address.parse(text)
    except PciAddressError:
        return
    assert Address.parse(str(address)) == address
