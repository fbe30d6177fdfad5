"""Linkstrs: which are taken for what, and what is said of the others."""

from __future__ import annotations

from importlib import import_module

import pytest

from rumphyper.errors import LinkError, LinkstrError
from rumphyper.link.linkstr import SCHEMES, open_link, split_linkstr
from tests.cli.command import fails

WRONG = {
    "": "SCHEME:NAME",
    "bus": "SCHEME:NAME",
    ":bus": "SCHEME:NAME",
    "nosuch:bus": "unknown scheme 'nosuch'",
    "SHMIF:bus": "unknown scheme 'SHMIF'",
    "shmif": "SCHEME:NAME",
    "shmif:": "the name behind the colon is empty",
    "pcap:": "the name behind the colon is empty",
    "shmif:a\0b": "NUL",
    "pcap:a\0b": "NUL",
}


@pytest.mark.parametrize("linkstr", WRONG)
def test_wrong_ones(linkstr: str) -> None:
    """The error has the linkstr, what is wrong, and a form that is known."""
    with pytest.raises(LinkstrError) as caught:
        open_link(linkstr)
    assert caught.value.thing == repr(linkstr)
    assert WRONG[linkstr] in caught.value.cause
    scheme = linkstr.partition(":")[0]
    known = [SCHEMES[scheme]] if f"{scheme}:" in linkstr and scheme in SCHEMES else []
    for form in known or SCHEMES.values():
        assert form.form in caught.value.remedy
    assert isinstance(caught.value, LinkError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("verb", ["echo", "dump", "ping"])
def test_the_commands_say_so_on_one_line(verb: str) -> None:
    words = ["10.0.0.1"] if verb == "ping" else []
    assert "shmif:PATH" in fails(verb, "nosuch:bus", *words)


def test_what_is_known_is_there() -> None:
    """A name may have colons; each scheme's module has its opener."""
    assert split_linkstr("shmif:/a:b") == (SCHEMES["shmif"], "/a:b")
    for name, scheme in SCHEMES.items():
        assert scheme.name == name
        assert scheme.form.startswith(name)
        assert callable(getattr(import_module(scheme.module), scheme.opener))
