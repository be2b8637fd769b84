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
    the meet of that and of what is permitted now, for those of whom a row may leave. ``held`` maps anchor →
    identities of those of whom one might at the beginning; ``fresh`` are the anchors not held before.

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
        self.delivered = BitMap()
        self.checked = 0
        self.all_again = False
        self.aged = False

    def ages(self, now: Micros) -> bool:
        """True once, when the decision's ``valid_until`` has passed: everybody is then decided anew."""
        end = self.given.valid_until
        passed = end is not None and end <= now and not self.aged
        self.aged = self.aged or passed
        return passed

    @property
    def expected(self) -> int:
        """How many rows there were to be, when nobody is restrained."""
        return self.given.counts.released if self.only is None else len(self.members)

    def decided(self, people: BitMap, partition: Partition) -> None:
        """Take a decision about ``people``."""
        for person in people:
            self.plans.pop(person, None)
        width = len(self.question.terms.fields)
        for allowed, now in partition.classes:
            met: dict[FieldPlan, FieldPlan] = {}  # few plans, many people
            for person in allowed:
                then = self.then[person]
                if then not in met:
                    met[then] = meet_plans((then, now), width)
                self.plans[person] = met[then]
