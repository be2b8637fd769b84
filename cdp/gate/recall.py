"""Recall = delivered − permitted now: whom a destination holds and may not hold any more.

For each audience (destination, purpose, segment):

1. The policies in force are bound to everything that its people were chosen by, as it was called then and is
   called now, and every field that left of them. Where no definition may read one of them any more, nobody
   is permitted. A destination or purpose that is gone, or a contract that has ended, permits nobody. The
   switch of the destination is not asked: switched off, nothing leaves, and what is held is recalled as if it
   were on; recalling *everything* held there is an officer's own decision (``everything``).
2. Decided about are, of the people held: those to whom something happened since the last look (consent,
   links, recorded places, black lists), those who were not held at the last look, and everybody when the
   policies or what they are bound to differ or a grant has aged. Facts are those of the whole profile as it
   is now, with all that it merged with.
3. An anchor stays while its profile is permitted, not restrained for evaluating segments (that was how it
   came there, so no audience holds who objects to it), *and* the profile's reference is made from it: after
   a merge one person has one reference, and the others are removed.
4. Of those who stay, an identity that left the profile makes a correction: the row told of somebody else.

Invariants: a look that finds nothing to look at costs a few small statements; what this process forgets (it
keeps its last look in memory) is looked at again in full; a missing fact or key never keeps anybody in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import msgspec
from pyroaring import BitMap

from cdp.clock import SECOND, Clock, Micros, day
from cdp.errors import DefinitionError
from cdp.gate import queries
from cdp.gate.bind import chosen_by
from cdp.gate.deliveries import Audience
from cdp.gate.deliveries import queries as delivery_queries
from cdp.gate.judge import Judge, Question
from cdp.gate.model import Terms
from cdp.identity import members_of, profiles_of
from cdp.policy import Bundle
from cdp.segments import Lists
from cdp.store import Connection, Store, chunks, erased, read_head

Reason = Literal["unlist", "erase"]
"""``unlist``: take the person off this audience; ``erase``: delete what is held under the reference."""

_SLICE = 20_000  # people decided at once
_AGE_EVERY = 300 * SECOND


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What to recall from one audience.

    :param removals: the anchors of people to remove, and why.
    :param corrections: anchors of whom a further identity left; ``strayed`` those identities.
    """

    audience: Audience
    reason: Reason
    removals: BitMap
    corrections: BitMap
    strayed: BitMap


class _Look(msgspec.Struct):
    """The last look at one audience.

    :param kept: the anchors that may stay, as of then.
    :param terms: what the policies were bound to; None: they permitted nobody.
    """

    audience: Audience
    kept: BitMap
    bundle: str
    terms: Terms | None
    valid_until: Micros | None
    whole_at: Micros


class Recaller:
    """Finds what to recall; whoever issues it takes it out of the deliveries in the same transaction.

    :param objecting: returns the profiles that no segment holds any more.
    """

    def __init__(
        self, store: Store, judge: Judge, objecting: Callable[[Connection], BitMap], clock: Clock
    ) -> None:
        self._store = store
        self._judge = judge
        self._objecting = objecting
        self._clock = clock
        self._looks: dict[int, _Look] = {}
        self._position = -1
        self._blocked = BitMap()

    def find(self) -> Iterator[Iterator[Found]]:
        """Yield for each audience what there is to recall of it now, a part of it at a time.

        An audience that is not taken to its end is looked at anew, in full, the next time.

        :raises UnavailableError: consent is being derived under other policies.
        """
        with self._store.reading() as connection:
            head = read_head(connection)[0]
            bundle = self._judge.policy(connection)
            revisions = delivery_queries.revisions(connection)
            blocked = self._judge.facts.blocked(connection)
            touched = self._touched(connection, head, bundle, blocked) if revisions else BitMap()
            lists = Lists.categories(connection)
        for audience_no, revision in revisions.items():
            look = self._looks.pop(audience_no, None)  # broken off, there is none
            yield self._look(audience_no, revision, look, touched, bundle, lists)
        # only now: a turn that broke off is taken again whole
        self._position, self._blocked = head, blocked

    def _touched(self, connection: Connection, head: int, bundle: Bundle, blocked: BitMap) -> BitMap:
        """Return every identity of whose person something happened since the last look."""
        if not self._looks:
            return BitMap()
        spoken, profiles = BitMap(), blocked - self._blocked
        if self._position != head:
            spoken, heard = self._judge.facts.heard_since(connection, self._position, bundle)
            profiles |= heard
        members = members_of(connection, profiles)
        return spoken | BitMap(number for numbers in members.values() for number in numbers)

    def _look(
        self,
        audience_no: int,
        revision: int,
        look: _Look | None,
        touched: BitMap,
        bundle: Bundle,
        lists: Mapping[str, str],
    ) -> Iterator[Found]:
        audience = None if look is None else look.audience
        if audience is None or audience.revision != revision:
            with self._store.reading() as connection:
                audience = delivery_queries.load_audience(connection, audience_no)
        now, people = self._clock.now(), audience.holding.people()
        with self._store.reading() as connection:
            people -= erased(connection, people)  # whoever erases them has destinations told
        target = bundle.destinations.get(audience.destination)
        ended = target is not None and target.contract_ended(day(now))
        question = None if ended else question_of(bundle, audience, lists)
        terms = None if question is None else question.terms
        fresh = look is None or (look.bundle, look.terms) != (bundle.sha256, terms) or _aged(look, now)
        kept, until = BitMap(), None
        if look is None or fresh:
            wanted = people
        else:
            wanted = audience.holding.touched(touched) & people if touched else BitMap()
            wanted |= people - look.kept
            kept, until = (look.kept & people) - wanted, look.valid_until
        for chunk in chunks(wanted, _SLICE):
            part = BitMap(chunk)
            stay, ends, strayed = self._decide(audience, question, part)
            kept |= stay
            until = min((end for end in (until, ends) if end is not None), default=None)
            if part != stay or strayed:
                yield Found(
                    audience=audience,
                    reason="erase" if ended else "unlist",
                    removals=part - stay,
                    corrections=BitMap(strayed.values()),
                    strayed=BitMap(strayed),
                )
        self._looks[audience_no] = _Look(
            audience=audience,
            kept=kept,
            bundle=bundle.sha256,
            terms=terms,
            valid_until=until,
            whole_at=now if look is None or fresh else look.whole_at,
        )

    def _decide(
        self, audience: Audience, question: Question | None, anchors: BitMap
    ) -> tuple[BitMap, Micros | None, Mapping[int, int]]:
        """Return (anchors that stay, when the first grant among them ends, strayed identity → anchor)."""
        if question is None:
            return BitMap(), None, {}
        others = audience.holding.others_of(anchors)
        with self._store.reading() as connection:
            profiles = profiles_of(connection, {*anchors, *others})
            members = members_of(connection, {profiles[no] for no in anchors if no in profiles})
            partition = self._judge.decide(connection, question, members, BitMap())
            known = queries.known_anchors(connection, audience.destination)
            permitted = partition.permitted() - self._objecting(connection)
        reference = {
            profile_no: next((number for number in numbers if number in known), 0)
            for profile_no, numbers in members.items()
            if profile_no in permitted
        }
        kept = BitMap(no for no in anchors if reference.get(profiles.get(no, 0)) == no)
        strayed = {
            no: anchor
            for no, anchor in others.items()
            if anchor in kept and profiles.get(no) != profiles[anchor]
        }
        return kept, partition.valid_until, strayed


def _aged(look: _Look, now: Micros) -> bool:
    """Return whether a grant has lost its force; at most every five minutes, as there are many.

    A clock that was set back says nothing about ages any more: look again.
    """
    lost = look.valid_until is not None and look.valid_until <= now
    return now < look.whole_at or (lost and now - look.whole_at >= _AGE_EVERY)


def everything(audience: Audience) -> Found:
    """Return the recall of all that is held of an audience."""
    return Found(
        audience=audience,
        reason="erase",
        removals=audience.holding.people(),
        corrections=BitMap(),
        strayed=BitMap(),
    )


def question_of(bundle: Bundle, audience: Audience, lists: Mapping[str, str]) -> Question | None:
    """Return the policies bound to an audience; None when they permit nobody there at all.

    :param lists: list name → its category now.
    """
    destination = bundle.destinations.get(audience.destination)
    purpose = bundle.purposes.get(audience.purpose)
    if destination is None or purpose is None or purpose.key not in destination.purposes:
        return None
    try:
        inputs = chosen_by(bundle, audience.inputs, audience.reads, lists)
    except DefinitionError:
        return None
    declared = tuple(sorted(name for name in audience.fields if bundle.fields.output(name) is not None))
    return Judge.bind((bundle, destination, purpose), inputs, declared)
