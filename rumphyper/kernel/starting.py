"""Running rump_init where it may wait for ever: for memory that never comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from rumphyper.errors import RumphyperError

Watch = Callable[[float], RumphyperError | None]
"""Asked again and again, with the seconds that a boot has taken: why it is given
up, None while it may go on."""

OFTEN, SELDOM = 0.002, 0.05
"""Seconds between looks, in the first half second and later."""


def run_init(init: Callable[[], int], watches: Sequence[Watch]) -> int:
    """Call rump_init and return its result.

    With watches it runs in a thread of its own; none of the kernel's state is the
    thread's when it is done. Raises what a watch gives; the thread is left where
    it is then.
    """
    if not watches:
        return init()
    results: list[int] = []
    thread = threading.Thread(
        target=lambda: results.append(init()), name="rump_init", daemon=True
    )
    began = time.monotonic()
    thread.start()
    while not results:
        elapsed = time.monotonic() - began
        thread.join(OFTEN if elapsed < 0.5 else SELDOM)
        for watch in watches:
            error = watch(elapsed)
            if error is not None and not results:
                raise error
    return results[0]
