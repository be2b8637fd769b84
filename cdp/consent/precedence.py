"""What a profile's consent for one purpose is: pure (privacy.md, Consent, rules 1-7).

The order of the steps:

1. **Rank.** A grant ranks at min(event_time, received_at), a restraint at received_at; on ties the
   restraint wins (rule 1).
2. **Restraints** on the purpose or anything above it bind (rule 6) until an act lifts them (rule 2):
   an act of a source that may lift (rule 3), for the restrained purpose or one between it and ours,
   ranking above the restraint, by the same identity or by one that answers for it (rule 4) and is vouched
   for, to it or to whom the restraint was said of (rule 3, ``Member.lifts``). ``Sec-GPC``
   is lifted by an explicit act for exactly our purpose where the law allows (rule 8), a restriction by
   an officer's record alone. One that binds decides: the most severe wins.
3. **Grants**, for exactly this purpose, per identity: the acts that may lift and prevail over every restraint
   of the identity, its own or of one that answers for it. Of those that name recipients the newest for each
   counts, and all of them stand side by side (rule 6); one that names nobody is for whomever, replaces those
   before it, and is replaced by one that names somebody. Where there is no such act: the *first* grant told
   of the identity, if nothing was ever recorded against it (rules 2, 3, 4). No import, no unsigned browser
   and no stamp renews or widens it; a later stamp can only leave recipients out. A consent string of the TCF
   that the person has renewed since renews what such a string gave, for no further recipient. A restriction
   that has been lifted leaves no trace here: what was granted before it holds again.
4. **Merge**: every identity needs a grant; one without any record is passed over if it is a device
   or came with one that has a grant (rule 5, ``carry.py``). An unsigned browser's grant is the device's: it
   counts for a person only if it was given before the person was first seen (rule 3).
5. What the grants come to, and whether they are stale: ``grade.py`` (rules 6 and 7).

Invariants (property tests): adding a restraint never makes granted what was not; nor does anything told
later of a source that may not lift, where a grant was told before, and it prolongs and widens none; the order
of the records does not matter; without a later act a merge never grants what a part did not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import msgspec

from cdp.clock import Micros
from cdp.consent.carry import carried
from cdp.consent.grade import WHOMEVER, Held, effective_at, held_by, order, together
from cdp.consent.model import GPC, RESTRAINING, TCF, Member, Record, Standing, State
from cdp.consent.notices import INFORMED, notice_given
from cdp.policy import Purpose, covers

SEVERITY = ("refused", "opted_out", "withdrawn", "objected", "restricted")
"""Restraining states, the mildest first."""


def rank(record: Record) -> Micros:
    """Return the instant at which a record ranks (rule 1)."""
    if record.state in RESTRAINING:
        return record.received_at
    return effective_at(record)


def may_lift(record: Record) -> bool:
    """True for an act of the person that may undo a restraint (rules 2, 3)."""
    known = record.source_kind == "server" or (record.source_kind == "browser" and record.verified)
    return record.act and known and record.state == "granted"


def renewable(record: Record) -> bool:
    """True for a grant that a later one of its kind renews: its date is that of the person's own act."""
    return record.state == "granted" and not record.act and record.signal == TCF


def never(_act: Record) -> bool:
    """Say of every act that it may not."""
    return False


def standing(
    purpose: Purpose,
    members: Sequence[Member],
    records: Iterable[Record],
    now: Micros,
    lifts_gpc: Callable[[Record], bool] = never,
) -> Standing:
    """Return the state of ``purpose`` for the profile made of ``members``.

    :param records: all records of the members, of any purpose, in any order.
    :param lifts_gpc: whether an act may lift a ``Sec-GPC`` opt-out, where it was made.
    """
    profile = _Profile(purpose, members, records, lifts_gpc)
    state = _standing(purpose, profile, now)
    if not profile.informed:
        return state
    told = notice_given(purpose, members, profile.informed)
    return msgspec.structs.replace(state, notice_given=told)


def _standing(purpose: Purpose, profile: _Profile, now: Micros) -> Standing:
    binding = profile.binding()
    if binding:  # 2
        worst = max(binding, key=lambda r: (SEVERITY.index(r.state), rank(r), r.record_id))
        above = "" if worst.purpose == purpose.key else "_above"
        return Standing(
            purpose=purpose.key,
            state=cast("State", worst.state),
            reason=worst.state + above,
            since=effective_at(worst),
            record_id=worst.record_id,
        )
    held = profile.held()  # 3
    if not held or not profile.agree(held):  # 4
        return Standing(purpose=purpose.key, state="missing", reason=profile.missing_reason())
    return together(purpose, list(held.values()), now)  # 5


class _Profile:
    """The records of one profile, sorted out for one purpose."""

    def __init__(
        self,
        purpose: Purpose,
        members: Sequence[Member],
        records: Iterable[Record],
        lifts_gpc: Callable[[Record], bool],
    ) -> None:
        self.key = purpose.key
        self.members = {member.identity_no: member for member in members}
        self.restraints: dict[int, list[Record]] = defaultdict(list)
        self.grants: dict[int, list[Record]] = defaultdict(list)
        self.restrictions: list[Record] = []
        self.acts: list[Record] = []
        self.lifts: list[Record] = []
        self.informed: list[Record] = []
        for record in records:
            if record.identity_no not in self.members or not covers(record.purpose, self.key):
                continue
            if record.state in RESTRAINING:
                if not purpose.restrainable:
                    continue
                if record.state == "restricted":
                    self.restrictions.append(record)
                else:
                    self.restraints[record.identity_no].append(record)
                continue
            if record.state == "restriction_lifted":
                self.lifts.append(record)
                continue
            if record.state == INFORMED:
                self.informed.append(record)
                continue
            if record.purpose == self.key:
                self.grants[record.identity_no].append(record)
            if may_lift(record):
                self.acts.append(record)
        self.gpc_acts = [act for act in self.acts if act.purpose == self.key and lifts_gpc(act)]

    def prevails(self, act: Record, restraint: Record) -> bool:
        """True when ``act`` ranks above a restraint and speaks for whom it binds."""
        return rank(act) > rank(restraint) and self.members[act.identity_no].lifts(act.received_at, restraint)

    def binding(self) -> list[Record]:
        """Return the restraints that nothing has lifted."""
        held = (restraint for several in self.restraints.values() for restraint in several)
        return [restraint for restraint in (*self.restrictions, *held) if not self._lifted(restraint)]

    def _lifted(self, restraint: Record) -> bool:
        if restraint.state == "restricted":
            lifting = self.lifts
        else:
            lifting = self.gpc_acts if restraint.signal == GPC else self.acts
        return any(
            covers(restraint.purpose, act.purpose) and self.prevails(act, restraint) for act in lifting
        )

    def held(self) -> dict[int, Held]:
        """Return identity_no → the grants that it stands on, of those that stand on any."""
        acts = sorted((act for act in self.acts if act.purpose == self.key), key=order, reverse=True)
        return {number: one for number in self.members if (one := self._held_by(number, acts))}

    def _held_by(self, number: int, acts: Sequence[Record]) -> Held:
        """Return the grants that one identity stands on, of ``acts``, the newest first, or of its own."""
        restrained = self.restraints.get(number, [])
        held: Held = {}
        for act in acts:
            if self.members[act.identity_no].answers(act.received_at, number) and all(
                self.prevails(act, restraint) for restraint in restrained
            ):
                if not act.recipients:
                    return held or held_by(act)
                held = {**held_by(act), **held}
        return held if held or restrained else _first(self.grants.get(number, []))

    def agree(self, held: Mapping[int, Held]) -> bool:
        """True when nobody in the profile lacks a grant but those whose having no record says nothing."""
        lacking = [member for number, member in self.members.items() if number not in held]
        silent = [
            m for m in lacking if not (self.grants.get(m.identity_no) or self.restraints.get(m.identity_no))
        ]
        if len(silent) < len(lacking):
            return False
        if all(member.device for member in silent):
            return True
        speakers = {number: max(map(_stands_since, grants.values())) for number, grants in held.items()}
        with_them = carried(silent, speakers)
        return all(member.device or member.identity_no in with_them for member in silent)

    def missing_reason(self) -> str:
        """Return why there is no grant, when nothing binds."""
        if any(self.restraints.values()):  # all of them lifted, or they would have decided
            return "not_affirmed"
        return "merge_missing" if any(self.grants.values()) else "no_record"


def _first(told: Sequence[Record]) -> Held:
    """Return the first of some grants that may lift nothing, for the recipients that the stamps all leave."""
    if not told:
        return {}
    first = min(told, key=_told)
    naming = [set(one.recipients) for one in told if one.recipients and (one is first or not one.act)]
    left = set.intersection(*naming) if naming else {WHOMEVER}
    grant = max(filter(renewable, told), key=order) if renewable(first) else first
    return dict.fromkeys(left, grant)


def _stands_since(grant: Record) -> Micros:
    """Return since when somebody was to be first seen for whom a grant stands, who came with its identity.

    The word of an unsigned browser is about nobody who was known by then (rule 3); others' is about anybody.
    """
    return 0 if grant.source_kind != "browser" or grant.verified else grant.received_at


def _told(record: Record) -> tuple[Micros, int]:
    return record.received_at, record.record_id
