"""Reads and writes of tracking plans and their violations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, func, insert, select

from cdp.clock import Micros
from cdp.ingest.plans.model import Held, SeenViolation, Violation
from cdp.ingest.plans.tables import plan_violations, tracking_plans
from cdp.store import upsert

MOST_VIOLATIONS = 1_000
_KEYS = ("source_id", "version", "event", "place", "kind")
ViolationKey = tuple[int, int, str, Violation]
"""(source_id, version of the plan, event, violation)."""


def versions(connection: Connection) -> dict[int, int]:
    """Return source_id → the newest version of its plan, those that end one included."""
    p = tracking_plans.c
    query = select(p.source_id, func.max(p.version)).group_by(p.source_id)
    return {int(source_id): int(version) for source_id, version in connection.execute(query)}


def newest(connection: Connection, source_id: int) -> Held | None:
    """Return the newest version of the plan of a source; None where it never had one."""
    p = tracking_plans.c
    query = select(tracking_plans).where(p.source_id == source_id).order_by(p.version.desc()).limit(1)
    row = connection.execute(query).first()
    if row is None:
        return None
    return Held(
        source_id=source_id,
        version=row.version,
        source=None if row.plan is None else msgspec.json.decode(row.plan),
        created_at=row.created_at,
        created_by=row.created_by,
    )


def add_version(connection: Connection, held: Held, batch: int) -> None:
    """Append a version."""
    connection.execute(
        insert(tracking_plans).values(
            source_id=held.source_id,
            version=held.version,
            plan=None if held.source is None else msgspec.json.encode(held.source).decode(),
            created_at=held.created_at,
            created_by=held.created_by,
            batch=batch,
        )
    )


def add_violations(connection: Connection, added: Mapping[ViolationKey, int], now: Micros) -> None:
    """Add counts; a version of a plan has at most so many rows, what comes later stays out."""
    v = plan_violations.c
    query = select(plan_violations).where(v.source_id.in_({key[0] for key in added}))
    held = {tuple(row[name] for name in _KEYS): row for row in connection.execute(query).mappings()}
    room = Counter(key[:2] for key in held)
    rows = []
    for (source_id, version, event, violation), count in added.items():
        key = source_id, version, event, violation.place, violation.kind
        before = held.get(key)
        if before is None:
            if room[key[:2]] >= MOST_VIOLATIONS:
                continue
            room[key[:2]] += 1
        first, total = (before["first_seen_at"], before["seen"]) if before else (now, 0)
        times = {"seen": total + count, "first_seen_at": first, "last_seen_at": now}
        rows.append(dict(zip(_KEYS, key, strict=True)) | times)
    upsert(connection, plan_violations, rows, _KEYS)


def violations(connection: Connection, source_id: int, version: int) -> list[SeenViolation]:
    """Return what did not fit a version of a plan, what came most often first."""
    v = plan_violations.c
    query = select(plan_violations).where(v.source_id == source_id, v.version == version)
    query = query.order_by(v.seen.desc(), v.event, v.place, v.kind)
    return [
        SeenViolation(
            version=row.version,
            event=row.event,
            place=row.place,
            kind=row.kind,
            seen=row.seen,
            first_seen_at=row.first_seen_at,
            last_seen_at=row.last_seen_at,
        )
        for row in connection.execute(query)
    ]
