"""How far a breach reaches: who, what of them, where it went, whom to notify (GDPR Art. 33 and 34).

A scope names a destination, an API key, a source, a period, or several; all that it names must hold.

1. Of a **source**: whoever it sent events about, or said a consent of, in the period. It may have put false
   data into what went out since: so what left of them after the period begins is shown.
2. Of a **destination**: whoever was in rows that left to it in the period. Of a **key**: whoever was in rows
   that it fetched, and whoever it looked at, searched for or changed one by one.
3. A fetch without an end, and a feed, count for everybody who was in them: who *may* be concerned.

Whoever was erased since is counted from the sets of identities where those still hold them, and in no list.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from pyroaring import BitMap

from cdp.audit import AuditLog
from cdp.clock import SECOND, Micros, rfc3339
from cdp.policy import Bundle
from cdp.reports import queries
from cdp.reports.log import logged
from cdp.reports.period import Period
from cdp.reports.processing import Flow, Sent, declared_as, gather, left_as, recipient
from cdp.reports.queries import Only, Recalled, Use
from cdp.store import Connection

WITHIN: Micros = 72 * 3600 * SECOND
"""GDPR Art. 33(1): from when the controller is aware of it."""
_DECIDING = ("export.authorise",)  # who is in it is not shown to whoever asks


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What was breached: names as they were given, numbers as they were found."""

    destination: str = ""
    key: str = ""
    source: str = ""
    key_id: int | None = None
    source_id: int | None = None

    @property
    def actor(self) -> str:
        """How the key appears in the log."""
        return "" if self.key_id is None else f"key:{self.key_id}"

    @property
    def only_source(self) -> bool:
        """True when nothing but a source is named."""
        return self.source_id is not None and self.key_id is None and not self.destination

    def shown(self) -> dict[str, str]:
        """Return the names that were given."""
        named = {"destination": self.destination, "key": self.key, "source": self.source}
        return {kind: name for kind, name in named.items() if name}

    def logged(self) -> dict[str, str]:
        """Return it as the log names it: by numbers, as somebody's name may be that of their key."""
        source = "" if self.source_id is None else f"source:{self.source_id}"
        named = {"of_destination": self.destination, "of_key": self.actor, "of_source": source}
        return {kind: name for kind, name in named.items() if name}


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Whom and what a breach reaches.

    :param identities: of everybody concerned.
    :param looked: what a key did with people one by one; ``revealed``: field → how it was shown.
    :param told: what a source told, ``trait:…`` or ``event:…`` → how often; ``events`` and when they came.
    """

    identities: BitMap
    sent: Mapping[Flow, Sent]
    looked: tuple[Use, ...] = ()
    revealed: Mapping[str, set[str]] = {}
    told: Mapping[str, int] = {}
    events: int = 0
    first: Micros = 0
    last: Micros = 0


def reach(audit: AuditLog, connection: Connection, scope: Scope, period: Period, now: Micros) -> Reach:
    """Return whom and what a breach reaches."""
    origin: BitMap | None = None
    told: dict[str, int] = {}
    events, first, last = 0, 0, 0
    if scope.source_id is not None:  # 1
        came = queries.came_from(connection, scope.source_id, period)
        events = int(came[:, 1].sum())
        first, last = int(came[:, 2].min(initial=now)), int(came[:, 3].max(initial=0))
        origin = BitMap(came[:, 0].tolist()) | queries.spoken_of(connection, scope.source_id, period)
        told = {name: count for _, name, count in queries.told_by(connection, period, scope.source_id)}
    since = Period(from_=period.from_, to=max(period.to, now + 1)) if scope.only_source else period
    left = queries.departures(connection, since, Only(destination=scope.destination), scope.key_id)  # 2, 3
    sent = gather((), left, lambda export_id: queries.released(connection, export_id), origin)
    looked: tuple[Use, ...] = ()
    revealed: dict[str, set[str]] = {}
    seen = BitMap()
    if scope.actor and not scope.destination:
        looked = tuple(use for use in queries.uses(connection, period, scope.actor) if use.people)
        looked = tuple(use for use in looked if use.outcome == "allowed" and use.action not in _DECIDING)
        seen = queries.subjects(connection, period, scope.actor, _DECIDING)
        revealed = shown_fields(audit, connection, period, scope.actor).get("", {})
        seen = seen if origin is None else seen & origin
    gone = BitMap.union(BitMap(), *(one.identities for one in sent.values()))
    return Reach(
        identities=origin if scope.only_source and origin is not None else gone | seen,
        sent=sent,
        looked=looked,
        revealed=revealed,
        told=told,
        events=events,
        first=first,
        last=last,
    )


def shown_fields(
    audit: AuditLog, connection: Connection, period: Period, actor: str = ""
) -> dict[str, dict[str, set[str]]]:
    """Return purpose → field → how it was shown, of the reveals in a period; under "" of all purposes."""
    found: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for entry in logged(audit, connection, period, "profile.reveal", "allowed", actor):
        pairs = (item.partition("=") for item in str(entry.object.get("fields", "")).split(","))
        for field, words in left_as({name: word for name, _, word in pairs if word}).items():
            for purpose in (entry.purpose, ""):
                found[purpose].setdefault(field, set()).update(words)
    return found


def clock(noticed_at: Micros, now: Micros) -> dict[str, Any]:
    """Return by when the authority is notified."""
    due = noticed_at + WITHIN
    return {
        "noticed_at": rfc3339(noticed_at),
        "notify_authority_by": rfc3339(due),
        "hours_left": (due - now) // (3600 * SECOND),
        "law": "GDPR Art. 33(1): 72 hours from when it is noticed; Art. 34: the people without undue delay",
    }


def contents(bundle: Bundle, found: Reach) -> list[dict[str, Any]]:
    """Return what of people is concerned: how it left or was shown, and how it is kept."""
    left: dict[str, set[str]] = defaultdict(set)
    chosen: set[str] = set()
    for sent in found.sent.values():
        for field, words in sent.words.items():
            left[f"trait:{field}"] |= words
        chosen |= {name for name in sent.reads if ":" in name}
    shown = {f"trait:{field}": words for field, words in found.revealed.items()}
    rows = []
    for name in sorted({*left, *shown, *chosen, *found.told}):
        rule, category = declared_as(bundle.fields, name)
        rows.append(
            {
                "name": name,
                "category": category,
                "sensitive": bundle.is_sensitive(category) if category else None,
                "kept": "sealed" if category is None else rule.protection if rule else None,
                "left_as": sorted(left.get(name, ())),
                "shown_as": sorted(shown.get(name, ())),
                "chosen_by": name in chosen,
                "received_times": found.told.get(name, 0),
            }
        )
    return rows


def recipients(bundle: Bundle, found: Reach, count: Any, now: Micros) -> list[dict[str, Any]]:
    """Return where data of these people went, by destination and purpose.

    :param count: returns how many people some identities are.
    """
    return [
        {
            **recipient(bundle, destination, now),
            "purpose": purpose,
            "deliveries": sent.departures,
            "people": count(sent.identities),
            "first": rfc3339(sent.first),
            "last": rfc3339(sent.last),
        }
        for (purpose, destination), sent in sorted(found.sent.items(), key=lambda one: one[0][::-1])
    ]


def told_back(recalls: Iterable[Recalled], to: set[str], now: Micros) -> list[dict[str, Any]]:
    """Return what destinations were told to remove or correct, and whether they said that it is done."""
    sums: dict[tuple[str, str, str, bool], Counter[str]] = defaultdict(Counter)
    oldest: dict[tuple[str, str, str, bool], Micros] = {}
    for one in recalls:
        if one.destination in to:
            late = one.state != "acknowledged" and one.deadline < now
            key = one.destination, one.kind.removeprefix("recall."), one.state, late
            sums[key].update(messages=1, people=one.people)
            oldest.setdefault(key, one.created_at)
    return [
        {
            "destination": key[0],
            "told_to": key[1],
            "state": key[2],
            "late": key[3],
            "messages": counts["messages"],
            "people": counts["people"],
            "oldest": rfc3339(oldest[key]),
        }
        for key, counts in sorted(sums.items())
    ]


def looked_at(found: Reach) -> Iterator[dict[str, Any]]:
    """Yield what a key did with people one by one."""
    for use in found.looked:
        yield {
            "action": use.action,
            "purpose": use.purpose or None,
            "times": use.times,
            "person_uses": use.people,
            "first": rfc3339(use.first),
            "last": rfc3339(use.last),
        }
