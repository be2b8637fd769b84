"""The room of waiting events: what is let in, and when there is room again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.errors import OverloadedError
from cdp.worker.room import SMALL_BYTES, Place, Room

EVENTS, BYTES = 100, 8 << 20
_MOST_IN_A_CALL = 30


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),  # source
            st.integers(1, _MOST_IN_A_CALL),
            st.integers(1, 1 << 20),  # bytes
            st.booleans(),  # restrains: takes the reserve if it must
            st.integers(0, 3),  # of those that wait, how many leave before
        ),
        max_size=60,
    )
)
def test_it_is_over_a_limit_by_one_call_at_most_and_counts_to_nothing(
    calls: list[tuple[int, int, int, bool, int]],
) -> None:
    room = Room(EVENTS, BYTES)
    held: list[Place] = []
    for source, events, size, restrains, leaving in calls:
        room.leave(held[:leaving])
        del held[:leaving]
        place = room.enter(source, events, size)
        if place is None and restrains:
            place = room.enter(source, events, size, spare=True)
        if place is not None:
            held.append(place)
        ordinary = [one for one in held if not one.spare]
        spare = [one.events for one in held if one.spare]
        assert sum(one.events for one in ordinary) < EVENTS + _MOST_IN_A_CALL
        assert sum(one.bytes for one in ordinary[:-1]) < BYTES // 2 + (2 << 20)
        assert sum(spare) <= max(EVENTS // 10, *spare, 0) if spare else True
        assert room.events == sum(one.events for one in held)
    room.leave(held)
    assert (room.events, room.bytes, room.reading) == (0, 0, 0)


def _full() -> Room:
    room = Room(EVENTS, BYTES)
    assert room.enter(1, EVENTS, 1)
    assert room.enter(2, 1, 1) is None
    return room


def test_a_source_leaves_half_of_the_reserve_to_others() -> None:
    room = _full()
    mine = [room.enter(1, 1, 1, spare=True) for _ in range(20)]
    assert sum(place is not None for place in mine) == EVENTS // 10 // 2
    assert room.enter(2, 5, 1, spare=True)
    assert room.enter(3, 1, 1, spare=True) is None, "the reserve is full"


def _read(room: Room, size: int) -> None:
    for held in range(0, size, 100_000):
        room.read(held, 100_000)


def test_slow_and_large_bodies_keep_out_neither_small_ones_nor_events() -> None:
    room = Room(EVENTS, BYTES)
    with pytest.raises(OverloadedError):
        _read(room, 100 << 20)
    assert BYTES // 2 - 100_000 < room.reading <= BYTES // 2
    for _ in range(5):
        room.read(0, SMALL_BYTES)
    with pytest.raises(OverloadedError):
        room.read(SMALL_BYTES, 1)
    assert room.enter(1, 1, 100)
    assert room.enter(1, 1, 100)


WAITS: list[tuple[list[tuple[int, float]], int]] = [
    ([], 1),  # nobody knows yet
    ([(50, 1.0)], 3),  # 100 wait, 50 a second
    ([(50, 1.0), (0, 1.0)] * 5, 4),  # half of it failed
    ([(10_000, 1.0)], 1),
    ([(0, 30.0)], 300),  # the database is away
    ([(0, 30.0), (1000, 10.0)], 2),  # and is back
]


@pytest.mark.parametrize(("batches", "seconds"), WAITS)
def test_whoever_is_refused_is_told_when_what_waits_is_stored(
    batches: list[tuple[int, float]], seconds: int
) -> None:
    room = _full()
    for events, took in batches:
        room.drained(events, took)
    assert room.wait() == seconds
