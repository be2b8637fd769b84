"""What can be taken back, said by hosts whose clocks lie: the last word of the commits is the journal's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest
from caller import Caller
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from recovery_world import backed_up, lost, restored, running

from cdp import app
from cdp.clock import DAY, SECOND, FixedClock, Micros
from cdp.errors import StoreError
from cdp.journal import Erasure, Fact, Journal, Line, Listed, Readmission, Segment, Switched, switched
from cdp.recovery.said import Said
from cdp.settings import Settings
from cdp.store import Committer, Connection, Store, migrate

ROOT = bytes(32)
START = 1_000 * DAY
NAMES = ("mailer", "adnet")
PEOPLE = (1, 2)


class Slow(Journal):
    """A journal whose lifts reach the disk as late as they can: a thread that sleeps after its commit."""

    def __init__(self, folder: Path, clock: FixedClock, late: list[Callable[[], None]]) -> None:
        super().__init__(folder, ROOT, clock, lambda _c, numbers: {no: [no.to_bytes(16)] for no in numbers})
        self._late = late

    def write(
        self, connection: Connection, facts: Sequence[Fact], instant: Callable[[], Micros]
    ) -> Callable[[], None]:
        self._late.append(super().write(connection, facts, instant))
        return lambda: None


class Host:
    """One server: a clock of its own, a journal of its own."""

    def __init__(self, store: Store, folder: Path, late: list[Callable[[], None]]) -> None:
        self.clock = FixedClock(START)
        self.fails = False
        self.journal = Slow(folder, self.clock, late)
        self._committer = Committer(store, self._append, self.clock, self.journal)

    def _append(self, *_: object) -> list[int]:
        if self.fails:
            raise StoreError("the disk went away")
        return []

    def say(self, fact: Fact, *, fails: bool) -> None:
        self.fails = fails
        with suppress(StoreError), self._committer.batch() as batch:
            batch.facts.append(fact)
            batch.record("what appends is called")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    with closing(Store(database_url)) as opened:
        migrate.upgrade(opened)
        yield opened


SUBJECTS = st.one_of(
    st.sampled_from(NAMES), st.tuples(st.sampled_from(["listed", "erased"]), st.sampled_from(PEOPLE))
)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),  # which host
        st.sampled_from([0, 1, -1, SECOND, -SECOND, DAY, -DAY, 400 * DAY, -400 * DAY]),
        SUBJECTS,
        st.booleans(),  # put into use, or out of it
        st.sampled_from([False, False, False, True]),  # its commit fails
    ),
    max_size=20,
)


def fact(subject: str | tuple[str, int], *, on: bool) -> Fact:
    if isinstance(subject, str):
        return switched("destination", subject, on=on)
    kind, number = subject
    if kind == "listed":
        return Fact(identity_no=number, line=Listed(on=not on), name="robinson")
    return Fact(identity_no=number, line=Readmission() if on else Erasure())


@examples(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, apart=st.booleans())
def test_no_clock_puts_a_lift_behind_a_restraint(
    store: Store,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[int, int, str | tuple[str, int], bool, bool]],
    apart: bool,  # noqa: FBT001  # whether each host journals into a folder of its own
) -> None:
    folder = tmp_path_factory.mktemp("hosts")
    late: list[Callable[[], None]] = []
    hosts = [Host(store, folder / (str(number) if apart else "0"), late) for number in range(3)]
    last: dict[str | tuple[str, int], bool] = {}
    doubt = set()
    for number, jump, subject, on, fails in steps:
        hosts[number].clock.advance(jump)
        hosts[number].say(fact(subject, on=on), fails=fails)
        if not fails:
            last[subject] = on
        elif not on:
            doubt.add(subject)  # it may have happened, and restrains
    for written in reversed(late):
        written()
    for host in hosts:
        host.journal.close()
    gathered = folder / "gathered"
    gathered.mkdir()
    for file in folder.glob("[0-9]/*"):
        shutil.copy(file, gathered)
    journal = Slow(gathered, FixedClock(START), [])
    said = Said.of(journal.lines())
    dead = {line.tag for line in said.dead}
    robinson = journal.tag_of("black_list", "robinson")
    for subject, on in last.items():
        if isinstance(subject, str):
            ended = said.ended("destination", journal.tag_of("destination", subject))
        elif subject[0] == "erased":
            ended = journal.tag(subject[1].to_bytes(16)) in dead
        else:
            found = said.listed.get((robinson, journal.tag(subject[1].to_bytes(16))))
            ended = found is not None and found.on
        assert ended or on, subject
        assert subject in doubt or ended != on, subject


OLD = Segment(format=1, name="old", opened_at=0)
NEW = Segment(format=2, name="new", opened_at=0)
OFF, ON = (Switched(thing="destination", tag="d", on=on, at=5) for on in (False, True))
A, B = (Switched(thing="policies", tag=tag, on=True, at=5) for tag in "ab")


@pytest.mark.parametrize(
    ("lines", "ended"),
    [
        ([NEW, OFF, ON], True),  # of two at one instant the one that restrains
        ([NEW, ON, OFF], True),
        ([OLD, OFF, Switched(thing="destination", tag="d", on=True, at=6)], True),  # dated by a host's clock
        ([OLD, OFF, NEW, Switched(thing="destination", tag="d", on=True, at=6)], False),
        ([NEW, Switched(thing="destination", tag="d", on=True, at=6), OLD, OFF], False),
        ([NEW, ON, OLD, Switched(thing="destination", tag="d", on=False, at=6)], True),
    ],
)
def test_a_lift_counts_only_where_its_order_is_known(lines: list[Line], ended: bool) -> None:  # noqa: FBT001  # a case
    assert Said.of(lines).ended("destination", "d") is ended


@pytest.mark.parametrize(
    ("lines", "bundles"),
    [
        ([NEW, A, Switched(thing="policies", tag="b", on=True, at=6)], {"b"}),
        ([NEW, A, B], {"a", "b"}),
        ([OLD, A, Switched(thing="policies", tag="b", on=True, at=6)], {"a", "b"}),
        ([OLD, Switched(thing="policies", tag="b", on=True, at=9), NEW, A], {"a"}),
        ([NEW, A, OLD, Switched(thing="policies", tag="b", on=True, at=9)], {"a"}),
    ],
)
def test_which_policies_may_have_been_in_force(lines: list[Line], bundles: set[str]) -> None:
    assert Said.of(lines).policies == bundles


def test_a_kill_switch_holds_against_a_host_whose_clock_is_ahead(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    def enabled(caller: Caller) -> bool:
        found = caller.api("GET", "/policies")["destinations"]
        return {one["name"]: bool(one["enabled"]) for one in found}["mailer"]

    def switch(caller: Caller, *, on: bool) -> None:
        body = {"enabled": on, "reason": "all_clear" if on else "suspected_breach"}
        caller.api("POST", "/destinations/mailer/switch", body)

    with running(settings, clock) as caller:
        backed_up(caller, tmp_path / "backup")
        with closing(app.build(settings, FixedClock(clock.now() + DAY))) as ahead:
            officer = caller.services.access.principal(caller.operator_key)
            for on in (False, True):
                ahead.services.policies.switch(officer, "mailer", enabled=on, reason="a_test")
        switch(caller, on=False)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert not enabled(after)
        switch(after, on=True)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert enabled(after)  # what is said after a replay comes after all that it read
