"""Whatever was said and erased, before a backup and after it: nobody is back after a restore."""

from __future__ import annotations

import pytest
from caller import Caller
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from recovery_world import anew, backed_up, erase, identify, lost, number_of, restored, running, say, state

from cdp.clock import DAY, SECOND, FixedClock
from cdp.settings import Settings

NAMES = ("ann", "ben", "cleo", "dora", "emil", "fred")
ACTS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(["grant", "withdraw", "erase"])),
    max_size=24,
)


@examples(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(before=ACTS, after=ACTS)
def test_after_a_restore_nobody_is_back(
    settings: Settings,
    clock: FixedClock,
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[str, str]],
    after: list[tuple[str, str]],
) -> None:
    """Whatever was said and erased, before the backup and after it: no more is granted than was."""
    folder = tmp_path_factory.mktemp("world")
    chosen = anew(settings, folder)
    erased: set[str] = set()
    with running(chosen, clock) as caller:
        _play(caller, clock, before, erased)
        backed_up(caller, folder / "backup")
        _play(caller, clock, after, erased)
        expected = {name: state(caller, name) for name in NAMES}
    lost(chosen)
    restored(chosen, folder / "backup")
    clock.advance(DAY)
    with running(chosen, clock, caller) as found:
        for name in NAMES:
            identify(found, name, 99)
            now = state(found, name)
            if name in erased:
                assert now == ""
            else:  # an act is in the journal, so what was granted after the backup is back too
                assert now == (expected[name] or "missing")


def _play(caller: Caller, clock: FixedClock, acts: list[tuple[str, str]], erased: set[str]) -> None:
    for number, (name, act) in enumerate(acts):
        clock.advance(SECOND)
        if name in erased:
            continue
        if act != "erase":
            say(caller, name, act == "grant", clock.now() + number)
        elif number_of(caller, name) is not None:
            erase(caller, name)
            erased.add(name)
