"""Files over sockets."""

# ruff: noqa: RUF059 - all cases are written in one form

from __future__ import annotations

from typing import Any

from tests.real.scenarios.kit import Net, exactly, outcome, scenario, tcp


@scenario
def files(net: Net) -> Any:
    with tcp(net) as (client, served):
        writer = client.makefile("w", encoding="utf-8", newline="\n")
        reader = served.makefile("r", encoding="utf-8")
        writer.write("höhe\nzweite\nrest")
        writer.flush()
        lines = [reader.readline(), reader.readline()]
        both = served.makefile("rwb", buffering=0)
        both.write(b"raw")
        raw = client.makefile("rb", buffering=0).read(3).decode()
        writer.close()
        client.close()
        served.close()
        kept = served.fileno() >= 0
        rest = reader.read()
        reader.close()
        both.close()
        return [lines, raw, kept, rest, served.fileno()]


@scenario
def file_modes(net: Net) -> Any:
    with tcp(net) as (client, served):
        return [
            outcome(lambda: client.makefile("x")),
            outcome(lambda: client.makefile("r", buffering=0)),
            type(client.makefile("rb")).__name__,
            type(client.makefile("wb")).__name__,
            type(client.makefile("rwb")).__name__,
            type(client.makefile()).__name__,
            outcome(lambda: client.makefile("rb").write(b"x")),
            outcome(lambda: client.makefile("wb").read(1)),
            client.makefile("rwb", 0).seekable(),
            client.makefile("rb").name == client.fileno(),
        ]


@scenario
def file_timeout(net: Net) -> Any:
    with tcp(net) as (client, served):
        served.settimeout(0.1)
        reader = served.makefile("rb")
        first = outcome(lambda: reader.read(1))
        client.send(b"x")
        second = outcome(lambda: reader.read(1))
        return [first, second]


@scenario
def file_non_blocking(net: Net) -> Any:
    with tcp(net) as (client, served):
        served.setblocking(False)
        return served.makefile("rb", buffering=0).read(1)


@scenario
def send_a_file(net: Net) -> Any:
    import io

    with tcp(net) as (client, served):
        count = client.sendfile(io.BytesIO(b"0123456789"), offset=2, count=5)
        return [count, exactly(served, 5).decode()]
