"""One fetch on its way: what it may still deliver, decided anew whenever something happened."""

from __future__ import annotations

from pyroaring import BitMap

from cdp.access import Principal
from cdp.audit import Entry
from cdp.clock import Micros, random_id
from cdp.gate.decide import meet_plans
from cdp.gate.judge import Question
from cdp.gate.model import FieldPlan, Partition
from cdp.gate.queries import Stored


class Fetch:
    """One rendering on its way: whom is left to deliver under which plan, and up to where it was checked.

    ``members`` maps profile_no → its identities in M∖D; ``then`` → the plan authorised; ``plans`` →
    the meet of that and of what is permitted now, for those of whom a row may leave; ``waiting`` are those of
    them who have not left. ``held`` maps anchor → identities of those of whom one might at the beginning;
    ``fresh`` are the anchors not held before. ``key_seen`` is the head at which the key was last found live.

    Invariant: nobody comes back into ``waiting``: a later yes brings nobody into a decision of before.

    :param only: the identities of those asked for; None for everybody in the export.
    """

    def __init__(
        self,
        stored: Stored,
        question: Question,
        principal: Principal,
        asked: Entry,
        only: BitMap | None,
    ) -> None:
        self.stored = stored
        self.given = stored.authorisation
        self.question = question
        self.principal = principal
        self.asked = asked
        self.only = only
        self.fetch_no = random_id()
        self.started_at: Micros = 0
        self.key = self.given.destination, self.given.purpose, self.given.segment
        self.held: dict[int, list[int]] = {}
        self.fresh = BitMap()
        self.identities = BitMap()
        self.members: dict[int, list[int]] = {}
        self.then: dict[int, FieldPlan] = {}
        self.plans: dict[int, FieldPlan] = {}
        self.waiting = BitMap()
        self.delivered = BitMap()
        self.checked = 0
        self.key_seen = -1
        self._valid_until = self.given.valid_until
        self._profiles: dict[int, int] = {}

    def choose(self, members: dict[int, list[int]], plan: FieldPlan) -> None:
        """Take people of one class as it was authorised."""
        self.then |= dict.fromkeys(members, plan)
        for profile_no in members.keys() & self.members.keys():  # of two classes, since they were merged
            members[profile_no] += self.members[profile_no]
        self.members |= members
        self._profiles |= {no: profile_no for profile_no, found in members.items() for no in found[1:]}
        self._profiles |= {
            found[0]: profile_no for profile_no, found in members.items() if found[0] != profile_no
        }

    def start(self) -> None:
        """Begin with everybody chosen, each under the plan authorised."""
        self.plans = dict(self.then)
        self.waiting = BitMap(self.then)

    def people(self, identities: BitMap) -> BitMap:
        """Return whom of those who wait one of the identities belongs to."""
        found = self.identities & identities
        return BitMap(self._profiles.get(number, number) for number in found) & self.waiting

    def aged(self, now: Micros) -> bool:
        """Return whether time alone may have taken a permission away: everybody is then decided anew."""
        return self._valid_until is not None and self._valid_until <= now

    @property
    def expected(self) -> int:
        """How many rows there were to be, when nobody is restrained."""
        return self.given.counts.released if self.only is None else len(self.members)

    def deny(self, people: BitMap) -> None:
        """Let no row of ``people`` leave."""
        for person in people & self.waiting:
            del self.plans[person]
        self.waiting -= people

    def decided(self, people: BitMap, partition: Partition) -> None:
        """Take a decision about some of those who wait."""
        whole = people == self.waiting
        self.deny(people - partition.permitted())
        width = len(self.question.terms.fields)
        for allowed, now in partition.classes:
            met: dict[FieldPlan, FieldPlan] = {}  # few plans, many people
            for person in allowed:
                then = self.then[person]
                if then not in met:
                    met[then] = meet_plans((then, now), width)
                self.plans[person] = met[then]
        ends = [end for end in (self._valid_until, partition.valid_until) if end is not None]
        self._valid_until = partition.valid_until if whole else min(ends, default=None)

    def deliver(self, people: BitMap) -> None:
        """Note that rows of ``people`` leave now."""
        self.waiting -= people
        self.delivered |= people
