"""People as portraits: traits, tags and segments of several read together, each under its own view."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple

from pyroaring import BitMap

from cdp.crypto import ProfileIds
from cdp.gate import Admitted
from cdp.portrait import queries
from cdp.portrait.model import Membership, Portrait
from cdp.portrait.queries import Evaluation
from cdp.portrait.show import shown_tags, shown_traits
from cdp.portrait.use import Person
from cdp.profiles import ProfileService
from cdp.segments import SegmentService
from cdp.store import Connection


class Evaluated(NamedTuple):
    """Segments as last evaluated.

    :param newest: by name; ``parted`` as ``queries.parted_at`` tells.
    :param restrained: those that no segment holds any more.
    :param read_by: returns the categories that a segment reads; None for one that no longer holds.
    """

    newest: Mapping[str, Evaluation]
    parted: Mapping[int, int]
    restrained: BitMap
    read_by: Callable[[str], frozenset[str] | None]

    def shown(self, person: Person) -> Iterator[Membership]:
        """Yield the segments of which it may be seen that the person is in them."""
        for membership, read in self.within(person.profile_no, person.numbers):
            if person.view.chosen_by(read):
                yield membership

    def within(
        self, profile_no: int, numbers: Collection[int]
    ) -> Iterator[tuple[Membership, frozenset[str]]]:
        """Yield the segments that somebody is in, each with the categories that it reads."""
        if profile_no in self.restrained:
            return
        within = BitMap(numbers)  # merged, it stands in an older evaluation under its number of then
        since = max((self.parted.get(number, 0) for number in numbers), default=0)
        for name, held in self.newest.items():
            if since <= held.as_of and within.intersect(held.members):
                read = self.read_by(name)
                if read is not None:
                    yield Membership(segment=name, version=held.version, evaluated_at=held.computed_at), read


def evaluated(connection: Connection, segments: SegmentService, numbers: Collection[int]) -> Evaluated:
    """Return the segments as last evaluated, for a look at who has these identities."""
    return Evaluated(
        queries.evaluations(connection),
        queries.parted_at(connection, numbers),
        segments.restrained(connection),
        cache(partial(segments.read_by, connection)),
    )


class Drawer:
    """Draws portraits."""

    def __init__(self, ids: ProfileIds, profiles: ProfileService, segments: SegmentService) -> None:
        self._ids = ids
        self._profiles = profiles
        self._segments = segments

    def __call__(
        self, connection: Connection, admitted: Admitted, people: Sequence[Person]
    ) -> list[Portrait]:
        """Return the portraits of these people, in their order."""
        known = self._profiles.survivors_of(connection, [person.profile_no for person in people])
        held = evaluated(connection, self._segments, [no for person in people for no in person.numbers])
        declared = admitted[0].fields.traits
        tags = self._segments.tags.values(connection, BitMap([person.profile_no for person in people]))
        portraits = []
        for person in people:
            traits, provenance = shown_traits(known.get(person.profile_no, {}), person.view)
            portraits.append(
                Portrait(
                    id=self._ids.encode(person.profile_no),
                    profile_no=person.profile_no,
                    traits=traits,
                    masked_fields=tuple(name for name, value in traits.items() if value is None),
                    provenance=provenance,
                    tags=shown_tags(traits, tags.get(person.profile_no, ()), declared, person.view),
                    memberships=tuple(held.shown(person)),
                    identities=len(person.numbers),
                )
            )
        return portraits
