"""Compare-and-swap and exchange of a shared 32-bit word: thunk against libatomic.

The thunk is the one behind `rumphyper.host.atomic.Word`: a C function without
arguments. The peer is the usual way from pure Python: libatomic's generic
functions through ctypes with prototypes set and arguments made beforehand. The
``untyped`` cases leave the prototypes out, which is faster and unchecked: what
ctypes can do at best. All are called with the GIL kept. The swap always succeeds,
for it sets 0 to 0.
"""

from __future__ import annotations

import ctypes
import timeit
from collections.abc import Callable, Iterator

from rumphyper.errors import HostError, UnsupportedError
from rumphyper.host import libatomic
from rumphyper.host.thunks import ThunkBuilder

from .harness import Row, interleave, skipped

NAME = "cas"
PEER = "libatomic through ctypes"
CASES = ("cas", "exchange", "cas untyped", "exchange untyped")

_Swap = Callable[[], object]


def _thunks(address: int) -> tuple[_Swap, _Swap]:
    """Swap and exchange as thunks, bound to the word at an address."""
    builder = ThunkBuilder("librumphyper-bench.so")
    builder.compare_and_swap("cas")
    builder.exchange("exchange")
    library = builder.load()
    library["cas"].args[0] = library["exchange"].args[0] = address
    return (
        ctypes.PYFUNCTYPE(ctypes.c_int)(library.address("cas")),
        ctypes.PYFUNCTYPE(ctypes.c_uint32)(library.address("exchange")),
    )


def _nanoseconds(statement: str, names: dict[str, object], count: int) -> float:
    """Nanoseconds that one run of a statement takes."""
    return timeit.timeit(statement, globals=names, number=count) / count * 1e9


def run(quick: bool) -> Iterator[Row]:
    """Yield the rows of `CASES` in ns a call."""
    word, expected = ctypes.c_uint32(0), ctypes.c_uint32(0)
    address = ctypes.addressof(word)
    try:
        swap, exchange = _thunks(address)
        library = libatomic.library()
    except (HostError, UnsupportedError) as error:
        for case in CASES:
            yield skipped(NAME, case, str(error))
        return
    names: dict[str, object] = {
        "swap": swap,
        "exchange": exchange,
        "peer_swap": library.__atomic_compare_exchange_4,
        "peer_exchange": library.__atomic_exchange_4,
        "untyped_swap": library["__atomic_compare_exchange_4"],
        "untyped_exchange": library["__atomic_exchange_4"],
        "word": ctypes.c_void_p(address),
        "expected": ctypes.byref(expected),
    }
    count, runs = (50_000, 7) if quick else (300_000, 25)
    swap_call, exchange_call = "(word, expected, 0, 5, 5)", "(word, 0, 5)"
    statements = (
        ("swap()", f"peer_swap{swap_call}"),
        ("exchange()", f"peer_exchange{exchange_call}"),
        ("swap()", f"untyped_swap{swap_call}"),
        ("exchange()", f"untyped_exchange{exchange_call}"),
    )
    for case, (ours, theirs) in zip(CASES, statements, strict=True):

        def time(statement: str) -> Callable[[], float]:
            return lambda: _nanoseconds(statement, names, count)

        yield interleave(
            NAME,
            case,
            "ns/op",
            time(ours),
            PEER,
            time(theirs),
            runs,
            more_is_better=False,
        )
    assert (word.value, expected.value) == (0, 0), "a swap did not succeed"
