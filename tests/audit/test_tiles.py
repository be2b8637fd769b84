"""Where tiles lie: the specification's vectors, and paths that name none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.audit.outside.tiles import Tile, parse_tile, tile_path, tile_paths


def hashes(size: int) -> list[str]:
    return [path for path in tile_paths(size) if not path.startswith("entries/")]


def test_the_tiles_of_70000_entries_are_those_of_the_specification() -> None:
    found = hashes(70_000)
    assert found[:273] == [f"0/{number:03}" for number in range(273)]
    assert found[273:] == ["0/273.p/112", "1/000", "1/001.p/17", "2/000.p/1"]


def test_a_full_tile_has_a_partial_one_above_it_and_none_beside_it() -> None:
    assert hashes(256) == ["0/000", "1/000.p/1"]
    assert hashes(0) == []
    assert list(tile_paths(1)) == ["0/000.p/1", "entries/000.p/1"]
    assert list(tile_paths(257))[-2:] == ["entries/000", "entries/001.p/1"]


@pytest.mark.parametrize(
    ("number", "path"), [(0, "0/000"), (1000, "0/x001/000"), (1_234_067, "0/x001/x234/067"), (999, "0/999")]
)
def test_a_number_is_written_in_groups_of_three_digits(number: int, path: str) -> None:
    assert tile_path(Tile(0, number)) == path
    assert parse_tile(path) == Tile(0, number)


@given(st.one_of(st.none(), st.integers(0, 63)), st.integers(0, 10**15), st.integers(1, 256))
def test_every_tile_has_one_path(level: int | None, number: int, width: int) -> None:
    tile = Tile(level, number, width)
    assert parse_tile(tile_path(tile)) == tile


@pytest.mark.parametrize(
    "path",
    ["", "0", "0/0", "0/0000", "0/x000/001", "00/000", "64/000", "-1/000", "0/000.p/0", "0/000.p/256",
     "0/000.p/01", "0/000.p/", "0/000/", "/0/000", "0/x001", "0/000.p/1/2", "entries", "entries/../000",
     "0/\u0660\u0660\u0660", "0/000\n", "data/000"],
)  # fmt: skip
def test_a_path_that_is_written_otherwise_names_none(path: str) -> None:
    assert parse_tile(path) is None
