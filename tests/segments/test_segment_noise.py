"""Counts for marketers: rounded, sticky, independent from set to set."""

from __future__ import annotations

from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from cdp.segments import noised

SECRET = b"0123456789abcdef"
ASKED = "country eq GB"


@given(st.sets(st.integers(0, 2**32 - 1), max_size=200))
def test_a_count_is_a_multiple_of_ten_and_the_same_each_time(members: set[int]) -> None:
    count = noised(BitMap(members), SECRET, ASKED)
    assert count % 10 == 0
    assert count >= 0
    assert abs(count - len(members)) < 750
    optimised = BitMap(members)
    optimised.run_optimize()
    assert noised(optimised, SECRET, ASKED) == count  # however the set is stored


def test_neighbours_get_independent_noise_around_the_truth() -> None:
    everyone = BitMap(range(1000))
    shown = [noised(everyone - BitMap([left_out]), SECRET, ASKED) for left_out in range(1000)]
    assert abs(mean(shown) - 999) < 3
    assert 18 < pstdev(shown) < 25
    assert len(set(shown)) > 4


def test_another_question_with_the_same_answer_gets_independent_noise() -> None:
    everyone = BitMap(range(1000))
    shown = [noised(everyone, SECRET, f"question {number}") for number in range(1000)]
    assert abs(mean(shown) - 1000) < 3
    assert 18 < pstdev(shown) < 25


def test_another_workspace_sees_other_noise() -> None:
    sets = [BitMap(range(start, start + 500)) for start in range(50)]
    assert [noised(s, SECRET, ASKED) for s in sets] != [noised(s, SECRET[::-1], ASKED) for s in sets]


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        noised(BitMap(), b"short", ASKED)
