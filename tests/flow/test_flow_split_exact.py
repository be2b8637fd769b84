"""After any history of events, merges and splits, each side is what it had been had they never met.

The measure is a fresh installation that hears the same events with what stands revoked suppressed from the
start. Consent is the exception that protects, and has tests of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from caller import Caller
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from platform_fixtures import NOW, Template
from split_world import DEVICES, EMAILS, PURPOSE, USERS, History, Named, Side, event, people_of, twin_of

from cdp.clock import SECOND, FixedClock

SEGMENTS: dict[str, dict[str, Any]] = {
    "pro": {"trait": "plan", "op": "eq", "value": "pro"},
    "buyers": {"event": "Order Completed", "count": {"gte": 2}},
    "both": {"all": [{"event": "Order Completed"}, {"trait": "country", "op": "eq", "value": "Germany"}]},
}

source = st.sampled_from(["server", "server", "browser", "import"])
user = st.sampled_from([f"u{n}" for n in range(USERS)])
device = st.sampled_from([f"a{n}" for n in range(DEVICES)])
email = st.sampled_from([f"e{n}" for n in range(EMAILS)])
plan = st.sampled_from(["pro", "free"])
country = st.sampled_from(["Germany", "France"])
at = st.integers(0, 40)
pick = st.integers(0, 60)
identify = st.tuples(
    st.just("identify"),
    source,
    at,
    st.fixed_dictionaries(
        {"userId": user}, optional={"anonymousId": device, "email": email, "plan": plan, "country": country}
    ),
)
track = st.tuples(
    st.just("track"), source, at, st.fixed_dictionaries({"anonymousId": device}, optional={"userId": user})
)
alias = st.tuples(st.just("alias"), source, at, st.fixed_dictionaries({"previousId": device, "userId": user}))
group = st.tuples(
    st.just("group"), source, at, st.fixed_dictionaries({"userId": user, "groupId": st.just("g")})
)
steward: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just("merge"), pick, pick, st.just({})),
    st.tuples(st.just("carve"), pick, pick, st.just({})),
    st.tuples(st.just("carve"), pick, pick, st.just({})),
    st.tuples(st.just("revoke"), pick, pick, st.just({})),
    st.tuples(st.just("undo"), pick, pick, st.just({})),
    st.tuples(st.just("again"), pick, pick, st.just({})),
)
STEPS = st.lists(
    st.one_of(identify, identify, track, alias, group, steward, steward), min_size=6, max_size=16
)


@pytest.fixture
def here(caller: Caller, clock: FixedClock) -> Side:
    """The platform that events, merges and splits happen to."""
    return Side(caller, clock)


@pytest.fixture
def there(
    here: Side,
    request: pytest.FixtureRequest,
    database_url: str,
    tmp_path: Path,
    templates: Callable[[str], Template],
) -> Iterator[Side]:
    """The fresh one."""
    clock = FixedClock(NOW)
    with twin_of(request, database_url, tmp_path, templates, clock) as caller:
        made = Side(caller, clock)
        made.hears(here)
        yield made


def test_each_side_is_what_it_had_been_had_they_never_met(here: Side, there: Side) -> None:
    histories: list[History] = []

    @settings(
        max_examples=25 if here.store.single_writer else 8,
        phases=(Phase.explicit, Phase.generate),  # the platforms have heard what came before
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(steps=STEPS)
    def run(steps: list[tuple[str, Any, Any, dict[str, str]]]) -> None:
        history = History(here, there)
        for step, one, other, named in steps:
            if named:
                history.tell(step, one, other, named)
            else:
                getattr(history, step)(one, other)
        history.replay()
        assert here.numbers(history.people) == there.numbers(history.people)
        assert here.profiles(history.people) == there.profiles(history.people), steps
        histories.append(history)

    run()
    assert sum(history.changed for history in histories) > len(histories), "stewards do something"
    for side in (here, there):
        side.services.mirror.refresh()
        for name, where in SEGMENTS.items():
            side.caller.api("PUT", f"/segments/{name}", {"name": name, "where": where})
    everybody = [named for history in histories for named in history.people]
    mine, fresh = (side.known(everybody, tuple(SEGMENTS)) for side in (here, there))
    assert mine == fresh
    for number, named in list(here.numbers(histories[-1].people).items()):
        shown = here.caller.api("GET", f"/profiles/{here.id_of(number)}", purpose=PURPOSE)
        assert shown["id"] == here.caller.lookup(*named)["id"], "an id answers for its identity's profile"


def test_a_link_that_is_told_again_stays_revoked_and_a_merge_admits_it(here: Side) -> None:
    people = people_of("-x", 1, 1, 1)
    told = {"userId": "u0", "anonymousId": "a0", "email": "e0"}
    here.send(event("identify", "m1", "-x", NOW, **told), "server")
    numbers = {named: number for number, named in here.numbers(people).items()}
    device = here.id_of(numbers["anonymous_id", "a0-x"])
    assert here.change(f"/profiles/{device}/split", {}) is not None
    _apart(here, people, [1, 2])
    here.send(event("identify", "m2", "-x", NOW + SECOND, **told), "server")
    here.send(event("identify", "m3", "-x", NOW + SECOND, anonymousId="a0", email="e0"), "server")
    _apart(here, people, [1, 2])
    ids = [here.id_of(number) for number in sorted(here.profiles(people))]
    assert here.change("/profiles/merge", {"ids": ids}) is not None
    _apart(here, people, [3])
    assert here.revoked(people) == set(), "what stood between them stands no more"


def _apart(side: Side, people: list[Named], sizes: list[int]) -> None:
    assert sorted(map(len, side.profiles(people).values())) == sizes
