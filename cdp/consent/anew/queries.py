"""How far the states under each name have come, and the ledger as columns to derive them from.

A *name* is what the states of one purpose under certain policies are kept as (``Rules.names``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from pyroaring import BitMap
from sqlalchemy import Connection, and_, case, delete, func, or_, select, update

from cdp.consent.anew import plain
from cdp.consent.anew.plain import ACT, INTRICATE, REPORT, RESTRAINT, Said
from cdp.consent.model import GPC, RESTRAINING, TCF
from cdp.consent.notices import INFORMED
from cdp.consent.precedence import SEVERITY
from cdp.consent.queries import NOBODY
from cdp.consent.standings import EVENT_TYPES, NEVER
from cdp.consent.states.queries import place_of_notice
from cdp.consent.tables import consent_projections, consent_records
from cdp.store import (
    insert_ignoring,
    lock_rows,
    read_head,
    read_numbers,
    read_rows,
    share_rows,
    since,
    upsert,
)

_P = consent_projections.c
_R = consent_records.c
_WHOLE = select(_P.name).where(_P.upto.is_(None))

# -- how far they have come -------------------------------------------------------------------------

Condition = Literal["whole", "made", "discarded"]


class Derived(msgspec.Struct, frozen=True):
    """How far the states under a name have come.

    :param condition: ``whole``: everybody's, and every batch keeps them so. ``made``: everybody's whose
        records lie up to identity ``after``, as of commit ``upto`` or later; everybody's where it is None.
        ``discarded``: of no use any more, and being deleted.
    """

    condition: Condition
    upto: int = 0
    after: int | None = None

    @property
    def is_made(self) -> bool:
        """True when everybody's are there."""
        return self.condition != "discarded" and self.after is None


_DISCARDED = -1


def derived(connection: Connection) -> Mapping[str, Derived]:
    """Return name → how far its states have come; a name of which nothing was begun is absent."""
    found = {}
    for name, upto, after in connection.execute(select(_P.name, _P.upto, _P.reached)):
        condition: Condition = "whole" if upto is None else "discarded" if upto == _DISCARDED else "made"
        found[name] = Derived(condition, upto or 0, after)
    return found


def whole(connection: Connection) -> set[str]:
    """Return the names under which everybody's states are there and kept so."""
    return {name for (name,) in read_rows(connection, _WHOLE)}


def begin(connection: Connection, names: Iterable[str]) -> None:
    """Note that states under these names are made from now on; what was begun stays as it is."""
    commit_no, _ = read_head(connection)
    rows = sorted((name, commit_no, 0) for name in names)
    insert_ignoring(connection, consent_projections, ("name", "upto", "reached"), rows)


def hold(connection: Connection, names: Collection[str]) -> None:
    """Have states under these names begun, and nothing made, marked or cleared until the transaction ends."""
    query = share_rows(select(_P.name).where(_P.name.in_(names)).order_by(_P.name))
    held = 0
    while held < len(names):  # another may forget one that was discarded
        begin(connection, names)
        held = len(connection.execute(query).all())


def advance(connection: Connection, names: Collection[str], after: int, reached: int | None) -> bool:
    """Note up to whom states were made; False when somebody else did so, or nobody wants them any more."""
    these = _P.name.in_(names), _P.upto >= 0, _P.reached == after
    held = connection.execute(lock_rows(select(_P.name).where(*these).order_by(_P.name))).all()
    if len(held) < len(names):
        return False
    connection.execute(update(consent_projections).where(*these).values(reached=reached))
    return True


def move(connection: Connection, names: Collection[str], upto: int) -> None:
    """Note that what was made under these names has been caught up with until a commit."""
    these = _P.name.in_(names), _P.upto >= 0, _P.upto < upto, _P.reached.is_(None)
    connection.execute(update(consent_projections).where(*these).values(upto=upto))


def mark_whole(connection: Connection, names: Iterable[str]) -> None:
    """Note that everybody's states under these names are there and kept so from now on."""
    rows = [{"name": name, "upto": None, "reached": None} for name in sorted(names)]
    upsert(connection, consent_projections, rows, ("name",))


def discard(connection: Connection, but: Collection[str], *, made: bool = False) -> None:
    """Note that whole states under other names than these are kept so no longer.

    :param made: likewise of those that were made, or begun, and are not whole.
    """
    others = _P.upto.is_(None) if not made else or_(_P.upto.is_(None), _P.upto >= 0)
    these = others, _P.name.not_in(but)
    connection.execute(update(consent_projections).where(*these).values(upto=_DISCARDED, reached=None))


def is_discarded(connection: Connection, name: str) -> bool:
    """Return whether a name is discarded; if so, nobody forgets or begins it until the transaction ends."""
    query = lock_rows(select(_P.upto).where(_P.name == name, _P.upto == _DISCARDED))
    return connection.execute(query).first() is not None


def forget(connection: Connection, name: str) -> None:
    """Forget a name that is discarded and under which no state is left."""
    connection.execute(delete(consent_projections).where(_P.name == name, _P.upto == _DISCARDED))


# -- the ledger -------------------------------------------------------------------------------------


def highest(connection: Connection) -> int:
    """Return the highest identity number about which anything is recorded; 0 when there is none."""
    return int(connection.execute(select(func.max(_R.identity_no))).scalar() or 0)


def spoken_since(connection: Connection, commit_no: int) -> BitMap:
    """Return the identities about which something was recorded after ``commit_no``."""
    return BitMap(connection.execute(select(_R.identity_no).where(since(_R.batch, commit_no))).scalars())


def said(
    connection: Connection, purposes: Sequence[str], notices: Sequence[tuple[str, int]], after: int, upto: int
) -> Said:
    """Return the records about ``purposes`` of the identities above ``after``, up to ``upto``."""
    granted, names = _R.state == "granted", _R.recipients != NOBODY
    known = or_(_R.source_kind == "server", and_(_R.source_kind == "browser", _R.verified))
    restraining = or_(*(_R.state == state for state in sorted(RESTRAINING)))
    severity = {state: RESTRAINT + place for place, state in enumerate(SEVERITY) if state != "restricted"}
    kind = case(
        (granted & (names | (~_R.act & (_R.signal == TCF))), INTRICATE),
        (restraining & (_R.signal == GPC), INTRICATE),
        (_R.state == INFORMED, plain.INFORMED),
        (granted & _R.act & known, ACT),
        (granted, REPORT),
        *((_R.state == state, number) for state, number in severity.items()),
        else_=INTRICATE,
    )
    query = select(
        _R.identity_no,
        case({key: place for place, key in enumerate(purposes)}, value=_R.purpose),
        kind,
        _R.record_id,
        case((_R.event_time < _R.received_at, _R.event_time), else_=_R.received_at),
        _R.received_at,
        func.coalesce(_R.expires_at, NEVER),
        place_of_notice(notices),
        case({name: place for place, name in enumerate(EVENT_TYPES)}, value=_R.event_type),
    ).where(_R.identity_no > after, _R.identity_no <= upto, or_(*(_R.purpose == key for key in purposes)))
    return Said(purposes, notices, *read_numbers(connection, query).T)
