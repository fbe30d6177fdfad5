"""The two sides for all tests here, and an lwp for the testing thread."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest

from tests.hypercalls.stock.sides import PYTHON, STOCK, Side, addresses
from tests.hypercalls.support import Setup


@pytest.fixture(scope="session")
def sides(stock_path: str) -> Iterator[tuple[Side, Side]]:
    """The stock library, and Python's families."""
    library = ctypes.CDLL(stock_path, os.RTLD_LOCAL | os.RTLD_DEEPBIND)
    stock = Side(STOCK, addresses(library))
    stock.boot()
    setup = Setup()
    yield stock, Side(PYTHON, setup.hv.symbol, setup.kernel)
    setup.hv.close()


@pytest.fixture
def lwp(sides: tuple[Side, Side]) -> Iterator[int]:
    """An lwp for this thread on both sides."""
    for side in sides:
        side.call("curlwpop", 2, 0x1000)
    yield 0x1000
    for side in sides:
        side.call("curlwpop", 3, 0x1000)
