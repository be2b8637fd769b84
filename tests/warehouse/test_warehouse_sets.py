"""A column of numbers as a set, whatever their order and however far apart they are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cdp.warehouse import bitmap, flagged

NEAR, FAR = st.integers(0, 300), st.integers(0, 2**32 - 1)


@given(
    numbers=st.lists(NEAR) | st.lists(FAR) | st.lists(NEAR | FAR), kind=st.sampled_from(["int64", "uint32"])
)
def test_it_holds_each_of_them(numbers: list[int], kind: str) -> None:
    assert set(bitmap(np.array(numbers, dtype=kind))) == set(numbers)


def test_of_none_it_is_empty() -> None:
    assert not bitmap(np.array([], dtype=np.float64))


@given(flags=st.dictionaries(NEAR, st.integers(0, 7)) | st.dictionaries(FAR, st.integers(0, 7)))
def test_each_bit_has_its_own(flags: dict[int, int]) -> None:
    columns = np.array(list(flags), dtype="int64"), np.array(list(flags.values()), dtype="int64")
    for bit, found in enumerate(flagged(*columns, 3)):
        assert set(found) == {number for number, held in flags.items() if held & 1 << bit}
