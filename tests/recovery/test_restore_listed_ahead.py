"""Who was put on a black list before anybody knew them stands on it when they come, after a restore, too."""

from __future__ import annotations

from pathlib import Path

from caller import Caller
from recovery_world import backed_up, erase, identify, lost, number_of, restored, running

from cdp.clock import SECOND, FixedClock
from cdp.settings import Settings


def listed(caller: Caller, *names: str, name: str = "robinson") -> tuple[int, int]:
    members = [{"type": "user_id", "value": one} for one in names]
    made = caller.api("PUT", f"/lists/{name}", {"kind": "black", "members": members})
    return made["members"], made["unknown"]


def blocked(caller: Caller, *names: str) -> set[str]:
    """Return who of these stands on a black list."""
    with caller.services.store.reading() as connection:
        found = set(caller.services.segments.blocked(connection))
    return {name for name in names if number_of(caller, name) in found}


def test_a_restore_forgets_nobody_whom_a_black_list_awaits(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    everybody = ("ann", "ben", "cleo", "dora", "emil")
    with running(settings, clock) as caller:
        assert listed(caller, "ann", "cleo") == (0, 2)  # in the backup
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        assert listed(caller, "ann", "ben", "dora", "emil") == (0, 4)  # in the journal alone
        identify(caller, "dora")
        assert blocked(caller, *everybody) == {"dora"}
        clock.advance(SECOND)
        assert listed(caller, "ann", "ben", "dora") == (1, 2)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert (after.services.recovery.done.pending, after.services.recovery.done.listed) == (2, 0)
        for name in everybody:
            identify(after, name, 2)
        # cleo was taken off since: an officer does so again
        assert blocked(after, *everybody) == {"ann", "ben", "cleo", "dora"}
        assert listed(after, "ann") == (1, 0)
        assert blocked(after, *everybody) == {"ann"}


def test_a_list_put_after_the_restore_ends_the_waiting(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        listed(caller)
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        listed(caller, "ann", "ben")
        listed(caller, "ben", name="staff")  # a list that the backup does not know
        identify(caller, "cleo")
        listed(caller, "ann", "ben", "cleo")
        clock.advance(SECOND)
        erase(caller, "cleo")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert after.services.recovery.done.pending == 3  # none of an erased person
        assert listed(after) == (0, 0)
        for name in ("ann", "ben"):
            identify(after, name, 2)
        assert blocked(after, "ann", "ben") == {"ben"}
        (lost_list,) = [held for held in after.services.segments.lists.every() if held.entries]
        assert lost_list.name == "restored_black_list"
