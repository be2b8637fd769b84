"""Whether the person was told: pure (privacy.md, Policies, decision 3; Consent, rule 5).

``informed`` is a fact beside consent: a notice was given to somebody. It grants, refuses and lifts nothing. A
purpose that rests on an opt-out needs it, since nobody opts out of what they were never told of.

Invariants:

1. It is told of the person to whom a grant would go (rule 4): the authenticated identity of a server or
   import, or of a signed user id. A device is nobody in particular; of one alone nothing is recorded.
2. It counts while the notice says the same: its version, or a later one none of which is material.
3. A profile was told when each of its persons was: themselves, or by one linked before the notice. As with
   grants, somebody who came with one who was told is passed over (``carry.py``).
4. What cannot be told for certain (no version, one that is not archived) was not told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from cdp.clock import Micros
from cdp.consent.carry import carried
from cdp.consent.grade import effective_at, notice_status
from cdp.consent.model import Member, Record
from cdp.policy import Purpose

INFORMED: Final = "informed"


def notice_given(purpose: Purpose, members: Sequence[Member], records: Iterable[Record]) -> Micros | None:
    """Return since when everybody in a profile has been told of ``purpose`` as it is now; None when not.

    :param records: the records of the members, of any purpose, in any order.
    """
    persons = {member.identity_no: member for member in members if not member.device}
    current = [
        record
        for record in records
        if record.state == INFORMED
        and record.purpose == purpose.key
        and record.identity_no in persons
        and notice_status(purpose, record) == "current"
    ]
    told = {
        number: min(
            effective_at(one) for one in current if persons[one.identity_no].answers(one.received_at, number)
        )
        for number in persons
        if any(persons[one.identity_no].answers(one.received_at, number) for one in current)
    }
    if not told or carried(persons.values(), dict.fromkeys(told, 0)) != persons.keys():
        return None
    return max(told.values())
