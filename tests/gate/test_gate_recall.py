"""Recall = delivered − permitted now, over real databases."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import msgspec
import pytest
from gate_world import EMAIL, World, running, years
from pyroaring import BitMap
from sqlalchemy import update

from cdp.errors import KeyAccessError
from cdp.gate import Holding, Recall
from cdp.gate.deliveries import queries as deliveries
from cdp.gate.tables import export_fetches

world_fixture = pytest.fixture(running, name="world")


def fetch(world: World, **more: object) -> dict[str, str]:
    """Export everybody and fetch; returns e-mail address → profile_ref."""
    rows = world.rows(world.gate.authorise(world.request(**more)).export_id)
    return {row["email"]: row["profile_ref"] for row in rows}


def issue(world: World) -> list[Recall]:
    """Issue what is due, as the worker does."""
    found = []
    for recall in chain.from_iterable(world.gate.recalls.due()):
        with world.committer.batch() as batch:
            world.gate.recalls.settle(batch, recall)
        found.append(recall)
    return found


def removed(recalls: Iterable[Recall]) -> dict[str, str]:
    """Return profile_ref → reason of every removal; a reference is never removed twice."""
    rows = [row for recall in recalls for row in recall.removals.values()]
    assert len({row.profile_ref for row in rows}) == len(rows)
    return {row.profile_ref: str(row.values[0]) for row in rows}


def corrected(recalls: Iterable[Recall]) -> set[str]:
    return {row.profile_ref for recall in recalls for row in recall.corrections.values()}


def held(world: World) -> list[int]:
    with world.store.reading() as connection:
        found = deliveries.find_audience(connection, "mailer", EMAIL, "everybody")
    return [] if found is None else list(found.holding.people())


def ref(person: str) -> str:
    return f"{person}@people.example"


def test_a_withdrawal_recalls_exactly_that_person_and_once(world: World) -> None:
    world.person("Ada")
    bea = world.person("Bea")
    refs = fetch(world)
    assert issue(world) == []
    world.say(bea, "withdrawn")
    assert removed(issue(world)) == {refs[ref("bea")]: "unlist"}
    assert issue(world) == []
    assert held(world) == [1]


@pytest.mark.parametrize("state", ["refused", "withdrawn", "objected", "restricted", "opted_out"])
def test_every_restraint_recalls(world: World, state: str) -> None:
    ada = world.person("Ada")
    refs = fetch(world)
    world.say(ada, state)  # type: ignore[arg-type]  # a table of states
    assert removed(issue(world)) == {refs[ref("ada")]: "unlist"}


def test_a_new_process_looks_at_everything_again(world: World) -> None:
    ada = world.person("Ada")
    refs = fetch(world)
    assert issue(world) == []
    world.say(ada, "withdrawn")
    again = World.__new__(World)
    again.__dict__.update(world.__dict__)
    again.gate = world.another_gate()
    assert removed(issue(again)) == {refs[ref("ada")]: "unlist"}
    assert issue(world) == [], "what another process issued is not issued again"


def test_a_black_list_a_place_and_a_birthday_recall(world: World) -> None:
    ada, bea, cyd = (world.person(name) for name in ("Ada", "Bea", "Cyd"))
    world.person("Dov")
    refs = fetch(world)
    assert issue(world) == []
    world.segments.black.add(ada)
    world.observe(bea, {"country": "China"})
    world.observe(cyd, {"birthday": "2015-01-01"})
    assert removed(issue(world)) == dict.fromkeys((refs[ref(n)] for n in ("ada", "bea", "cyd")), "unlist")


def test_a_turn_that_broke_off_is_taken_again_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = world.person("Ada")
    refs = fetch(world)
    assert issue(world) == []
    world.segments.black.add(ada)
    world.observe(ada, {"plan": "gold"})  # the head moves, as with any change of a list

    def out_of_reach(*_: object) -> None:
        raise KeyAccessError("the root cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(world.gate.recalls, "_refer", out_of_reach)
        with pytest.raises(KeyAccessError):
            issue(world)
    assert removed(issue(world)) == {refs[ref("ada")]: "unlist"}


def test_a_grant_that_ages_recalls_within_minutes(world: World) -> None:
    world.person("Ada")
    refs = fetch(world)
    assert issue(world) == []
    world.clock.advance(years(3))
    assert removed(issue(world)) == {refs[ref("ada")]: "unlist"}


def test_an_activation_recalls_whom_it_permits_no_more(world: World) -> None:
    world.person("Ada")
    refs = fetch(world)
    assert issue(world) == []
    world.change(rules=())
    assert removed(issue(world)) == {refs[ref("ada")]: "unlist"}


def test_the_end_of_a_contract_asks_to_erase_and_the_switch_holds_still(world: World) -> None:
    ada = world.person("Ada")
    world.person("Bea")
    refs = fetch(world)
    world.change_destination(enabled=False)
    assert issue(world) == []
    world.say(ada, "withdrawn")
    assert removed(issue(world)) == {refs[ref("ada")]: "unlist"}, "a switch never keeps a recall back"
    world.change_destination(contract_expires="2025-12-31")
    assert removed(issue(world)) == {refs[ref("bea")]: "erase"}


def test_a_destination_or_purpose_that_is_gone_keeps_nobody(world: World) -> None:
    world.person("Ada")
    refs = fetch(world)
    others = {name: one for name, one in world.bundle.destinations.items() if name != "mailer"}
    world.change(destinations=others)
    assert removed(issue(world)) == {refs[ref("ada")]: "unlist"}


def test_an_officer_recalls_everything(world: World) -> None:
    world.person("Ada")
    world.person("Bea")
    refs = fetch(world)
    found = list(world.gate.recalls.of_everything("mailer"))
    assert removed(found) == dict.fromkeys(refs.values(), "erase")
    assert list(world.gate.recalls.of_everything("crm")) == []


def test_of_two_references_that_became_one_person_the_later_is_removed(world: World) -> None:
    ada, bea = world.person("Ada"), world.person("Bea")
    refs = fetch(world)
    assert issue(world) == []
    world.relink({bea: ada, bea + 1: ada})
    world.refresh(ada, (ada, ada + 1, bea, bea + 1))
    assert removed(issue(world)) == {refs[ref("bea")]: "unlist"}
    assert held(world) == [ada]


def test_an_identity_that_leaves_a_person_is_a_correction(world: World) -> None:
    ada = world.person("Ada")
    refs = fetch(world)
    assert issue(world) == []
    world.relink({ada + 1: ada + 1})
    world.refresh(ada, (ada,))
    recalls = issue(world)
    assert (removed(recalls), corrected(recalls)) == ({}, {refs[ref("ada")]})
    assert issue(world) == []
    assert held(world) == [ada]


def test_a_split_that_leaves_nothing_permitted_is_a_removal(world: World) -> None:
    ada = world.person("Ada")
    refs = fetch(world)
    world.say(ada, "withdrawn")
    world.relink({ada + 1: ada + 1})
    world.refresh(ada, (ada,))
    recalls = issue(world)
    assert (removed(recalls), corrected(recalls)) == ({refs[ref("ada")]: "unlist"}, set())


def test_whoever_was_skipped_is_not_recalled(world: World) -> None:
    people = {ref(name.lower()): world.person(name) for name in ("Ada", "Bea", "Cyd")}
    order = list(fetch(world, segment="before"))
    given = world.gate.authorise(world.request())
    rendering = world.gate.render(given.export_id, world.mailer)
    next(rendering.rows)
    assert sorted(held(world)) == sorted(people.values()), "all count until the end is known"
    world.say(people[order[2]], "withdrawn")
    assert len(list(rendering.rows)) == 1
    assert sorted(held(world)) == sorted(people[email] for email in order[:2])
    assert [found.audience.segment for found in issue(world)] == ["before"]


def test_a_row_on_its_way_while_its_person_was_recalled_is_recalled_again(world: World) -> None:
    people = {ref(name.lower()): world.person(name) for name in ("Ada", "Bea")}
    given = world.gate.authorise(world.request())
    rendering = world.gate.render(given.export_id, world.mailer)
    first = next(rendering.rows)
    place = [column.name for column in rendering.columns].index("email")
    world.say(people[str(first.values[place])], "withdrawn")
    assert removed(issue(world)) == {first.profile_ref: "unlist"}
    list(rendering.rows)  # its bytes may reach the destination only now
    assert removed(issue(world)) == {first.profile_ref: "unlist"}
    assert issue(world) == []


def test_a_fetch_that_broke_off_counts_all_as_delivered(world: World) -> None:
    world.person("Ada")
    given = world.gate.authorise(world.request())
    rendering = world.gate.render(given.export_id, world.mailer)
    rendering.rows.close()  # type: ignore[attr-defined]  # a generator
    world.clock.advance(years(3))
    assert len(removed(issue(world))) == 1


def test_overlapping_fetches_never_forget_a_delivery(world: World) -> None:
    ada = world.person("Ada")
    first, second = (world.gate.authorise(world.request()) for _ in range(2))
    slow = world.gate.render(first.export_id, world.mailer)
    quick = world.gate.render(second.export_id, world.mailer)
    row = next(quick.rows)
    world.say(ada, "withdrawn")
    assert list(slow.rows) == []
    assert list(quick.rows) == []
    assert removed(issue(world)) == {row.profile_ref: "unlist"}


def test_fetches_from_before_the_record_and_dead_ones_are_settled(world: World) -> None:
    ada = world.person("Ada")
    world.person("Bea")
    refs = fetch(world)
    with world.committer.batch() as batch:
        found = deliveries.lock_audience(batch.connection, "mailer", EMAIL, "everybody")
        deliveries.save_audience(batch.connection, msgspec.structs.replace(found, holding=Holding()))
        batch.connection.execute(update(export_fetches).values(settled=None))
    world.gate.deliveries.settle_abandoned()
    assert held(world) == [], "it may still run"
    world.clock.advance(years(0.01))
    world.gate.deliveries.settle_abandoned()
    assert len(held(world)) == 2
    world.say(ada, "withdrawn")
    assert removed(issue(world)) == {refs[ref("ada")]: "unlist"}


def test_erasure_names_people_before_their_keys_die(world: World) -> None:
    ada = world.person("Ada")
    world.person("Bea")
    refs = fetch(world)
    with world.committer.batch() as batch:
        recalls = list(world.gate.recalls.of_erased(batch, [ada, ada + 1]))
        for recall in recalls:
            world.gate.recalls.settle(batch, recall)
    world.destroy(ada)
    assert removed(recalls) == {refs[ref("ada")]: "erase"}
    assert issue(world) == []


def test_whoever_cannot_be_named_any_more_leaves_the_record(world: World) -> None:
    ada = world.person("Ada")
    fetch(world)
    world.say(ada, "withdrawn")
    world.destroy(ada)
    (found,) = issue(world)
    assert (dict(found.removals), list(found.lost)) == ({}, [ada])
    assert held(world) == []


def test_a_holding_is_small_and_knows_everybody() -> None:
    people = {number: [number, number + 1] for number in range(1, 2_000_000, 2)}
    holding = Holding().adding(people)
    assert len(holding.anchors) + len(holding.others) + len(holding.of) < 5_000_000
    some = BitMap([2, 5, 9_000_001])
    assert list(holding.touched(some)) == [1, 5]
    assert holding.others_of(BitMap([1, 5])) == {2: 1, 6: 5}
    less = holding.without(BitMap([1])).forgetting(BitMap([6]))
    assert list(less.touched(BitMap([1, 2, 5, 6]))) == [5]
