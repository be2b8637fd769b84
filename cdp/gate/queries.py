"""Reads of facts about candidates, reads and writes of exports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    case,
    func,
    insert,
    literal,
    select,
    update,
)

from cdp.access.tables import sources
from cdp.audit.tables import audit_subjects
from cdp.clock import Micros
from cdp.consent.tables import consent_records
from cdp.gate.model import Authorisation, Class, FieldPlan
from cdp.gate.tables import destination_anchors, export_classes, export_fetches, exports
from cdp.identity import members_of, profiles_of
from cdp.identity.tables import identities, profile_members
from cdp.profiles.tables import trait_observations
from cdp.store import (
    Labelled,
    among,
    batches,
    chunks,
    insert_many,
    insert_new,
    lock_rows,
    read_labelled,
    read_numbers,
    read_rows,
    since,
    until,
)

_BY_BROWSER = trait_observations.c.source_id.in_(
    select(sources.c.source_id).where(sources.c.kind == "browser")
)

# -- people -----------------------------------------------------------------------------------------


def profile_mates(connection: Connection, identity_nos: Iterable[int]) -> BitMap:
    """Return every identity of the profiles of these."""
    members = members_of(connection, set(profiles_of(connection, identity_nos).values()))
    return BitMap(number for numbers in members.values() for number in numbers)


def relinked_since(connection: Connection, commit_no: int) -> BitMap:
    """Return every identity in a component of which a row changed after ``commit_no``.

    The whole component, because a split moves only the identities that leave: those that stay
    belong to another person now, too.
    """
    m = profile_members.c
    moved = select(m.cluster_no).where(since(m.batch, commit_no)).distinct()
    clusters = [int(row[0]) for row in connection.execute(moved)]
    found = BitMap(clusters)
    for chunk in chunks(clusters):
        query = select(m.identity_no).where(among(m.cluster_no, chunk))
        found.update(int(row[0]) for row in connection.execute(query))
    return found


def recorded(
    connection: Connection,
    identity_nos: Iterable[int] | None,
    names: Collection[str],
    upto: int | None = None,
    *,
    dated: bool = False,
) -> Iterator[tuple[int, str, str | None, bytes | None, bytes, Micros, bool]]:
    """Yield (identity, trait, JSON value, envelope, event id, when told, by a browser?) of each observation.

    :param identity_nos: of these; of everybody when None.
    :param upto: as of this commit; now when None.
    :param dated: say when it was committed; 0 without.
    """
    o = trait_observations.c
    told_at: ColumnElement[int] = literal(0)
    tables: FromClause = trait_observations
    if dated:
        told_at = batches.c.committed_at
        tables = trait_observations.join(batches, batches.c.batch == o.batch)
    named = o.name.concat("").in_(names)  # an expression, or a planner without statistics reads by name
    for only in _pages(o.identity_no, identity_nos):
        query = select(o.identity_no, o.name, o.value, o.sealed, o.event_id, told_at, _BY_BROWSER)
        yield from read_rows(connection, query.select_from(tables).where(*only, named, until(o.batch, upto)))


def recorded_alike(
    connection: Connection,
    identity_nos: Iterable[int] | None,
    names: Collection[str],
    upto: int | None = None,
) -> Iterator[Labelled]:
    """Yield the identities with an observation, by (trait, value or nothing if sealed, ``1`` if a browser's).

    :param identity_nos: of these; of everybody when None.
    :param upto: as of this commit; now when None.
    """
    o = trait_observations.c
    value = case((o.sealed.is_not(None), ""), else_=func.coalesce(o.value, "null"))
    for only in _pages(o.identity_no, identity_nos) if names else ():
        name = o.name.concat("") if only else o.name  # see ``recorded``
        query = select(o.identity_no, o.name, value, case((_BY_BROWSER, "1"), else_=""))
        yield read_labelled(connection, query.where(*only, name.in_(names), until(o.batch, upto)))


def consent_places(
    connection: Connection, identity_nos: Iterable[int] | None, upto: int | None = None
) -> Iterator[Labelled]:
    """Yield the identities with a place named in a consent, by (it, ``1`` if of a signal or unsigned).

    :param identity_nos: of these; of everybody when None.
    :param upto: as of this commit; now when None.
    """
    c = consent_records.c
    claimed = (c.signal != "") | ((c.source_kind == "browser") & c.verified.is_(False))
    for only in _pages(c.identity_no, identity_nos):
        query = select(c.identity_no, c.jurisdiction, case((claimed, "1"), else_=""))
        yield read_labelled(connection, query.where(*only, c.jurisdiction != "", until(c.batch, upto)))


def _pages(column: ColumnElement[int], keys: Iterable[int] | None) -> Iterator[list[among]]:
    """Yield the condition of each look-up by ``keys``; one without any for everybody."""
    if keys is None:
        yield []
        return
    for chunk in chunks(keys):
        yield [among(column, chunk)]


def memberships(connection: Connection, identity_nos: Iterable[int] | None) -> NDArray[np.int64]:
    """Return (identity_no, profile_no) of these identities, or of everybody: an array of two columns."""
    m = profile_members.c
    found = [
        read_numbers(connection, select(m.identity_no, m.profile_no).where(*only))
        for only in _pages(m.identity_no, identity_nos)
    ]
    return np.concatenate([np.empty((0, 2), np.int64), *found])


def of_type(connection: Connection, identity_nos: Iterable[int], kind: str) -> BitMap:
    """Return those of some identities that are identifiers of one type."""
    i = identities.c
    found = BitMap()
    for chunk in chunks(identity_nos):
        query = select(i.identity_no).where(among(i.identity_no, chunk), i.type == kind)
        found.update(connection.execute(query).scalars())
    return found


def spoken_since(connection: Connection, commit_no: int, names: Collection[str]) -> BitMap:
    """Return the identities of which a trait in ``names`` or a consent was recorded after ``commit_no``."""
    o, c = trait_observations.c, consent_records.c
    observed = select(o.identity_no).where(since(o.batch, commit_no), o.name.in_(names))
    recorded = select(c.identity_no).where(since(c.batch, commit_no))
    found = BitMap()
    for query in (observed, recorded):
        found.update(int(row[0]) for row in connection.execute(query.distinct()))
    return found


# -- exports ----------------------------------------------------------------------------------------


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An authorisation with the sets that stand behind it.

    :param inputs: categories that the definition read then; ``reads`` the names of what it read.
    :param manifest: sorted leaves, position(32) ‖ value(32).
    :param changed: D, identities that were restrained or relinked while it was decided.
    """

    authorisation: Authorisation
    inputs: frozenset[str]
    reads: frozenset[str]
    classes: tuple[Class, ...]
    manifest: bytes
    changed: bytes


def add_export(connection: Connection, batch: int, stored: Stored) -> None:
    """Store an export."""
    given = stored.authorisation
    connection.execute(
        insert(exports).values(
            export_id=given.export_id,
            batch=batch,
            audit_index=given.audit_index,
            created_at=given.created_at,
            requested_by=given.requested_by,
            segment=given.segment,
            segment_version=given.segment_version,
            segment_as_of=given.segment_as_of,
            destination=given.destination,
            purpose=given.purpose,
            format=given.format,
            mode=given.mode,
            bundle=given.bundle,
            ledger_position=given.ledger_position,
            valid_until=given.valid_until,
            inputs=_json(sorted(stored.inputs)),
            reads=_json(sorted(stored.reads)),
            fields=_json(given.fields),
            plan=_json(given.plan),
            counts=_json(given.counts),
            noised=_json(given.noised),
            manifest=stored.manifest,
            manifest_root=given.manifest_root,
            changed=stored.changed,
            changed_root=given.changed_root,
        )
    )
    rows = [
        (given.export_id, number, _json(one.plan), one.identities)
        for number, one in enumerate(stored.classes)
    ]
    insert_many(connection, export_classes, ("export_id", "class_no", "plan", "identities"), rows)


def find_export(connection: Connection, export_id: str) -> Authorisation | None:
    """Return an export without its sets."""
    row = connection.execute(_exports().where(exports.c.export_id == export_id)).first()
    return None if row is None else _authorisation(row)


def load_export(connection: Connection, export_id: str) -> Stored | None:
    """Return an export with its sets."""
    e, c = exports.c, export_classes.c
    wanted = _exports(e.inputs, e.reads, e.manifest, e.changed).where(e.export_id == export_id)
    row = connection.execute(wanted).first()
    if row is None:
        return None
    query = select(c.plan, c.identities).where(c.export_id == export_id).order_by(c.class_no)
    return Stored(
        authorisation=_authorisation(row),
        inputs=frozenset(msgspec.json.decode(row.inputs, type=list[str])),
        reads=frozenset(msgspec.json.decode(row.reads, type=list[str])),
        classes=tuple(
            Class(identities=bytes(one.identities), plan=msgspec.json.decode(one.plan, type=FieldPlan))
            for one in connection.execute(query)
        ),
        manifest=bytes(row.manifest),
        changed=bytes(row.changed),
    )


def list_exports(
    connection: Connection,
    *,
    limit: int,
    before: tuple[Micros, str] | None = None,
    destination: str | None = None,
    requested_by: int | None = None,
) -> list[Authorisation]:
    """Return exports, newest first.

    :param before: (created_at, export id) of the last one of the page before.
    :param destination: only of this destination; ``requested_by`` only those a key asked for.
    """
    e = exports.c
    query = _exports()
    if destination is not None:
        query = query.where(e.destination == destination)
    if requested_by is not None:
        query = query.where(e.requested_by == requested_by)
    if before is not None:
        at, export_id = before
        query = query.where((e.created_at < at) | ((e.created_at == at) & (e.export_id < export_id)))
    query = query.order_by(e.created_at.desc(), e.export_id.desc()).limit(limit)
    return [_authorisation(row) for row in connection.execute(query)]


def _exports(*more: Any) -> Select[Any]:
    return select(*(exports.c[name] for name in (*_PLAIN, *_DECODED)), *more)


def _authorisation(row: Row[Any]) -> Authorisation:
    return msgspec.convert(
        {
            **{name: getattr(row, name) for name in _PLAIN},
            **{name: msgspec.json.decode(getattr(row, name)) for name in _DECODED},
        },
        Authorisation,
    )


_PLAIN = (
    "export_id", "segment", "segment_version", "destination", "purpose", "format", "requested_by",
    "segment_as_of", "ledger_position", "valid_until", "created_at", "bundle", "manifest_root",
    "changed_root", "audit_index", "mode",
)  # fmt: skip
_DECODED = ("fields", "plan", "counts", "noised")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


# -- fetches ----------------------------------------------------------------------------------------


def fetches_of(connection: Connection, export_id: str) -> list[tuple[Micros, Micros | None, BitMap]]:
    """Return (start, end, identities skipped) of every fetch of an export, oldest first."""
    f = export_fetches.c
    query = select(f.started_at, f.finished_at, f.skipped).where(f.export_id == export_id)
    return [
        (row.started_at, row.finished_at, BitMap.deserialize(row.skipped) if row.skipped else BitMap())
        for row in connection.execute(query.order_by(f.started_at, f.fetch_no))
    ]


def start_fetch(
    connection: Connection, fetch_no: int, export_id: str, key_id: int, batch: int, now: Micros
) -> None:
    """Record that a fetch begins: from now on all of M∖D counts as delivered."""
    connection.execute(
        insert(export_fetches).values(
            fetch_no=fetch_no, export_id=export_id, key_id=key_id, batch=batch, started_at=now
        )
    )


def end_fetch(connection: Connection, fetch_no: int, skipped: BitMap, now: Micros) -> None:
    """Record that a fetch went to its end, and which identities it skipped."""
    connection.execute(
        update(export_fetches)
        .where(export_fetches.c.fetch_no == fetch_no)
        .values(finished_at=now, skipped=skipped.serialize())
    )


def received(connection: Connection, identity_no: int) -> Iterator[tuple[str, str, Micros, bytes | None]]:
    """Yield (destination, purpose, when, skipped) of every delivery that this identity may have been in.

    The entry of a decision names all that were released, by an index that forgets who is erased. A full
    export was delivered by each of its fetches; what a feed was brought up to lies ready from then on.
    """
    e, f, s = exports.c, export_fetches.c, audit_subjects.c
    query = (
        select(e.destination, e.purpose, e.created_at, e.mode, f.started_at, f.skipped)
        .join(audit_subjects, s.leaf_index == e.audit_index)
        .outerjoin(export_fetches, f.export_id == e.export_id)
        .where(s.identity_no == identity_no)
    )
    for destination, purpose, decided_at, mode, fetched_at, skipped in connection.execute(query):
        if mode == "delta" or fetched_at is not None:
            yield destination, purpose, int(fetched_at or decided_at), skipped


def anchors(connection: Connection, destination: str) -> BitMap:
    """Lock and return the identities from which pseudonyms of this destination are made."""
    columns = ("destination", "identities")
    empty = (destination, BitMap().serialize())
    insert_new(connection, destination_anchors, columns, [empty], ("destination",))
    query = select(destination_anchors.c.identities).where(destination_anchors.c.destination == destination)
    return BitMap.deserialize(connection.execute(lock_rows(query)).scalar_one())


def known_anchors(connection: Connection, destination: str) -> BitMap:
    """Return the identities from which pseudonyms of this destination are made."""
    query = select(destination_anchors.c.identities).where(destination_anchors.c.destination == destination)
    found = connection.execute(query).scalar()
    return BitMap() if found is None else BitMap.deserialize(found)


def set_anchors(connection: Connection, destination: str, identities: BitMap) -> None:
    """Store the identities from which pseudonyms of this destination are made."""
    connection.execute(
        update(destination_anchors)
        .where(destination_anchors.c.destination == destination)
        .values(identities=identities.serialize())
    )


def drop_anchors(connection: Connection, identity_nos: BitMap) -> list[str]:
    """Make no pseudonym from these identities any more; returns the destinations where one was."""
    a = destination_anchors.c
    query = select(a.destination, a.identities).order_by(a.destination)
    held = {row[0]: BitMap.deserialize(row[1]) for row in connection.execute(lock_rows(query))}
    touched = [destination for destination, known in held.items() if known & identity_nos]
    for destination in touched:
        set_anchors(connection, destination, held[destination] - identity_nos)
    return list(held)
