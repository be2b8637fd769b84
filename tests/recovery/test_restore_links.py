"""What a steward took apart after the backup does not come together with the restore."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from caller import Caller
from hypothesis import given
from hypothesis import strategies as st
from recovery_world import backed_up, lost, number_of, restored, running, state

from cdp.clock import SECOND, FixedClock
from cdp.journal import Apart, kept_apart
from cdp.recovery.tables import pending_restraints
from cdp.settings import Settings

PURPOSE = "data_quality"
GROUPS = st.sets(st.tuples(st.integers(1, 9), st.integers(1, 9)).filter(lambda pair: pair[0] < pair[1]))


def seen(caller: Caller, clock: FixedClock, user: str, *devices: str, consent: bool | None = None) -> None:
    """Have an event for each device name it and the user."""
    said: dict[str, Any] = {}
    if consent is not None:
        said = {"context": {"consent": {"categoryPreferences": {"Email": consent}}}}
    for device in devices or ("",):
        who = {"userId": user, "anonymousId": device} if device else {"userId": user}
        clock.advance(SECOND)
        caller.send({"type": "identify", "messageId": f"{user}{device}{clock.now()}", **who, **said})


def carve(caller: Caller, clock: FixedClock, *devices: str, dry_run: bool = False) -> None:
    clock.advance(SECOND)
    ids = [_id(caller, "anonymous_id", device) for device in devices]
    body = {"identities": ids, "dry_run": dry_run}
    caller.api("POST", f"/profiles/{ids[0]}/split", body, purpose=PURPOSE)


def merge(caller: Caller, clock: FixedClock, user: str, device: str) -> None:
    clock.advance(SECOND)
    ids = [_id(caller, "user_id", user), _id(caller, "anonymous_id", device)]
    caller.api("POST", "/profiles/merge", {"ids": ids, "dry_run": False}, purpose=PURPOSE)


def _id(caller: Caller, kind: str, name: str) -> str:
    number = number_of(caller, name, kind)
    assert number is not None
    return caller.services.profile_ids.encode(number)


def are_one(caller: Caller, *names: str) -> bool:
    """Tell whether these user ids and devices are one profile; the devices' names begin with ``d``."""
    numbers = [number_of(caller, name, "anonymous_id" if name[0] == "d" else "user_id") for name in names]
    assert None not in numbers, names
    with caller.services.store.reading() as connection:
        homes = caller.services.identity.profiles_of(connection, [one for one in numbers if one])
    return len(set(homes.values())) == 1


def apart_lines(caller: Caller) -> list[Apart]:
    return [line for line in caller.services.journal.lines() if isinstance(line, Apart)]


def waiting(caller: Caller) -> int:
    with caller.services.store.reading() as connection:
        return len(connection.execute(pending_restraints.select()).all())


@given(pairs=GROUPS)
def test_groups_say_each_pair_once(pairs: set[tuple[int, int]]) -> None:
    told = [
        (min(one, other), max(one, other))
        for fact in kept_apart(pairs)
        for one in fact.between[0]
        for other in fact.between[1]
    ]
    assert sorted(told) == sorted(pairs)


def test_a_carve_of_many_is_one_line() -> None:
    pairs = {(min(a, b), max(a, b)) for a in range(1, 500, 2) for b in range(2, 501, 2)}
    (fact,) = kept_apart(pairs)
    assert [len(group) for group in fact.between] == [250, 250]


def test_a_split_is_done_again_and_stays_whatever_names_both(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        seen(caller, clock, "ann", "d-1", "d-2", "d-3")
        backed_up(caller, tmp_path / "backup")
        carve(caller, clock, "d-2", "d-3", dry_run=True)
        assert apart_lines(caller) == []
        carve(caller, clock, "d-2", "d-3")
        assert [line.on for line in apart_lines(caller)] == [True]
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert after.services.recovery.done.apart == 4
        assert are_one(after, "ann", "d-1")
        seen(after, clock, "ann", "d-2", "d-3")
        seen(after, clock, "ben", "d-2")
        for device in ("d-2", "d-3"):
            assert not are_one(after, "ann", device)
        assert are_one(after, "ben", "d-2")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as again:
        assert not are_one(again, "ann", "d-2")
        merge(again, clock, "ann", "d-2")
        assert are_one(again, "ann", "d-2"), "a steward may think better of it"


def test_the_last_word_about_a_pair_counts(settings: Settings, clock: FixedClock, tmp_path: Path) -> None:
    with running(settings, clock) as caller:
        seen(caller, clock, "ann", "d-1", "d-2")
        backed_up(caller, tmp_path / "first")
        carve(caller, clock, "d-1", "d-2")
        merge(caller, clock, "ann", "d-1")
        backed_up(caller, tmp_path / "merged")
        carve(caller, clock, "d-2")
        assert [line.on for line in apart_lines(caller)] == [True, False, True]
    for folder in ("first", "merged"):
        lost(settings)
        restored(settings, tmp_path / folder)
        with running(settings, clock, caller) as after:
            assert are_one(after, "ann", "d-1"), folder
            assert not are_one(after, "ann", "d-2"), folder


@pytest.mark.parametrize("order", [("ann", "d-1"), ("d-1", "ann")])
def test_who_comes_back_is_kept_apart_before_they_are_linked(
    settings: Settings, clock: FixedClock, tmp_path: Path, order: Sequence[str]
) -> None:
    with running(settings, clock) as caller:
        seen(caller, clock, "zoe", "d-9")
        backed_up(caller, tmp_path / "backup")
        seen(caller, clock, "ann", "d-1", "d-2")
        seen(caller, clock, "zoe", "d-2")
        carve(caller, clock, "d-1")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert waiting(after) > 0
        for one in order:
            if one == "ann":
                seen(after, clock, "ann")
            else:
                seen(after, clock, "cleo", "d-1")
        assert not are_one(after, "ann", "d-1")
        seen(after, clock, "ann", "d-1", "d-2")
        seen(after, clock, "zoe", "d-1")
        assert not are_one(after, "ann", "d-1")
        assert not are_one(after, "zoe", "d-1")
        assert are_one(after, "ann", "d-2")
        assert waiting(after) == 0


def test_both_come_back_in_one_event(settings: Settings, clock: FixedClock, tmp_path: Path) -> None:
    with running(settings, clock) as caller:
        backed_up(caller, tmp_path / "backup")
        seen(caller, clock, "ann", "d-1", consent=False)
        carve(caller, clock, "d-1")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        seen(after, clock, "ann", "d-1")
        assert not are_one(after, "ann", "d-1")
        assert waiting(after) == 0
        assert state(after, "ann") == "refused", "what was said of both stays on both"


def test_what_lost_the_last_line_errs_on_the_side_that_keeps_apart(
    settings: Settings, clock: FixedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge is journalled after its commit: a crash in between forgets it, never the split."""
    with running(settings, clock) as caller:
        seen(caller, clock, "ann", "d-1")
        backed_up(caller, tmp_path / "backup")
        carve(caller, clock, "d-1")
        monkeypatch.setattr(caller.services.journal, "_try", lambda *_, **__: None)
        merge(caller, clock, "ann", "d-1")
        monkeypatch.undo()
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert not are_one(after, "ann", "d-1")


def test_a_split_that_cannot_be_journalled_is_refused(settings: Settings, clock: FixedClock) -> None:
    with running(settings, clock) as caller:
        seen(caller, clock, "ann", "d-1")
        caller.services.journal.close()
        settings.journal_dir.rename(settings.data_dir / "away")
        settings.journal_dir.touch()
        device = _id(caller, "anonymous_id", "d-1")
        path, body = f"/profiles/{device}/split", {"identities": [device], "dry_run": False}
        caller.api("POST", path, body, purpose=PURPOSE, expect=503)
        assert are_one(caller, "ann", "d-1")
