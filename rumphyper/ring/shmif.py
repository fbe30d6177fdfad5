"""The shmif bus: NetBSD's shared-memory Ethernet, as code over a buffer.

The layout and the rules are those of NetBSD sys/rump/net/lib/libshmif
(shmifvar.h, shmif_busops.c, if_shmem.c), in the host's byte order and with the
host's alignment, as its C driver has them. Nothing here opens, maps, locks or
wakes anything: ``rumphyper.link.shmif`` does.

A *position* counts octets since the bus was made: generation times the size of
the data area plus an offset in it. Positions only grow, so that two of them
compare where two offsets of a ring do not.

What is read from the bus was written by somebody else: every value is checked
before it is used as an index, and CorruptError names the field and the value.

The stores are in such an order that the bus is whole whenever its writer dies:
room is taken from the oldest packets first, then the octets of the new packets
go where no reader looks, and the words that make them visible come last.
"""

from __future__ import annotations

import struct
from mmap import mmap

from typing_extensions import Buffer

from rumphyper.errors import CorruptError

SIZE = 1 << 20
"""Octets of a bus, header and data area."""
MAGIC = 0xCA11D054
VERSION = 3
VERSIONS = (0, VERSION)
"""0 is a bus that nobody has sent on yet."""

# The header of the bus as 32-bit words; the generation is words 2 and 3.
MAGIC_WORD, VERSION_WORD = 0, 1
FIRST_WORD, LAST_WORD, LOCK_WORD, SPARE_WORD = 4, 5, 6, 7
STATE, DATA = 8, 32
"""Octet offsets of generation, first and last, and of the data area."""

DATA_SIZE = SIZE - DATA
HEADER = struct.Struct("@IIIQ")
"""Length, seconds, microseconds, sender: 24 octets on LP64, 20 on i386."""
HEADER_SIZE = HEADER.size
MAX_LENGTH = 65_535
"""The longest frame taken for one (the C driver carries up to 1,514)."""
CHUNK = 1 << 17
"""Octets that one look at the bus copies at most, and one append adds."""
RUN = 64
"""How many packets of one size in a row are looked at in one go."""

LENGTH = struct.Struct("@I")
LAST_WHOLE_LENGTH = DATA_SIZE - LENGTH.size
_STATE = struct.Struct("@QII")  # shm_gen, shm_first, shm_last at offset 8
_REMEDY = "end all users of the bus and remove the file"


class Bus:
    """The words and packets of one bus in ``buffer``, which has `SIZE` octets.

    Unless a method says otherwise the caller holds the bus's lock. ``name``
    goes into the errors. `release` lets go of the buffer.
    """

    def __init__(self, buffer: Buffer, name: str = "shmif bus") -> None:
        self.name = name
        view = memoryview(buffer)
        if view.nbytes != SIZE:
            raise self.corrupt("size", view.nbytes, f"a bus has {SIZE} octets")
        octets = view.cast("B")
        # Slices of an mmap or bytearray are twice as quick as a memoryview's.
        self.memory: mmap | bytearray | memoryview = (
            buffer if isinstance(buffer, (mmap, bytearray)) else octets
        )
        # One store of a word through a cast view is one store of the machine;
        # struct.pack_into would clear the octets first.
        self.words = octets.cast("I")
        self._longs = octets.cast("Q")

    def release(self) -> None:
        """Let go of the buffer; the bus is unusable afterwards. Idempotent."""
        self.words.release()
        self._longs.release()
        self.memory = bytearray()

    def corrupt(self, field: str, value: int, rule: str) -> CorruptError:
        """The error for a field whose value breaks the format."""
        return CorruptError(self.name, f"{field} is {value:#x}, {rule}", _REMEDY)

    # -- the header ----------------------------------------------------------

    @property
    def generation(self) -> int:
        """How many packets have reached the end of the data area."""
        return self._longs[1]

    @property
    def lock_value(self) -> int:
        """shm_lock as it is now; needs no lock."""
        return self.words[LOCK_WORD]

    @property
    def state(self) -> tuple[int, int, int]:
        """Generation, first and last as they are now; needs no lock.

        A bus that nobody changes in between gives the same state twice, and
        every packet changes it.
        """
        return self._longs[1], self.words[FIRST_WORD], self.words[LAST_WORD]

    @property
    def is_new(self) -> bool:
        """Whether nobody has initialised it yet; needs no lock."""
        return self.words[MAGIC_WORD] == 0

    def check_kind(self) -> None:
        """Check magic and version; needs no lock. CorruptError."""
        magic, version = self.words[MAGIC_WORD], self.words[VERSION_WORD]
        if magic == int.from_bytes(MAGIC.to_bytes(4, "little"), "big"):
            rule = "it comes from a host with the other byte order"
            raise self.corrupt("magic", magic, rule)
        if magic != MAGIC:
            raise self.corrupt("magic", magic, f"a shmif bus has {MAGIC:#x}")
        if version not in VERSIONS:
            raise self.corrupt("version", version, "only 0 and 3 are known")

    def initialise(self) -> None:
        """Make a bus of a buffer whose magic is 0. The magic comes last."""
        self.words[FIRST_WORD] = DATA_SIZE
        self.words[MAGIC_WORD] = MAGIC

    def renew(self) -> None:
        """Drop every packet, in a way that all readers take for a lap.

        The generation grows by two: whoever reads the bus, the C driver too,
        then goes on from ``first``, the packet of length 0 that a new bus has.
        """
        self.memory[DATA : DATA + HEADER_SIZE] = bytes(HEADER_SIZE)
        self.publish(self._longs[1] + 2, DATA_SIZE, 0)

    def publish(self, generation: int, first: int, last: int) -> None:
        """Set the state; a generation beyond 64 bits starts again, as in C."""
        # All three in one store of 16 octets, which the C libraries make with
        # one instruction: a writer that is killed leaves the old or the new.
        state = _STATE.pack(generation & 0xFFFFFFFF_FFFFFFFF, first, last)
        self.memory[STATE : STATE + _STATE.size] = state

    # -- packets -------------------------------------------------------------

    def length_at(self, offset: int) -> int:
        """The length field of the packet at ``offset``; CorruptError."""
        if offset > LAST_WHOLE_LENGTH:
            if offset >= DATA_SIZE:
                raise self.beyond("offset", offset)
            length: int = LENGTH.unpack(self.octets(offset, LENGTH.size))[0]
        else:
            length = LENGTH.unpack_from(self.memory, DATA + offset)[0]
        if length > MAX_LENGTH:
            raise self.bad_length(offset, length)
        return length

    def bad_length(self, offset: int, length: int) -> CorruptError:
        """The error for the packet at ``offset`` with an impossible length."""
        field = f"length of the packet at offset {offset:#x}"
        return self.corrupt(field, length, "no frame is so long")

    def beyond(self, field: str, offset: int) -> CorruptError:
        """The error for an offset outside of the data area."""
        return self.corrupt(field, offset, f"the data area has {DATA_SIZE:#x} octets")

    def octets(self, offset: int, size: int) -> bytes:
        """Copy ``size`` octets from ``offset`` on, around the end; no lock."""
        begin = DATA + offset
        end = begin + size
        if end <= SIZE:
            return bytes(self.memory[begin:end])
        tail = bytes(self.memory[begin:SIZE])
        return tail + bytes(self.memory[DATA : end - DATA_SIZE])

    def end(self, state: tuple[int, int, int] | None = None) -> int:
        """The position behind the newest packet; CorruptError.

        With a ``state`` seen before, the end as it was then.
        """
        generation, _, last = self.state if state is None else state
        if self.words[MAGIC_WORD] != MAGIC:
            self.check_kind()
        offset = last + HEADER_SIZE + self.length_at(last)
        if offset >= DATA_SIZE:
            offset -= DATA_SIZE
        return generation * DATA_SIZE + offset

    def oldest(self, end: int, first: int) -> int:
        """The position of the packet at ``first`` on a bus that ends at ``end``."""
        if first > DATA_SIZE:
            raise self.beyond("first", first)
        position = end - ((end - first) % DATA_SIZE or DATA_SIZE)
        if position < 0:
            rule = "a bus that has not wrapped has no packet there"
            raise self.corrupt("first", first, rule)
        return position

    def is_sound(self) -> bool:
        """Whether the packets from first on lead to the end, one by one."""
        try:
            end = self.end()
            position = self.oldest(end, self.words[FIRST_WORD])
            while position < end:
                position += HEADER_SIZE + self.length_at(position % DATA_SIZE)
        except CorruptError:
            return False
        return position == end
