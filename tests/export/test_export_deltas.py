"""Delta feeds: what changed since a cursor, however often it is read, and never a removal lost."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from gate_world import EMAIL, World, running

from cdp.clock import DAY
from cdp.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from cdp.export import Changes, Cursor, ExportService, Feeds, Outbox, segment_id
from cdp.segments import SegmentService

world_fixture = pytest.fixture(running, name="world")


class Reader:
    """A destination that keeps a table of what it was told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.outbox = Outbox(
            world.store,
            world.committer,
            world.keyring,
            world.gate,
            lambda _: world.bundle,
            world.clock,
        )
        self.feeds = Feeds(
            world.committer,
            world.keyring,
            world.gate,
            cast("SegmentService", world.segments),
            self.outbox,
        )
        self.cursor = Cursor()
        self.table: dict[str, dict[str, Any]] = {}

    def read(self, limit: int = 100, **more: Any) -> list[dict[str, Any]]:
        """Read to the end; returns what it was told."""
        told: list[dict[str, Any]] = []
        while True:
            page = self.page(self.cursor, limit, **more)
            told += page.changes
            self.cursor = page.cursor
            if not page.has_more:
                break
        self.take(told)
        return told

    def page(self, cursor: Cursor, limit: int = 100, **more: Any) -> Changes:
        segment = segment_id(self.world.keyring, "everybody")
        given = {"principal": self.world.mailer, "segment": segment, "purpose": EMAIL, **more}
        return self.feeds.changes(cursor=cursor, limit=limit, **given)

    def take(self, changes: list[dict[str, Any]]) -> None:
        for change in changes:
            row = dict(change)
            op, ref = row.pop("op"), row.pop("profile_ref")
            if op == "remove":
                assert set(row) == {"reason"}
                self.table.pop(ref, None)
            else:
                self.table[ref] = row

    def emails(self) -> list[str]:
        return sorted(row["email"].partition("@")[0] for row in self.table.values())

    def leave(self, number: int) -> None:
        self.world.segments.members.discard(number)
        self.world.segments.as_of = self.world.head()


@pytest.fixture
def reader(world: World) -> Reader:
    return Reader(world)


def ops(changes: list[dict[str, Any]]) -> list[str]:
    return [change["op"] for change in changes]


def test_the_first_read_is_all_and_the_next_is_nothing(reader: Reader) -> None:
    for name in ("Ada", "Bea", "Cyd"):
        reader.world.person(name)
    first = reader.read()
    assert ops(first) == ["add"] * 3
    assert [one["profile_ref"] for one in first] == sorted(one["profile_ref"] for one in first)
    assert first[0]["first_name"] in {"Ada", "Bea", "Cyd"}
    exports = len(reader.world.entries("export.authorise"))
    assert reader.read() == []
    assert len(reader.world.entries("export.authorise")) == exports, "nothing happened, nothing to decide"


def test_who_comes_changes_and_goes(reader: Reader) -> None:
    world = reader.world
    ada, bea = world.person("Ada"), world.person("Bea")
    reader.read()
    world.person("Cyd")
    world.clock.advance(1_000_000)
    world.observe(ada, {"first_name": "Adela"})
    reader.leave(bea)
    told = reader.read()
    assert sorted(ops(told)) == ["add", "remove", "update"]
    assert next(one for one in told if one["op"] == "update")["first_name"] == "Adela"
    assert next(one for one in told if one["op"] == "remove")["reason"] == "unlist"
    assert reader.emails() == ["ada", "cyd"]


def test_what_did_not_become_another_row_is_no_update(reader: Reader) -> None:
    ada = reader.world.person("Ada")
    reader.read()
    reader.world.clock.advance(1_000_000)
    reader.world.observe(ada, {"first_name": "Ada"})
    assert reader.read() == []


def test_another_link_of_the_same_person_is_no_update(reader: Reader) -> None:
    reader.world.change_destination(unsubscribe_url=True)
    ada = reader.world.person("Ada")
    assert reader.read()[0]["unsubscribe_url"].startswith("https://cdp.example/preferences/withdraw/")
    reader.world.clock.advance(1_000_000)
    reader.world.observe(ada, {"first_name": "Ada"})
    assert reader.read() == []


def test_a_cursor_can_be_read_again_and_again(reader: Reader) -> None:
    world = reader.world
    people = [world.person(name) for name in ("Ada", "Bea", "Cyd", "Dov")]
    start = reader.page(Cursor(), limit=2)
    assert (len(start.changes), start.has_more) == (2, True)
    assert reader.page(Cursor(), limit=2).changes == start.changes, "an answer that was lost"
    reader.read(limit=2)
    world.say(people[0], "withdrawn")
    world.clock.advance(1_000_000)
    world.observe(people[1], {"first_name": "Beatrix"})
    reader.outbox.issue()
    before = reader.cursor
    told = reader.read(limit=1)
    assert sorted(ops(told)) == ["remove", "update"]
    late = Reader(world)
    late.table, late.cursor = {}, before
    assert sorted(ops(late.read())) == ["remove", "update"]
    old = Reader(world)
    old.read(limit=1)
    assert old.table == reader.table, "who begins anew ends with the same table"


@pytest.mark.parametrize("issued", [True, False])
def test_a_withdrawal_removes(reader: Reader, issued: bool) -> None:  # noqa: FBT001  # whether the worker was there
    ada = reader.world.person("Ada")
    reader.world.person("Bea")
    reader.read()
    reader.world.say(ada, "withdrawn")
    if issued:
        reader.outbox.issue()
    assert ops(reader.read()) == ["remove"]
    reader.world.say(ada, "granted")
    assert ops(reader.read()) == ["add"]


def test_who_withdraws_before_the_page_is_read_is_not_in_it(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = reader.world.person("Ada")
    reader.world.person("Bea")
    refresh = reader.world.gate.feed.refresh

    def meanwhile(request: Any) -> None:
        monkeypatch.undo()
        refresh(request)
        reader.world.say(ada, "withdrawn")

    monkeypatch.setattr(reader.world.gate.feed, "refresh", meanwhile)
    assert [one["email"] for one in reader.read()] == ["bea@people.example"]
    assert [one["op"] for one in reader.read()] == ["remove"], "a removal of nobody harms nobody"


@pytest.mark.parametrize("meanwhile", ["the fetch ends", "the page is noted", "a later piece is read"])
def test_who_withdraws_before_the_page_is_sent_is_not_in_it(
    reader: Reader, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    world = reader.world
    people = {name: world.person(name) for name in ("Ada", "Bea", "Cyd")}
    first = Reader(world).read()[0]["first_name"]
    holder, name, at = {
        "the fetch ends": (world.gate._renderer, "end", 1),
        "the page is noted": (reader.feeds, "_keep", 1),
        "a later piece is read": (world.gate._renderer, "recheck", 2),  # the first one holds the first person
    }[meanwhile]
    world.clock.advance(1_000_000)
    for number in people.values():
        world.observe(number, {"language": "de"})  # so that there is something to note
    monkeypatch.setattr("cdp.export.deltas._AT_ONCE", 1)
    original, calls = getattr(holder, name), iter(range(1, 99))

    def slow(*given: Any) -> Any:
        if next(calls) == at:
            world.say(people[first], "withdrawn")
        return original(*given)

    monkeypatch.setattr(holder, name, slow)
    reader.read()
    others = sorted(name.lower() for name in people if name != first)
    assert reader.emails() == others
    monkeypatch.undo()
    world.say(people[first], "granted")  # before anybody looked for recalls
    reader.read()
    assert reader.emails() == sorted(name.lower() for name in people)


@pytest.mark.parametrize(
    "closed",
    [{"enabled": False}, {"contract_expires": "2025-12-31"}, {"minimum_audience": 10}, {"purposes": set()}],
)
def test_where_nothing_may_leave_removals_do(reader: Reader, closed: dict[str, object]) -> None:
    world = reader.world
    people = [world.person(name) for name in ("Ada", "Bea", "Cyd")]
    reader.read()
    world.change_destination(**closed)
    world.person("Dov")
    world.say(people[0], "withdrawn")
    reader.outbox.issue()
    told = reader.read()
    assert set(ops(told)) == {"remove"}
    with pytest.raises((NotPermittedError, InvalidInputError)):
        reader.read()
    world.change_destination(
        enabled=True,
        contract_expires="2030-12-31",
        minimum_audience=1,
        purposes=frozenset({EMAIL}),
    )
    reader.read()
    assert reader.emails() == ["bea", "cyd", "dov"]


def test_each_page_is_decided_recorded_and_delivered(reader: Reader) -> None:
    world = reader.world
    ada = world.person("Ada")
    world.person("Bea")
    refs = {change["first_name"]: change["profile_ref"] for change in reader.read(limit=1)}
    assert len(world.entries("export.authorise")) == 1
    assert len(world.entries("export.fetch")) == len(world.entries("export.fetched")) == 2
    world.say(ada, "withdrawn")
    assert reader.outbox.issue() == 1
    (waiting,) = reader.outbox.waiting(world.mailer, after="", limit=9)
    assert refs["Ada"].encode() in bytes(waiting.body)


def test_of_a_merge_one_reference_stays(reader: Reader) -> None:
    world = reader.world
    ada, bea = world.person("Ada"), world.person("Bea")
    reader.read()
    world.relink({bea: ada, bea + 1: ada})
    world.refresh(ada, (ada, ada + 1, bea, bea + 1))
    reader.leave(bea)
    reader.outbox.issue()
    reader.read()
    assert len(reader.table) == 1


def test_what_left_with_an_identity_is_an_update(reader: Reader) -> None:
    world = reader.world
    ada = world.person("Ada")
    world.clock.advance(1_000_000)
    world.observe(ada + 1, {"first_name": "Adela"})
    assert reader.read()[0]["first_name"] == "Adela"
    world.relink({ada + 1: ada + 1})
    world.refresh(ada, (ada,))
    world.segments.as_of = world.head()
    reader.outbox.issue()
    told = reader.read()
    assert ops(told) == ["update"]
    assert told[0]["first_name"] == "Ada", "the other name went with the identity that left"


def test_the_erased_are_named_until_their_message_is_done(reader: Reader) -> None:
    world = reader.world
    ada = world.person("Ada")
    world.person("Bea")
    ref = next(one["profile_ref"] for one in reader.read() if one["first_name"] == "Ada")
    start = reader.cursor
    with world.committer.batch() as batch:
        reader.outbox.materialise_removals(batch, [ada, ada + 1])
    world.destroy(ada)
    reader.leave(ada)
    assert reader.read() == [{"op": "remove", "profile_ref": ref, "reason": "erase"}]
    (waiting,) = reader.outbox.waiting(world.mailer, after="", limit=9)
    reader.outbox.acknowledge(world.mailer, [waiting.id])
    assert reader.page(start).changes == []
    assert ref.encode() not in world.stored()


def test_age_turns_a_band_without_anything_said(reader: Reader) -> None:
    world = reader.world
    world.person("Ada")
    reader.read()
    world.clock.advance(2 * DAY)
    exports = len(world.entries("export.authorise"))
    assert reader.read() == []
    assert len(world.entries("export.authorise")) == exports + 1, "once a day everybody is looked at"


def test_an_export_of_mode_delta_is_read_as_changes(reader: Reader) -> None:
    world = reader.world
    world.person("Ada")
    exports = ExportService(world.gate)
    asked = {"segment": "everybody", "destination": "mailer", "purpose": EMAIL}
    made = exports.request(world.officer, **asked, mode="delta", fields=["email"])  # type: ignore[arg-type]  # a table
    assert (made.mode, made.released) == ("delta", 1)
    with pytest.raises(ConflictError):
        exports.data(world.mailer, str(made.id))
    (change,) = reader.read()
    assert set(change) == {"op", "profile_ref", "email"}, "the feed carries the fields asked for"
    world.person("Bea")
    assert set(reader.read()[0]) == {"op", "profile_ref", "email"}


def test_a_cursor_of_another_feed_tells_everything_from_the_start(reader: Reader) -> None:
    reader.world.person("Ada")
    first = reader.page(Cursor())
    assert (ops(first.changes), first.from_start) == (["add"], True)
    assert not reader.page(first.cursor).from_start
    assert reader.page(Cursor(7, 99, 99)) == first


def test_who_may_not_read(reader: Reader) -> None:
    world = reader.world
    world.person("Ada")
    reader.read()
    purposeless = msgspec.structs.replace(world.mailer, purposes=frozenset())
    with pytest.raises(NotPermittedError):
        reader.page(Cursor(), principal=purposeless)
    with pytest.raises((NotFoundError, NotPermittedError)):
        reader.page(Cursor(), principal=world.another_key("crm"))


def test_a_destination_hears_neither_names_nor_causes(reader: Reader) -> None:
    world = reader.world
    world.person("Ada")
    world.segments.reads = frozenset({"user.health"})
    exports = ExportService(world.gate)
    asked = {"segment": "everybody", "destination": "mailer", "purpose": EMAIL}
    said = set()
    for ask in (
        lambda: reader.page(Cursor()),
        lambda: reader.page(Cursor(), segment="nobody-has-this-name"),
        lambda: exports.request(world.mailer, **asked),  # type: ignore[arg-type]  # a table
    ):
        with pytest.raises(NotPermittedError) as caught:
            ask()
        said.add(caught.value.message)
    rehearsed = exports.request(world.mailer, **asked, dry_run=True)  # type: ignore[arg-type]  # a table
    assert rehearsed.reason == "not_permitted"
    world.segments.reads = frozenset()
    world.change_destination(minimum_audience=9)
    with pytest.raises(NotPermittedError) as caught:
        reader.page(Cursor())
    said.add(caught.value.message)
    assert len(said) == 1, "one text, whatever the cause is"
    assert "health" not in said.pop()
    with pytest.raises(NotPermittedError, match="minimum audience"):
        exports.request(world.officer, **asked)  # type: ignore[arg-type]  # a table
    assert {entry.object["reason"] for entry in world.entries("export.authorise")} == {
        "input_not_permitted",
        "minimum_audience",
    }
    world.change_destination(minimum_audience=1)
    assert reader.page(Cursor(), segment="everybody").changes, "a key that was told the name may ask by it"


def test_two_destinations_share_no_reference_and_no_order(world: World) -> None:
    crm = msgspec.structs.replace(world.bundle.destinations["mailer"], name="crm")
    world.change(destinations={**world.bundle.destinations, "crm": crm})
    for number in range(12):
        world.person(f"P{number:02}")
    here, there = Reader(world), Reader(world)
    one = [change["first_name"] for change in here.read()]
    other = [change["first_name"] for change in there.read(principal=world.another_key("crm"))]
    assert sorted(one) == sorted(other)
    assert one != other
    assert not set(here.table) & set(there.table)
    world.clock.advance(1_000_000)
    for number in range(12):
        world.observe(1 + 2 * number, {"first_name": f"Q{number:02}"})
    one = [change["first_name"] for change in here.read()]
    other = [change["first_name"] for change in there.read(principal=world.another_key("crm"))]
    assert (len(one), len(other)) == (12, 12)
    assert one != other, "neither do changes come in one order"
