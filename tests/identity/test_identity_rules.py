"""The rules of links: limits within a period, aliases, what is set aside; beside a plain retelling."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cdp.clock import DAY
from cdp.identity import Candidate, Origin, Pair, resolve
from cdp.identity.resolve import fitting
from cdp.policy import Blocked, IdentifierRule, IdentityRules, Limit

JANUARY_30 = 1_769_731_200_000_000  # 2026-01-30T00:00Z
USER_A, USER_B, USER_C, MAIL_1, MAIL_2, MAIL_3, CARD_1, CARD_2, CARD_3, PHONE, TABLET = range(1, 12)
TYPES = {
    **dict.fromkeys((USER_A, USER_B, USER_C), "user_id"),
    **dict.fromkeys((MAIL_1, MAIL_2, MAIL_3), "email"),
    **dict.fromkeys((CARD_1, CARD_2, CARD_3), "external:card"),
    **dict.fromkeys((PHONE, TABLET), "anonymous_id"),
}
RULES = IdentityRules(
    version=1,
    types={
        "user_id": IdentifierRule(type="user_id", device=False, priority=1, unique=True),
        "email": IdentifierRule(type="email", device=False, priority=2, limit=Limit(1, "daily")),
        "anonymous_id": IdentifierRule(type="anonymous_id", device=True, priority=9),
    },
    external=IdentifierRule(type="external", device=False, priority=5, limit=Limit(2, "monthly")),
    blocked=Blocked(),
    profile_cap=7,
    source_trust={},
)


def told(
    at: int, low: int, high: int, origin: Origin = "event", *, verified: bool = True, position: int = 0
) -> Candidate:
    """Return what an event of the hour ``at`` after 30 January told of two identities."""
    return Candidate(
        occurred_at=JANUARY_30 + at * DAY // 24,
        event_id=b"%08d" % at,
        position=position,
        low=min(low, high),
        high=max(low, high),
        received_at=at,
        verified=verified,
        origin=origin,
    )


def alias(at: int, older: int, newer: int, *, verified: bool = True) -> Candidate:
    """Return what an alias call told."""
    return told(at, older, newer, "alias", verified=verified, position=int(older < newer))


def reasons(candidates: Iterable[Candidate], suppressed: Collection[Pair] = ()) -> list[str]:
    """Return what became of each pair, in their order."""
    return [decision.reason for decision in resolve(TYPES, candidates, suppressed, RULES).decisions]


# -- limits within a period -------------------------------------------------------------------------


def test_a_daily_limit_counts_values_that_were_first_linked_on_one_day() -> None:
    same_day = [told(1, USER_A, MAIL_1), told(23, USER_A, MAIL_2)]
    next_day = [told(1, USER_A, MAIL_1), told(24, USER_A, MAIL_2)]
    assert reasons(same_day) == ["accepted", "limit:email"]
    assert reasons(next_day) == ["accepted", "accepted"]


def test_a_month_is_that_of_the_calendar() -> None:
    cards = [told(at, USER_A, card) for at, card in ((1, CARD_1), (47, CARD_2), (48, CARD_3))]
    assert reasons(cards) == ["accepted"] * 3  # the third on 1 February
    cards[2] = told(24 * 365, USER_A, CARD_3)
    assert reasons(cards) == ["accepted"] * 3  # the third a year later
    cards[2] = told(47, USER_A, CARD_3)
    assert reasons(cards) == ["accepted", "accepted", "limit:external:card"]


def test_a_value_set_aside_counts_from_when_something_accepts_it() -> None:
    outcome = resolve(
        TYPES, [told(1, USER_A, MAIL_1), told(2, USER_A, MAIL_2), told(25, USER_A, MAIL_3)], (), RULES
    )
    assert outcome.profile_of[MAIL_3] == USER_A
    assert outcome.profile_of[MAIL_2] == MAIL_2


def test_a_value_set_aside_is_taken_when_it_is_said_again_in_a_later_period() -> None:
    said = [told(1, USER_A, MAIL_1), told(2, USER_A, MAIL_2), told(5, USER_A, MAIL_2)]
    assert reasons(said) == ["accepted", "limit:email"]
    again = resolve(TYPES, [*said, told(25, USER_A, MAIL_2)], (), RULES)
    assert [(one.accepted, one.candidate.occurred_at) for one in again.decisions] == [
        (True, said[0].occurred_at),
        (True, told(25, USER_A, MAIL_2).occurred_at),
    ]
    full = [*said, told(24, USER_A, MAIL_3), told(25, USER_A, MAIL_2)]
    assert reasons(full) == ["accepted", "limit:email", "accepted"]
    assert reasons([*full, told(49, USER_A, MAIL_2)]) == ["accepted"] * 3


def test_two_profiles_with_values_of_one_day_do_not_merge_and_of_two_days_do() -> None:
    def joined(day: int) -> list[Candidate]:
        return [told(1, PHONE, MAIL_1), told(day, TABLET, MAIL_2), told(99, PHONE, TABLET)]

    assert reasons(joined(2))[-1] == "limit:email"
    assert reasons(joined(30))[-1] == "accepted"


# -- aliases ----------------------------------------------------------------------------------------


def test_a_trusted_alias_makes_an_older_user_id_the_same_user() -> None:
    said = [told(1, USER_A, PHONE), told(2, USER_B, TABLET), told(3, PHONE, TABLET)]
    assert reasons(said)[-1] == "unique:user_id"
    outcome = resolve(TYPES, [*said, alias(99, USER_A, USER_B)], (), RULES)
    assert {outcome.profile_of[number] for number in (USER_A, USER_B, PHONE, TABLET)} == {USER_A}


def test_a_browser_s_alias_makes_no_two_users_one() -> None:
    assert reasons([alias(1, USER_A, USER_B, verified=False)]) == ["unique:user_id"]


def test_an_older_id_is_that_of_one_user() -> None:
    twice = [alias(1, USER_C, USER_A), alias(2, USER_C, USER_B)]
    outcome = resolve(TYPES, twice, (), RULES)
    assert outcome.profile_of == {**{n: n for n in TYPES}, USER_C: USER_A}
    assert [decision.reason for decision in outcome.decisions] == ["accepted", "unique:user_id"]


def test_a_chain_and_a_cycle_of_aliases_are_one_user() -> None:
    chain = [alias(1, USER_A, USER_B), alias(2, USER_B, USER_C)]
    cycle = [*chain, alias(3, USER_C, USER_A), alias(4, USER_B, USER_A)]
    for said in (chain, cycle):
        assert resolve(TYPES, said, (), RULES).profile_of[USER_C] == USER_A


def test_a_steward_s_split_undoes_what_an_alias_said() -> None:
    said = [alias(1, USER_A, USER_B), told(2, USER_A, PHONE), told(3, USER_B, PHONE)]
    outcome = resolve(TYPES, said, {(USER_A, USER_B)}, RULES)
    assert outcome.profile_of[USER_B] == USER_B
    assert [decision.reason for decision in outcome.decisions] == ["suppressed", "accepted", "unique:user_id"]


def test_who_is_renamed_back_and_forth_may_be_renamed_again() -> None:
    said = [alias(1, USER_A, USER_B), alias(2, USER_B, USER_A), alias(3, USER_B, USER_C)]
    assert resolve(TYPES, said, (), RULES).profile_of[USER_C] == USER_A


def test_one_value_under_several_spellings_counts_once_on_the_day_on_which_it_came_first() -> None:
    """Told in the order of the days: its first, its last, one between."""
    mails = list(range(20, 24))
    types = TYPES | dict.fromkeys(mails, "email") | {30: "anonymous_id"}
    said = [
        *(told(200, mails[0], mail, "index") for mail in mails[1:3]),
        told(2, mails[0], PHONE),
        told(98, mails[1], TABLET),
        told(50, mails[2], 30),
    ]
    apart = {(mails[0], mail) for mail in mails[1:3]}
    joined = [told(99, PHONE, TABLET), told(100, PHONE, 30), told(51, PHONE, mails[3])]
    one = resolve(types, [*said, *joined], (), RULES)
    assert {decision.reason for decision in one.decisions} == {"accepted"}
    assert len({one.profile_of[number] for number in (*mails, PHONE, TABLET, 30)}) == 1
    several = resolve(types, [*said, *joined], apart, RULES)
    assert "limit:email" in {decision.reason for decision in several.decisions}


def test_a_long_chain_of_aliases_is_quick_and_one_profile() -> None:
    count = 3000
    types = dict.fromkeys(range(1, count + 1), "user_id")
    chain = [alias(at, at, at + 1) for at in range(1, count)]
    large = msgspec.structs.replace(RULES, profile_cap=count)
    outcome = resolve(types, reversed(chain), (), large)
    assert set(outcome.profile_of.values()) == {1}


# -- what is told of a conflict ---------------------------------------------------------------------


def test_of_several_conflicts_the_highest_priority_is_named() -> None:
    left = [told(1, USER_A, MAIL_1), told(2, USER_B, MAIL_2), told(3, MAIL_1, MAIL_2)]
    assert reasons(left)[-1] == "unique:user_id"


def test_a_match_takes_nothing_from_what_was_told() -> None:
    said = [told(1, USER_A, USER_B, "match", verified=False), told(9, USER_A, PHONE), told(10, USER_B, PHONE)]
    outcome = resolve(TYPES, said, (), RULES)
    assert outcome.profile_of[PHONE] == USER_A
    assert [decision.reason for decision in outcome.decisions] == [
        "accepted",
        "unique:user_id",
        "unique:user_id",
    ]


# -- the cap of components --------------------------------------------------------------------------


def test_what_would_connect_too_many_is_left_out_and_all_else_stays() -> None:
    kept = fitting(
        [told(1, 1, 2), told(2, 3, 4), told(3, 1, 3), told(4, 4, 9), told(5, 2, 1)],
        {1: 1, 2: 2, 3: 3, 4: 3},
        {1: 3, 2: 1, 3: 2},
        5,
    )
    assert [(one.low, one.high) for one in kept] == [(1, 2), (3, 4), (4, 9), (1, 2)]


# -- against a plain retelling ----------------------------------------------------------------------


def period(kind: str, at: int) -> object:
    """Return in which period a value counts."""
    told_at = datetime.fromtimestamp(at / 1_000_000, UTC)
    return {"email": told_at.date(), "external:card": (told_at.year, told_at.month)}.get(kind)


def plainly(
    candidates: Iterable[Candidate], suppressed: Collection[Pair]
) -> tuple[dict[int, int], dict[Pair, str]]:
    """Resolve by walking over sets, with nothing kept but who is with whom and since when."""
    order = sorted(candidates, key=lambda c: c.order)
    value = alike(order, suppressed)
    group = {number: {number} for number in TYPES}
    since: dict[int, int] = {}
    became: dict[Pair, str] = {}
    turns: set[tuple[Pair, object]] = set()
    for c in order:
        turn = c.pair, turn_of(c)
        if became.get(c.pair) == "accepted" or turn in turns:
            continue
        turns.add(turn)
        union = group[c.low] | group[c.high]
        times = {number: since.get(number, c.occurred_at) for number in union}
        if c.pair in suppressed:
            became[c.pair] = "suppressed"
        elif group[c.low] is group[c.high]:
            became[c.pair] = "accepted"
        elif refused := conflict(times, value):
            became.setdefault(c.pair, refused)
        else:
            became[c.pair] = "accepted"
            since |= times
            group |= dict.fromkeys(union, union)
    return {number: min(held) for number, held in group.items()}, became


def turn_of(c: Candidate) -> object:
    """Return in which period a pair is considered: a day where one of its types has a limit of days."""
    kinds = {TYPES[c.low], TYPES[c.high]}
    shortest = next((kind for kind in ("email", "external:card") if kind in kinds), "")
    return period(shortest, c.occurred_at)


def alike(order: Iterable[Candidate], suppressed: Collection[Pair]) -> dict[int, set[int]]:
    """Return identity → all those that are one value with it."""
    value = {number: {number} for number in TYPES}
    newer: dict[int, int] = {}
    seen: set[Pair] = set(suppressed)
    for c in order:
        named_one = c.verified and c.origin in ("alias", "index") and TYPES[c.low] == TYPES[c.high]
        if named_one and c.pair not in seen:
            seen.add(c.pair)
            older, other = (c.low, c.high) if c.position else (c.high, c.low)
            if c.origin == "index" or newer.setdefault(older, other) == other:
                one = value[c.low] | value[c.high]
                value |= dict.fromkeys(one, one)
    return value


def conflict(times: Mapping[int, int], value: Mapping[int, Collection[int]]) -> str:
    """Return why identities that were linked at these times may not be one profile."""
    most = {"user_id": 1, "email": 1, "external:card": 2}
    for kind, count in most.items():
        first: dict[int, int] = {}
        for number, at in times.items():
            if TYPES[number] == kind:
                name = min(value[number])
                first[name] = min(at, first.get(name, at))
        counted = [period(kind, at) for at in first.values()]
        if any(counted.count(one) > count for one in counted):
            return f"{'unique' if kind == 'user_id' else 'limit'}:{kind}"
    return "cap" if len(times) > RULES.profile_cap else ""


numbers = st.sampled_from(sorted(TYPES))
some = st.lists(
    st.builds(
        lambda at, pair, origin, verified, position: told(
            at, pair[0], pair[1], origin, verified=verified, position=position
        ),
        st.integers(0, 80),
        st.tuples(numbers, numbers).filter(lambda pair: pair[0] != pair[1]),
        st.sampled_from(["event", "event", "alias", "alias", "merge", "match", "index"]),
        st.booleans(),
        st.integers(0, 1),
    ),
    max_size=25,
)
pairs = st.sets(st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1]), max_size=4)


@given(some, pairs, st.randoms(use_true_random=False))
def test_the_outcome_is_that_of_a_plain_retelling_in_any_order(
    candidates: list[Candidate], suppressed: set[Pair], chance: random.Random
) -> None:
    shuffled = chance.sample(candidates, len(candidates))
    outcome = resolve(TYPES, shuffled, suppressed, RULES)
    became = {decision.candidate.pair: decision.reason for decision in outcome.decisions}
    assert (outcome.profile_of, became) == plainly(candidates, suppressed)


@given(some, pairs)
def test_of_each_pair_the_earliest_that_says_as_much_is_enough(
    candidates: list[Candidate], suppressed: set[Pair]
) -> None:
    first: dict[object, Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: c.order):
        kind = candidate.pair, candidate.weight, candidate.origin == "match", turn_of(candidate)
        first.setdefault(kind, candidate)
    known = resolve(TYPES, candidates, suppressed, RULES)
    assert resolve(TYPES, list(first.values()), suppressed, RULES) == known
