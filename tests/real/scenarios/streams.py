"""TCP's octets: order, ends, flags, buffers, threads."""

# ruff: noqa: RUF059 - all cases are written in one form

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
from typing import Any

from tests.real.scenarios.kit import LOOPBACK, Net, exactly, outcome, scenario, tcp


@scenario
def stream_ends(net: Net) -> Any:
    with tcp(net) as (client, served):
        client.sendall(b"last")
        client.shutdown(socket.SHUT_WR)
        first = exactly(served, 100).decode()
        served.sendall(b"answer")
        served.close()
        return [first, exactly(client, 100).decode(), outcome(lambda: client.recv(1))]


@scenario
def send_after_shutdown(net: Net) -> Any:
    with tcp(net) as (client, served):
        client.shutdown(socket.SHUT_WR)
        return [
            outcome(lambda: client.send(b"x")),
            outcome(lambda: client.sendall(b"x")),
            outcome(lambda: client.sendmsg([b"x"])),
        ]


@scenario
def receive_after_shutdown(net: Net) -> Any:
    with tcp(net) as (client, served):
        served.shutdown(socket.SHUT_RD)
        return outcome(lambda: served.recv(1).decode())


@scenario
def reset(net: Net) -> Any:
    with tcp(net) as (client, served):
        linger = struct.pack("ii", 1, 0)
        served.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        served.close()
        client.settimeout(5)
        return [outcome(lambda: client.recv(1)), outcome(lambda: client.send(b"x"))]


@scenario
def peek_and_waitall(net: Net) -> Any:
    with tcp(net) as (client, served):
        served.settimeout(5)
        client.sendall(b"abcdef")
        peeked = served.recv(3, socket.MSG_PEEK)
        taken = served.recv(3)
        timer = threading.Timer(0.5, lambda: client.sendall(b"ghij"))
        timer.start()
        served.settimeout(None)
        rest = served.recv(7, socket.MSG_WAITALL)
        timer.join()
        client.sendall(b"xy")
        client.close()
        end = served.recv(5, socket.MSG_WAITALL)
        return [peeked.decode(), taken.decode(), rest.decode(), end.decode()]


@scenario
def waitall_beyond_the_buffer(net: Net) -> Any:
    """More than the receive buffer holds, with a pause in the middle."""
    with tcp(net) as (client, served):

        def send() -> None:
            client.sendall(bytes(100_000))
            time.sleep(0.4)
            client.sendall(bytes(200_000))

        sender = threading.Thread(target=send)
        sender.start()
        data = served.recv(300_000, socket.MSG_WAITALL)
        sender.join()
        return len(data)


@scenario
def out_of_band(net: Net) -> Any:
    with tcp(net) as (client, served):
        client.send(b"ab")
        client.send(b"!", socket.MSG_OOB)
        served.settimeout(5)
        ready = net.select([], [], [served], 5)[2] == [served]
        urgent = served.recv(1, socket.MSG_OOB)
        return [ready, urgent.decode(), served.recv(10).decode()]


@scenario
def ten_megabytes(net: Net) -> Any:
    """Both directions at once, from two threads each; checksums at the end."""
    one = hashlib.sha256(b"one").digest() * 327_680
    two = hashlib.sha256(b"two").digest() * 327_680
    sums: dict[str, str] = {}

    def receive(name: str, sock: Any) -> None:
        digest = hashlib.sha256()
        size = 0
        while block := sock.recv(100_000):
            digest.update(block)
            size += len(block)
        sums[name] = f"{size} {digest.hexdigest()}"

    def send(sock: Any, data: bytes) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    with tcp(net) as (client, served):
        threads = [
            threading.Thread(target=receive, args=("one", served)),
            threading.Thread(target=receive, args=("two", client)),
            threading.Thread(target=send, args=(client, one)),
            threading.Thread(target=send, args=(served, two)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sums


@scenario
def blocking_send_takes_all(net: Net) -> Any:
    """Without a timeout send returns when everything is taken."""
    with tcp(net) as (client, served):
        size = 3_000_000
        got: list[int] = []
        reader = threading.Thread(target=lambda: got.append(len(exactly(served, size))))
        timer = threading.Timer(0.5, reader.start)
        timer.start()
        sent = client.send(bytes(size))
        timer.join()
        reader.join()
        return [sent, got]


@scenario
def buffers(net: Net) -> Any:
    with tcp(net) as (client, served):
        from array import array

        for data in (
            b"bytes",
            bytearray(b"array"),
            memoryview(b"viewed")[1:5],
            memoryview(bytearray(b"writable"))[2:6],
            array("i", [1, 2]),
        ):
            client.sendall(data)
        room = bytearray(b"." * 40)
        count = 0
        view = memoryview(room)
        while count < 26:
            count += served.recv_into(view[count:])
        client.sendall(b"hello")
        few = served.recv_into(room, 2)
        numbers = array("i", [0, 0])
        more = served.recv_into(numbers, 3)
        return [
            room[2:26].hex(),
            few,
            more,
            numbers.tobytes()[:3].decode(),
            outcome(lambda: served.recv_into(b"no")),
            outcome(lambda: served.recv_into(bytearray(1), 2)),
            outcome(lambda: served.recv_into(bytearray(1), -1)),
            outcome(lambda: served.recv(-1)),
            outcome(lambda: client.send("text")),
            outcome(lambda: client.send(memoryview(b"abcd")[::2])),
            client.send(b""),
        ]


@scenario
def many_threads(net: Net) -> Any:
    """Eight clients at once against one accepting thread."""
    answers: list[int] = []
    with net.create_server((LOOPBACK, 0), backlog=16) as server:

        def serve() -> None:
            for _ in range(8):
                served, _ = server.accept()
                with served:
                    number = int(exactly(served, 4))
                    served.sendall(b"%08d" % (number * number))

        def ask(number: int) -> None:
            with net.create_connection(server.getsockname()) as client:
                client.sendall(b"%04d" % number)
                answers.append(int(exactly(client, 8)))

        threads = [threading.Thread(target=serve)]
        threads += [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sorted(answers)
