"""Fixtures of the consent tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from derivation_world import People
from ledger_world import DEVICE, MAIL, USER, World, draft, statement

from cdp.clock import DAY
from cdp.consent import Deriving


@pytest.fixture
def world(tables_url: str, tmp_path: Path) -> Iterator[World]:
    """Return a ledger with one profile."""
    made = World(tables_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def spoken(world: World) -> tuple[World, People, Deriving]:
    """A world in which somebody agreed ten days ago."""
    world.relink({no: (no,) for no in (USER, MAIL, DEVICE)})
    world.say(draft(statement("granted")), draft(statement("granted"), named=(MAIL,)))
    world.clock.advance(10 * DAY)
    people = People({no: world.members(no) for no in world.profiles})
    return world, people, Deriving(world.committer, world.ledger, people, world.clock)
