"""Tests with the mark ``vm`` run in a guest."""

from __future__ import annotations

from tests.vm.plugin import (
    pytest_collection_modifyitems,
    pytest_runtest_protocol,
    pytest_sessionfinish,
)

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_runtest_protocol",
    "pytest_sessionfinish",
]
