"""The same decision over sets of people: pure, over Roaring bitmaps.

Repeats the numbered steps of ``decide.py``; a property test proves that both read every person
alike, and that the classes and the withheld sets are disjoint and cover everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pyroaring import BitMap

from cdp.gate.decide import meet_plans, unmet
from cdp.gate.model import RESTRAINTS, Clause, Condition, FactSets, FieldPlan, Partition, Terms


def compile_sets(terms: Terms, facts: FactSets) -> Partition:
    """Decide about everybody in ``facts.people`` at once."""
    return _Reading(terms, facts).partition()


class _Reading:
    def __init__(self, terms: Terms, facts: FactSets) -> None:
        self.terms = terms
        self.facts = facts
        recorded = _union(facts.places.values()) & facts.people
        self.known_place = recorded
        self.unplaced = facts.people - recorded
        self.here = {
            place: facts.people.copy()
            if place in terms.home
            else (facts.places.get(place, BitMap()) & facts.people) | self.unplaced
            for place in sorted(terms.everywhere | set(facts.places))
        }
        self.withheld: dict[str, BitMap] = {}
        self.left = facts.people.copy()

    def partition(self) -> Partition:
        for restraint in RESTRAINTS:  # 1
            self._withhold(restraint, self.facts.restraints.get(restraint, BitMap()))
        self._withhold("forbidden", _union(map(self._restrains, self.terms.forbids)))  # 2
        self._withhold_ungranted()  # 3
        self._withhold("input_not_permitted", self._input_gaps())  # 4
        return Partition(classes=tuple(self._classes()), withheld=self.withheld)  # 5

    def _withhold(self, reason: str, people: BitMap) -> None:
        taken = self.left & people
        if taken:
            self.withheld[reason] = self.withheld.get(reason, BitMap()) | taken
            self.left -= taken

    def _withhold_ungranted(self) -> None:
        permits = self.terms.permits
        missing = {
            place: people - _union(self._enables(p.where[place]) for p in permits if place in p.where)
            for place, people in self.here.items()
        }
        denied = self.left & _union(missing.values())
        bare = _union(
            people for place, people in missing.items() if not any(place in p.where for p in permits)
        )
        self._withhold("jurisdiction_unknown", denied & bare & self.unplaced)
        self._withhold("not_permitted", denied & bare)
        for condition in self.terms.conditions():
            needing = _union(
                people
                for place, people in missing.items()
                if any(condition in p.where.get(place, ()) for p in permits)
            )
            failing = denied & needing - self._enables((condition,))
            self._withhold(unmet(condition, stale=True), failing & self.facts.stale)
            self._withhold(unmet(condition, stale=False), failing)
        self._withhold("not_permitted", denied)

    def _input_gaps(self) -> BitMap:
        return _union(
            people
            - _union(
                self._enables(permit.where[place])
                for permit in self.terms.permits
                if place in permit.where and category in permit.inputs
            )
            for place, people in self.here.items()
            for category in self.terms.inputs
        )

    def _classes(self) -> list[tuple[BitMap, FieldPlan]]:
        """Cut those left by the rules that have a word on them; those of one plan are one class."""
        cells: list[tuple[BitMap, tuple[FieldPlan, ...]]] = [(self.left, ())]
        words = [(self._counts(permit), permit.plan) for permit in self.terms.permits]
        words += [(self._restrains(limit), limit.plan) for limit in self.terms.limits]
        for people, plan in words:
            cells = [
                cell
                for whole, plans in cells
                for cell in ((whole & people, (*plans, plan)), (whole - people, plans))
                if cell[0]
            ]
        classes: dict[FieldPlan, BitMap] = {}
        for people, plans in cells:
            plan = meet_plans(plans, len(self.terms.fields))
            classes[plan] = classes.get(plan, BitMap()) | people
        return [(people, plan) for plan, people in classes.items() if people]

    # -- one clause over everybody --------------------------------------------------------------

    def _true(self, condition: Condition) -> BitMap:
        if condition.kind == "place_known":
            return self.known_place
        return self.facts.true.get(condition, BitMap())

    def _enables(self, conditions: Sequence[Condition]) -> BitMap:
        """Return the people of whom ``conditions`` are TRUE, as a permit may count on them."""
        people = self.facts.people.copy()
        for condition in conditions:
            people &= self._true(condition) if condition.wanted else BitMap()
        return people

    def _counts(self, permit: Clause) -> BitMap:
        """Return the people of whom a permit is TRUE or UNKNOWN in a jurisdiction of theirs."""
        false = self.facts.false
        return _somewhere(
            self.here,
            permit,
            lambda needed: _union(false.get(c, BitMap()) for c in needed if c.wanted),
        )

    def _restrains(self, clause: Clause) -> BitMap:
        """Return the people of whom a forbid or limit is TRUE or UNKNOWN in one of theirs."""
        return _somewhere(
            self.here,
            clause,
            lambda needed: _union(self._true(Condition(c.kind, c.days)) for c in needed if not c.wanted),
        )


def _union(sets: Iterable[BitMap]) -> BitMap:
    return BitMap.union(BitMap(), *sets)


def _somewhere(
    here: Mapping[str, BitMap], clause: Clause, false: Callable[[Sequence[Condition]], BitMap]
) -> BitMap:
    """Return the people with a jurisdiction that ``clause`` covers and where it is not FALSE."""
    return _union(here[place] - false(needed) for place, needed in clause.where.items() if place in here)
