"""Reads which exports held somebody."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import msgspec
from pyroaring import BitMap
from sqlalchemy import Connection, select

from cdp.audit.tables import audit_subjects
from cdp.clock import Micros
from cdp.gate.manifest import word
from cdp.gate.model import DROP, FieldPlan
from cdp.gate.tables import export_classes, export_fetches, exports
from cdp.store import among, chunks


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """An export that somebody was in.

    :param fields: field → how it left: ``clear``, ``generalise:country``…; without those that were dropped.
    :param inputs: the categories that people were chosen by.
    :param taken_out: they were taken out again while it was decided, so nothing of them left.
    :param fetched: when it was read with their row in it; of a feed when it was decided, as it is read bit by
        bit from then on.
    """

    export_id: str
    segment: str
    inputs: frozenset[str]
    destination: str
    purpose: str
    mode: str
    format: str
    decided_at: Micros
    fields: dict[str, str]
    taken_out: bool
    fetched: tuple[Micros, ...]


def delivered_of(connection: Connection, identity_nos: Collection[int]) -> list[Delivered]:
    """Return every export that held one of these identities, the newest first.

    The entry of a decision names all that were released, by an index that forgets who is erased. A fetch
    without an end counts for everybody in its export.
    """
    e, s = exports.c, audit_subjects.c
    mine = BitMap(identity_nos)
    about = select(s.leaf_index).where(among(s.identity_no, list(mine)))
    query = select(
        e.export_id, e.segment, e.inputs, e.destination, e.purpose, e.mode, e.format, e.created_at, e.fields,
        e.changed,
    ).where(e.audit_index.in_(about))  # fmt: skip
    rows = {row.export_id: row for row in connection.execute(query)}
    plans = _plans(connection, rows, mine)
    fetches = _fetches(connection, rows)
    found = []
    for row in rows.values():
        inside = plans.get(row.export_id, [])
        left = BitMap.union(BitMap(), *(held for _, held in inside)) - BitMap.deserialize(row.changed)
        names = msgspec.json.decode(row.fields, type=list[str])
        told = [at for at, skipped in fetches[row.export_id] if left - skipped]
        fed = row.mode == "delta" and bool(left)
        found.append(
            Delivered(
                export_id=row.export_id,
                segment=row.segment,
                inputs=msgspec.json.decode(row.inputs, type=frozenset[str]),
                destination=row.destination,
                purpose=row.purpose,
                mode=row.mode,
                format=row.format,
                decided_at=int(row.created_at),
                fields=_fields(names, [plan for plan, _ in inside]),
                taken_out=not left,
                fetched=tuple([int(row.created_at)] if fed else sorted(told)),
            )
        )
    return sorted(found, key=lambda one: (-one.decided_at, one.export_id))


def _plans(
    connection: Connection, export_ids: Collection[str], mine: BitMap
) -> dict[str, list[tuple[FieldPlan, BitMap]]]:
    """Return export → (plan, those of ``mine`` in it) of each class with any of them."""
    c = export_classes.c
    found: dict[str, list[tuple[FieldPlan, BitMap]]] = defaultdict(list)
    for chunk in chunks(export_ids):
        query = select(c.export_id, c.plan, c.identities).where(c.export_id.in_(chunk))
        for export_id, plan, held in connection.execute(query):
            if both := BitMap.deserialize(held) & mine:
                found[export_id].append((msgspec.json.decode(plan, type=FieldPlan), both))
    return found


def _fetches(connection: Connection, export_ids: Collection[str]) -> dict[str, list[tuple[Micros, BitMap]]]:
    """Return export → (when, who was skipped) of each fetch."""
    f = export_fetches.c
    found: dict[str, list[tuple[Micros, BitMap]]] = defaultdict(list)
    for chunk in chunks(export_ids):
        query = select(f.export_id, f.started_at, f.skipped).where(f.export_id.in_(chunk))
        for export_id, at, skipped in connection.execute(query):
            found[export_id].append((int(at), BitMap.deserialize(skipped) if skipped else BitMap()))
    return found


def _fields(names: Collection[str], plans: Collection[FieldPlan]) -> dict[str, str]:
    left: dict[str, set[str]] = {}
    for plan in plans:
        for name, transform in zip(names, plan, strict=True):
            if transform != DROP:
                left.setdefault(name, set()).add(word(transform))
    return {name: "|".join(sorted(words)) for name, words in left.items()}
