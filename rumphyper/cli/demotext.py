"""How ``rumphyper demo`` words its events and figures."""

from __future__ import annotations

from rumphyper.hypercalls.catalogue import CATALOGUE
from rumphyper.net.answer import Address
from rumphyper.net.pinger import Lost, Reply, Summary


def event_line(event: Reply | Lost) -> str:
    """One answer, or none, as ping(8) prints it."""
    if isinstance(event, Lost):
        return f"icmp_seq={event.sequence} no answer"
    marks = (" (DUP!)" if event.duplicate else "") + (
        "" if event.intact else " (damaged)"
    )
    return (
        f"{event.size} bytes from {event.source}: icmp_seq={event.sequence} "
        f"ttl={event.ttl} time={event.rtt * 1000:.3f} ms{marks}"
    )


def milliseconds(summary: Summary) -> dict[str, float | None]:
    times = {
        "min_ms": summary.minimum,
        "avg_ms": summary.average,
        "max_ms": summary.maximum,
        "mdev_ms": summary.deviation,
    }
    return {
        name: None if value is None else round(value * 1000, 3)
        for name, value in times.items()
    }


def overall(summaries: list[Summary]) -> dict[str, float] | None:
    """The round trips of all pings together; None without an answer."""
    answered = [s for s in summaries if s.received]
    if not answered:
        return None
    number = sum(s.received for s in answered)
    times = {
        "min": min(s.minimum or 0 for s in answered),
        "avg": sum((s.average or 0) * s.received for s in answered) / number,
        "max": max(s.maximum or 0 for s in answered),
    }
    return {name: round(value * 1000, 3) for name, value in times.items()}


def figures(target: Address, summary: Summary) -> dict[str, object]:
    return {
        "target": str(target),
        "sent": summary.transmitted,
        "received": summary.received,
        "duplicates": summary.duplicates,
        "damaged": summary.damaged,
        **milliseconds(summary),
    }


def summary_line(target: Address, summary: Summary) -> str:
    text = f"{target}: {summary.transmitted} pings, {summary.received} answers"
    if summary.received:
        times = "/".join(f"{value:.3f}" for value in milliseconds(summary).values())
        text += f", min/avg/max/mdev {times} ms"
    return text


def by_family(counts: dict[str, int]) -> dict[str, int]:
    """Hypercalls for each family, the busiest first."""
    families: dict[str, int] = {}
    for name, number in counts.items():
        family = CATALOGUE[name].family
        families[family] = families.get(family, 0) + number
    return dict(sorted(families.items(), key=lambda item: -item[1]))
