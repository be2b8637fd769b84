"""Links in the rows of an export: each person's own, withdraw-only, and nothing of them kept."""

from __future__ import annotations

import pytest
from gate_world import EMAIL, World, running

from cdp.clock import DAY
from cdp.consent import Statement
from cdp.rights import Acts

ROOT = "https://cdp.example/preferences/withdraw/"


@pytest.fixture(name="world")
def declaring(world_: World) -> World:
    """A world whose mailer declares ``unsubscribe_url``."""
    world_.change_destination(unsubscribe_url=True)
    return world_


world_fixture = pytest.fixture(running, name="world_")


def test_each_row_carries_the_link_of_its_own_address(world: World) -> None:
    people = [world.person("Ada"), world.person("Bea")]
    export = world.gate.authorise(world.request(fields=("user_id", "email"))).export_id
    rows = world.rows(export)
    assert len({row["unsubscribe_url"] for row in rows}) == 2
    held = {}
    for row in rows:
        assert list(row)[-1] == "unsubscribe_url"
        link = world.links.open("withdraw", row["unsubscribe_url"].removeprefix(ROOT))
        assert link is not None
        assert (link.purposes, link.destination) == ((EMAIL,), "mailer")
        assert link.expires_at > world.clock.now() + 1000 * DAY
        assert world.links.open("manage", row["unsubscribe_url"].removeprefix(ROOT)) is None
        held[row["email"]] = link.identity_no
    # of the address that the message goes to, which a split would leave with it
    assert held == {f"{name}@people.example": no + 1 for name, no in zip(("ada", "bea"), people, strict=True)}
    stored = world.stored()
    assert not any(row["unsubscribe_url"].removeprefix(ROOT).encode() in stored for row in rows)
    assert world.entries("export.fetch")[0].object["links"] == "withdraw"


def test_one_press_and_the_person_is_in_no_row_any_more(world: World) -> None:
    world.person("Ada")
    world.person("Bea")
    export = world.gate.authorise(world.request()).export_id
    row = next(row for row in world.rows(export) if row["email"].startswith("ada"))
    link = world.links.open("withdraw", row["unsubscribe_url"].removeprefix(ROOT))
    assert link is not None
    acts = Acts(world.committer, world.keyring, world.identity, world.ledger, world.clock)
    now = world.clock.now()
    said = [Statement(purpose=key, state="withdrawn", act=True, event_time=now) for key in link.purposes]
    assert len(acts.record(link.identity_no, said)) == 2
    assert world.emails(export) == {"bea@people.example"}


def test_who_does_not_declare_it_gets_none(world_: World) -> None:
    world_.person("Ada")
    export = world_.gate.authorise(world_.request()).export_id
    assert "unsubscribe_url" not in world_.rows(export)[0]
    assert "links" not in world_.entries("export.fetch")[0].object
