"""What a profile's consent for one purpose is: pure (privacy.md, Consent, rules 1-7).

The order of the steps:

1. **Rank.** A grant ranks at min(event_time, received_at), a restraint at received_at; on ties the
   restraint wins (rule 1).
2. **Restraints** on the purpose or anything above it bind (rule 6) until an act lifts them (rule 2):
   an act of a source that may lift (rule 3), for the restrained purpose or one between it and ours,
   ranking above the restraint, by the same identity or by one that answers for it (rule 4). ``Sec-GPC``
   is lifted by an explicit act for exactly our purpose where the law allows (rule 8), a restriction by
   an officer's record alone. One that binds decides: the most severe wins.
3. **Grants**, for exactly this purpose, per identity: the highest-ranking act above every restraint
   of the identity, its own or of one that answers for it; where there is no act, and for acts that may
   lift nothing, only if nothing was ever recorded against it (rules 2, 3, 4); a later stamp can only leave
   recipients out. A restriction that has been
   lifted leaves no trace here: what was granted before it holds again.
4. **Merge**: every identity needs a grant; one without any record is passed over if it is a device
   or was first seen in the event that linked it (rule 5). What the profile may claim is the weakest of
   what its identities hold.
5. **Stale**: a grant expired, or given on a notice that has materially changed, is no grant (rule 7).

Invariants (property tests): adding a restraint never makes granted what was not; the order of the
records does not matter; without a later act a merge never grants what a part did not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, cast

import msgspec

from cdp.clock import DAY, Micros
from cdp.consent.model import GPC, RESTRAINING, EventType, Member, Record, Standing, State, Told
from cdp.policy import Purpose, covers

SEVERITY = ("refused", "opted_out", "withdrawn", "objected", "restricted")
"""Restraining states, the mildest first."""
_STRENGTH: tuple[EventType, ...] = ("regular", "explicit", "separate")


def rank(record: Record | Told) -> Micros:
    """Return the instant at which a record ranks (rule 1)."""
    if record.state in RESTRAINING:
        return record.received_at
    return effective_at(record)


def effective_at(record: Record | Told) -> Micros:
    """Return when a record took effect: a clock that runs ahead gains nothing."""
    return min(record.event_time, record.received_at)


def may_lift(record: Record | Told) -> bool:
    """True for an act of the person that may undo a restraint (rules 2, 3)."""
    known = record.source_kind == "server" or (record.source_kind == "browser" and record.verified)
    return record.act and known and record.state == "granted"


def never(_act: Record | Told) -> bool:
    """Say of every act that it may not."""
    return False


def expiry(purpose: Purpose, grant: Record) -> Micros | None:
    """Return the first instant at which ``grant`` is expired; None when it never ages."""
    ends = [] if grant.expires_at is None else [grant.expires_at]
    if purpose.validity_days is not None:
        ends.append(effective_at(grant) + purpose.validity_days * DAY)
    return min(ends, default=None)


def notice_status(purpose: Purpose, grant: Record) -> Literal["current", "superseded", "unknown"]:
    """Return whether the notice that a grant was given on still says the same."""
    versions = {notice.version: notice for notice in purpose.notices if notice.id == grant.notice_id}
    if grant.notice_version is None or grant.notice_version not in versions:
        return "unknown"
    later = (notice for version, notice in versions.items() if version > grant.notice_version)
    return "superseded" if any(notice.material for notice in later) else "current"


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
    grants = []
    missing = []
    for member in members:  # 3
        grant = profile.grant(member)
        if grant is not None:
            grants.append(grant)
        elif not profile.is_neutral(member):
            missing.append(member)
    if missing or not grants:
        return Standing(purpose=purpose.key, state="missing", reason=profile.missing_reason())
    return _weakest(purpose, grants, now)


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
            if record.purpose == self.key:
                self.grants[record.identity_no].append(record)
            if may_lift(record):
                self.acts.append(record)
        self.gpc_acts = [act for act in self.acts if act.purpose == self.key and lifts_gpc(act)]

    def answers(self, act: Record, identity_no: int) -> bool:
        """True when ``act`` speaks for this identity: its own, or linked to it by the time of the act.

        The message that makes a link names both its ends, so one instant for both is enough.
        """
        if act.identity_no == identity_no:
            return True
        linked_at = self.members[act.identity_no].linked_at.get(identity_no)
        return linked_at is not None and act.received_at >= linked_at

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
            rank(act) > rank(restraint)
            and covers(restraint.purpose, act.purpose)
            and self.answers(act, restraint.identity_no)
            for act in lifting
        )

    def grant(self, member: Member) -> Record | None:
        """Return the grant that one identity stands on."""
        number = member.identity_no
        held = self.restraints.get(number, [])
        floor = max(map(rank, held), default=None)
        own = [grant for grant in self.grants.get(number, []) if grant.act and (not held or may_lift(grant))]
        others = [act for act in self.acts if act.purpose == self.key and self.answers(act, number)]
        acts = [act for act in (*own, *others) if floor is None or rank(act) > floor]
        if acts:
            return max(acts, key=_order)
        return None if held else _first(self.grants.get(number, []))

    def is_neutral(self, member: Member) -> bool:
        """True for an identity whose having no record says nothing (rule 5)."""
        silent = not (self.grants.get(member.identity_no) or self.restraints.get(member.identity_no))
        return silent and (member.device or not member.history)

    def missing_reason(self) -> str:
        """Return why there is no grant, when nothing binds."""
        if any(self.restraints.values()):  # all of them lifted, or they would have decided
            return "not_affirmed"
        return "merge_missing" if any(self.grants.values()) else "no_record"


def _first(stamps: Sequence[Record]) -> Record | None:
    """Return the first of some granting stamps, for the recipients that all leave; None for nobody."""
    named = [frozenset(stamp.recipients) for stamp in stamps if stamp.recipients]
    left = frozenset.intersection(*named) if named else frozenset()
    if not stamps or (named and not left):
        return None
    return msgspec.structs.replace(min(stamps, key=_order), recipients=tuple(sorted(left)))


def _order(record: Record) -> tuple[Micros, int]:
    return rank(record), record.record_id


def graded(purpose: Purpose, grant: Record, now: Micros) -> Standing:
    """Return the state that rests on one grant alone, which nothing restrains."""
    return _weakest(purpose, [grant], now)


def _weakest(purpose: Purpose, grants: Sequence[Record], now: Micros) -> Standing:
    """Return what all ``grants`` together allow (steps 4 and 5)."""
    oldest = min(grants, key=_order)
    newest = max(grants, key=_order)
    expires = min((end for grant in grants if (end := expiry(purpose, grant)) is not None), default=None)
    notices = {notice_status(purpose, grant) for grant in grants}
    named = [frozenset(grant.recipients) for grant in grants if grant.recipients]
    recipients = frozenset.intersection(*named) if named else frozenset()
    state, reason = "granted", "granted"
    if expires is not None and expires <= now:
        state, reason = "stale", "stale_expired"
    elif "superseded" in notices:
        state, reason = "stale", "stale_notice"
    elif named and not recipients:
        state, reason = "missing", "merge_recipients"
    return Standing(
        purpose=purpose.key,
        state=state,  # type: ignore[arg-type]  # one of the three literals above
        reason=reason,
        since=effective_at(newest),
        granted_at=effective_at(oldest),
        expires_at=expires,
        event_type=min((grant.event_type for grant in grants), key=_STRENGTH.index),
        notice_current=notices == {"current"},
        recipients=tuple(sorted(recipients)),
        record_id=newest.record_id,
    )
