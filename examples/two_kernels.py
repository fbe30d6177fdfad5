"""Two NetBSD kernels, each in a process of its own, talk over one bus.

    python3 examples/two_kernels.py

The bus is a file in shared memory: no root, no TAP and no network of the host.
One kernel serves, the other connects and has its words sent back upside down.
"""

from __future__ import annotations

import multiprocessing
import tempfile

import rumphyper

SERVER, CLIENT, PORT = "10.9.0.1", "10.9.0.2", 4000


def boot(bus: str, address: str) -> rumphyper.Kernel:
    kernel = rumphyper.boot()
    shmif0 = kernel.create_interface("shmif0", f"shmif:{bus}")
    shmif0.add_address(f"{address}/24")
    return kernel


def serve(bus: str, listening: multiprocessing.synchronize.Event) -> None:
    with boot(bus, SERVER) as kernel:
        server = kernel.create_server((SERVER, PORT))
        listening.set()
        connection, address = server.accept()
        print("server: a connection from", address)
        with connection, connection.makefile("rw", encoding="utf-8") as stream:
            for line in stream:
                stream.write(line.rstrip("\n")[::-1] + "\n")
                stream.flush()


def talk(bus: str) -> None:
    with boot(bus, CLIENT) as kernel:
        sock = kernel.create_connection((SERVER, PORT), 10)
        with sock, sock.makefile("rw", encoding="utf-8") as stream:
            for line in ("NetBSD", "rump kernel", "shmif"):
                stream.write(line + "\n")
                stream.flush()
                print("client:", line, "->", stream.readline().rstrip("\n"))


def main() -> None:
    # Not fork: a kernel does not survive it, and each process boots its own.
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        bus = f"{folder}/bus"
        listening = processes.Event()
        server = processes.Process(target=serve, args=(bus, listening))
        server.start()
        if listening.wait(10):
            client = processes.Process(target=talk, args=(bus,))
            client.start()
            client.join()
        else:
            server.terminate()
        server.join()


if __name__ == "__main__":
    main()
