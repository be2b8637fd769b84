"""Whose data somebody may see who proved some identifiers: on no guess, and through no device."""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from cdp.identity.reach import Reach, walk

PEOPLE, DEVICES = range(1, 6), range(6, 11)
Pair = tuple[int, int]
pairs = st.frozensets(
    st.tuples(st.integers(1, 10), st.integers(1, 10)).filter(lambda pair: pair[0] < pair[1]), max_size=15
)
proofs = st.frozensets(st.integers(1, 10), min_size=1, max_size=3)


def is_device(number: int) -> bool:
    return number in DEVICES


def reach(proved: Collection[int], trusted: Collection[Pair], told: Collection[Pair] = ()) -> Reach:
    return walk(proved, trusted, {*trusted, *told}, is_device)


def test_trusted_links_lead_from_person_to_person_and_to_devices() -> None:
    assert reach([1], [(1, 2), (2, 3), (3, 6), (6, 7)]) == Reach((1, 2, 3, 6, 7), whole=True)


def test_what_only_a_browser_told_leads_nowhere() -> None:
    assert reach([1], [(1, 2)], [(2, 3)]) == Reach((1, 2), whole=False)


def test_a_device_leads_to_no_person() -> None:
    assert reach([6], [(1, 6), (6, 7)]) == Reach((6, 7), whole=False)


def test_a_device_of_two_is_shown_to_neither_of_them() -> None:
    assert reach([1], [(1, 6), (2, 6)]) == Reach((1,), whole=False)
    assert reach([1], [(1, 6)], [(2, 6)]) == Reach((1,), whole=False)
    assert reach([1, 2], [(1, 6), (2, 6)]) == Reach((1, 2, 6), whole=True)


def joined(
    proved: Collection[int], trusted: Collection[Pair], pair: Pair, told: Collection[Pair] = ()
) -> Reach:
    """Return the reach where a steward joined the profiles of a pair."""
    return walk(proved, {*trusted, pair}, {*trusted, pair, *told}, is_device, {pair})


def test_a_steward_joins_people_whichever_of_their_identifiers_the_pair_names() -> None:
    for proved in (1, 2):
        assert joined([proved], [(2, 6)], (1, 2)).numbers == (1, 2, 6)
        assert joined([proved], [(2, 6)], (1, 6)).numbers == (1, 2, 6)
        assert joined([proved], [(1, 7), (2, 6)], (6, 7)).numbers == (1, 2, 6, 7)


def test_a_device_of_several_stands_for_none_of_them_in_a_merge() -> None:
    assert joined([1], [(2, 6), (3, 6)], (1, 6)).numbers == (1,)
    assert joined([1], [(2, 6)], (1, 6), [(3, 6)]).numbers == (1,)
    assert joined([1], [(2, 6), (2, 3)], (1, 6), [(3, 6)]).numbers == (1, 2, 3, 6)


def test_what_was_proved_is_always_shown() -> None:
    assert reach([1, 6], [(2, 6)]).numbers == (1, 6)


@given(proofs, pairs, pairs)
def test_nobody_is_reached_but_from_somebody_on_a_trusted_word(
    proved: frozenset[int], trusted: frozenset[Pair], told: frozenset[Pair]
) -> None:
    found = set(reach(proved, trusted, told).numbers)
    assert proved <= found
    people = {one for one in found if not is_device(one)}
    for one in found - proved:
        near = {low if high == one else high for low, high in trusted if one in (low, high)}
        assert near & (found if is_device(one) else people)


@given(proofs, pairs, pairs, pairs)
def test_a_word_of_a_browser_never_widens_it(
    proved: frozenset[int], trusted: frozenset[Pair], told: frozenset[Pair], more: frozenset[Pair]
) -> None:
    before, after = reach(proved, trusted, told), reach(proved, trusted, told | more)
    assert set(after.numbers) <= set(before.numbers)
    assert not after.whole or after.numbers == before.numbers


@given(proofs, pairs)
def test_proving_more_never_shows_less(proved: frozenset[int], trusted: frozenset[Pair]) -> None:
    for one in proved:
        assert set(reach([one], trusted).numbers) <= set(reach(proved, trusted).numbers)
