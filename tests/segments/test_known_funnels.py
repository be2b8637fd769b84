"""Funnels over a clickstream, step by step, against plain Python over the rows of the file.

The file says itself that it is synthetic: 600 people, 31,106 events of a shop's pages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from caller import Caller
from known import Known, rows

Clicks = list[tuple[datetime, str]]
BUYING = ["product_view", "add_to_cart", "cart", "shipping_details", "payment_details", "purchase"]
NOW = datetime.fromisoformat("2024-06-30")


@pytest.fixture(scope="module")
def people(shared: Path) -> dict[str, Clicks]:
    """What each person clicked and when."""
    found: defaultdict[str, Clicks] = defaultdict(list)
    for row in rows(shared, "ecom_clickstream_synthetic/ecom.csv.gz"):
        found[row["user_id"]].append((datetime.fromisoformat(row["timestamp"]), row["event"]))
    return dict(found)


def reached(clicks: Clicks, steps: Iterable[str], within: timedelta | None, without: str = "") -> list[bool]:
    """Return for each step whether a chain of clicks comes that far.

    :param within: how long after the step before it each may come.
    :param without: what must not be clicked between two steps.
    """
    first, *others = steps
    ends = {at for at, event in clicks if event == first}
    far = [bool(ends)]
    for step in others:
        ends = {
            at
            for at, event in clicks
            for before in ends
            if event == step
            and before < at
            and (within is None or at - before <= within)
            and not any(other == without and before < then < at for then, other in clicks)
        }
        far.append(bool(ends))
    return far


def funnel(steps: list[str], within: str, without: str = "") -> dict[str, Any]:
    """Return the definition of the same."""
    made: list[dict[str, Any]] = [{"event": steps[0]}]
    for step in steps[1:]:
        if without:
            made.append({"not": {"event": without}})
        made.append({"event": step, **({"within": within} if within else {})})
    return {"sequence": made}


@pytest.mark.parametrize(
    ("within", "span", "without"),
    [
        ("", None, ""),
        ("1d", timedelta(days=1), ""),
        ("5m", timedelta(minutes=5), ""),
        ("1m", timedelta(minutes=1), ""),
        ("30m", timedelta(minutes=30), "payment_error"),
        ("", None, "search"),
    ],
)
def test_every_step_of_a_funnel(
    people: dict[str, Clicks], clicks: Known, within: str, span: timedelta | None, without: str
) -> None:
    far = {who: reached(clicked, BUYING, span, without) for who, clicked in people.items()}
    sizes = []
    for depth in range(1, len(BUYING) + 1):
        expected = {who for who, steps in far.items() if steps[depth - 1]}
        assert clicks.found(funnel(BUYING[:depth], within, without)) == expected, depth
        sizes.append(len(expected))
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 3  # or nothing was narrowed


@pytest.mark.parametrize(("minutes", "text"), [(2, "2m"), (60, "1h"), (1440, "1d"), (10080, "1w")])
def test_who_put_something_into_the_cart_and_left_it_there(
    people: dict[str, Clicks], clicks: Known, minutes: int, text: str
) -> None:
    span = timedelta(minutes=minutes)
    expected = {
        who
        for who, clicked in people.items()
        if any(
            added == "add_to_cart"
            and at + span < NOW
            and not any(event == "purchase" and at < then <= at + span for then, event in clicked)
            for at, added in clicked
        )
    }
    left = {"sequence": [{"event": "add_to_cart"}, {"not": {"event": "purchase"}, "within": text}]}
    assert clicks.found(left) == expected
    assert expected


def test_a_whole_funnel_in_the_last_days(people: dict[str, Clicks], clicks: Known) -> None:
    sizes = []
    for days in (1, 7, 30, 90):
        recent = {
            who: [click for click in clicked if click[0] >= NOW - timedelta(days=days)]
            for who, clicked in people.items()
        }
        expected = {who for who, clicked in recent.items() if reached(clicked, BUYING, None)[-1]}
        assert clicks.found({**funnel(BUYING, ""), "within": f"{days}d"}) == expected
        sizes.append(len(expected))
    assert sizes == sorted(set(sizes))


def test_an_error_on_the_way_and_a_purchase_after_it(people: dict[str, Clicks], clicks: Known) -> None:
    for errors in (["payment_error"], ["checkout_bug"], ["payment_error", "payment_error"]):
        steps = ["payment_details", *errors, "purchase"]
        expected = {who for who, clicked in people.items() if reached(clicked, steps, None)[-1]}
        assert clicks.found(funnel(steps, "")) == expected
        assert expected


def test_the_same_funnel_of_what_came_in_over_http(people: dict[str, Clicks], caller: Caller) -> None:
    """On both stores, from the call that brings an event to the count; one person of five."""
    some = dict(sorted(people.items())[::5])
    messages = [
        {"type": "track", "userId": who, "event": event, "timestamp": f"{at.isoformat()}Z"}
        for who, clicked in some.items()
        for at, event in clicked
    ]
    *most, last = [messages[start : start + 500] for start in range(0, len(messages), 500)]
    for batch in most:
        caller.send(*batch)
    caller.send(*last, wait=True)
    far = [reached(clicked, BUYING, timedelta(days=1)) for clicked in some.values()]
    sizes = [sum(steps[depth] for steps in far) for depth in range(len(BUYING))]
    counted = [
        caller.api("POST", "/segments/preview", {"where": funnel(BUYING[: depth + 1], "1d")})["count"]
        for depth in range(len(BUYING))
    ]
    assert counted == sizes
    assert len(set(sizes)) > 4
