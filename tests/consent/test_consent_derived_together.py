"""States derived while others speak, split, derive and activate: nothing lost, nothing old served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread

import pytest
from derivation_world import (
    People,
    devices_otherwise,
    fail,
    once,
    right,
    shorter,
    states,
    total,
)
from ledger_world import BUNDLE, MAIL, START, USER, World, draft, statement

from cdp.clock import DAY
from cdp.consent import ConsentLedger, Deriving
from cdp.consent import queries as ledger_queries
from cdp.consent.states import queries as states_queries
from cdp.policy import Bundle
from cdp.store import Batch


def at_once(stack: ExitStack, work: Callable[[], object]) -> Thread:
    """Do something in another process, which ends, or waits for whoever called this."""
    thread = Thread(target=work)
    thread.start()
    stack.callback(thread.join)
    thread.join(0.5)
    return thread


def other_process(world: World, people: People, bundle: Bundle) -> tuple[ConsentLedger, Deriving]:
    ledger = ConsentLedger(world.keyring, bundle, world.clock)
    return ledger, Deriving(world.committer, ledger, people, world.clock)


def test_what_is_cleared_is_not_what_another_makes_meanwhile(
    spoken: tuple[World, People, Deriving], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, people, deriving = spoken
    world.ledger.adopt(shorter(500))
    deriving.settle()
    world.ledger.adopt(BUNDLE)
    _, other = other_process(world, people, BUNDLE)
    with ExitStack() as stack:
        once(monkeypatch, states_queries, "delete_page", lambda: at_once(stack, other.settle))
        deriving.clear([], 20)
    deriving.settle()
    assert states(world) == right(world, people, BUNDLE) == {USER: "granted", MAIL: "granted"}


def test_what_is_said_while_a_page_is_made_is_kept(
    spoken: tuple[World, People, Deriving], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, people, _ = spoken
    world.ledger.adopt(shorter(500))
    _, other = other_process(world, people, shorter(500))
    withdrawn = draft(statement("withdrawn", START + 10 * DAY), received_at=START + 10 * DAY)
    with ExitStack() as stack:
        once(monkeypatch, states_queries, "add_states", lambda: at_once(stack, other.settle))
        world.say(withdrawn)
    other.settle()
    assert states(world) == {USER: "withdrawn", MAIL: "granted"}


def test_a_split_while_a_page_is_made_leaves_no_old_grant(
    spoken: tuple[World, People, Deriving],
) -> None:
    world, people, _ = spoken
    world.ledger.adopt(shorter(500))
    _, other = other_process(world, people, shorter(500))
    with ExitStack() as stack, world.committer.batch() as batch:
        world.ledger.refresh(batch, {}, (USER,))  # it has no state yet that could be deleted
        assert at_once(stack, other.settle).is_alive(), "it waits for what this batch leaves"
        people.relinked.add(USER)
        del people.profiles[USER]
    assert states(world) == {MAIL: "granted"}


def test_nobody_is_derived_again_where_another_was_first(
    spoken: tuple[World, People, Deriving], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, people, deriving = spoken
    world.ledger.adopt(shorter(5))
    _, other = other_process(world, people, shorter(5))
    once(monkeypatch, deriving, "_touched", other.settle)
    monkeypatch.setattr(deriving, "_refresh", fail)
    deriving.settle()
    assert states(world) == {USER: "stale", MAIL: "stale"}


def test_an_erasure_meanwhile_has_every_step_run_again(
    spoken: tuple[World, People, Deriving], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _, deriving = spoken
    world.ledger.adopt(shorter(5))
    opened, seen = world.committer.batch, [0]

    @contextmanager
    def batch() -> Iterator[Batch]:
        with opened() as made:
            yield made
            seen[0] += 1
            made.epoch -= seen[0] % 2  # of every two the first finds that somebody was erased

    monkeypatch.setattr(world.committer, "batch", batch)
    deriving.settle()
    assert deriving.rebuild("test") == 2
    assert states(world) == {USER: "stale", MAIL: "stale"}


def test_what_was_made_for_a_candidate_that_is_no_more_is_deleted(
    spoken: tuple[World, People, Deriving],
) -> None:
    world, _, deriving = spoken
    before = total(world)
    assert deriving.prepare(shorter(5))
    assert deriving.prepare(shorter(6))
    deriving.clear([shorter(6)], 20)
    assert total(world) == before + 2
    assert deriving.progress(shorter(6)) is None
    assert deriving.progress(shorter(5)) is not None
    deriving.clear([], 20)
    assert total(world) == before
    assert states(world) == {USER: "granted", MAIL: "granted"}


def test_a_candidate_follows_what_is_said_so_that_the_switch_finds_nothing_left(
    spoken: tuple[World, People, Deriving], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _, deriving = spoken
    assert deriving.prepare(shorter(5))
    world.say(draft(statement("withdrawn", START + 10 * DAY), received_at=START + 10 * DAY))
    with world.store.reading() as connection:
        everything = world.ledger.changed_since(connection, 0)
    assert deriving.prepare(shorter(5))
    with world.store.reading() as connection:
        assert world.ledger.changed_since(connection, 0) == everything, "nobody has seen it"
    world.ledger.adopt(shorter(5))
    monkeypatch.setattr(deriving, "_refresh", fail)
    deriving.settle()
    assert states(world) == {USER: "withdrawn", MAIL: "stale"}


def test_a_page_that_was_read_under_other_policies_is_not_stored(
    spoken: tuple[World, People, Deriving], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _, deriving = spoken
    before = total(world)
    other = devices_otherwise()

    def adopt() -> None:
        monkeypatch.setattr(states_queries, "add_missing_states", fail)
        with world.committer.batch(head_first=True) as batch:
            batch.change_policies()
        world.ledger.adopt(other)

    once(monkeypatch, ledger_queries, "speakers", adopt)
    assert deriving.prepare(shorter(5))
    assert total(world) == before
