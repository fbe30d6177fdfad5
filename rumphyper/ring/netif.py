"""One side of a ring that two Xen domains share, over any writable page.

The front end makes requests and takes responses, the back end the other way
round; both kinds go through the same entries. Indices run freely, modulo 2^32.
Each side says from which index on it wants to hear of news: that is what holds
notifications off. Facts: Xen xen/include/public/io/ring.h.

Nothing here opens, maps or notifies. The page is the peer's too: its index is
read once and checked, entries are copied out before anybody looks at them.
"""

from __future__ import annotations

from collections.abc import Callable

from typing_extensions import Buffer

from rumphyper.errors import CorruptError
from rumphyper.ring import netif_abi as abi

MASK = 0xFFFFFFFF
REMEDY = "the other side is broken or hostile: close the link and open it again"
Fence = Callable[[], object]


def nothing() -> None:
    """The fence of a ring that only one thread uses."""


class Ring:
    """The front end's or the back end's side of one ring.

    ``page`` is `abi.PAGE` writable octets, ``entry`` the octets of an entry.
    ``fence`` has to order all earlier stores before all later loads. A front end
    makes a new ring; a back end takes up the one there is from where the front
    end's indices stand.
    """

    def __init__(
        self,
        page: Buffer,
        entry: int,
        name: str,
        *,
        front: bool,
        slots: int = abi.SLOTS,
        fence: Fence = nothing,
    ) -> None:
        self.name = name
        self.slots = slots
        self._entry = entry
        self._front = front
        self._fence = fence
        self._octets = memoryview(page).cast("B")[: abi.PAGE]
        self._words = self._octets[: abi.ENTRIES].cast("I")
        mine = (abi.REQ_PROD, abi.REQ_EVENT)
        theirs = (abi.RSP_PROD, abi.RSP_EVENT)
        produce, consume = (mine, theirs) if front else (theirs, mine)
        # As numbers of words: the index, and from where on its reader wants news.
        self._made, self._wanted = (offset // 4 for offset in produce)
        self._came, self._asked = (offset // 4 for offset in consume)
        if front:
            self._octets[:] = bytes(abi.PAGE)
            self._words[self._wanted] = self._words[self._asked] = 1
        self.produced = self.consumed = self._words[abi.RSP_PROD // 4]
        """The next index that this side makes, and that it takes."""
        self._pushed = self.produced

    # -- taking ----------------------------------------------------------------

    def available(self) -> int:
        """How many entries the peer has made that were not taken yet.

        CorruptError: its index is further than there can be entries.
        """
        count = (self._words[self._came] - self.consumed) & MASK
        if count:
            owed = (self.produced - self.consumed) & MASK
            most = owed if self._front else (self.slots + owed) & MASK
            if count > most:
                what = "rsp_prod" if self._front else "req_prod"
                value = (self.consumed + count) & MASK
                raise self.corrupt(what, value, f"at most {most} were possible")
        return count

    def peek(self, count: int) -> bytes:
        """A copy of the next ``count`` entries, of those that are `available`."""
        first = self.consumed & (self.slots - 1)
        size, at = self._entry, abi.ENTRIES
        whole = min(count, self.slots - first)
        begin = at + first * size
        octets = bytes(self._octets[begin : begin + whole * size])
        if whole < count:
            octets += self._octets[at : at + (count - whole) * size]
        return octets

    def consume(self, count: int) -> None:
        """Have taken ``count`` entries."""
        self.consumed = (self.consumed + count) & MASK

    def arm(self, after: int = 1) -> bool:
        """Ask to be notified of the ``after``-th entry from here on.

        True when the peer has made so many meanwhile and may not have noticed.
        """
        self._words[self._asked] = (self.consumed + after) & MASK
        self._fence()
        return self.available() >= after

    # -- making ----------------------------------------------------------------

    def room(self) -> int:
        """How many entries can be made."""
        owed = (self.produced - self.consumed) & MASK
        return self.slots - owed if self._front else -owed & MASK

    def put(self, entries: bytes, count: int) -> None:
        """Fill the next ``count`` entries; the peer sees them after `push`."""
        first = self.produced & (self.slots - 1)
        size, at = self._entry, abi.ENTRIES
        whole = min(count, self.slots - first)
        begin, cut = at + first * size, whole * size
        self._octets[begin : begin + cut] = entries[:cut]
        if whole < count:
            self._octets[at : at + (count - whole) * size] = entries[cut:]
        self.produced = (self.produced + count) & MASK

    def push(self) -> bool:
        """Show the peer what was put; true when it wants to be notified."""
        new, old = self.produced, self._pushed
        if new == old:
            return False
        self._words[self._made] = self._pushed = new
        self._fence()
        wanted = self._words[self._wanted]
        return (new - wanted) & MASK < (new - old) & MASK

    # -- errors and the end ------------------------------------------------------

    def corrupt(self, field: str, value: object, why: str) -> CorruptError:
        """The error for a value of the peer's that cannot be right."""
        return CorruptError(self.name, f"{field} is {value}: {why}", REMEDY)

    def release(self) -> None:
        """Let go of the page; the ring cannot be used any more. Idempotent."""
        self._words.release()
        self._octets.release()
