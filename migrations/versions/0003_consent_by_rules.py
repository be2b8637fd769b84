"""States of consent are kept by what they were derived by; they are derived anew at the next start.

The new tables have other names, so that an older version that runs on fails and disturbs nothing.

Of a restraint it is kept whom it was said of; nobody knows it of those from before, which count as said of
whom they are written to.

Lists keep who is not known yet. Who waited for a black list since a restore waits there now, for one named
``restored_black_list``: of theirs only the tag of its name is at hand here.

Exports and deliveries name what their people were chosen by. Of those of before the stored definitions say
it, of a nested segment every version that may have been read. Where nothing says it, nobody is released.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("consent_states")
    op.drop_table("consent_derivation")
    op.create_table(
        "consent_projections",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=True),
        sa.Column("reached", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_consent_projections")),
    )
    op.create_table(
        "consent_standings",
        sa.Column("projection", sa.Text(), nullable=False),
        sa.Column("profile_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("notice_current", sa.Boolean(), nullable=False),
        sa.Column("recipients", sa.Text(), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=True),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("named", sa.Text(), nullable=False),
        sa.Column("notice_given", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("projection", "profile_no", name=op.f("pk_consent_standings")),
        sqlite_with_rowid=False,
    )
    for column in ("batch", "profile_no"):
        op.create_index(op.f(f"ix_consent_standings_{column}"), "consent_standings", [column], unique=False)
    op.add_column("consent_records", sa.Column("said_of", sa.BigInteger(), nullable=True))
    op.create_table(
        "list_waiting",
        sa.Column("tag", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tag", "name", name=op.f("pk_list_waiting")),
        sqlite_with_rowid=False,
    )
    _move_listed()
    for table in ("exports", "deliveries"):
        reads = sa.Column("reads", sa.Text(), nullable=False, server_default='["unsaid"]')
        op.add_column(table, reads)
    _name_what_was_read()


def _move_listed() -> None:
    name = "restored_black_list"
    pending = sa.table("pending_restraints", *map(sa.column, ("tag", "record_id", "line")))
    lists = sa.table("lists", *map(sa.column, ("name", "kind", "category", "batch")))
    waiting = sa.table("list_waiting", *map(sa.column, ("tag", "name")))
    p, found = pending.c, set()
    for tag, record_id, line in op.get_bind().execute(sa.select(p.tag, p.record_id, p.line)).all():
        if json.loads(bytes(line))["kind"] == "listed":
            found.add(tag)
            op.execute(sa.delete(pending).where(p.tag == tag, p.record_id == record_id))
    if not found:
        return
    if op.get_bind().execute(sa.select(lists.c.name).where(lists.c.name == name)).first() is None:
        row = {"name": name, "kind": "black", "category": "user.unique_id", "batch": 0}
        op.bulk_insert(lists, [row])
    op.bulk_insert(waiting, [{"tag": bytes.fromhex(tag), "name": name} for tag in sorted(found)])


def _name_what_was_read() -> None:
    segments = sa.table("segments", *map(sa.column, ("name", "version", "definition", "batch")))
    batches = sa.table("batches", *map(sa.column, ("batch", "commit_no")))
    audience = ("destination", "purpose", "segment")
    named = ("export_id", *audience, "segment_version", "segment_as_of", "ledger_position", "reads")
    exports = sa.table("exports", *map(sa.column, named))
    fetches = sa.table("export_fetches", sa.column("export_id"))
    deliveries = sa.table("deliveries", *map(sa.column, (*audience, "inputs", "reads")))
    connection, s = op.get_bind(), segments.c

    stored: dict[str, list[tuple[int, int, Any]]] = {}  # name → (version, commit, definition), ascending
    versions = (
        sa.select(s.name, s.version, sa.func.coalesce(batches.c.commit_no, 0), s.definition)
        .join_from(segments, batches, batches.c.batch == s.batch, isouter=True)
        .where(s.definition.is_not(None))
        .order_by(s.name, s.version)
    )
    for name, version, commit_no, text in connection.execute(versions):
        stored.setdefault(name, []).append((version, commit_no, json.loads(text)))

    def read(node: Any, since: int, upto: int, seen: set[str]) -> set[str]:
        """Name what a definition read that was evaluated after one commit and before another."""
        parts = list(node) if isinstance(node, list) else []
        found = set()
        if isinstance(node, dict):
            parts = list(node.values())
            found = {f"{kind}:{node[kind]}" for kind in ("trait", "property", "list") if kind in node}
            if "event" in node:
                kind = node.get("type", "track")
                found.add(f"event:{node['event'] if kind == 'track' else kind}")
            if "segment" in node and node["segment"] not in seen:
                seen.add(node["segment"])
                nested = [one for one in stored.get(node["segment"], []) if one[1] <= upto]
                before = [one for one in nested if one[1] <= since]
                parts += [one[2]["where"] for one in before[-1:] + nested[len(before) :]]
        return found.union(*(read(part, since, upto, seen) for part in parts))

    fetched = set(connection.execute(sa.select(fetches.c.export_id)).scalars())
    held: dict[tuple[str, ...], set[str]] = {}
    for row in connection.execute(sa.select(exports)).all():
        own = [text for version, _, text in stored.get(row.segment, []) if version == row.segment_version]
        names = (
            {"unsaid"} if not own else read(own[0]["where"], row.segment_as_of, row.ledger_position, set())
        )
        reads = json.dumps(sorted(names))
        op.execute(sa.update(exports).where(exports.c.export_id == row.export_id).values(reads=reads))
        if row.export_id in fetched:
            held.setdefault((row.destination, row.purpose, row.segment), set()).update(names)
    d = deliveries.c
    op.execute(sa.update(deliveries).where(d.inputs == "[]").values(reads="[]"))
    for key, names in held.items():
        these = sa.and_(*(d[column] == value for column, value in zip(audience, key, strict=True)))
        op.execute(sa.update(deliveries).where(these).values(reads=json.dumps(sorted(names))))
