"""What xenstore's messages and keys look like, and what they must not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import CorruptError
from rumphyper.xen import Xenstore
from rumphyper.xen.bus import State, number, state
from rumphyper.xen.errors import XenstoreProtocolError
from rumphyper.xen.wire import MOST, Decoder, Kind, Message
from tests.xen.xenstored import Xenstored, reply


@given(octets=st.binary(max_size=200), cut=st.integers(1, 30))
def test_noise_is_decoded_or_refused(octets: bytes, cut: int) -> None:
    decoder = Decoder()
    try:
        for at in range(0, len(octets), cut):
            for message in decoder.feed(octets[at : at + cut]):
                assert len(message.payload) <= MOST
    except XenstoreProtocolError:
        pass


@given(
    messages=st.lists(
        st.builds(
            Message,
            st.integers(0, 20),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1),
            st.binary(max_size=50),
        ),
        max_size=8,
    ),
    cut=st.integers(1, 40),
)
def test_messages_come_out_as_they_went_in(messages: list[Message], cut: int) -> None:
    octets = b"".join(message.encode() for message in messages)
    decoder = Decoder()
    found: list[Message] = []
    for at in range(0, len(octets), cut):
        found += decoder.feed(octets[at : at + cut])
    assert found == messages


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (b"", "'' is not a number"),
        (b"-1", "'-1' is not a number"),
        (b"\xd9\xa3", "is not a number"),
        (b"9" * 30, "is not a number"),
        (b"9", "9 is more than 8"),
    ],
)
def test_a_state_is_a_number_that_there_is(
    daemon: Xenstored, store: Xenstore, value: bytes, named: str
) -> None:
    daemon.answer = lambda asked: reply(asked, b"4")
    assert state(store, "device/vif/0") == State.CONNECTED
    daemon.answer = lambda asked: reply(asked, b"ENOENT\0", Kind.ERROR)
    assert state(store, "device/vif/0") == State.UNKNOWN
    with pytest.raises(CorruptError, match="the key is missing"):
        number(store, "device/vif/0/handle")
    daemon.answer = lambda asked: reply(asked, value)
    with pytest.raises(CorruptError, match=f"device/vif/0/state: .*{named}"):
        state(store, "device/vif/0")
