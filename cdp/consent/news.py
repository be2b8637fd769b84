"""What of a statement is news to the ledger: pure (privacy.md, Consent, rules 2 and 8).

Invariants:

1. Every act is news, unless the newest record says the very same: in every part that an answer depends on,
   who said it included.
2. A stamp that grants is news only where nothing was ever recorded, where it names fewer recipients than
   the grants before it that could lift nothing either (that takes some away), and where it is a TCF string
   that the person has renewed since.
3. A stamp that restrains is news over a grant, over a milder restraint, over one that was said of somebody
   else, who may lift it, and over one that an act for a purpose below has lifted since: otherwise a
   refusal would be lost on exactly what was re-affirmed. Its repetitions are not noted: an act from
   before one that arrives after it lifts it.
4. Three kinds of restraint are lifted by different hands, so none hides another: a restriction (an
   officer), ``Sec-GPC`` (an explicit act where the law allows), all others (an act).
5. ``Sec-GPC`` comes with every request. An act that lifted it has settled it until the person restrains
   its purpose again, or one above it: for everybody for whom the act answers, and for an identity that was
   first seen in an event that named one of them. A device that nobody has been asked about gets
   it, as does a new person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Literal

from cdp.clock import Micros
from cdp.consent.model import GPC, RESTRAINING, Member, Record, RecordState, Statement
from cdp.consent.notices import INFORMED
from cdp.consent.precedence import SEVERITY, may_lift, rank, renewable
from cdp.policy import covers, lineage

Track = Literal["restriction", "gpc", "consent", "notice"]
"""What is lifted by the same hands (4)."""


class Latest:
    """The newest records of some identities, kept up to date while more are added.

    :param records: theirs, oldest first.
    :param lifts_gpc: whether an act may lift a ``Sec-GPC`` opt-out.
    """

    def __init__(self, records: Iterable[Record], lifts_gpc: Callable[[Record], bool]) -> None:
        self._lifts_gpc = lifts_gpc
        self._newest: dict[int, dict[tuple[Track, str], Record]] = defaultdict(dict)
        self._lifts: dict[int, dict[str, Record]] = defaultdict(dict)
        self._named: dict[tuple[int, str], frozenset[str]] = {}  # what grants that may lift nothing leave
        self._received: dict[int, Micros] = {}
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Take note of a record newer than all before."""
        held = self._newest[record.identity_no]
        track = track_of(record.state, record.signal)
        key = (record.identity_no, record.purpose)
        lifts = self._lifts[record.identity_no]
        self._received[record.identity_no] = record.received_at
        if record.recipients and _is_report(record) and not (record.act and (track, record.purpose) in held):
            named = frozenset(record.recipients)
            self._named[key] = self._named.get(key, named) & named
        if record.state in RESTRAINING:
            ended = [below for below in lifts if covers(record.purpose, below)] if track == "consent" else ()
            for lift in [lifts.pop(below) for below in ended]:
                for above in lineage(lift.purpose):
                    signal = held.get(("gpc", above))
                    if signal is not None and rank(lift) > rank(signal):
                        del held["gpc", above]
        elif self._lifts_gpc(record):
            last = lifts.get(record.purpose)
            if last is None or rank(record) > rank(last):
                lifts[record.purpose] = record
        held[track, record.purpose] = record

    def received(self, identity_nos: Iterable[int]) -> Micros:
        """Return when the newest record of any of these was received; 0 when there is none."""
        return max((self._received.get(number, 0) for number in identity_nos), default=0)

    def is_news(self, identity_no: int, statement: Statement | Record, said_of: int) -> bool:
        """True when ``statement`` says of this identity what the ledger does not know.

        :param statement: an act as it would be recorded.
        :param said_of: the first identity that its message names.
        """
        held = self._newest.get(identity_no)
        if held is None:
            return True
        track = track_of(statement.state, statement.signal)
        last = held.get((track, statement.purpose))
        if isinstance(statement, Record):
            return last is None or _said(last) != _said(statement)
        if statement.state not in RESTRAINING:
            first = not any(key[1] == statement.purpose and key[0] != "notice" for key in held)
            return first or self.narrows(identity_no, statement) or _renews(last, statement)
        if last is None or last.state not in RESTRAINING:
            return True
        nearer = said_of == identity_no and last.said_of not in {None, identity_no}
        if nearer or track == "gpc":
            return nearer
        harsher = SEVERITY.index(statement.state) > SEVERITY.index(last.state)
        return harsher or any(_eases(one, last) and _order(one) > _order(last) for one in held.values())

    def unsettled(
        self,
        numbers: Iterable[int],
        purpose: str,
        named: Collection[int],
        profiles: Iterable[Sequence[Member]],
    ) -> list[int]:
        """Return those of ``numbers`` for whom no act has settled the ``Sec-GPC`` of a message (5).

        :param named: whom the message names.
        :param profiles: theirs, in which ``numbers`` are.
        """
        settled = {number for profile in profiles for number in self._settled(purpose, named, profile)}
        return [number for number in numbers if number not in settled]

    def _settled(self, purpose: str, named: Collection[int], profile: Sequence[Member]) -> Iterator[int]:
        for member in profile:
            act = self._lifts[member.identity_no].get(purpose)
            if act is None:
                continue
            lifted = {
                other.identity_no
                for other in profile
                if (held := self._newest.get(other.identity_no)) is not None
                and (signal := held.get(("gpc", purpose))) is not None
                and rank(act) > rank(signal)
                and member.lifts(act.received_at, signal)
            }
            asked = any(other.device and other.identity_no in lifted & set(named) for other in profile)
            answered = {
                one.identity_no for one in profile if member.answers(act.received_at, one.identity_no)
            }
            for other in profile if lifted else ():
                meant = other.identity_no in answered or not answered.isdisjoint(other.came_with)
                if meant and (asked or not (other.device and other.identity_no in named)):
                    yield other.identity_no

    def narrows(self, identity_no: int, statement: Statement) -> bool:
        """True when a stamp leaves out a recipient that those before it left, or is the first to name any."""
        if not statement.recipients or statement.act or statement.state in RESTRAINING:
            return False
        track = track_of(statement.state, statement.signal)
        last = self._newest.get(identity_no, {}).get((track, statement.purpose))
        if last is None or not _is_report(last):
            return False
        left = self._named.get((identity_no, statement.purpose))
        return left is None or not left <= set(statement.recipients)


def _is_report(record: Record) -> bool:
    """True for a grant of which only the first counts."""
    return record.state == "granted" and not may_lift(record)


def _renews(last: Record | None, stamp: Statement) -> bool:
    """True when a string is a newer answer of the person than the one that the grant rests on."""
    if last is None or not renewable(last) or stamp.signal != last.signal:
        return False
    return stamp.event_time > last.event_time


def track_of(state: RecordState, signal: str) -> Track:
    """Return the track of a record of this state and signal."""
    if state in ("restricted", "restriction_lifted"):
        return "restriction"
    if state == INFORMED:
        return "notice"
    return "gpc" if signal == GPC and state in RESTRAINING else "consent"


def without_others(records: Sequence[Record], track: Track | None) -> Sequence[Record]:
    """Return all but the restraints of other tracks than this one; all of them when None."""
    if track is None:
        return records
    return [r for r in records if r.state not in RESTRAINING or track_of(r.state, r.signal) == track]


def _eases(later: Record, restraint: Record) -> bool:
    below = later.purpose != restraint.purpose and covers(restraint.purpose, later.purpose)
    return below and may_lift(later)


def _said(record: Record) -> tuple[object, ...]:
    """Return all of a record that an answer depends on, but when it was received."""
    return (
        record.state,
        record.act,
        record.event_time,
        record.event_type,
        record.expires_at,
        record.notice_id,
        record.notice_version,
        record.jurisdiction,
        record.recipients,
        record.source_kind,
        record.verified,
        record.said_of,
    )


def _order(record: Record) -> tuple[Micros, int]:
    return record.received_at, record.record_id
