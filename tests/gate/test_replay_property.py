"""Whoever was in an export, and whatever happened to them since: it is reproduced, or erased."""

from __future__ import annotations

import itertools
from typing import Any

from caller import Caller
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replay_world import (
    EMAIL,
    act,
    black_list,
    erase,
    exported,
    number_of,
    numbers_of,
    on_device,
    person,
    preference,
    replayed,
    said,
    send,
    split,
)

from cdp.clock import DAY, FixedClock

_EXAMPLES = itertools.count()
_PEOPLE = 5
WHO = st.integers(0, _PEOPLE - 1)
BORN = st.sampled_from(["", "2012-05-06", "1990-05-06"])
PLACES = st.sampled_from(["Germany", "China", "France", "Brazil", "nowhere"])
WORDS = st.one_of(
    st.tuples(st.sampled_from(["granted", "informed"]), st.just(EMAIL)),
    st.tuples(
        st.sampled_from(["withdrawn", "refused", "objected", "restricted"]),
        st.sampled_from([EMAIL, "marketing", "segmentation"]),
    ),
)
OF_PEOPLE = st.tuples(PLACES, BORN, st.sampled_from([None, True, False]), st.booleans())
CHANGES = st.one_of(
    st.tuples(st.just("says"), WHO, WORDS),
    st.tuples(st.just("moves"), WHO, PLACES, BORN),
    st.tuples(st.just("listed"), st.sets(WHO)),
    st.tuples(st.just("joined"), WHO, WHO),
    st.tuples(st.just("split"), WHO),
    st.tuples(st.just("erased"), WHO, st.booleans(), st.booleans()),
    st.tuples(st.just("half erased"), WHO),
    st.tuples(st.just("waits"), st.integers(1, 20)),
)


class Example:
    """The people of one example, who have names of their own."""

    def __init__(self, caller: Caller, clock: FixedClock) -> None:
        self.caller = caller
        self.clock = clock
        self.tag = f"x{next(_EXAMPLES)}"
        self.gone = set[int]()

    def name(self, who: int) -> str:
        return f"{self.tag}-p{who}"

    def device(self, who: int) -> str:
        return f"{self.tag}-d{who}"

    def begin(self, people: list[tuple[str, str, bool | None, bool]], listed: set[int]) -> None:
        """Make people known; the first one may be sent e-mail."""
        told = []
        for who, (country, born, agreed, shared) in enumerate([("Germany", "", True, False), *people]):
            more = {"birthday": born} if born else {}
            told.append(person(self.name(who), country=country, plan=self.tag, **more))
            told.append(on_device(self.device(who), plan=self.tag))
            if shared:
                told.append(said("track", self.name(who), event="Seen", anonymousId=self.device(who)))
            if agreed is not None:
                told.append(preference(self.name(who), agreed=agreed))
        send(self.caller, told)
        black_list(self.caller, *(self.name(who) for who in listed - {0}))

    def happens(self, what: str, *told: Any) -> None:
        if what == "waits":
            self.clock.advance(told[0] * DAY)
        elif what == "listed":
            black_list(self.caller, *(self.name(who) for who in told[0] - self.gone))
        elif told[0] not in self.gone:
            self.to_somebody(what, *told)

    def to_somebody(self, what: str, who: int, *told: Any) -> None:
        name = self.name(who)
        match what:
            case "says":
                act(self.caller, name, *told[0])
            case "moves":
                country, born = told
                more = {"birthday": born} if born else {}
                send(self.caller, [person(name, country=country, plan=self.tag, **more)])
            case "joined":
                send(self.caller, [said("track", name, event="Seen", anonymousId=self.device(told[0]))])
            case "split" if len(numbers_of(self.caller, name)) > 1:
                split(self.caller, name)
            case "erased":
                rows, proof = told
                self.gone.add(who)
                erase(self.caller, numbers_of(self.caller, name), rows=rows, proof=proof)
            case "half erased":
                self.gone.add(who)
                erase(self.caller, [number_of(self.caller, name)])


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    people=st.lists(OF_PEOPLE, min_size=_PEOPLE - 1, max_size=_PEOPLE - 1),
    listed=st.sets(WHO),
    before=st.lists(CHANGES, max_size=2),
    after=st.lists(CHANGES, min_size=1, max_size=6),
)
def test_a_replay_is_whole(
    caller: Caller,
    clock: FixedClock,
    people: list[tuple[str, str, bool | None, bool]],
    listed: set[int],
    before: list[tuple[Any, ...]],
    after: list[tuple[Any, ...]],
) -> None:
    example = Example(caller, clock)
    example.begin(people, listed)
    for change in before:
        if change[0] not in {"waits", "listed"} and change[1] != 0:
            example.happens(*change)
    export = exported(caller, example.tag)
    for change in after:
        example.happens(*change)
    report = replayed(caller, export)
    assert report["problems"] == {}
    assert report["ok"], report
    assert report["reproduced"] + report["erased"] == report["people"]
    if not example.gone:
        assert report["erased"] == 0
