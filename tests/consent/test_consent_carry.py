"""For whom what others said is enough (``carry.py``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hypothesis import given
from hypothesis import strategies as st

from cdp.consent import Member
from cdp.consent.carry import carried

PEOPLE = range(6)


def member(number: int, came_with: Mapping[int, bool], seen_at: int = 0) -> Member:
    return Member(identity_no=number, device=False, linked_at={}, came_with=came_with, seen_at=seen_at)


@st.composite
def profiles(draw: st.DrawFn) -> list[Member]:
    """People of whom some came with the same, and are told so by one mapping."""
    came = draw(
        st.lists(st.dictionaries(st.sampled_from(PEOPLE), st.booleans(), max_size=4), min_size=1, max_size=4)
    )
    return [member(number, draw(st.sampled_from(came)), draw(st.integers(0, 3))) for number in PEOPLE]


def by_each(members: list[Member], speakers: Mapping[int, int]) -> set[int]:
    """Return the same, one speaker after the other, until nothing is added."""
    found = set(speakers)
    for speaker, since in speakers.items():
        reached, before = {speaker}, 0
        while len(reached) > before:
            before = len(reached)
            reached |= {
                one.identity_no
                for one in members
                if one.identity_no not in speakers
                and one.seen_at >= since
                and any(verified and other in reached for other, verified in one.came_with.items())
            }
        found |= reached
    return found


@given(profiles(), st.dictionaries(st.sampled_from(PEOPLE), st.integers(0, 3)))
def test_whoever_a_chain_of_those_who_came_leads_to_is_carried(
    members: list[Member], speakers: dict[int, int]
) -> None:
    assert carried(members, speakers) == by_each(members, speakers)


class _Asked(Mapping[int, bool]):
    """Whom somebody came with, counting how often that is asked."""

    asked = 0

    def __init__(self, other: int) -> None:
        self._other = other

    def __getitem__(self, other: int) -> bool:
        if other != self._other:
            raise KeyError(other)
        return True

    def __iter__(self) -> Iterator[int]:
        _Asked.asked += 1
        return iter([self._other])

    def __len__(self) -> int:
        return 1


def test_everybody_of_a_long_chain_is_looked_at_once() -> None:
    """Numbers within one batch are in no order, so a chain may run against theirs."""
    count = 2_000
    chain = [member(number, _Asked(number + 1)) for number in range(count)]
    _Asked.asked = 0
    assert carried(chain, {count: 0}) == set(range(count + 1))
    assert _Asked.asked == count
