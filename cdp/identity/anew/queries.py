"""Reads of whole components in pages, and the rows that say how far a pass over them has come."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, func, select, update

from cdp.clock import Micros
from cdp.identity.model import Pair
from cdp.identity.tables import identities, identity_passes, link_candidates, links, profile_members
from cdp.store import among, batches, chunks, commit_order, insert_many, lock_table, read_rows

_M = profile_members.c
_P = identity_passes.c
State = Literal["running", "paused", "done", "replaced"]
Kind = Literal["rules", "index"]
Sealed = tuple[int, str, bytes]
"""(identity_no, type, sealed value)."""
Held = tuple[bool, str, bytes]
"""What was last decided about a pair: (accepted, reason, evidence event id)."""


class Linked(NamedTuple):
    """What was decided about a pair by a commit."""

    commit_no: int
    pair: Pair
    accepted: bool


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """Work over everything that there is, and where it stands.

    :param pass_no: 0 until it is stored.
    :param target: what it brings everything to; for rules the number of the last activation that is known
        to say the same, a dot, and what names them.
    :param position: the last component or identity that is done; ``upto``: the last that there was.
    :param total: how many there were when it began, of which ``done`` are done.
    :param merged: profiles of before that came together; ``parted``: that came apart.
    :param changed_at: when somebody last worked on it: the lease. 0 while nobody does.
    """

    pass_no: int = 0
    kind: Kind
    target: str
    state: State = "running"
    position: int = 0
    upto: int
    total: int
    done: int = 0
    merged: int = 0
    parted: int = 0
    actor: str
    started_at: Micros
    changed_at: Micros = 0

    @property
    def activated(self) -> int:
        """The last activation that is known to say the same."""
        return int(self.target.partition(".")[0])

    @property
    def rules(self) -> str:
        """What names the rules of this pass."""
        return self.target.partition(".")[2]


# -- components -------------------------------------------------------------------------------------


def extent(connection: Connection) -> tuple[int, int]:
    """Return (how many components have several identities, the number of the last of them)."""
    found = select(_M.cluster_no).group_by(_M.cluster_no).having(func.count() > 1).subquery()
    count, last = connection.execute(select(func.count(), func.max(found.c.cluster_no))).one()
    return int(count), int(last or 0)


def component_page(connection: Connection, after: int, upto: int, most: int) -> list[int]:
    """Return the components above ``after``, up to ``upto``, that have several identities.

    :param most: identities in all of them; a larger component stands alone.
    """
    query = (
        select(_M.cluster_no, func.count())
        .where(_M.cluster_no > after, _M.cluster_no <= upto)
        .group_by(_M.cluster_no)
        .having(func.count() > 1)
        .order_by(_M.cluster_no)
        .limit(most // 2)
    )
    found: list[int] = []
    for cluster_no, size in read_rows(connection, query):
        most -= size
        if found and most < 0:
            break
        found.append(cluster_no)
    return found


def homes(connection: Connection, clusters: Iterable[int]) -> dict[int, dict[int, int]]:
    """Return cluster_no → identity_no → profile_no, of whole components."""
    found: dict[int, dict[int, int]] = {}
    for chunk in chunks(clusters):
        query = select(_M.cluster_no, _M.identity_no, _M.profile_no).where(among(_M.cluster_no, chunk))
        for cluster_no, number, profile_no in read_rows(connection, query):
            found.setdefault(cluster_no, {})[number] = profile_no
    return found


def decided(connection: Connection, identity_nos: Iterable[int]) -> dict[Pair, Held]:
    """Return pair → what was last decided about it."""
    found: dict[Pair, Held] = {}
    c = links.c
    for chunk in chunks(identity_nos):
        query = select(c.low, c.high, c.accepted, c.reason, c.event_id).where(among(c.low, chunk))
        for low, high, accepted, reason, event_id in read_rows(
            connection, query.order_by(commit_order(c.batch))
        ):
            found[low, high] = (bool(accepted), reason, event_id)
    return found


def merges(connection: Connection, identity_nos: Iterable[int]) -> Iterator[tuple[int, Pair]]:
    """Yield (commit, pair) of what stewards and matching said."""
    c = link_candidates.c
    for chunk in chunks(identity_nos):
        query = select(batches.c.commit_no, c.low, c.high).join(batches, batches.c.batch == c.batch)
        told = query.where(among(c.low, chunk), c.origin.in_(("merge", "match")))
        for commit_no, low, high in read_rows(connection, told):
            yield commit_no, (low, high)


def link_history(connection: Connection, identity_nos: Collection[int]) -> list[Linked]:
    """Return what was decided about links among these identities, in the order of the commits."""
    c = links.c
    found = []
    for chunk in chunks(identity_nos):
        query = select(batches.c.commit_no, c.low, c.high, c.accepted)
        told = query.join(batches, batches.c.batch == c.batch).where(among(c.low, chunk))
        found += [
            Linked(commit_no, (low, high), bool(accepted))
            for commit_no, low, high, accepted in read_rows(connection, told)
            if high in identity_nos
        ]
    return sorted(found)


def values(connection: Connection, identity_nos: Iterable[int]) -> Iterator[Sealed]:
    """Yield the sealed values of identities."""
    i = identities.c
    for chunk in chunks(identity_nos):
        query = select(i.identity_no, i.type, i.value).where(among(i.identity_no, chunk))
        yield from map(_sealed, read_rows(connection, query))


def value_page(connection: Connection, after: int, most: int) -> list[Sealed]:
    """Return the sealed values of the next identities above ``after``."""
    i = identities.c
    query = select(i.identity_no, i.type, i.value).where(i.identity_no > after)
    return list(map(_sealed, read_rows(connection, query.order_by(i.identity_no).limit(most))))


def _sealed(row: tuple[int, str, bytes]) -> Sealed:
    return row[0], row[1], row[2]


def profile_count(connection: Connection) -> int:
    """Return how many profiles there are."""
    return int(connection.execute(select(func.count(_M.profile_no.distinct()))).scalar_one())


# -- passes -----------------------------------------------------------------------------------------


def passes(connection: Connection, most: int, kind: Kind | None = None) -> list[Pass]:
    """Return the newest passes, the newest first."""
    query = select(*identity_passes.c).order_by(_P.pass_no.desc()).limit(most)
    if kind is not None:
        query = query.where(_P.kind == kind)
    names = Pass.__struct_fields__
    return [Pass(**dict(zip(names, row, strict=True))) for row in connection.execute(query)]


def begin(connection: Connection, made: Pass) -> int:
    """Store a pass, which replaces what is left of those of its kind; returns its number.

    Two that begin come one after the other; whoever works on a pass commits first.
    """
    open_ = _P.kind == made.kind, _P.state.in_(("running", "paused"))
    connection.execute(update(identity_passes).where(*open_).values(state="replaced"))
    pass_no = int(connection.execute(select(func.max(_P.pass_no))).scalar() or 0) + 1
    row = msgspec.structs.astuple(msgspec.structs.replace(made, pass_no=pass_no))
    insert_many(connection, identity_passes, [column.name for column in identity_passes.c], [row])
    return pass_no


def note(connection: Connection, known: Pass, wanted: str) -> None:
    """Note that a later activation says what a pass is for, too."""
    these = _P.pass_no == known.pass_no, _P.target == known.target
    connection.execute(update(identity_passes).where(*these).values(target=wanted))


def hold(connection: Connection) -> None:
    """Let nobody else begin a pass or work on one until the transaction ends."""
    lock_table(connection, identity_passes)


def advance(connection: Connection, known: Pass, now: Pass) -> bool:
    """Store how far a pass has come; False when somebody else works on it, or nobody wants it any more.

    :param known: it as it was read: its lease and its state have to be those still.
    """
    these = _P.pass_no == known.pass_no, _P.state == known.state, _P.changed_at == known.changed_at
    changed = {
        name: getattr(now, name) for name in ("state", "position", "done", "merged", "parted", "changed_at")
    }
    return connection.execute(update(identity_passes).where(*these).values(changed)).rowcount == 1
