"""An export whose rows were altered in the database is not fetched: nobody is put among its people."""

from __future__ import annotations

import pytest
from gate_world import World, running
from pyroaring import BitMap
from sqlalchemy import update

from cdp.errors import IntegrityError
from cdp.gate.tables import export_classes, exports

world_fixture = pytest.fixture(running, name="world")


def test_who_was_never_decided_about_is_not_released(world: World) -> None:
    ada, bea = world.person("Ada"), world.person("Bea", consent=None)
    export = world.gate.authorise(world.request()).export_id
    assert world.emails(export) == {"ada@people.example"}
    added = BitMap([ada, ada + 1, bea, bea + 1]).serialize()
    with world.store.writing() as connection, connection.begin():
        connection.execute(update(export_classes).values(identities=added))
    with pytest.raises(IntegrityError):
        world.rows(export)


@pytest.mark.parametrize("altered", ["identities", "changed"])
def test_sets_that_cannot_be_read_are_no_sets(world: World, altered: str) -> None:
    world.person("Ada")
    export = world.gate.authorise(world.request()).export_id
    table = export_classes if altered == "identities" else exports
    with world.store.writing() as connection, connection.begin():
        connection.execute(update(table).values({altered: b"\x01\x02 no set"}))
    with pytest.raises(IntegrityError):
        world.rows(export)
