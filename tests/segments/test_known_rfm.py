"""Recency, frequency and value of real customers, against sums over the raw rows in plain Python.

Thresholds are the quintiles of what the customers of the set have, reckoned here; each customer gets a score
from 1 to 5 for each of the three, and for each of the 125 cells the definition that asks for it is counted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from known import Known, rows

Scores = range(1, 6)
ORDER = "Order Completed"


class Customer:
    """What one bought, as the raw rows say."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, Decimal]] = []  # when, on the clocks of the shop, and for how much

    @property
    def last(self) -> str:
        return max(at for at, _ in self.orders)

    @property
    def spent(self) -> Decimal:
        return sum((amount for _, amount in self.orders), Decimal(0))


@pytest.fixture(scope="module")
def cohort(shared: Path) -> dict[str, Customer]:
    """The customers of CDNOW."""
    found: defaultdict[str, Customer] = defaultdict(Customer)
    for row in rows(shared, "cdnow/cdnow_master.csv.gz"):
        found[row["customer_id"]].orders.append((row["date"], Decimal(row["dollar_value"])))
    return dict(found)


@pytest.fixture(scope="module")
def shoppers(shared: Path) -> dict[str, Customer]:
    """The customers of Online Retail who bought: lines of one invoice are one order."""
    invoices: dict[str, tuple[str, str]] = {}
    amounts: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows(shared, "online_retail/online_retail_2010-12_2011-09.csv.gz"):
        if row["CustomerID"] and row["InvoiceNo"][0] != "C":
            at = max(row["InvoiceDate"], invoices.get(row["InvoiceNo"], ("", ""))[1])  # some took two minutes
            invoices[row["InvoiceNo"]] = row["CustomerID"], at
            amounts[row["InvoiceNo"]] += int(row["Quantity"]) * Decimal(row["UnitPrice"])
    found: defaultdict[str, Customer] = defaultdict(Customer)
    for invoice, (customer, at) in invoices.items():
        found[customer].orders.append((at, amounts[invoice]))
    return dict(found)


def quintiles(values: Mapping[str, Any]) -> list[Any]:
    """Return the least value of each fifth; the score is how many of them a value reaches."""
    ordered = sorted(values.values())
    return [ordered[len(ordered) * fifth // 5] for fifth in range(5)]


def scored(values: Mapping[str, Any], least: list[Any]) -> dict[str, int]:
    return {who: bisect_right(least, value) for who, value in values.items()}


def between(least: list[Any], reaches: Any) -> dict[int, Any]:
    """Return score → the condition that finds it: reaches its least value, and not that of the next one.

    :param reaches: makes the condition of a least value.
    """
    return {
        score: {"all": [reaches(low), *([] if high is None else [{"not": reaches(high)}])]}
        for score, (low, high) in enumerate(pairwise([*least, None]), 1)
    }


def check_cells(known: Known, found: dict[str, dict[int, Any]], scores: dict[str, dict[str, int]]) -> None:
    """Compare the members of every score, and the size of every cell, with what was counted.

    :param found: of each of the three, score → condition; ``scores`` customer → score.
    """
    members = {
        letter: {score: known.found(condition) for score, condition in conditions.items()}
        for letter, conditions in found.items()
    }
    for letter, by_score in members.items():
        for score, some in by_score.items():
            expected = {who for who, reached in scores[letter].items() if reached == score}
            assert some == expected, (letter, score)
    cells = Counter(zip(*(scores[letter].values() for letter in "RFM"), strict=True))
    assert sum(cells.values()) == len(scores["R"])
    for number, cell in enumerate(product(Scores, repeat=3)):
        shared = set.intersection(
            *(members[letter][score] for letter, score in zip("RFM", cell, strict=True))
        )
        assert len(shared) == cells[cell], cell
        if number % 12 == 0:  # asked as one definition, too
            where = {"all": [found[letter][score] for letter, score in zip("RFM", cell, strict=True)]}
            assert known.size(where) == cells[cell], cell


def test_the_sets_are_those_that_were_published(cohort: dict[str, Customer], cdnow: Known) -> None:
    assert (len(cohort), len(cdnow.happened)) == (23_570, 69_659)
    assert sum(customer.spent for customer in cohort.values()) == Decimal("2500315.63")
    assert set(cdnow.everybody) == set(cohort)


def test_every_cell_of_cdnow(cohort: dict[str, Customer], cdnow: Known) -> None:
    """Recency by ``within``: purchases are at midnight, as is now, so many lie on an edge."""
    values: dict[str, dict[str, Any]] = {
        "R": {who: -days_since(one.last) for who, one in cohort.items()},
        "F": {who: len(one.orders) for who, one in cohort.items()},
        "M": {who: one.spent for who, one in cohort.items()},
    }
    least = {letter: quintiles(of) for letter, of in values.items()}
    scores = {letter: scored(of, least[letter]) for letter, of in values.items()}
    found = {
        "R": between(least["R"], lambda days: {"event": ORDER, "within": f"{-days}d"}),
        "F": between(least["F"], lambda n: {"event": ORDER, "count": {"gte": n}}),
        "M": between(least["M"], lambda m: {"event": ORDER, "sum": {"property": "revenue", "gte": float(m)}}),
    }
    check_cells(cdnow, found, scores)


def days_since(date: str) -> int:
    return (datetime(1998, 7, 1) - datetime.strptime(date, "%Y%m%d")).days  # noqa: DTZ001, DTZ007  # both UTC


def test_every_cell_of_online_retail(shoppers: dict[str, Customer], retail: Known) -> None:
    """Recency by ``from`` at the very minute of somebody's last invoice, on the clocks of London."""
    values: dict[str, dict[str, Any]] = {
        "R": {who: one.last for who, one in shoppers.items()},
        "F": {who: len(one.orders) for who, one in shoppers.items()},
        "M": {who: one.spent for who, one in shoppers.items()},
    }
    least = {letter: quintiles(of) for letter, of in values.items()}
    scores = {letter: scored(of, least[letter]) for letter, of in values.items()}
    london = ZoneInfo("Europe/London")

    def since(at: str) -> dict[str, Any]:
        return {"event": ORDER, "from": datetime.fromisoformat(at).replace(tzinfo=london).isoformat()}

    found = {
        "R": between(least["R"], since),
        "F": between(least["F"], lambda n: {"event": ORDER, "distinct": {"property": "order_id", "gte": n}}),
        "M": between(least["M"], lambda m: {"event": ORDER, "sum": {"property": "revenue", "gte": float(m)}}),
    }
    check_cells(retail, found, scores)


@pytest.mark.parametrize("days", [7, 30, 90, 180])
def test_who_came_back_and_what_each_order_was_worth(
    cohort: dict[str, Customer], cdnow: Known, days: int
) -> None:
    edge = (datetime(1998, 7, 1) - timedelta(days=days)).strftime("%Y%m%d")  # noqa: DTZ001  # UTC
    window = {"event": ORDER, "within": f"{days}d"}
    recent = {who: [amount for at, amount in one.orders if at >= edge] for who, one in cohort.items()}
    assert cdnow.found({**window, "count": {"eq": 2}}) == {w for w, o in recent.items() if len(o) == 2}
    amounts = {"property": "revenue"}
    for bound in (0, 9, 20, 50):
        rich = {**window, "max": {**amounts, "gt": bound}}
        assert cdnow.found(rich) == {w for w, o in recent.items() if o and max(o) > bound}
        on_average = {**window, "avg": {**amounts, "gte": bound}}
        assert cdnow.found(on_average) == {w for w, o in recent.items() if o and sum(o) / len(o) >= bound}
    lapsed = {"all": [{"event": ORDER, "count": {"gte": 3}}, {"not": window}]}
    assert cdnow.found(lapsed) == {w for w, o in recent.items() if not o and len(cohort[w].orders) >= 3}


TAGS: dict[str, dict[str, Any]] = {
    "recency": {"score": {"event": ORDER, "min": {"property": "event.age"}}, "best": "low", "into": 5},
    "frequency": {"score": {"event": ORDER, "count": {}}, "into": 5},
    "monetary": {"score": {"event": ORDER, "sum": {"property": "revenue"}}, "into": 5},
}


def by_quintile(values: Mapping[str, Any]) -> dict[str, int]:
    """Return the score of each: a class for each fifth, and with their like whoever is the last of one."""
    ordered = sorted(values.values())
    bounds = [ordered[-(-len(ordered) * fifth // 5) - 1] for fifth in range(1, 5)]
    return {who: 1 + sum(value > bound for bound in bounds) for who, value in values.items()}


def test_computed_scores_and_tiers_of_cdnow(cohort: dict[str, Customer], cdnow: Known) -> None:
    age = by_quintile({who: days_since(one.last) for who, one in cohort.items()})
    scores = {
        "R": {who: 6 - score for who, score in age.items()},
        "F": by_quintile({who: len(one.orders) for who, one in cohort.items()}),
        "M": by_quintile({who: one.spent for who, one in cohort.items()}),
    }
    for name, tag in TAGS.items():
        made = cdnow.segments.tags.apply("test", {"name": name, "kind": "customer", **tag})
        assert made.thresholds is not None
        assert made.thresholds.people == len(cohort)
    for letter, name in zip("RFM", TAGS, strict=True):
        for score in Scores:
            expected = {who for who, reached in scores[letter].items() if reached == score}
            assert cdnow.found({"tag": name, "op": "eq", "value": score}) == expected, (letter, score)
    best = {"all": [{"tag": name, "op": "gte", "value": 4} for name in TAGS]}
    lost = {
        "all": [{"tag": "recency", "op": "lte", "value": 2}, {"tag": "monetary", "op": "gte", "value": 4}]
    }
    cases = [{"value": "champion", "where": best}, {"value": "at risk", "where": lost}]
    tier = {"name": "customer_tier", "kind": "customer", "cases": cases, "otherwise": "ordinary"}
    cdnow.segments.tags.apply("test", tier)

    def of(who: str) -> str:
        r, f, m = (scores[letter][who] for letter in "RFM")
        return "champion" if min(r, f, m) >= 4 else "at risk" if r <= 2 and m >= 4 else "ordinary"

    sizes = Counter(map(of, cohort))
    assert all(sizes[value] > 100 for value in ("champion", "at risk", "ordinary"))
    for value in sizes:
        asked = {"tag": "customer_tier", "op": "eq", "value": value}
        assert cdnow.found(asked) == {who for who in cohort if of(who) == value}
