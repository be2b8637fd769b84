"""Why people were withheld, over time (the audience-loss report). Pure.

Figures are those of the *newest* decision of a piece of time, never their sum: the same people are withheld
again by each decision. Officers see exact figures. A marketer sees the decisions that their key asked for,
with the very figures that they were answered then: noised, small reasons merged (``cdp/gate/counts.py``), so
that asking again tells nothing more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from cdp.audit import AuditEntry
from cdp.clock import rfc3339
from cdp.reports.period import Piece, piece_of
from cdp.reports.queries import Decision, Departure, Recalled

Audience = tuple[str, str, str, str]
"""(piece of time, segment, destination, purpose)."""


class _Cell(msgspec.Struct, kw_only=True):
    """One audience in one piece of time."""

    newest: Decision | None = None
    decisions: int = 0
    deliveries: int = 0
    skipped: int = 0
    recalled: int = 0
    reasons: Counter[str] = msgspec.field(default_factory=Counter)


def audiences(
    decisions: Iterable[Decision],
    departures: Iterable[Departure],
    recalls: Iterable[Recalled],
    issued: Iterable[AuditEntry],
    by: Piece,
    people: Callable[[bytes], int],
) -> list[dict[str, Any]]:
    """Return a row for each audience and piece of time, exact: for officers.

    :param decisions: oldest first.
    :param issued: entries of recalls, which say why.
    :param people: returns how many people a serialised set of identities are.
    """
    cells: dict[Audience, _Cell] = defaultdict(_Cell)
    _decided(cells, decisions, by)
    for one in departures:
        cell = cells[_key(one.at, one.decision, by)]
        cell.deliveries += 1
        cell.skipped += people(one.skipped) if one.skipped else 0
    for told in recalls:
        cells[_key(told.created_at, told, by)].recalled += told.people
    for entry in issued:
        key = piece_of(entry.at, by), str(entry.object.get("segment", "")), entry.destination, entry.purpose
        cells[key].reasons[str(entry.object.get("reason", ""))] += 1
    return [
        {
            **_row(key, cell, "counts"),
            "deliveries": cell.deliveries,
            "skipped_while_fetched": cell.skipped,
            "recalled": cell.recalled,
            "recall_reasons": dict(sorted(cell.reasons.items())),
        }
        for key, cell in sorted(cells.items())
    ]


def noised_audiences(decisions: Iterable[Decision], by: Piece) -> list[dict[str, Any]]:
    """Return the same of one's own decisions, with the figures that were answered then: for marketers."""
    cells: dict[Audience, _Cell] = defaultdict(_Cell)
    _decided(cells, decisions, by)
    return [_row(key, cell, "noised") for key, cell in sorted(cells.items())]


def refusals(entries: Iterable[AuditEntry], by: Piece) -> list[dict[str, Any]]:
    """Return how often whole audiences were refused, and why."""
    found = Counter(
        (
            piece_of(entry.at, by),
            str(entry.object.get("segment", "")),
            entry.destination,
            entry.purpose,
            str(entry.object.get("reason", "")),
        )
        for entry in entries
    )
    names = ("when", "segment", "destination", "purpose", "reason")
    return [{**dict(zip(names, key, strict=True)), "times": times} for key, times in sorted(found.items())]


def _decided(cells: dict[Audience, _Cell], decisions: Iterable[Decision], by: Piece) -> None:
    for decision in decisions:
        cell = cells[_key(decision.created_at, decision, by)]
        cell.decisions += 1
        cell.newest = decision


def _key(at: int, about: Decision | Recalled, by: Piece) -> Audience:
    return piece_of(at, by), about.segment, about.destination, about.purpose


def _row(key: Audience, cell: _Cell, figures: str) -> dict[str, Any]:
    newest = cell.newest
    counts: dict[str, Any] = {} if newest is None else getattr(newest, figures)
    withheld = counts.get("withheld", {})
    return {
        **dict(zip(("when", "segment", "destination", "purpose"), key, strict=True)),
        "decisions": cell.decisions,
        "newest": None if newest is None else rfc3339(newest.created_at),
        "members": counts.get("members"),
        "released": counts.get("released"),
        "withheld": dict(sorted(withheld.items(), key=lambda one: (-one[1], one[0]))),
    }
