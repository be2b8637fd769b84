"""Exports as officers, marketers and destinations see them."""

from __future__ import annotations

import json

import msgspec
import pytest
from gate_world import EMAIL, World, running

from cdp.access import Principal
from cdp.errors import InvalidInputError, NotFoundError, NotPermittedError
from cdp.export import Export, ExportService

world_fixture = pytest.fixture(running, name="world")


def _ask(world: World, who: Principal | None = None, **more: object) -> Export:
    given = {"segment": "everybody", "destination": "mailer", "purpose": EMAIL, **more}
    return ExportService(world.gate).request(who or world.officer, **given)  # type: ignore[arg-type]  # a table


def _marketer(number: int) -> Principal:
    return Principal(
        key_id=number, name=f"m{number}", roles=frozenset({"marketer"}), purposes=frozenset({EMAIL})
    )


def test_an_export_is_asked_for_and_fetched(world: World) -> None:
    world.person("Ada")
    world.person("Bea", consent="refused")
    export = _ask(world, fields=["email"])
    assert export.id is not None
    assert export.id.startswith("e_")
    assert (export.status, export.members, export.released, export.exact) == ("ready", 2, 1, True)
    assert export.withheld == {"refused": 1}
    assert export.fields == {"email": "clear"}
    media_type, data = ExportService(world.gate).data(world.mailer, export.id)
    assert media_type == "application/x-ndjson"
    rows = [json.loads(line) for line in b"".join(data).splitlines()]
    assert [row["email"] for row in rows] == ["ada@people.example"]
    assert ExportService(world.gate).get(world.officer, export.id) == export


def test_the_format_is_the_one_asked_for(world: World) -> None:
    world.person("Ada")
    export = _ask(world, fields=["email"], format="csv")
    assert export.id is not None
    media_type, data = ExportService(world.gate).data(world.mailer, export.id)
    assert media_type.startswith("text/csv")
    assert b"".join(data).startswith(b"profile_ref,email\r\n")
    with pytest.raises(InvalidInputError, match="format"):
        _ask(world, format="xlsx")


def test_a_dry_run_has_no_id(world: World) -> None:
    world.person("Ada")
    export = _ask(world, dry_run=True)
    assert (export.id, export.status, export.released) == (None, "dry_run", 1)
    world.change_destination(minimum_audience=5)
    refused = _ask(world, dry_run=True)
    assert (refused.status, refused.reason) == ("refused", "minimum_audience")
    assert ExportService(world.gate).list(world.officer) == []


def test_marketers_see_noised_counts_and_few_reasons(world: World) -> None:
    for number in range(300):  # so many that noise does not bring them under the least audience
        world.person(f"Y{number}")
    for number in range(200):  # so many that noise cannot hide the reason
        world.person(f"N{number}", consent="refused")
    for number in range(2):
        world.person(f"W{number}", consent="withdrawn")
    world.person("X", consent=None)
    export = _ask(world, _marketer(7))
    assert export.exact is False
    assert set(export.withheld) == {"refused", "other"}
    assert all(count % 10 == 0 for count in (export.members, export.released, *export.withheld.values()))
    assert export.id is not None
    assert ExportService(world.gate).get(_marketer(7), export.id) == export, "the noise is sticky"
    assert ExportService(world.gate).get(world.officer, export.id).withheld == {
        "refused": 200,
        "withdrawn": 2,
        "no_consent": 1,
    }


def test_each_key_sees_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdp.gate.counts.MARGIN", -100)  # one person is enough here
    world.person("Ada")
    first, second = _ask(world, _marketer(7)), _ask(world, _marketer(8))
    exports = ExportService(world.gate)
    assert [one.id for one in exports.list(_marketer(7))] == [first.id]
    assert {one.id for one in exports.list(world.officer)} == {first.id, second.id}
    assert {one.id for one in exports.list(world.mailer)} == {first.id, second.id}
    crm = msgspec.structs.replace(world.mailer, destination="crm")
    assert exports.list(crm) == []
    assert second.id is not None
    for stranger in (_marketer(7), crm, Principal(key_id=9, name="s", roles=frozenset({"steward"}))):
        with pytest.raises(NotFoundError):
            exports.get(stranger, second.id)
    with pytest.raises(NotPermittedError):
        exports.list(Principal(key_id=9, name="s", roles=frozenset({"steward"})))


def test_nobody_but_the_destination_fetches(world: World) -> None:
    world.person("Ada")
    export = _ask(world)
    assert export.id is not None
    for stranger in (world.officer, _marketer(7)):
        with pytest.raises(NotFoundError):
            ExportService(world.gate).data(stranger, export.id)
    assert {entry.object["reason"] for entry in world.entries("export.fetch")} == {"other_destination"}


def test_pages_of_exports_miss_and_repeat_none(world: World) -> None:
    world.person("Ada")
    made = {_ask(world).id for _ in range(5)}
    seen: list[str | None] = []
    before = None
    while page := ExportService(world.gate).list(world.officer, limit=2, before=before):
        seen += [one.id for one in page]
        before = (page[-1].created_at, page[-1].id or "")
    assert len(seen) == 5
    assert set(seen) == made
