"""What of a policy bundle the states of consent depend on: pure.

Invariants:

1. The states of a purpose depend on its key, on whether it can be restrained, on its validity and notices, on
   where ``Sec-GPC`` may be lifted, on which types of identifiers are devices, and on the rules of precedence;
   on nothing else. They are kept under a *name* that says all of it, ``purpose@digest``: under other policies
   they have another name, so they are never taken for each other.
2. What lies above a purpose follows from its key alone: a restraint on something that policies no longer
   declare binds what lies below it as before.
3. A state that says nothing (``no_record``, no notice given) is not kept; to have none is the same.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence

import msgspec

from cdp.clock import Micros
from cdp.consent.model import Member, Record, Standing
from cdp.consent.precedence import may_lift, standing
from cdp.policy import Bundle, covers, lineage

_PRECEDENCE = 4
"""Counts the changes of precedence: states derived by other rules are derived anew."""
_DELIBERATE = frozenset({"explicit", "separate"})


class Rules:
    """A bundle as the states of consent see it.

    :ivar purposes: key → purpose.
    :ivar names: key → the name under which the states of that purpose are kept.
    :ivar devices: what tells a device from a person.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.purposes = bundle.purposes
        self._liftable = bundle.signals.gpc.act_may_lift_in
        self._liftable_everywhere = self._liftable >= bundle.jurisdictions.configured
        self._below = {
            above: [key for key in bundle.purposes if covers(above, key)]
            for above in {above for key in bundle.purposes for above in lineage(key)}
        }
        kinds = bundle.identity
        devices = frozenset(kind for kind, rule in kinds.types.items() if rule.device)
        self.devices = devices, kinds.external.device
        liftable = sorted(self._liftable), self._liftable_everywhere
        shared = _PRECEDENCE, *liftable, sorted(devices), kinds.external.device
        self.names = {
            key: f"{key}@{_digest(shared, purpose.restrainable, purpose.validity_days, notices)}"
            for key, purpose in bundle.purposes.items()
            for notices in [sorted((one.id, one.version, one.material) for one in purpose.notices)]
        }

    def other_than(self, rules: Rules) -> list[str]:
        """Return the purposes of which the states are not those of other rules."""
        return [key for key, name in self.names.items() if rules.names.get(key) != name]

    def lifts_gpc(self, act: Record) -> bool:
        """True for an explicit act that may undo a ``Sec-GPC`` opt-out, where policy says the law allows.

        What counts is the jurisdiction that the act names; one that names none needs a policy that
        allows it in all of them.
        """
        here = act.jurisdiction in self._liftable or self._liftable_everywhere
        return here and may_lift(act) and act.event_type in _DELIBERATE

    def standing(
        self, purpose: str, profile: Sequence[Member], records: Sequence[Record], now: Micros
    ) -> Standing:
        """Return the state of one purpose for a profile."""
        return standing(self.purposes[purpose], profile, records, now, self.lifts_gpc)

    def standings(
        self,
        profile: Sequence[Member],
        records: Sequence[Record],
        now: Micros,
        only: Collection[str] | None = None,
    ) -> list[Standing]:
        """Return the states of a profile that are kept.

        :param records: all of its members', of any purpose, in any order.
        :param only: these purposes; all when None.
        """
        by_purpose: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_purpose[record.purpose].append(record)
        touched = {key for above in by_purpose for key in self._below.get(above, ())}
        found = (
            self.standing(
                key, profile, [record for above in lineage(key) for record in by_purpose.get(above, ())], now
            )
            for key in self.purposes
            if key in touched and (only is None or key in only)
        )
        return [one for one in found if one.reason != "no_record" or one.notice_given is not None]


def _digest(*decisive: object) -> str:
    return hashlib.sha256(msgspec.json.encode(decisive, order="deterministic")).hexdigest()[:16]
