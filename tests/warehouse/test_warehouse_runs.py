"""Files become sorted runs, runs become longer runs, nothing is lost, and nothing damaged is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from population import NOW, Population, catalogue, profiles, rule

from cdp.clock import SECOND
from cdp.errors import IntegrityError, StoreError
from cdp.warehouse import Mirror, Warehouse, rewrite
from cdp.warehouse.files import Directory
from cdp.warehouse.model import DATASETS, KEYS, File

FIELDS = catalogue(properties=[rule("revenue", "number"), rule("sku")], traits=[rule("country")])
SQL = "SELECT DISTINCT identity_no AS profile_no FROM events"


@pytest.fixture
def people(database_url: str) -> Iterator[Population]:
    population = Population(database_url)
    yield population
    population.close()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of few rows, and three runs to a merge."""
    sizes = {"FILE_ROWS": 4, "_SAMPLE_ROWS": 1, "_FAN": 3, "_SMALL_ROWS": 4, "_FULL_ROWS": 64}
    for name, value in sizes.items():
        monkeypatch.setattr(f"cdp.warehouse.rewrite.{name}", value)


def mirror_of(people: Population, home: Path) -> Mirror:
    return Mirror(people.store, home, FIELDS, people.clock)


def rows(mirror: Mirror, dataset: str = "events") -> list[dict[str, object]]:
    tables = [mirror.directory.load(file) for file in mirror.directory.read().files[dataset]]
    return list(pa.concat_tables(tables, promote_options="default").to_pylist())


def trickle(people: Population, mirror: Mirror, numbers: range) -> None:
    """Add one event, one observation and one identity a commit, and refresh after each."""
    for number in numbers:
        with people.committer.batch() as batch:
            people.event(batch, number, "CAB"[number % 3], {"revenue": number}, at=NOW - number % 7)
            people.trait(batch, number, "country", "X")
            people.link(batch, [1, number])
        mirror.refresh()


@given(
    tables=st.lists(
        st.lists(
            st.tuples(st.sampled_from("ABC"), st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=40
        ),
        min_size=2,
        max_size=6,
    ),
    each=st.integers(1, 12),
)
def test_a_merge_keeps_every_row_in_files_that_follow_each_other(
    tables: list[list[tuple[str, int, int]]], each: int
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewrite, "FILE_ROWS", each)
        patch.setattr(rewrite, "_SAMPLE_ROWS", 1)
        directory = Directory(Path(folder))
        files = [
            rewrite.put(
                directory, "events", [pa.table([list(c) for c in zip(*t, strict=True)], KEYS["events"])]
            )
            for t in tables
        ]
        merge = rewrite.begin(directory, "events", files, rewrite.choose(files, everything=True))
        while not rewrite.finished(merge):
            merge = rewrite.advance(directory, merge, files)
        result = rewrite.merged(merge, files)
        assert {file.run for file in result} == {merge.into}
        found = [tuple(row.values()) for file in result for row in directory.load(file).to_pylist()]
        assert found == sorted(row for table in tables for row in table)
        assert [key for file in result for key in (file.first, file.last)] == sorted(
            key for file in result for key in (file.first, file.last)
        )
        assert len({file.last for file in result}) == len(result)  # so none of a run holds another's key


@pytest.mark.usefixtures("small")
def test_merging_by_itself_keeps_every_row_and_few_files(people: Population, tmp_path: Path) -> None:
    mirror = mirror_of(people, tmp_path)
    trickle(people, mirror, range(1, 61))
    for dataset in DATASETS:
        files = [file for file in mirror.directory.read().files[dataset] if file.rows]
        runs = {file.run for file in files}
        assert len(runs) <= 5 * math.ceil(math.log(64, 3))
        for run in runs:
            keys = [key for file in files if file.run == run for key in (file.first, file.last)]
            assert keys == sorted(keys)
    assert sorted(int(str(row["identity_no"])) for row in rows(mirror)) == list(range(1, 61))
    assert len(rows(mirror, "traits")) == 60
    newest = {row["identity_no"]: row["profile_no"] for row in rows(mirror, "members")}
    assert newest == dict.fromkeys(range(1, 61), 1)


@given(flush=st.integers(1, 100_000), flushes=st.integers(1, 400))
def test_a_row_is_written_again_once_for_each_size(flush: int, flushes: int) -> None:
    """The plan alone, over runs that nobody wrote: from single rows to full runs there are five sizes."""
    files: list[File] = []
    again = 0
    for number in range(flushes):
        files.append(File(f"{number}", flush, "", run=f"{number}"))
        while runs := rewrite.choose(files):
            size = sum(file.rows for file in files if file.run in runs)
            again += size
            files = [file for file in files if file.run not in runs]
            files.append(File(f"{number}+{size}", size, "", run=f"{number}+{size}"))
    assert again <= 6 * flush * flushes + 8 * 1024 * 8  # and the few rows of what is smaller than any size
    assert len([file for file in files if file.rows < 4_194_304]) <= 5 * 7 + 1


@pytest.mark.usefixtures("small")
def test_the_tail_goes_on_between_the_pieces_of_a_merge(
    people: Population, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp.warehouse.mirror._TURN_SECONDS", 0.0)  # one piece a turn
    mirror = mirror_of(people, tmp_path)
    trickle(people, mirror, range(1, 30))
    mirror.compact()
    assert sorted(int(str(row["identity_no"])) for row in rows(mirror)) == list(range(1, 30))
    seen = 0
    for number in range(30, 50):
        trickle(people, mirror, range(number, number + 1))
        manifest = mirror.directory.read()
        assert manifest.commit_no == number
        seen += manifest.merge is not None
        assert len(rows(mirror)) == number
        if manifest.merge is not None:  # another process goes on with it
            mirror = mirror_of(people, tmp_path)
    assert seen


@pytest.mark.usefixtures("small")
def test_everything_merged_is_one_sorted_run_with_the_newest_of_the_map(
    people: Population, tmp_path: Path
) -> None:
    mirror = mirror_of(people, tmp_path)
    for number in range(1, 6):
        with people.committer.batch() as batch:
            people.event(batch, number, "BA"[number % 2], {"revenue": number}, at=NOW - number)
            people.link(batch, [1, number])
        mirror.refresh()
    before = sorted(rows(mirror), key=str)
    mirror.compact()
    assert sorted(rows(mirror), key=str) == before
    keys = [(str(row["name"]), int(str(row["occurred_at"]))) for row in rows(mirror)]
    assert keys == sorted(keys)
    assert [row["identity_no"] for row in rows(mirror, "members")] == [1, 2, 3, 4, 5]


def test_a_file_that_was_replaced_stays_for_a_minute(people: Population, tmp_path: Path) -> None:
    mirror = mirror_of(people, tmp_path)
    trickle(people, mirror, range(1, 4))
    old = set(tmp_path.glob("*.parquet"))
    mirror.compact()
    assert old <= set(tmp_path.glob("*.parquet"))  # readers may still be on them
    people.clock.advance(59 * SECOND)
    mirror.refresh()
    assert old <= set(tmp_path.glob("*.parquet"))
    people.clock.advance(SECOND)
    mirror.refresh()
    assert {path.name for path in tmp_path.glob("*.parquet")} == mirror.directory.read().own()
    assert len(set(tmp_path.glob("*.parquet")) & old) == 3  # the empty ones, which carry the columns


# -- damage ------------------------------------------------------------------------------------


def leave(people: Population, mirror: Mirror) -> None:
    """Let a minute go by, after which nothing of what was damaged lies there."""
    people.clock.advance(60 * SECOND)
    mirror.refresh()
    mirror.directory.describe()
    assert {path.name for path in mirror.directory.path.glob("*.parquet")} == mirror.directory.read().own()


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("place", [0.0, 0.2, 0.4, 0.6, 0.8, 0.999])
@pytest.mark.parametrize("dataset", ["manifest.json", *DATASETS])
def test_a_flipped_bit_is_a_named_error_and_a_rebuild_heals(
    people: Population, tmp_path: Path, dataset: str, place: float
) -> None:
    mirror = mirror_of(people, tmp_path)
    trickle(people, mirror, range(1, 4))
    named = [file.name for file in mirror.directory.read().files.get(dataset, ()) if file.rows]
    flip(tmp_path / (named or [dataset])[0], place)
    warehouse = Warehouse(tmp_path)
    with pytest.raises(IntegrityError, match="run cdp rebuild") as told:
        warehouse.snapshot()
    assert (named or [dataset])[0] in told.value.message
    assert mirror.rebuild() == 3
    assert profiles(warehouse.snapshot(), SQL) == [1, 2, 3]
    warehouse.close()
    leave(people, mirror)


def test_every_bit_of_the_manifest_counts(people: Population, tmp_path: Path) -> None:
    """Wherever it is altered, it is refused, or says the same, or is of a format that nobody reads."""
    mirror = mirror_of(people, tmp_path)
    trickle(people, mirror, range(1, 3))
    path = tmp_path / "manifest.json"
    whole = path.read_bytes()
    manifest = mirror.directory.read()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        try:
            found = mirror.directory.read_alone()
        except IntegrityError:
            continue
        assert found == manifest or not found.files


def test_a_missing_file_is_a_named_error(people: Population, tmp_path: Path) -> None:
    mirror = mirror_of(people, tmp_path)
    trickle(people, mirror, range(1, 3))
    (tmp_path / mirror.directory.read().names("events")[-1]).unlink()
    warehouse = Warehouse(tmp_path)
    with pytest.raises(IntegrityError, match="missing"):
        warehouse.snapshot()
    warehouse.close()


def test_a_damaged_file_is_not_merged_into_others_and_the_tail_goes_on(
    people: Population, tmp_path: Path
) -> None:
    mirror = mirror_of(people, tmp_path)
    trickle(people, mirror, range(1, 4))
    flip(tmp_path / mirror.directory.read().names("events")[-1], 0.5)
    with people.committer.batch() as batch:
        people.event(batch, 9, "A")
    again = mirror_of(people, tmp_path)
    with pytest.raises(IntegrityError, match="damaged"):
        again.compact()
    assert again.commit_no == 4
    assert again.rebuild() == 4
    assert len(rows(again)) == 4
    leave(people, again)


def test_an_older_format_is_mirrored_anew(people: Population, tmp_path: Path) -> None:
    mirror = mirror_of(people, tmp_path)
    trickle(people, mirror, range(1, 3))
    held = msgspec.json.decode((tmp_path / "manifest.json").read_bytes())
    (tmp_path / "manifest.json").write_bytes(msgspec.json.encode({"format": 2, "files": held["files"]}))
    again = mirror_of(people, tmp_path)
    assert again.refresh() == 2
    assert len(rows(again)) == 2
    assert {path.name for path in tmp_path.glob("*.parquet")} == again.directory.read().own()


def test_a_directory_that_cannot_be_written_is_one_clear_error(people: Population, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="warehouse directory"):
        mirror_of(people, tmp_path / "file").refresh()


def test_rows_can_be_skipped_by_name_and_time(people: Population, tmp_path: Path) -> None:
    """What a window condition needs of a file: its rows sorted, and bounds of each row group."""
    mirror = mirror_of(people, tmp_path)
    trickle(people, mirror, range(1, 30))
    mirror.compact()
    (file,) = [file for file in mirror.directory.read().files["events"] if file.rows]
    group = pq.read_metadata(tmp_path / file.name).row_group(0)
    bounds = {group.column(place).path_in_schema: group.column(place).statistics for place in range(7)}
    assert (bounds["name"].min, bounds["name"].max) == ("A", "C")
    assert bounds["occurred_at"].max == NOW
