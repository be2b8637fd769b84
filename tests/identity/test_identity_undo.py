"""Which merge a split by an id takes back, found in one walk of the links' history."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cdp.identity.anew.queries import Linked
from cdp.identity.model import Pair
from cdp.identity.resolve import components
from cdp.identity.undo import last_joined

PEOPLE = range(4)
PAIRS = st.sampled_from([(low, high) for high in PEOPLE for low in range(high)])
DECIDED = st.dictionaries(PAIRS, st.sampled_from([True, True, False]), min_size=1, max_size=2)
COMMITS = st.lists(st.tuples(DECIDED, st.booleans()), min_size=3, max_size=9)
"""What each commit decided, pair → whether its link was accepted, and whether that was a steward's word."""


def by_each(history: list[Linked], number: int, joined: dict[int, set[int]]) -> int | None:
    """Return the same, looking at the profile before each merge anew, the last merge first."""
    for commit_no in sorted(joined, reverse=True):
        accepted: dict[Pair, bool] = {}
        for link in history:
            if link.commit_no < commit_no:
                accepted[link.pair] = link.accepted
        root = components(PEOPLE, (pair for pair, stands in accepted.items() if stands))
        was = {one for one in PEOPLE if root[one] == root[number]}
        if number in joined[commit_no] or (number == min(was) and joined[commit_no] & was):
            return commit_no
    return None


@settings(max_examples=300)
@given(COMMITS)
def test_the_last_merge_of_a_profile_is_found_whatever_fell_before(
    commits: list[tuple[dict[Pair, bool], bool]],
) -> None:
    history = [
        Linked(no, pair, stands) for no, (links, _) in enumerate(commits) for pair, stands in links.items()
    ]
    joined = {no: {one for pair in links for one in pair} for no, (links, word) in enumerate(commits) if word}
    for number in PEOPLE:
        assert last_joined(history, number, PEOPLE, joined) == by_each(history, number, joined)
