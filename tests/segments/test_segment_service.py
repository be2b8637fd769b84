"""Versions, references, lists and stored members, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from population import Population, catalogue, index_of, rule
from pyroaring import BitMap

from cdp.errors import ConflictError, DefinitionError, InvalidInputError, NotFoundError, OutOfMemoryError
from cdp.policy import FieldCatalogue
from cdp.segments import SegmentService
from cdp.warehouse import Mirror, Scan, Snapshot, Warehouse

FIELDS = catalogue(properties=[rule("revenue", "number")], traits=[rule("country", category="user.location")])
BUYERS = {"name": "buyers", "where": {"event": "A"}}


class Platform:
    """Three people of whom the first two bought; identities 2 and 20 are one person."""

    def __init__(self, url: str, folder: Path) -> None:
        self.people = Population(url)
        self.restrained = BitMap()
        self.mirror = Mirror(self.people.store, folder, FIELDS, self.people.clock)
        self.warehouse = Warehouse(folder)
        self.segments = self.service(FIELDS)
        with self.people.committer.batch() as batch:
            self.people.link(batch, [1], [2, 20], [3])
            self.people.event(batch, 1, "A")
            self.people.event(batch, 20, "A")
            self.people.trait(batch, 3, "country", "X")
        self.mirror.refresh()

    def service(self, fields: FieldCatalogue) -> SegmentService:
        people = self.people
        return SegmentService(
            people.store,
            people.committer,
            self.warehouse,
            fields,
            people.clock,
            lambda _connection: self.restrained,
            lambda _categories: frozenset(),
            bytes.hex,
        )


@pytest.fixture
def platform(database_url: str, tmp_path: Path) -> Iterator[Platform]:
    made = Platform(database_url, tmp_path / "warehouse")
    yield made
    made.warehouse.close()
    made.people.close()


def test_a_new_version_only_on_change(platform: Platform) -> None:
    segments = platform.segments
    assert segments.apply("key:1", BUYERS).version == 1
    assert segments.apply("key:2", BUYERS).version == 1
    assert segments.get("buyers").created_by == "key:1"
    assert segments.apply("key:2", {**BUYERS, "description": "who bought"}).version == 2
    assert [s.name for s in segments.list()] == ["buyers"]
    assert segments.get("buyers").source["description"] == "who bought"
    unnamed = segments.apply("key:2", "where: {event: B}", "others")
    assert (unnamed.name, unnamed.source["name"]) == ("others", "others")
    with pytest.raises(DefinitionError, match="needs a name"):
        segments.apply("key:2", {"name": "", "where": {"event": "A"}})
    with pytest.raises(DefinitionError, match="differs"):
        segments.apply("key:2", BUYERS, "another")


def test_members_are_stored_with_what_they_saw(platform: Platform) -> None:
    segments = platform.segments
    seen = platform.warehouse.snapshot().commit_no
    segments.apply("key:1", BUYERS)
    stored = segments.members("buyers")
    assert (set(stored.bitmap), stored.as_of, stored.version) == ({1, 2}, seen, 1)
    assert stored.categories == {"user.behavior"}
    with platform.people.committer.batch() as batch:
        platform.people.event(batch, 3, "A")
    platform.mirror.refresh()
    assert set(segments.members("buyers").bitmap) == {1, 2}
    again = segments.evaluate("buyers")
    assert (set(again.bitmap), again.as_of) == ({1, 2, 3}, batch.commit_no)
    assert set(segments.members("buyers").bitmap) == {1, 2, 3}


def test_whoever_is_restrained_since_is_no_member_any_more(platform: Platform) -> None:
    segments = platform.segments
    segments.apply("key:1", BUYERS)
    platform.restrained = BitMap([2])
    assert set(segments.members("buyers").bitmap) == {1}
    platform.restrained = BitMap()
    assert set(segments.members("buyers").bitmap) == {1, 2}
    with platform.people.committer.batch() as batch:  # after the evaluation, which knows them as 2
        platform.people.link(batch, [1, 2, 20])
    platform.restrained = BitMap([1])
    assert set(segments.members("buyers").bitmap) == set()


def test_segments_in_segments(platform: Platform) -> None:
    segments = platform.segments
    segments.apply("key:1", BUYERS)
    rest = {"name": "rest", "where": {"not": {"segment": "buyers"}}}
    segments.apply("key:1", rest)
    assert set(segments.members("rest").bitmap) == {3}
    assert segments.members("rest").categories == {"user.behavior"}
    with pytest.raises(DefinitionError, match="buyers → rest → buyers"):
        segments.apply("key:1", {"name": "buyers", "where": {"segment": "rest"}})
    with pytest.raises(DefinitionError, match="no segment gone"):
        segments.preview({"where": {"segment": "gone"}})
    with pytest.raises(ConflictError, match="rest uses this"):
        segments.delete("key:1", "buyers")
    segments.delete("key:1", "rest")
    segments.delete("key:1", "buyers")
    sql = partial(segments.sql, exact=True)
    for gone in (segments.get, segments.evaluate, segments.members, sql):
        with pytest.raises(NotFoundError):
            gone("buyers")
    assert segments.list() == ()
    assert segments.apply("key:1", BUYERS).version == 3  # versions never repeat


def test_lists_hold_identities_and_follow_merges(platform: Platform) -> None:
    segments = platform.segments
    with pytest.raises(DefinitionError, match="no list staff"):
        segments.preview({"where": {"list": "staff"}})
    made = segments.lists.put(
        "key:1",
        "staff",
        "white",
        [(index_of(20),), (index_of(3),), (index_of(3),)],
        category="user.workplace",
    )
    assert made.entries == 2
    assert set(segments.preview({"where": {"list": "staff"}}).members) == {2, 3}
    segments.lists.put("key:1", "blocked", "black", [(index_of(20),)])
    with platform.people.store.reading() as connection:
        assert set(segments.blocked(connection)) == {2}
    platform.people.people([2], [20])  # split: the list named 20
    platform.mirror.refresh()
    assert set(segments.preview({"where": {"list": "staff"}}).members) == {3, 20}
    with platform.people.store.reading() as connection:
        assert set(segments.blocked(connection)) == {20}
    segments.lists.put("key:1", "blocked", "grey", [(index_of(1),)])
    with platform.people.store.reading() as connection:
        assert set(segments.blocked(connection)) == set()
    assert [(item.name, item.kind, item.entries) for item in segments.lists.every()] == [
        ("blocked", "grey", 1),
        ("staff", "white", 2),
    ]
    definition = segments.parse({"where": {"list": "staff"}}, "")
    assert segments.categories(definition) == {"user.workplace"}
    with pytest.raises(InvalidInputError):
        segments.lists.put("key:1", "x", "purple", [(index_of(1),)])  # type: ignore[arg-type]  # that is the point
    with pytest.raises(DefinitionError):
        segments.lists.put("key:1", "Not A Name", "white", [(index_of(1),)])


def test_a_field_sealed_since_refuses_and_says_so(platform: Platform) -> None:
    where = {"trait": "country", "op": "eq", "value": "X"}
    platform.segments.apply("key:1", {"name": "in-x", "where": where})
    platform.segments.apply("key:1", {"name": "not-in-x", "where": {"not": {"segment": "in-x"}}})
    later = platform.service(catalogue(traits=[rule("country", clear=False)]))
    for name in ("in-x", "not-in-x"):
        with pytest.raises(DefinitionError, match="sealed"):
            later.evaluate(name)
    assert "sealed" in later.get("in-x").problem
    assert [s.name for s in later.list()] == ["in-x", "not-in-x"]
    assert platform.segments.get("in-x").problem == ""


def test_the_sql_is_shown(platform: Platform) -> None:
    platform.segments.apply("key:1", BUYERS)
    platform.segments.apply("key:1", {"name": "few", "where": {"event": "O'Hara", "count": {"lt": 2}}})
    platform.segments.apply(
        "key:1", {"name": "both", "where": {"all": [{"segment": "buyers"}, {"segment": "few"}]}}
    )
    shown = platform.segments.sql("both", exact=True)
    assert "profiles of" in shown
    assert "everyone but" in shown
    assert "'O''Hara'" in shown


def test_fewer_conditions_share_a_pass_where_memory_is_short(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = Snapshot.run, []

    def short(self: Snapshot, sql: str, now: int, scan: Scan | None = None) -> Any:
        if sql.count("COUNT(") > 2:
            raise OutOfMemoryError
        asked.append(sql)
        return run(self, sql, now, scan)

    def nothing(*_: object) -> Any:
        raise OutOfMemoryError

    monkeypatch.setattr(Snapshot, "run", short)
    counts = [{"event": "A", "count": {"gte": number}} for number in range(1, 8)]
    assert platform.segments.preview({"where": {"any": counts}}).count == 2
    assert len(asked) >= 4
    monkeypatch.setattr(Snapshot, "run", nothing)
    with pytest.raises(OutOfMemoryError):  # not even one by one
        platform.segments.preview({"where": {"any": counts}})
