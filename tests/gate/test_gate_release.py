"""What a released row holds, what the log and the database hold, and what can be proved of an export."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import msgspec
import pytest
from gate_world import EMAIL, World, running
from pyroaring import BitMap
from sqlalchemy import select, update

from cdp.audit import sparse_prove, sparse_root, verify_absence, verify_presence
from cdp.consent import RecordState
from cdp.errors import SealError
from cdp.gate import Released, manifest, queries
from cdp.gate.tables import export_fetches
from cdp.policy import Rule, Transform
from cdp.profiles.tables import trait_observations

world_fixture = pytest.fixture(running, name="world")


def _permit(fields: dict[str, Transform]) -> Rule:
    return Rule(id="test", effect="permit", purpose=EMAIL, legal_basis="consent", inputs=(), fields=fields)


def test_every_transform_in_one_row(world: World) -> None:
    world.change(
        rules=(
            _permit(
                {
                    "user.contact.email": Transform("hash"),
                    "user.name.first": Transform("mask"),
                    "user.name.last": Transform("clear"),
                    "user.unique_id": Transform("pseudonymise", "per_destination"),
                    "user.demographic.date_of_birth": Transform("generalise", "year"),
                    "user.location": Transform("generalise", "country"),
                    "user.contact.phone_number": Transform("drop"),
                    "*": Transform("clear"),
                }
            ),
        )
    )
    world.person(
        "Adalbert",
        {
            "last_name": "Example",
            "phone": "+15550100",
            "birthday": "1990-05-05",
            "plan": "gold",
            "company.employee_count": 12,
        },
    )
    names = (
        "email", "first_name", "last_name", "user_id", "birthday", "country", "phone", "plan", "timezone",
        "company.employee_count",
    )  # fmt: skip
    given = world.gate.authorise(world.request(fields=names))
    assert given.plan == {
        "email": "hash",
        "first_name": "mask",
        "last_name": "clear",
        "user_id": "pseudonymise",
        "birthday": "generalise",
        "country": "generalise",
        "phone": "drop",
        "plan": "clear",
        "timezone": "generalise",
        "company.employee_count": "clear",
    }
    row = world.rows(given.export_id)[0]
    assert row == {
        "profile_ref": row["profile_ref"],
        "email": hashlib.sha256(b"adalbert@people.example").hexdigest(),
        "first_name": "A***",
        "last_name": "Example",
        "user_id": row["user_id"],
        "birthday": "1990",
        "country": "Germany",
        "plan": "gold",
        "company.employee_count": 12,
    }
    assert "user-adalbert" not in row["user_id"]
    assert row["user_id"] != row["profile_ref"]


def test_an_identifier_leaves_as_it_was_given(world: World) -> None:
    world.change(rules=(_permit({"user.unique_id": Transform("clear")}),))
    world.person("Ada")
    rows = world.rows(world.gate.authorise(world.request()).export_id)
    assert [row["user_id"] for row in rows] == ["user-ada"]


def test_the_newest_value_leaves(world: World) -> None:
    ada = world.person("Ada")
    world.clock.advance(1_000_000)
    world.observe(ada, {"first_name": "Adela"})
    assert world.rows(world.gate.authorise(world.request()).export_id)[0]["first_name"] == "Adela"


def test_two_destinations_get_different_pseudonyms(world: World) -> None:
    crm = msgspec.structs.replace(world.bundle.destinations["mailer"], name="crm")
    world.change(destinations={**world.bundle.destinations, "crm": crm})
    world.person("Ada")
    here = world.rows(world.gate.authorise(world.request()).export_id)[0]["profile_ref"]
    there = world.gate.authorise(world.request(destination="crm"))
    other = msgspec.structs.replace(world.mailer, destination="crm")
    row: Released = next(world.gate.render(there.export_id, other).rows)
    assert row.profile_ref != here


def test_counts_and_reasons_add_up(world: World) -> None:
    draw = random.Random(7)  # noqa: S311  # the same crowd each time
    states: tuple[RecordState | None, ...] = ("granted", "granted", "refused", "withdrawn", "objected", None)
    for number in range(40):
        traits = {"country": draw.choice(["Germany", "China", "France", ""])}
        person = world.person(f"P{number}", traits, consent=draw.choice(states))
        if draw.random() < 0.1:
            world.segments.black.add(person)
    given = world.gate.authorise(world.request())
    counts = given.counts
    assert counts.members == 40
    assert counts.members == counts.released + sum(counts.withheld.values())
    assert len(world.rows(given.export_id)) == counts.released > 0
    entry = world.entries("export.authorise")[0]
    assert entry.people["members"] == 40
    assert given.audit_index == entry.index
    assert all(count == "<10" or count == counts.withheld[name.removeprefix("withheld.")]
               for name, count in entry.people.items() if name.startswith("withheld."))  # fmt: skip
    for noised in (given.noised.members, given.noised.released, *given.noised.withheld.values()):
        assert noised % 10 == 0
    assert {name for name in given.noised.withheld if name != "other"} <= {
        name for name, count in counts.withheld.items() if count >= 10
    }


def test_somebody_restrained_while_it_is_decided_is_in_d(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.person("Ada")
    bea = world.person("Bea")
    proof_secrets = world.keyring.proof_secrets

    def meanwhile(numbers: object) -> dict[int, bytes]:
        """Between the snapshot and the head lock, somebody withdraws."""
        monkeypatch.undo()
        world.say(bea, "withdrawn")
        return proof_secrets(numbers)  # type: ignore[arg-type]  # whatever the gate gives

    monkeypatch.setattr(world.keyring, "proof_secrets", meanwhile)
    given = world.gate.authorise(world.request())
    assert given.counts.withheld == {"changed_meanwhile": 1}
    with world.store.reading() as connection:
        stored = queries.load_export(connection, given.export_id)
    assert stored is not None
    assert list(BitMap.deserialize(stored.changed)) == [bea, bea + 1]
    assert given.changed_root != sparse_root({})
    world.say(bea, "granted")  # a later yes does not bring her into an export she was not decided into
    assert world.emails(given.export_id) == {"ada@people.example"}


def test_the_manifest_proves_presence_and_absence(world: World) -> None:
    ada, bea = world.person("Ada"), world.person("Bea", consent="refused")
    given = world.gate.authorise(world.request())
    with world.store.reading() as connection:
        stored = queries.load_export(connection, given.export_id)
    assert stored is not None
    tree = manifest.Leaves(stored.manifest)
    assert sparse_root(tree) == given.manifest_root
    secrets = world.keyring.proof_secrets([ada, ada + 1, bea])
    value = manifest.plan_value(given.fields, stored.classes[0].plan)
    for number in (ada, ada + 1):
        place = manifest.position(secrets[number], given.export_id)
        assert verify_presence(given.manifest_root, place, value, sparse_prove(tree, place))
    place = manifest.position(secrets[bea], given.export_id)
    assert verify_absence(given.manifest_root, place, sparse_prove(tree, place))
    entry = world.entries("export.authorise")[0]
    assert entry.object["manifest_root"] == given.manifest_root.hex()
    assert entry.object["export"] == given.export_id


def test_a_fetch_says_whom_it_skipped(world: World) -> None:
    world.person("Ada")
    bea = world.person("Bea")
    given = world.gate.authorise(world.request())
    world.say(bea, "withdrawn")
    world.rows(given.export_id)
    with world.store.reading() as connection:
        fetch = connection.execute(select(export_fetches)).one()
    assert list(BitMap.deserialize(fetch.skipped)) == [bea, bea + 1]
    assert fetch.finished_at is not None


def test_the_person_finds_the_export_in_the_log(world: World) -> None:
    ada = world.person("Ada")
    bea = world.person("Bea", consent="refused")
    world.gate.authorise(world.request())
    with world.store.reading() as connection:
        found = {
            person: [entry.action for entry in world.audit.search(connection, world.about(person))]
            for person in (ada, ada + 1, bea)
        }
    assert found == {ada: ["export.authorise"], ada + 1: ["export.authorise"], bea: []}


def test_an_export_answers_for_itself(world: World) -> None:
    world.person("Ada")
    made = [world.gate.authorise(world.request()) for _ in range(3)]
    assert world.gate.find(made[0].export_id) == made[0]
    assert world.gate.find("e_nothing") is None
    listed = world.gate.exports(limit=2)
    rest = world.gate.exports(limit=2, before=(listed[-1].created_at, listed[-1].export_id))
    assert {one.export_id for one in (*listed, *rest)} == {one.export_id for one in made}
    assert world.gate.exports(limit=9, destination="crm") == []
    assert len(world.gate.exports(limit=9, requested_by=1)) == 3


def test_a_value_moved_to_another_person_does_not_leave(world: World) -> None:
    ada, bea = world.person("Ada"), world.person("Bea")
    given = world.gate.authorise(world.request())
    world.swap_sealed(ada, bea)
    with pytest.raises(SealError):
        world.rows(given.export_id)


@pytest.mark.parametrize("place", ["another column", "another event", "version", "suite", "key"])
def test_a_value_moved_within_a_person_or_given_another_header_does_not_leave(
    world: World, place: str
) -> None:
    ada = world.person("Ada", {"last_name": "Example"})
    world.observe(ada, {"first_name": "Adalbertine"})
    given = world.gate.authorise(world.request(fields=("email", "first_name", "last_name")))
    (row,) = world.rows(given.export_id)
    t = trait_observations.c
    with world.committer.batch() as batch:
        held = batch.connection.execute(select(t.name, t.batch, t.sealed).order_by(t.batch)).all()
        first, newest = (one for one in held if one.name == "first_name")
        found = {
            "another column": next(one.sealed for one in held if one.name == "last_name"),
            "another event": first.sealed,
        }
        at = {"version": 0, "suite": 1, "key": 2}.get(place, 0)
        flipped = newest.sealed[:at] + bytes([newest.sealed[at] ^ 1]) + newest.sealed[at + 1 :]
        batch.connection.execute(
            update(trait_observations)
            .where(t.name == "first_name", t.batch == newest.batch)
            .values(sealed=found.get(place, flipped))
        )
    assert row["first_name"] == "Adalbertine"
    with pytest.raises(SealError):
        world.rows(given.export_id)


def test_nothing_personal_lies_in_the_database(world: World, tmp_path: Path) -> None:
    world.person("Adalbertine")
    given = world.gate.authorise(world.request())
    assert len(world.rows(given.export_id)) == 1
    held = world.stored() + b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert given.export_id.encode() in held
    for secret in (b"adalbertine", b"Adalbertine", b"people.example"):
        assert secret not in held


def test_a_released_row_is_not_shown_by_accident() -> None:
    assert "Ada" not in repr(Released("ref", ("Ada",)))
