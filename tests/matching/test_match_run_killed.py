"""A process that is killed in the middle of a run leaves nothing clear behind, and nothing half."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from forked import CONTEXT
from left_behind import files, left, tables
from people import Person, are_one, run
from recovery_world import running
from scripted import rows

from cdp import app
from cdp.clock import FixedClock, Micros
from cdp.identity.tables import link_candidates
from cdp.matching import queries, service
from cdp.matching.columns import Columns
from cdp.matching.tables import match_pairs
from cdp.settings import Settings

_PAGE = 4
STEPS = ("reading", "comparing", "linking", "queueing", "ending")


def _dies(work: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    """Return ``work`` after which the process is killed, ``when`` what it was given is so."""

    def done(*given: Any, **named: Any) -> Any:
        found = work(*given, **named)
        if when(*given):
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    return done


def _killed(settings: Settings, now: Micros, step: str, folder: Path) -> None:
    """Run matching in ``folder``, and be killed in the middle of a step."""
    os.chdir(folder)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    seen = iter(range(2))

    def put(state: str, *, at: int) -> Callable[..., Any]:
        def when(_connection: object, pairs: Any, _batch: object) -> bool:
            return bool(pairs) and pairs[0].state == state and next(seen) == at

        return _dies(queries.put_pairs, when)

    always = lambda *_: True  # noqa: E731  # as short as its name
    core = sys.modules["cdp.matching.match"]
    patched: dict[str, Callable[[], None]] = {
        "reading": lambda: setattr(Columns, "table", _dies(Columns.table, always)),
        "comparing": lambda: setattr(core, "train", _dies(vars(core)["train"], always)),
        "linking": lambda: setattr(queries, "put_pairs", put("linked", at=1)),
        "queueing": lambda: setattr(queries, "put_pairs", put("open", at=0)),
        "ending": lambda: setattr(queries, "change_run", _dies(queries.change_run, _has_ended)),
    }
    vars(service)["_LINKED"] = _PAGE
    with closing(app.build(settings, FixedClock(now))) as platform:
        patched[step]()
        platform.services.matching.start("key:1", full=True)
        platform.services.matching.wait()


def _has_ended(_connection: object, found: Any) -> bool:
    return bool(found.state == "done")


def _in_a_process(work: Callable[[], None]) -> int | None:
    process = CONTEXT.Process(target=work)
    process.start()
    try:
        process.join(timeout=120)
    finally:
        process.kill()
        process.join()
    return process.exitcode


@pytest.fixture
def spill(tmp_path: Path) -> Path:
    """Where the process works, and would write what is temporary."""
    folder = tmp_path / "spill"
    folder.mkdir()
    return folder


def _less(person: Person) -> dict[str, Any]:
    """Return a record of a newsletter that says too little to be sure."""
    found = person.newsletter(birthday=person.traits["birthday"][:-2] + "01")
    del found["traits"]["address"]
    return found


def test_killed_in_the_middle_of_any_step(settings: Settings, clock: FixedClock, spill: Path) -> None:
    people = [Person(number) for number in range(80)]
    with running(settings, clock) as caller:
        caller.send(*(person.shop() for person in people))
        caller.send(*(_less(one) if one.number % 3 == 1 else one.newsletter() for one in people[:40]))
    for step in STEPS:
        assert _in_a_process(partial(_killed, settings, clock.now(), step, spill)) == -signal.SIGKILL, step
        assert not list(spill.iterdir()), step
        kept = files(settings.data_dir.parent) | tables(settings.database) | tables(settings.keys_database)
        assert left(kept, people) == set(), step
    with running(settings, clock, caller) as after:
        found = after.api("GET", "/match/runs")["items"]
        assert [one["state"] for one in found] == ["interrupted"] * len(STEPS)
        linked = _linked(after)
        ended = run(after)
        assert (ended["state"], ended["linked"], ended["model"]) == ("done", 0, 1)
        assert ended["queued"] == len(after.api("GET", "/identity/review")["items"]) > 0
        assert _linked(after) == linked
        assert sum(are_one(after, number) for number in range(40)) == len(linked) > _PAGE
        found = after.api("GET", "/match/runs")["items"][1:]
        assert all(one["state"] == "interrupted" and one["finished_at"] for one in found)
        assert after.api("GET", "/audit/verify")["verified"]


def _linked(caller: Any) -> set[tuple[int, int]]:
    """Return the pairs that runs linked, each of which has its evidence."""
    told = {(row.low, row.high) for row in rows(caller, link_candidates) if row.origin == "match"}
    assert told == {(row.low, row.high) for row in rows(caller, match_pairs) if row.state == "linked"}
    return told
