"""netmap links in an event loop, which nothing but their descriptor wakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rumphyper.link import Link, aio
from tests.link.aio_cases import Feed, batches_until_closed, left_cancelled_and_closed
from tests.vm.netmap_support import mark_for_guest, opened

pytestmark = mark_for_guest()

Case = Callable[[Link, Feed], None]

ENDS: dict[str, tuple[str, str, dict[str, bool]]] = {
    "vale": ("vale0:a", "vale0:b", {}),
    "pipe": ("netmap:p{7", "netmap:p}7", {}),
    "csb": ("vale0:a", "vale0:b", {"csb": True}),
}


@pytest.fixture(autouse=True)
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "RECHECK", 1000.0)


@pytest.mark.parametrize("case", [batches_until_closed, left_cancelled_and_closed])
@pytest.mark.parametrize("kind", ENDS)
def test_a_port_in_an_event_loop(kind: str, case: Case) -> None:
    near, far, options = ENDS[kind]
    with opened(near, **options) as link, opened(far) as other:
        case(link, other.send)
