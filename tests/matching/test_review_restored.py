"""A guess that a steward rejected after the backup is not proposed again after the restore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from caller import Caller
from people import Person, are_one, run
from recovery_world import backed_up, lost, restored, running
from scripted import LIKELY, SURE, Scripted, people, scripted
from sqlalchemy import select

from cdp.clock import SECOND, FixedClock
from cdp.matching import reject_again
from cdp.matching.tables import match_pairs
from cdp.settings import Settings

core = pytest.fixture(scripted, name="core")
QUEUE = "/identity/review"


def reject(caller: Caller) -> None:
    for pair in _waiting(caller):
        caller.api("POST", f"{QUEUE}/{pair['id']}", {"decision": "reject"})


def _waiting(caller: Caller) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.api("GET", QUEUE)["items"]
    return found


def test_a_rejected_guess_stays_rejected(
    settings: Settings, clock: FixedClock, tmp_path: Path, core: Scripted
) -> None:
    """Of a pair that waits in the backup, of one that no run had found, and of people who come later."""
    core.weight = LIKELY
    with running(settings, clock) as caller:
        people(caller, 1)
        run(caller)
        caller.send(*(message for message in (Person(2).shop(), Person(2).newsletter())))
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        people(caller, 3)
        run(caller, full=True)
        reject(caller)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert after.services.recovery.done.apart == 2
        assert _waiting(after) == []
        clock.advance(SECOND)
        people(after, 3)
        core.weight = SURE
        done = run(after, full=True)
        assert (done["linked"], done["queued"]) == (0, 0)
        assert not any(are_one(after, number) for number in (1, 2, 3))
        after.send({"type": "identify", "userId": "shop-3", "anonymousId": "letter-3"})
        assert are_one(after, 3), "what a source states is no guess"


def test_a_pair_that_a_run_had_linked_by_the_backup_is_rejected_like_another(
    caller: Caller, core: Scripted
) -> None:
    """It came apart, waited and was rejected after the backup, of which the last alone is replayed here."""
    core.weight = SURE
    people(caller, 1)
    run(caller)
    with caller.services.store.reading() as connection:
        (pair,) = connection.execute(select(match_pairs.c.low, match_pairs.c.high)).all()
    for times in (1, 0):
        with caller.services.committer.batch() as batch:
            assert reject_again(batch, {(pair.low, pair.high)}, "key:0", 1) == times
    with caller.services.store.reading() as connection:
        assert connection.execute(select(match_pairs.c.state)).scalar_one() == "rejected"
