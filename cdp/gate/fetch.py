"""One fetch on its way: what it may still deliver, decided anew whenever something happened."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
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

    ``members`` gives a profile's identities in M∖D; ``then`` maps a plan authorised → its people; ``plans``
    the meet of that and of what is permitted now → those of whom a row may leave under it; ``waiting`` are
    those of them who have not left. ``held`` maps anchor → identities of those of whom one might at the
    beginning; ``fresh`` are the anchors not held before. ``key_seen`` is the head at which the key was last
    found live. A fetch of some only is gathered before any of it is handed over: whoever is taken goes on
    waiting, and ``moved`` are those of them about whom was decided again since.

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
        self.held: dict[int, Sequence[int]] = {}
        self.fresh = BitMap()
        self.identities = BitMap()
        self.then: dict[FieldPlan, BitMap] = {}
        self.plans: dict[FieldPlan, BitMap] = {}
        self.waiting = BitMap()
        self.delivered = BitMap()
        self.moved = BitMap()
        self.checked = 0
        self.key_seen = -1
        self._valid_until = self.given.valid_until
        self._own = BitMap()  # identities whose profile bears their number: most of them
        self._profiles: dict[int, int] = {}  # of the others
        self._several: dict[int, list[int]] = {}  # the identities of their profiles

    def choose(self, identities: BitMap, profiles: NDArray[np.int64], plan: FieldPlan) -> None:
        """Take people of one class as it was authorised.

        :param profiles: (identity_no, profile_no) of those of ``identities`` that are still there,
            an array of two columns.
        """
        self.identities |= identities
        own = profiles[:, 0] == profiles[:, 1]
        self._own |= _set(profiles[own, 0])
        self._profiles.update(profiles[~own].tolist())
        people = _set(profiles[:, 1])
        for earlier in self.then.values():  # in two classes is who was merged since
            earlier.difference_update(people)
        self.then[plan] = self.then.get(plan, BitMap()) | people

    def start(self) -> None:
        """Begin with everybody chosen, each under the plan authorised."""
        self.plans = {plan: BitMap(people) for plan, people in self.then.items()}
        self.waiting = BitMap.union(BitMap(), *self.then.values())
        self._chosen = len(self.waiting)
        for number, profile_no in self._profiles.items():
            own = [profile_no] if profile_no in self._own else []
            self._several.setdefault(profile_no, own).append(number)

    def members(self, profile_no: int) -> Sequence[int]:
        """Return the identities of one of those chosen."""
        return self._several.get(profile_no) or (profile_no,)

    def people(self, identities: BitMap) -> BitMap:
        """Return whom of those who wait one of the identities belongs to."""
        found = self.identities & identities
        return BitMap([self._profiles.get(number, number) for number in found]) & self.waiting

    def anchors(self, known: BitMap) -> dict[int, int]:
        """Return profile_no → the identity that its pseudonym is made from, of those who wait.

        :param known: identities known at the destination; the first of a profile's is taken, else its own.
        """
        several = BitMap([*self._profiles, *(self._several.keys() & self._own)])
        held = list(several & known)
        first = {self._profiles.get(number, number): number for number in reversed(held)}
        return {profile_no: first.get(profile_no, profile_no) for profile_no in self.waiting}

    def aged(self, now: Micros) -> bool:
        """Return whether time alone may have taken a permission away: everybody is then decided anew."""
        return self._valid_until is not None and self._valid_until <= now

    @property
    def expected(self) -> int:
        """How many rows there were to be, when nobody is restrained."""
        return self.given.counts.released if self.only is None else self._chosen

    def deny(self, people: BitMap) -> None:
        """Let no row of ``people`` leave."""
        self.moved |= people & self.delivered
        self.waiting -= people
        for held in self.plans.values():
            held.difference_update(people)

    def decided(self, people: BitMap, partition: Partition) -> None:
        """Take a decision about some of those who wait."""
        whole = people == self.waiting
        self.moved |= people & self.delivered
        self.waiting -= people - partition.permitted()
        for held in self.plans.values():
            held.difference_update(people)
        width = len(self.question.terms.fields)
        for allowed, now in partition.classes:
            for plan, then in self.then.items():
                if both := allowed & then:
                    met = meet_plans((plan, now), width)
                    self.plans[met] = self.plans.get(met, BitMap()) | both
        ends = [end for end in (self._valid_until, partition.valid_until) if end is not None]
        self._valid_until = partition.valid_until if whole else min(ends, default=None)

    def deliver(self, people: BitMap) -> None:
        """Note that rows of ``people`` leave now, or are gathered to leave."""
        if self.only is None:
            self.waiting -= people
        self.delivered |= people


def _set(numbers: NDArray[np.int64]) -> BitMap:
    return BitMap(array("I", numbers.astype(np.uint32).tobytes()))
