"""Reads and writes of bundles, proposals, activations and switches."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Row, Select, Table, func, insert, select

from cdp.clock import Micros
from cdp.policy.activation import Activation, Proposal, Switch
from cdp.policy.tables import (
    destination_switches,
    policy_activations,
    policy_bundles,
    policy_proposals,
    policy_rejections,
)
from cdp.store import batches, insert_ignoring

T = TypeVar("T", bound=msgspec.Struct)


# -- bundles ----------------------------------------------------------------------------------------


def add_bundle(
    connection: Connection, sha256: str, files: Mapping[str, bytes], now: Micros, actor: str
) -> None:
    """Store the files of a bundle; one that is stored already stays."""
    packed = zlib.compress(msgspec.msgpack.encode(dict(files)), 9)
    columns = ("sha256", "files", "created_at", "created_by")
    insert_ignoring(connection, policy_bundles, columns, [(sha256, packed, now, actor)])


def find_bundle(connection: Connection, sha256: str) -> dict[str, bytes] | None:
    """Return the files of a bundle by name; None when it was never stored.

    :raises zlib.error, msgspec.DecodeError: they cannot be unpacked.
    """
    b = policy_bundles.c
    packed = connection.execute(select(b.files).where(b.sha256 == sha256)).scalar()
    if packed is None:
        return None
    return msgspec.msgpack.decode(zlib.decompress(packed), type=dict[str, bytes])


# -- activations ------------------------------------------------------------------------------------


def activation_count(connection: Connection) -> int:
    """Return how many activations there were."""
    return int(connection.execute(select(func.count()).select_from(policy_activations)).scalar_one())


def in_force(connection: Connection) -> Activation | None:
    """Return the newest activation; None before the first."""
    found = activations(connection, limit=1)
    return found[0] if found else None


def activations(connection: Connection, limit: int) -> list[Activation]:
    """Return activations, newest first."""
    query = select(policy_activations).order_by(policy_activations.c.activation_no.desc()).limit(limit)
    return _read(connection, query, Activation)


def activated(connection: Connection) -> list[str]:
    """Return the SHA-256 of every bundle that ever was in force."""
    return [sha256 for (sha256,) in connection.execute(select(policy_activations.c.sha256).distinct())]


def activation_at(connection: Connection, commit_no: int) -> Activation | None:
    """Return what was in force at a commit; None before the first activation."""
    a = policy_activations.c
    query = (
        select(policy_activations)
        .join(batches, batches.c.batch == a.batch)
        .where(batches.c.commit_no <= commit_no)
        .order_by(a.activation_no.desc())
        .limit(1)
    )
    return next(iter(_read(connection, query, Activation)), None)


def add_activation(connection: Connection, batch: int, activation: Activation) -> None:
    """Append an activation."""
    _add(connection, policy_activations, batch, activation)


# -- proposals --------------------------------------------------------------------------------------


def open_proposals(connection: Connection, base: str) -> list[Proposal]:
    """Return proposals that nobody approved or rejected and that compare with ``base``, oldest first."""
    p = policy_proposals.c
    approved = select(policy_activations.c.proposal_id)
    rejected = select(policy_rejections.c.proposal_id)
    query = (
        select(policy_proposals)
        .where(p.base == base, p.proposal_id.not_in(approved), p.proposal_id.not_in(rejected))
        .order_by(p.proposed_at, p.proposal_id)
    )
    return _read(connection, query, Proposal)


def add_proposal(connection: Connection, batch: int, proposal: Proposal) -> None:
    """Append a proposal."""
    _add(connection, policy_proposals, batch, proposal)


def add_rejection(connection: Connection, batch: int, proposal_id: str, actor: str, now: Micros) -> None:
    """Append a rejection."""
    connection.execute(
        insert(policy_rejections).values(
            proposal_id=proposal_id, batch=batch, rejected_by=actor, rejected_at=now
        )
    )


# -- switches ---------------------------------------------------------------------------------------


def switches(connection: Connection) -> list[Switch]:
    """Return the newest switch of each destination that was ever switched, by name."""
    s = destination_switches.c
    newest = select(func.max(s.switch_no)).group_by(s.destination)
    query = select(destination_switches).where(s.switch_no.in_(newest)).order_by(s.destination)
    return _read(connection, query, Switch)


def add_switch(connection: Connection, batch: int, switch_no: int, switch: Switch) -> None:
    """Append a switch."""
    connection.execute(
        insert(destination_switches).values(
            switch_no=switch_no, batch=batch, **msgspec.structs.asdict(switch)
        )
    )


# -- how --------------------------------------------------------------------------------------------


def _add(connection: Connection, table: Table, batch: int, record: Proposal | Activation) -> None:
    given = msgspec.structs.asdict(record)
    given["summary"] = msgspec.json.encode(record.summary).decode()
    connection.execute(insert(table).values(batch=batch, **given))


def _read(connection: Connection, query: Select[Any], kind: type[T]) -> list[T]:
    return [_record(row, kind) for row in connection.execute(query)]


def _record(row: Row[Any], kind: type[T]) -> T:
    given = {name: getattr(row, name) for name in kind.__struct_fields__}
    if "summary" in given:
        given["summary"] = msgspec.json.decode(given["summary"])
    return kind(**given)
