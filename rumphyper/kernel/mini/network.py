"""From the wire to the stack and back: deliver, queue, network thread.

A frame comes in on the host's receiver thread, which must be free again soon:
it is copied into a packet and queued. The network thread (a soft interrupt in
NetBSD) takes packets off the queue, asks the stack and sends the answers.
Facts: sys/rump/net/lib/libvirtif/if_virt.c; rumpcomp_virt_send.
"""

from __future__ import annotations

import ctypes
from contextlib import ExitStack
from typing import Any

from rumphyper.kernel.mini.abi import RW_WRITER, Iovec
from rumphyper.kernel.mini.calls import Calls
from rumphyper.kernel.mini.errors import MiniKernelError
from rumphyper.kernel.mini.interface import Interface
from rumphyper.kernel.mini.locks import Condvar, RWLock, SpinMutex
from rumphyper.kernel.mini.memory import Memory
from rumphyper.kernel.mini.packets import Packet, Packets

QUEUE = 112
"""Packets that wait for the network thread, at most. With as many more that it
works on, there are still some in the pool for its answers."""

HEADER = 14
"""Octets of an Ethernet header, which is sent as a piece of its own."""

PIECES = 64
"""Pieces of one frame, at most."""


class Network:
    """The list of interfaces, the receive queue and the network thread's work."""

    def __init__(
        self, calls: Calls, memory: Memory, packets: Packets, undo: ExitStack
    ) -> None:
        self._calls = calls
        self._packets = packets
        self._lock = RWLock(calls, undo)
        self._interfaces: dict[int, Interface] = {}
        self._queue_lock = SpinMutex(calls, undo)
        self._queue_filled = Condvar(calls, undo)
        self._ended = Condvar(calls, undo)
        self._queue: list[tuple[int, Packet]] = []
        self._stopping = False
        self._over = False
        self._pieces = memory.allocate(2 * ctypes.sizeof(Iovec), "frame pieces")
        undo.callback(memory.free, self._pieces)
        undo.callback(self._drain)

    # -- interfaces ---------------------------------------------------------

    def find(self, name: str) -> Interface | None:
        """The interface of that name."""
        with self._lock.reader():
            return self._named(name)

    def _named(self, name: str) -> Interface | None:
        found = (i for i in self._interfaces.values() if i.name == name)
        return next(found, None)

    def interfaces(self) -> list[Interface]:
        """All interfaces, oldest first."""
        with self._lock.reader():
            return list(self._interfaces.values())

    def add(self, interface: Interface) -> bool:
        """Take an interface up; false if there is one of that name."""
        with self._lock.writer():
            if self._named(interface.name):
                return False
            self._interfaces[interface.softc] = interface
            self._lock.downgrade()  # readers may see it already, writers wait
            if self._lock.held(RW_WRITER):
                raise MiniKernelError("rumpuser_rw_downgrade", "still the writer")
            return True

    def remove(self, name: str) -> Interface | None:
        """Take an interface off the list.

        When this returns nobody uses it: who does is a reader of the list.
        """
        with self._lock.reader():
            if self._named(name) is None:
                return None
            self._lock.upgrade()
            interface = self._named(name)  # another may have been faster
            if interface is not None:
                del self._interfaces[interface.softc]
            return interface

    # -- receiving ----------------------------------------------------------

    def input(self, softc: int, iov: Any, count: int) -> None:
        """Take one frame from the host's receiver thread."""
        with self._lock.reader():
            interface = self._interfaces.get(softc)
            if interface is None or not interface.running:
                return
            if not 0 < count <= PIECES or not iov:
                raise MiniKernelError(interface.name, f"a frame of {count} pieces")
            pieces = (Iovec * count).from_address(ctypes.addressof(iov.contents))
            try:
                packet = self._packets.gather(pieces)
            except MiniKernelError:
                interface.memory.dropped += 1
                raise
            if packet is None:
                interface.memory.dropped += 1
            elif not _wanted(interface, packet):
                interface.memory.ignored += 1
                self._packets.put(packet)
            elif not self._enqueue(softc, packet):
                interface.memory.dropped += 1
                self._packets.put(packet)
            else:
                interface.memory.received += 1
                interface.memory.received_bytes += packet.length

    def _enqueue(self, softc: int, packet: Packet) -> bool:
        with self._queue_lock:
            room = len(self._queue) < QUEUE and not self._stopping
            if room:
                self._queue.append((softc, packet))
                self._queue_filled.signal()
            return room

    # -- the network thread -------------------------------------------------

    def run(self) -> None:
        """Work until `stop`: what the network thread does."""
        try:
            while batch := self._wait():
                for softc, packet in batch:
                    try:
                        self._process(softc, packet)
                    finally:
                        self._packets.put(packet)
        finally:
            with self._queue_lock:
                self._over = True
                self._ended.broadcast()

    def _wait(self) -> list[tuple[int, Packet]]:
        """The packets that have come; empty when it is time to stop."""
        with self._queue_lock:
            while not self._queue and not self._stopping:
                self._queue_filled.wait(self._queue_lock)
            batch, self._queue = self._queue, []
            return batch

    def _process(self, softc: int, packet: Packet) -> None:
        with self._lock.reader():
            interface = self._interfaces.get(softc)
            if interface is None or interface.stack is None:
                return
            for answer in interface.stack.input(packet.octets):
                self._send(interface, answer)

    def _send(self, interface: Interface, frame: bytes) -> None:
        packet = self._packets.copy(frame)
        if packet is None:
            interface.memory.dropped += 1
            return
        try:
            pieces = (Iovec * 2).from_address(self._pieces)
            pieces[0].base, pieces[0].length = packet.address, HEADER
            pieces[1].base = packet.address + HEADER
            pieces[1].length = packet.length - HEADER
            self._calls.virt_send(interface.user, self._pieces, 2)
            interface.memory.sent += 1
            interface.memory.sent_bytes += packet.length
        finally:
            self._packets.put(packet)

    def stop(self, patience: float) -> bool:
        """Tell the network thread to end; whether it did in ``patience`` s."""
        with self._queue_lock:
            self._stopping = True
            self._queue_filled.broadcast()
            if not self._over:
                self._ended.timedwait(self._queue_lock, patience)
            return self._over

    def _drain(self) -> None:
        """Free the packets that nobody has taken."""
        for _, packet in self._queue:
            self._packets.put(packet)
        self._queue.clear()


def _wanted(interface: Interface, packet: Packet) -> bool:
    """Whether the frame is for this station or for a group."""
    if packet.length < HEADER:
        return False
    destination = ctypes.string_at(packet.address, 6)
    return bool(destination[0] & 1) or destination == interface.mac
