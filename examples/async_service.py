"""One event loop, several links: stations that answer, and a service that reports.

    python examples/async_service.py 8080 shmif:/tmp/bus=10.0.0.2/24 tap:t0=10.1.0.2/24
    rumphyper ping shmif:/tmp/bus 10.0.0.2
    curl http://127.0.0.1:8080/

Each LINKSTR=ADDRESS is a station that answers ARP and pings; whoever connects to the
port gets the counters of all of them as JSON. Ctrl-C ends it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import ExitStack
from ipaddress import IPv4Interface

import rumphyper
from rumphyper.link import Link, aio
from rumphyper.net.stack import Stack


async def serve(link: Link, stack: Stack) -> None:
    """Answer what arrives on the link until it ends."""
    async for frames in link:
        answers = [answer for frame in frames for answer in stack.input(frame)]
        await aio.send(link, answers)


async def report(
    stations: dict[Link, Stack],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Tell one client what the links have carried."""
    await reader.readline()
    counters = {
        link.linkstr: {**link.counters.as_dict(), "answered": stack.answered}
        for link, stack in stations.items()
    }
    body = json.dumps(counters).encode()
    head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    writer.close()


async def main(port: int, words: list[str]) -> None:
    with ExitStack() as opened:
        stations = {}
        for word in words:
            linkstr, _, address = word.rpartition("=")
            link = opened.enter_context(rumphyper.open_link(linkstr))
            stations[link] = Stack(link.mac, [IPv4Interface(address)])
        server = await asyncio.start_server(
            lambda reader, writer: report(stations, reader, writer), "127.0.0.1", port
        )
        async with server:
            print("port", server.sockets[0].getsockname()[1], flush=True)
            await asyncio.gather(*(serve(*station) for station in stations.items()))


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
    except KeyboardInterrupt:
        pass
