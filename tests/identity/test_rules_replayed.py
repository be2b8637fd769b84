"""Rules change while events come: the outcome is that of all events under the last rules."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rules_world import (
    COUNTER,
    ONE_DEVICE,
    ONE_MAIL,
    SHARED,
    Change,
    Value,
    activate,
    finish,
    groups,
    message,
    newest,
    people,
    platform,
    send,
)

from cdp.app import Platform
from cdp.clock import FixedClock
from cdp.identity.anew import apply
from cdp.settings import Settings


@pytest.fixture
def some_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several people a page, one page a turn."""
    monkeypatch.setattr(apply, "_PAGE", 12)
    monkeypatch.setattr(apply, "_TURN_SECONDS", 0.0)


def test_several_processes_and_ingest_at_once(settings: Settings, clock: FixedClock, tmp_path: Path) -> None:
    """One process does the pass while events come in everywhere; nothing is done twice or left out."""
    with ExitStack() as opened:
        worlds = [opened.enter_context(platform(settings, clock))]
        if not settings.database_url.startswith("sqlite"):  # which one process writes
            folder = tmp_path / "beside"
            folder.mkdir()
            (folder / "root.key").write_bytes((settings.data_dir / "root.key").read_bytes())
            beside = msgspec.structs.replace(settings, data_dir=folder)
            worlds.append(opened.enter_context(platform(beside, clock)))
        first = worlds[0]
        mails = people(first, 20)
        activate(first, ONE_MAIL)
        failures: list[BaseException] = []

        def sweep(world: Platform) -> None:
            for _ in range(60):
                world.services.rules_pass.advance()

        def ingest(world: Platform) -> None:
            for number in range(10):
                late = ("user_id", f"user-{number}"), ("email", f"2@user-{number}.example")
                send(world, message(1000 + number, late, str(worlds.index(world))))

        def guarded(work: Callable[[Platform], None], world: Platform) -> None:
            try:
                work(world)
            except BaseException as error:  # noqa: BLE001  # shown by the assertion below
                failures.append(error)

        threads = [
            threading.Thread(target=guarded, args=(work, world))
            for world in worlds
            for work in (sweep, ingest)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert failures == []
        finish(first)
        done = newest(first)
        assert (done.state, done.done, done.total) == ("done", 20, 20)
        assert done.parted <= 20
        late = [("email", f"2@user-{number}.example") for number in range(10)]
        assert groups(first, [*mails, *late]) == {frozenset({one}) for one in (*mails, *late)}
        with first.services.store.reading() as connection:
            assert first.services.audit.verify(connection).problems == ()


VALUES: dict[str, tuple[str, ...]] = {
    "user_id": ("u0", "u1", "u2"),
    "email": ("a@{}.example", "b@{}.example", "counter@{}.example"),
    "anonymous_id": ("d0", "d1"),
}
RULES: tuple[tuple[Change, ...], ...] = (
    (),
    (SHARED,),
    (ONE_MAIL,),
    (COUNTER,),
    (SHARED, ONE_DEVICE, COUNTER),
)
_namespaces = itertools.count()


@st.composite
def named(draw: st.DrawFn) -> tuple[Value, ...]:
    """What an event names: two or three identifiers; an address that may be blocked is never its centre."""
    kinds = draw(st.sampled_from([("user_id", "email", "anonymous_id"), *itertools.combinations(VALUES, 2)]))
    return tuple((kind, draw(st.sampled_from(VALUES[kind]))) for kind in kinds)


@pytest.mark.usefixtures("some_pages")
@hypothesis_settings(
    max_examples=6,  # each activates policies a few times
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(st.one_of(named(), st.sampled_from(RULES)), min_size=3, max_size=12),
    last=st.sampled_from(RULES),
    minutes=st.permutations(range(12)),
    turns=st.integers(0, 3),
)
def test_at_its_end_all_is_as_if_every_event_had_come_under_the_rules(
    world: Platform, steps: list[Any], last: tuple[Change, ...], minutes: list[int], turns: int
) -> None:
    """Events come, rules change and passes are cut short in any order; each example has values of its own.

    What is blocked when an event comes is not kept of it, so the events that come again lack it, too.
    """
    here, again = (f"x{next(_namespaces)}" for _ in range(2))
    blocked, replay = False, []
    activate(world)
    for place, step in enumerate(steps):
        if step in RULES:
            activate(world, *step)
            blocked = COUNTER in step
            for _ in range(turns):
                world.services.rules_pass.advance()
            continue
        send(world, message(minutes[place], spelled(step, here), here))
        kept = tuple(one for one in step if not (blocked and one[1].startswith("counter")))
        replay.append((minutes[place], kept))
    activate(world, *last)
    finish(world)
    for minute, kept in replay:
        send(world, message(minute, spelled(kept, again), again))
    everything = [(kind, value) for kind, several in VALUES.items() for value in several]
    unblocked = [one for one in everything if not (COUNTER in last and one[1].startswith("counter"))]
    outcome, expected = (
        {
            frozenset(value.replace(namespace, "") for _, value in held)
            for held in groups(world, spelled(unblocked, namespace))
        }
        for namespace in (here, again)
    )
    assert outcome == expected


def spelled(some: Iterable[Value], namespace: str) -> list[Value]:
    """Values of their own for a namespace."""
    return [(kind, value.format(namespace) if "{" in value else value + namespace) for kind, value in some]
