"""What campaigns reached: who got one, redeemed its coupons and bought while it ran, against the raw rows.

Days are those of New York, where the shops are: campaigns begin in winter and end in summer. A household gets
a campaign at the first instant of its first day, and a coupon is redeemed at that of its day.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from known import Known, rows

ZONE = "America/New_York"
DAY = timedelta(days=1)


class Campaign:
    """A campaign as the raw rows tell it; days are dates of New York."""

    def __init__(self, name: str, first: date, last: date) -> None:
        self.name = name
        self.first = first
        self.last = last
        self.sent: set[str] = set()
        self.redeemed: list[tuple[str, date]] = []

    @property
    def window(self) -> dict[str, str]:
        return {"from": self.first.isoformat(), "to": (self.last + DAY).isoformat()}

    @property
    def where(self) -> list[dict[str, str]]:
        return [{"property": "campaign_id", "op": "eq", "value": self.name}]

    @property
    def was_sent(self) -> dict[str, Any]:
        return {"event": "Campaign Sent", "where": self.where}

    @property
    def was_redeemed(self) -> dict[str, Any]:
        return {"event": "Coupon Redeemed", "where": self.where}


@pytest.fixture(scope="module")
def campaigns(shared: Path) -> list[Campaign]:
    """Every campaign, whom it was sent to and who redeemed a coupon of it when."""
    found = {
        row["campaign_id"]: Campaign(
            row["campaign_id"], date.fromisoformat(row["start_date"]), date.fromisoformat(row["end_date"])
        )
        for row in rows(shared, "complete_journey/campaign_descriptions.csv")
    }
    for row in rows(shared, "complete_journey/campaigns.csv"):
        found[row["campaign_id"]].sent.add(row["household_id"])
    for row in rows(shared, "complete_journey/coupon_redemptions.csv"):
        redeemed = row["household_id"], date.fromisoformat(row["redemption_date"])
        found[row["campaign_id"]].redeemed.append(redeemed)
    return list(found.values())


@pytest.fixture(scope="module")
def bought(shared: Path) -> dict[str, list[tuple[datetime, Decimal]]]:
    """What each household bought and when, on the clocks of New York."""
    found: defaultdict[str, list[tuple[datetime, Decimal]]] = defaultdict(list)
    for row in rows(shared, "complete_journey/transactions_sample.csv.gz"):
        at = datetime.fromisoformat(row["transaction_timestamp"]).astimezone(ZoneInfo(ZONE))
        found[row["household_id"]].append((at, Decimal(row["sales_value"])))
    return dict(found)


def found(journey: Known, where: Any) -> set[str]:
    return journey.found(where, timezone=ZONE)


def test_who_was_reached_and_who_redeemed(campaigns: list[Campaign], journey: Known) -> None:
    assert (len(campaigns), sum(len(one.sent) for one in campaigns)) == (27, 3_407)
    for one in campaigns:
        assert found(journey, one.was_sent) == one.sent
        redeemers = {who for who, on in one.redeemed if one.first <= on <= one.last}
        assert found(journey, {**one.was_redeemed, **one.window}) == redeemers
        assert found(journey, {"all": [one.was_sent, {"not": one.was_redeemed}]}) == one.sent - {
            who for who, _ in one.redeemed
        }
    often = {who for who in journey.everybody if sum(who in one.sent for one in campaigns) >= 8}
    distinct = {"property": "campaign_id", "gte": 8}
    assert found(journey, {"event": "Campaign Sent", "distinct": distinct}) == often
    assert often


def test_who_redeemed_within_weeks_of_the_campaign(campaigns: list[Campaign], journey: Known) -> None:
    """On the clocks of New York some fall on the last instant of a window, some an hour beside it."""
    edges = 0
    for one in campaigns:
        after = [(who, hours(one.first, on)) for who, on in one.redeemed if who in one.sent]
        expected = {who for who, passed in after if 0 < passed <= 3 * 7 * 24}
        steps = [one.was_sent, {**one.was_redeemed, "within": "3w"}]
        assert found(journey, {"sequence": steps}) == expected, one.name
        edges += sum(abs(passed - 3 * 7 * 24) <= 1 for _, passed in after)
    assert edges > 5


def hours(first: date, other: date) -> float:
    """Return how long it is between two midnights of New York: weeks have an hour more or less in them."""
    zone = ZoneInfo(ZONE)
    begin, end = (datetime(day.year, day.month, day.day, tzinfo=zone) for day in (first, other))
    return (end.timestamp() - begin.timestamp()) / 3600


def test_who_bought_while_a_campaign_ran(
    campaigns: list[Campaign], bought: dict[str, list[tuple[datetime, Decimal]]], journey: Known
) -> None:
    sizes = []
    for one in campaigns:
        spent = {
            who: [amount for at, amount in orders if one.first <= at.date() <= one.last]
            for who, orders in bought.items()
        }
        buyers = {who for who, amounts in spent.items() if amounts}
        order = {"event": "Order Completed", **one.window}
        assert found(journey, {"all": [one.was_sent, order]}) == one.sent & buyers
        good = {who for who in one.sent & buyers if sum(spent[who]) >= 20}
        rich = {**order, "sum": {"property": "revenue", "gte": 20}}
        assert found(journey, {"all": [one.was_sent, rich]}) == good
        sizes.append(len(good))
    assert sum(map(bool, sizes)) > 20


def test_who_bought_nothing_between_a_campaign_and_its_coupon(
    campaigns: list[Campaign], bought: dict[str, list[tuple[datetime, Decimal]]], journey: Known
) -> None:
    zone, some = ZoneInfo(ZONE), 0
    for one in campaigns:
        sent = datetime(one.first.year, one.first.month, one.first.day, tzinfo=zone)
        expected = {
            who
            for who, on in one.redeemed
            if who in one.sent
            and on > one.first
            and not any(sent < at and at.date() < on for at, _ in bought.get(who, []))
        }
        steps = [one.was_sent, {"not": {"event": "Order Completed"}}, one.was_redeemed]
        assert found(journey, {"sequence": steps}) == expected
        some += len(expected)
    assert some > 20
