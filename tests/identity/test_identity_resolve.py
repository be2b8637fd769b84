"""The link decision is a function of the set of candidates; conflicts are set aside with a reason."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from cdp.identity import Candidate, resolve
from cdp.policy import Blocked, IdentifierRule, IdentityRules, Limit

RULES = IdentityRules(
    version=1,
    types={
        "user_id": IdentifierRule(type="user_id", device=False, priority=1, unique=True),
        "email": IdentifierRule(type="email", device=False, priority=2, limit=Limit(2)),
        "anonymous_id": IdentifierRule(type="anonymous_id", device=True, priority=9),
    },
    external=IdentifierRule(type="external", device=False, priority=5),
    blocked=Blocked(),
    profile_cap=6,
    source_trust={},
)
USER_A, USER_B, MAIL_1, MAIL_2, MAIL_3, PHONE, TABLET = range(1, 8)
TYPES = {
    USER_A: "user_id",
    USER_B: "user_id",
    MAIL_1: "email",
    MAIL_2: "email",
    MAIL_3: "email",
    PHONE: "anonymous_id",
    TABLET: "anonymous_id",
}


def seen(at: int, low: int, high: int) -> Candidate:
    return Candidate(
        occurred_at=at,
        event_id=b"%08d" % at,
        position=0,
        low=min(low, high),
        high=max(low, high),
        received_at=at,
        verified=True,
    )


def test_anonymous_becomes_known() -> None:
    outcome = resolve(TYPES, [seen(1, PHONE, USER_A)], set(), RULES)
    assert outcome.profile_of[PHONE] == outcome.profile_of[USER_A] == USER_A
    assert outcome.profile_of[TABLET] == TABLET


def test_two_people_on_one_device_stay_two() -> None:
    outcome = resolve(TYPES, [seen(1, PHONE, USER_A), seen(2, PHONE, USER_B)], set(), RULES)
    assert outcome.profile_of[PHONE] == USER_A
    assert outcome.profile_of[USER_B] == USER_B
    assert [d.reason for d in outcome.decisions] == ["accepted", "unique:user_id"]


def test_a_type_over_its_limit_is_set_aside() -> None:
    pairs = [seen(at, USER_A, mail) for at, mail in enumerate((MAIL_1, MAIL_2, MAIL_3))]
    outcome = resolve(TYPES, pairs, set(), RULES)
    assert outcome.profile_of[MAIL_3] == MAIL_3
    assert outcome.decisions[-1].reason == "limit:email"


def test_a_profile_never_grows_over_its_cap() -> None:
    types = dict.fromkeys(range(1, 11), "anonymous_id")
    outcome = resolve(types, [seen(n, n, n + 1) for n in range(1, 10)], set(), RULES)
    sizes = [list(outcome.profile_of.values()).count(root) for root in set(outcome.profile_of.values())]
    assert max(sizes) == RULES.profile_cap
    assert {d.reason for d in outcome.decisions} == {"accepted", "cap"}


def test_a_suppressed_pair_stays_apart_also_for_later_candidates() -> None:
    pairs = [seen(1, PHONE, USER_A), seen(5, PHONE, USER_A)]
    outcome = resolve(TYPES, pairs, {(USER_A, PHONE)}, RULES)
    assert outcome.profile_of[PHONE] == PHONE


candidates = st.lists(
    st.builds(
        lambda at, pair: seen(at, *pair),
        st.integers(0, 20),
        st.tuples(st.sampled_from(sorted(TYPES)), st.sampled_from(sorted(TYPES))).filter(
            lambda p: p[0] != p[1]
        ),
    ),
    max_size=15,
)


@given(candidates, st.randoms(use_true_random=False))
def test_arrival_order_has_no_part_in_the_result(pairs: list[Candidate], chance: random.Random) -> None:
    shuffled = list(pairs)
    chance.shuffle(shuffled)
    assert resolve(TYPES, pairs, set(), RULES) == resolve(TYPES, shuffled, set(), RULES)


@given(candidates)
def test_a_profile_is_numbered_by_its_smallest_identity_and_keeps_the_rules(pairs: list[Candidate]) -> None:
    profile_of = resolve(TYPES, pairs, set(), RULES).profile_of
    for root in set(profile_of.values()):
        members = [number for number, profile in profile_of.items() if profile == root]
        assert min(members) == root
        kinds = [TYPES[number] for number in members]
        assert kinds.count("user_id") <= 1
        assert kinds.count("email") <= 2
