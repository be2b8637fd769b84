"""Which period holds: the shortest that fits, but for what is owed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.clock import DAY
from cdp.policy import Bundle, Retention, load
from cdp.rights.retention import Due, Kept, Periods

SHIPPED = load(Path(__file__).parents[2] / "policies")
EU, CHINA, CALIFORNIA = frozenset({"EU"}), frozenset({"EU", "CN"}), frozenset({"EU", "US-CA"})


def row(days: int, **said: object) -> Retention:
    given = {"id": f"r{days}", "categories": ("user.contact",), "purpose": "*", "basis": "*"}
    return msgspec.convert({**given, "jurisdictions": (), "source": "", **said, "days": days}, Retention)


def bundle(*rows: Retention) -> Bundle:
    return msgspec.structs.replace(SHIPPED, retention=rows)


@pytest.mark.parametrize(
    ("rows", "category", "laws", "days"),
    [
        ([], "user.contact.email", EU, None),
        ([row(10)], "user.contact.email", EU, 10),
        ([row(10)], "user.contact", EU, 10),
        ([row(10)], "user", EU, None),
        ([row(10)], "user.contacts", EU, None),
        ([row(10), row(20)], "user.contact.email", EU, 10),
        ([row(10, purpose="marketing"), row(20)], "user.contact.email", EU, 10),
        ([row(10, jurisdictions=("CN",))], "user.contact.email", EU, None),
        ([row(10, jurisdictions=("CN",))], "user.contact.email", CHINA, 10),
        ([row(10, purpose="marketing", basis="opt_out")], "user.contact.email", EU, None),
        ([row(10, purpose="marketing", basis="opt_out")], "user.contact.email", CALIFORNIA, 10),
        ([row(10, basis="legal_obligation", purpose="marketing")], "user.contact.email", EU, None),
        ([row(10), row(99, basis="legal_obligation")], "user.contact.email", EU, 99),
        ([row(50), row(20, basis="legal_obligation")], "user.contact.email", EU, 50),
        ([row(20, basis="legal_obligation")], "user.contact.email", EU, 20),
        ([row(20, basis="legal_obligation"), row(30, basis="legal_obligation")], "user.contact", EU, 30),
    ],
)
def test_the_shortest_wins_and_what_is_owed_stays(
    rows: list[Retention], category: str, laws: frozenset[str], days: int | None
) -> None:
    found = Periods(bundle(*rows)).of(category, laws)
    assert found == (None if days is None else Kept(days, f"r{days}"))


ROWS = st.lists(
    st.builds(
        row,
        st.integers(1, 400),
        categories=st.lists(st.sampled_from(sorted(SHIPPED.categories)), min_size=1, max_size=3).map(tuple),
        purpose=st.sampled_from(["*", *sorted(SHIPPED.purposes)]),
        basis=st.sampled_from(["*", "consent", "opt_out", "legitimate_interest"]),
        jurisdictions=st.lists(st.sampled_from(["EU", "CN", "US"]), max_size=2).map(frozenset),
    ),
    max_size=6,
)
CATEGORY = st.sampled_from(sorted(SHIPPED.categories))
LAWS = st.frozensets(st.sampled_from(sorted(SHIPPED.jurisdictions.configured)), min_size=1)


@given(rows=ROWS, more=ROWS, category=CATEGORY, laws=LAWS, other=LAWS)
def test_another_limit_or_another_law_never_keeps_longer(
    rows: list[Retention], more: list[Retention], category: str, laws: frozenset[str], other: frozenset[str]
) -> None:
    before = Periods(bundle(*rows)).of(category, laws)
    if before is not None:
        for changed in (
            Periods(bundle(*rows, *more)).of(category, laws),
            Periods(bundle(*rows)).of(category, laws | other),
        ):
            assert changed is not None
            assert changed.days <= before.days


@given(rows=ROWS, category=CATEGORY, laws=LAWS, days=st.integers(0, 500), later=st.integers(0, 500))
def test_what_is_past_its_period_stays_so(
    rows: list[Retention], category: str, laws: frozenset[str], days: int, later: int
) -> None:
    periods = Periods(bundle(*rows))
    now = 10_000 * DAY
    told = now - days * DAY
    if Due(periods, laws, now).row(category, told):
        assert Due(periods, laws, now + later * DAY).row(category, told)
        assert Due(periods, laws, now).crosses([category], told, None)
        assert Due(periods, laws, now, held=["user"]).is_held(category)


@given(rows=ROWS, category=CATEGORY, laws=LAWS, days=st.integers(0, 500), before=st.integers(0, 500))
def test_of_two_looks_one_after_the_other_exactly_one_sees_it_cross(
    rows: list[Retention], category: str, laws: frozenset[str], days: int, before: int
) -> None:
    periods, now = Periods(bundle(*rows)), 10_000 * DAY
    told, first = now - days * DAY, now - before * DAY
    seen = Due(periods, laws, first).crosses([category], told, None)
    again = Due(periods, laws, now).crosses([category], told, first)
    assert seen + again == bool(Due(periods, laws, now).row(category, told))
