"""The URLs of NetBSD's syscall proxy."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rumphyper.errors import UrlError
from rumphyper.hypercalls.proxy.url import MAX_PATH, parse


def test_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = parse("unix:///tmp/a b:c//")
    assert (url.family, url.sockaddr) == (socket.AF_UNIX, "/tmp/a b:c//")
    assert str(url) == "unix:///tmp/a b:c//"
    monkeypatch.chdir(tmp_path)
    assert parse("unix://s").path == f"{tmp_path}/s"


def test_an_address_and_a_port() -> None:
    url = parse("tcp://127.0.0.1:0080/")
    assert (url.family, url.sockaddr) == (socket.AF_INET, ("127.0.0.1", 80))
    assert str(url) == "tcp://127.0.0.1:80"
    assert parse("tcp://10.1.2.3:65535/what:ever").port == 65535


@pytest.mark.parametrize("host", ["*", "0", "0.0.0.0"])
def test_any_address_is_for_servers(host: str) -> None:
    url = parse(f"tcp://{host}:0", serving=True)
    assert url.sockaddr == ("0.0.0.0", 0)
    with pytest.raises(UrlError, match="address of one host"):
        parse(f"tcp://{host}:99")


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("", "not a URL"),
        ("/tmp/socket", "not a URL"),
        ("unix:/tmp/socket", "not a URL"),
        ("udp://1.2.3.4:5", "'udp' is no way"),
        ("UNIX:///tmp/x", "'UNIX' is no way"),
        ("tcp6://[::1]:5", "no IPv6"),
        ("unix://", "no path"),
        ("unix:///a\0b", "no path"),
        ("tcp://", "no address and port"),
        ("tcp://1.2.3.4", "no address and port"),
        ("tcp://1.2.3.4:", "no address and port"),
        ("tcp://1.2.3.4:x", "no address and port"),
        ("tcp://1.2.3.4:5x", "no address and port"),
        ("tcp://1.2.3.4:٣", "no address and port"),
        ("tcp://:5", "not an IPv4 address"),
        ("tcp://localhost:5", "names are not looked up"),
        ("tcp://1.2.3.4\0:5", "not an IPv4 address"),
        ("tcp://1.2.3:5", "not an IPv4 address"),
        ("tcp://1.2.3.4:0", "no port 0"),
        ("tcp://1.2.3.4:65536", "no port 65536"),
        ("tcp://1.2.3.4:" + "9" * 5000, "no port 9"),
    ],
)
def test_what_is_wrong_is_said(url: str, cause: str) -> None:
    with pytest.raises(UrlError, match=cause):
        parse(url)


def test_the_length_of_a_path_is_that_of_its_octets() -> None:
    parse("unix:///" + "x" * (MAX_PATH - 1))
    for path in ("x" * MAX_PATH, "é" * 54):
        with pytest.raises(UrlError, match=f"at most {MAX_PATH}"):
            parse("unix:///" + path)


@given(st.text(max_size=40), st.sampled_from(["unix://", "tcp://", ""]), st.booleans())
def test_any_text_is_taken_apart_or_refused(
    text: str, scheme: str, serving: bool
) -> None:
    try:
        url = parse(scheme + text, serving)
    except UrlError:
        return
    assert parse(str(url), serving) == url
