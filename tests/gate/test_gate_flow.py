"""Authorise and render over real databases: who leaves, who does not, and what the log says of it."""

from __future__ import annotations

import msgspec
import pytest
from gate_world import EMAIL, World, running, years
from pyroaring import BitMap
from sqlalchemy import delete, insert, select

from cdp.errors import InvalidInputError, NotFoundError, NotPermittedError, UnavailableError
from cdp.gate.tables import export_classes

world_fixture = pytest.fixture(running, name="world")


def test_only_people_who_said_yes_leave(world: World) -> None:
    world.person("Ada")
    world.person("Bea", consent="refused")
    world.person("Cyd", consent=None)
    world.person("Dov", consent="withdrawn")
    world.person("Eli", chosen=False)
    given = world.gate.authorise(world.request())
    assert (given.counts.members, given.counts.released) == (4, 1)
    assert given.counts.withheld == {"refused": 1, "no_consent": 1, "withdrawn": 1}
    assert given.plan["email"] == "clear"
    rows = world.rows(given.export_id)
    assert [row["email"] for row in rows] == ["ada@people.example"]
    assert rows[0]["first_name"] == "Ada"
    assert rows[0]["country"] == "Germany"


def test_withdrawing_binds_the_next_export_and_a_later_fetch_of_an_earlier_one(world: World) -> None:
    world.person("Ada")
    bea = world.person("Bea")
    first = world.gate.authorise(world.request())
    assert world.emails(first.export_id) == {"ada@people.example", "bea@people.example"}
    world.say(bea, "withdrawn")
    assert world.emails(first.export_id) == {"ada@people.example"}
    again = world.gate.authorise(world.request())
    assert again.counts.withheld == {"withdrawn": 1}
    assert world.emails(again.export_id) == {"ada@people.example"}


@pytest.mark.parametrize("ahead", [2, 2000])
def test_a_restraint_in_the_middle_of_a_render_stops_that_row(
    world: World, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """Read ahead or not: what counts is the moment at which a row is handed over."""
    monkeypatch.setattr("cdp.gate.render._CHUNK", ahead)
    names = ("Ada", "Bea", "Cyd", "Dov", "Eli", "Fay")
    people = {f"{name.lower()}@people.example": world.person(name) for name in names}
    given = world.gate.authorise(world.request())
    order = [row["email"] for row in world.rows(given.export_id)]
    rendering = world.gate.render(given.export_id, world.mailer)
    place = [column.name for column in rendering.columns].index("email")
    seen = [next(rendering.rows).values[place]]
    world.say(people[order[1]], "withdrawn")
    world.say(people[order[4]], "objected")
    world.relink({people[order[5]] + 1: people[order[5]] + 1})
    seen += [row.values[place] for row in rendering.rows]
    assert seen == [order[0], order[2], order[3]]
    ends = world.entries("export.fetched")
    assert ends[0].people == {"delivered": "<10", "skipped": "<10"}
    assert ends[0].object["export"] == given.export_id


def test_a_fetch_broken_off_has_no_second_entry(world: World) -> None:
    world.person("Ada")
    world.person("Bea")
    given = world.gate.authorise(world.request())
    rendering = world.gate.render(given.export_id, world.mailer)
    assert world.entries("export.fetch")[0].people == {"delivered": "<10"}
    next(rendering.rows)
    rendering.rows.close()  # type: ignore[attr-defined]  # a generator
    assert world.entries("export.fetched") == []


def test_the_policy_of_now_binds_a_fetch(world: World) -> None:
    world.person("Ada")
    given = world.gate.authorise(world.request(fields=("email", "first_name")))
    limit = msgspec.structs.replace(
        next(rule for rule in world.bundle.rules if rule.effect == "limit"),
        id="no-names",
        fields={"user.name": msgspec.structs.replace(world.bundle.rules[0].fields["*"], kind="drop")},
    )
    world.change(rules=(*world.bundle.rules, limit))
    assert set(world.rows(given.export_id)[0]) == {"profile_ref", "email"}


def test_the_kill_switch_stops_a_stream(world: World) -> None:
    world.person("Ada")
    world.person("Bea")
    given = world.gate.authorise(world.request())
    rendering = world.gate.render(given.export_id, world.mailer)
    next(rendering.rows)
    world.change_destination(enabled=False)
    with pytest.raises(NotPermittedError, match="switched off"):
        next(rendering.rows)
    assert world.entries("export.fetch")[0].object["reason"] == "destination_off"


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"purpose": ""}, InvalidInputError, "no_purpose"),
        ({"purpose": "world.domination"}, InvalidInputError, "unknown_purpose"),
        ({"destination": "nowhere"}, NotFoundError, "unknown_destination"),
        ({"purpose": "analytics"}, NotPermittedError, "purpose_not_for_destination"),
        ({"destination": "adnet"}, NotPermittedError, "purpose_not_for_destination"),
    ],
)
def test_a_refusal_is_recorded(
    world: World, change: dict[str, str], error: type[Exception], reason: str
) -> None:
    world.person("Ada")
    with pytest.raises(error):
        world.gate.authorise(world.request(**change))
    entry = world.entries("export.authorise")[0]
    assert (entry.outcome, entry.object["reason"]) == ("denied", reason)
    assert "domination" not in entry.data.decode()


def test_a_key_states_only_its_purposes_and_its_destination(world: World) -> None:
    world.person("Ada")
    narrow = msgspec.structs.replace(world.officer, purposes=frozenset({"analytics"}))
    with pytest.raises(NotPermittedError):
        world.gate.authorise(world.request(principal=narrow))
    assert world.entries("export.authorise")[0].object["reason"] == "key_lacks_purpose"
    assert world.entries("export.authorise")[0].purpose == EMAIL
    given = world.gate.authorise(world.request())
    other = msgspec.structs.replace(world.mailer, destination="crm")
    with pytest.raises(NotFoundError):
        world.gate.render(given.export_id, other)
    with pytest.raises(NotFoundError):
        world.gate.render("e_unknown", world.mailer)
    purposeless = msgspec.structs.replace(world.mailer, purposes=frozenset())
    with pytest.raises(NotPermittedError):
        world.gate.render(given.export_id, purposeless)
    assert [entry.object["reason"] for entry in world.entries("export.fetch")] == [
        "key_lacks_purpose",
        "unknown_export",
        "other_destination",
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"enabled": False}, "destination_off"), ({"contract_expires": "2025-12-31"}, "contract_expired")],
)
def test_a_closed_destination_gets_nothing(world: World, change: dict[str, object], reason: str) -> None:
    world.person("Ada")
    given = world.gate.authorise(world.request())
    world.change_destination(**change)
    with pytest.raises(NotPermittedError):
        world.gate.authorise(world.request())
    with pytest.raises(NotPermittedError):
        world.gate.render(given.export_id, world.mailer)
    assert world.entries("export.authorise")[0].object["reason"] == reason
    assert world.entries("export.fetch")[0].object["reason"] == reason


def test_the_minimum_audience_counts_who_would_be_released(world: World) -> None:
    world.change_destination(minimum_audience=2)
    world.person("Ada")
    bea = world.person("Bea", consent="refused")
    with pytest.raises(NotPermittedError, match="minimum"):
        world.gate.authorise(world.request())
    assert world.entries("export.authorise")[0].object["reason"] == "minimum_audience"
    rehearsal = world.gate.authorise(world.request(), dry_run=True)
    assert (rehearsal.refusal, rehearsal.counts.withheld) == ("minimum_audience", {"refused": 1})
    world.say(bea, "granted")
    assert world.gate.authorise(world.request()).counts.released == 2


def test_inputs_count_as_well_as_outputs(world: World) -> None:
    world.person("Ada")
    world.segments.reads = frozenset({"user.health"})
    with pytest.raises(NotPermittedError, match=r"user\.health"):
        world.gate.authorise(world.request(fields=("email",)))
    assert world.entries("export.authorise")[0].object["reason"] == "input_not_permitted"
    world.segments.reads = frozenset({"user.behavior.purchase_history"})
    assert world.gate.authorise(world.request(fields=("email",))).counts.released == 1


def test_a_dry_run_stores_nothing_but_its_entry(world: World) -> None:
    world.person("Ada")
    given = world.gate.authorise(world.request(), dry_run=True)
    assert (given.export_id, given.counts.released, given.refusal) == ("", 1, "")
    assert len(world.entries("export.dry_run")) == 1
    assert world.entries("export.authorise") == []


def test_an_undeclared_field_is_an_error_that_does_not_repeat_it(world: World) -> None:
    world.person("Ada")
    with pytest.raises(InvalidInputError) as caught:
        world.gate.authorise(world.request(fields=("email", "ada@people.example")))
    assert "fields[1]" in caught.value.message
    assert "ada" not in caught.value.message


def test_every_place_ever_recorded_must_permit(world: World) -> None:
    ada = world.person("Ada", {"country": "China"})
    world.person("Bea", {"country": "China"}, separate=True)
    world.person("Cyd", {"country": "unknown"}, separate=True)
    world.person("Dov", {"country": "USA"})
    dov = world.gate.authorise(world.request())
    assert dov.counts.withheld == {"no_separate_consent": 1, "jurisdiction_unknown": 1}
    world.observe(ada, {"country": "Germany"})  # moving away does not shake off the law of before
    assert world.gate.authorise(world.request()).counts.withheld["no_separate_consent"] == 1


def test_a_place_named_with_a_consent_counts(world: World) -> None:
    ada = world.person("Ada")
    world.say(ada, "granted", jurisdiction="CN")
    given = world.gate.authorise(world.request(), dry_run=True)
    assert given.counts.withheld == {"no_separate_consent": 1}


def test_known_minors_and_listed_people_stay(world: World) -> None:
    world.person("Ada", {"birthday": "2010-05-05"})
    world.person("Bea", {"birthday": "1990-05-05"})
    cyd = world.person("Cyd")
    world.segments.black.add(cyd)
    given = world.gate.authorise(world.request())
    assert given.counts.withheld == {"forbidden": 1, "black_list": 1}
    assert world.emails(given.export_id) == {"bea@people.example"}


def test_a_grant_ages_and_names_its_recipients(world: World) -> None:
    world.person("Ada")
    world.clock.advance(years(1))
    bea = world.person("Bea", consent=None)
    world.say(bea, "granted", recipients=("crm",))
    cyd = world.person("Cyd", consent=None)
    world.say(cyd, "granted", recipients=("mailer",))
    given = world.gate.authorise(world.request())
    assert given.counts.withheld == {"no_consent": 1}
    world.clock.advance(years(1.5))
    world.change(destinations={**world.bundle.destinations})
    rehearsal = world.gate.authorise(world.request(), dry_run=True)
    assert rehearsal.counts.withheld == {"stale": 1, "no_consent": 1}


def test_people_whose_links_changed_wait_for_the_next_evaluation(world: World) -> None:
    ada, bea, cyd = (world.person(name) for name in ("Ada", "Bea", "Cyd"))
    world.relink({bea: ada, bea + 1: ada})  # a merge: Bea's profile is gone
    world.relink({cyd + 1: cyd + 1})  # a split
    given = world.gate.authorise(world.request(), dry_run=True)
    assert given.counts.withheld == {"identity_changed": 3}
    world.segments.as_of = world.head()
    world.segments.members.discard(bea)
    assert world.gate.authorise(world.request(), dry_run=True).counts.withheld == {}


def test_a_merge_after_the_decision_keeps_the_row_back(world: World) -> None:
    ada, bea = world.person("Ada"), world.person("Bea", chosen=False)
    world.person("Cyd")
    given = world.gate.authorise(world.request())
    world.relink({bea: ada, bea + 1: ada})
    assert world.emails(given.export_id) == {"cyd@people.example"}


def test_the_pseudonym_stays_with_the_identity_first_received(world: World) -> None:
    ada = world.person("Ada", chosen=False)
    bea = world.person("Bea")
    before = world.rows(world.gate.authorise(world.request()).export_id)[0]["profile_ref"]
    world.relink({bea: ada, bea + 1: ada})
    world.segments.members = world.segments.members - world.segments.members
    world.segments.members.add(ada)
    world.segments.as_of = world.head()
    world.refresh(ada, (ada, ada + 1, bea, bea + 1))
    rows = world.rows(world.gate.authorise(world.request()).export_id)
    assert [row["profile_ref"] for row in rows] == [before]


def test_rows_are_sorted_by_a_pseudonym_of_the_destination(world: World) -> None:
    for name in ("Ada", "Bea", "Cyd", "Dov"):
        world.person(name)
    refs = [row["profile_ref"] for row in world.rows(world.gate.authorise(world.request()).export_id)]
    assert refs == sorted(refs)
    assert len(set(refs)) == 4
    again = [row["profile_ref"] for row in world.rows(world.gate.authorise(world.request()).export_id)]
    assert again == refs


def test_a_fetch_needs_a_published_checkpoint(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.person("Ada")
    given = world.gate.authorise(world.request())
    signed: list[object] = []
    monkeypatch.setattr(world.audit, "sign_checkpoint", signed.append)
    with pytest.raises(UnavailableError, match="checkpoint"):
        world.gate.render(given.export_id, world.mailer)
    monkeypatch.undo()
    assert len(signed) == 1
    assert len(world.rows(given.export_id)) == 1


def test_somebody_without_keys_is_not_released(world: World) -> None:
    ada = world.person("Ada")
    world.person("Bea")
    given = world.gate.authorise(world.request())
    world.destroy(ada)
    assert world.emails(given.export_id) == {"bea@people.example"}
    assert world.gate.authorise(world.request()).counts.withheld == {"key_unavailable": 1}


def test_people_of_two_stored_classes_of_one_plan_all_leave(world: World) -> None:
    people = [world.person(name) for name in ("Ada", "Bea", "Cyd")]
    given = world.gate.authorise(world.request())
    with world.committer.batch() as batch:
        whole = batch.connection.execute(select(export_classes)).one()
        batch.connection.execute(delete(export_classes))
        batch.connection.execute(
            insert(export_classes),
            [
                {**whole._mapping, "class_no": place, "identities": BitMap([no, no + 1]).serialize()}
                for place, no in enumerate(people)
            ],
        )
    assert world.emails(given.export_id) == {f"{name}@people.example" for name in ("ada", "bea", "cyd")}
