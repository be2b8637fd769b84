"""What of a statement is news to the ledger: pure (privacy.md, Consent, rules 2 and 8).

Invariants:

1. Every act is news, unless the newest record says the very same.
2. A stamp that grants is news only where nothing was ever recorded, and where it names fewer recipients
   than the stamps before it: that takes some away.
3. A stamp that restrains is news over a grant, over a milder restraint, and over one that an act for a
   purpose below has lifted since: otherwise a refusal would be lost on exactly what was re-affirmed.
4. Three kinds of restraint are lifted by different hands, so none hides another: a restriction (an
   officer), ``Sec-GPC`` (an explicit act where the law allows), all others (an act).
5. ``Sec-GPC`` comes with every request. An explicit act that lifted it has settled it, until the person
   restrains again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Literal

from cdp.clock import Micros
from cdp.consent.model import GPC, RESTRAINING, Record, RecordState, Statement, Told
from cdp.consent.precedence import SEVERITY, may_lift, rank
from cdp.policy import covers

_Track = Literal["restriction", "gpc", "consent"]


class Latest:
    """The newest records of some identities, kept up to date while more are added.

    :param records: theirs, oldest first.
    :param lifts_gpc: whether an act may lift a ``Sec-GPC`` opt-out.
    """

    def __init__(self, records: Iterable[Record | Told], lifts_gpc: Callable[[Record | Told], bool]) -> None:
        self._lifts_gpc = lifts_gpc
        self._newest: dict[int, dict[tuple[_Track, str], Record | Told]] = defaultdict(dict)
        self._settled: set[tuple[int, str]] = set()
        self._named: dict[tuple[int, str], frozenset[str]] = {}  # what all stamps that name recipients leave
        for record in records:
            self.add(record)

    def add(self, record: Record | Told) -> None:
        """Take note of a record newer than all before."""
        held = self._newest[record.identity_no]
        track = _track(record.state, record.signal)
        key = (record.identity_no, record.purpose)
        signal = held.get(("gpc", record.purpose))
        if record.recipients and _is_granting_stamp(record):
            named = frozenset(record.recipients)
            self._named[key] = self._named.get(key, named) & named
        if record.state in RESTRAINING:
            if key in self._settled and track == "consent":
                self._settled.discard(key)
                held.pop(("gpc", record.purpose), None)
        elif signal is not None and rank(record) > rank(signal) and self._lifts_gpc(record):
            self._settled.add(key)
        held[track, record.purpose] = record

    def is_news(self, identity_no: int, statement: Statement) -> bool:
        """True when ``statement`` says of this identity what the ledger does not know."""
        held = self._newest.get(identity_no)
        if held is None:
            return True
        track = _track(statement.state, statement.signal)
        last = held.get((track, statement.purpose))
        if statement.act:
            return last is None or _said(last) != (statement.state, True, statement.event_time)
        if statement.state not in RESTRAINING:
            first = not any(purpose == statement.purpose for _, purpose in held)
            return first or self._narrows(identity_no, last, statement)
        if last is None or last.state not in RESTRAINING:
            return True
        if track == "gpc":
            return False
        harsher = SEVERITY.index(statement.state) > SEVERITY.index(last.state)
        return harsher or any(_order(one) > _order(last) and _eases(one, last) for one in held.values())

    def _narrows(self, identity_no: int, last: Record | Told | None, statement: Statement) -> bool:
        """True when a stamp leaves out a recipient that those before it left, or is the first to name any."""
        if last is None or not _is_granting_stamp(last) or not statement.recipients:
            return False
        left = self._named.get((identity_no, statement.purpose))
        return left is None or not left <= set(statement.recipients)


def _is_granting_stamp(record: Record | Told) -> bool:
    return record.state == "granted" and not record.act


def _track(state: RecordState, signal: str) -> _Track:
    if state in ("restricted", "restriction_lifted"):
        return "restriction"
    return "gpc" if signal == GPC and state in RESTRAINING else "consent"


def _eases(later: Record | Told, restraint: Record | Told) -> bool:
    below = later.purpose != restraint.purpose and covers(restraint.purpose, later.purpose)
    return below and may_lift(later)


def _said(record: Record | Told) -> tuple[RecordState, bool, Micros]:
    return record.state, record.act, record.event_time


def _order(record: Record | Told) -> tuple[Micros, int]:
    return record.received_at, record.record_id
