"""A value that the limit of a day or month refused is taken when it is said again in a later one."""

from __future__ import annotations

import pytest
from platform_fixtures import NOW
from rules_world import Change, activate, groups, message, platform, send
from sqlalchemy import func, select

from cdp.clock import FixedClock
from cdp.identity.tables import link_candidates
from cdp.settings import Settings

DAILY: Change = ("priority: 2, limit: {count: 5}", "priority: 2, limit: {count: 1, period: daily}")
MONTHLY: Change = ("priority: 2, limit: {count: 5}", "priority: 2, limit: {count: 1, period: monthly}")
ANN, FIRST, SECOND = ("user_id", "ann"), ("email", "1@people.example"), ("email", "2@people.example")
DAY = 24 * 60
"""Minutes: the events are of January, from its first day on."""


@pytest.mark.parametrize(("rules", "later"), [(DAILY, DAY), (MONTHLY, 30 * DAY)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (2, 0, 1)])
def test_whatever_came_first(settings: Settings, rules: Change, later: int, order: tuple[int, ...]) -> None:
    said = [message(0, (ANN, FIRST)), message(1, (ANN, SECOND)), message(later, (ANN, SECOND))]
    with platform(settings, FixedClock(NOW)) as world:
        activate(world, rules)
        for place in order:
            send(world, said[place])
        assert len(groups(world, (ANN, FIRST, SECOND))) == (1 if rules is DAILY else 2)


def test_in_one_period_it_stays_refused_and_is_kept_once(settings: Settings) -> None:
    with platform(settings, FixedClock(NOW)) as world:
        activate(world, DAILY)
        send(world, message(0, (ANN, FIRST)))
        for minute in (*range(1, 9), *range(DAY, DAY + 9)):
            send(world, message(minute, (ANN, SECOND), "more"))
            assert len(groups(world, (ANN, FIRST, SECOND))) == (2 if minute < DAY else 1)
        with world.services.store.reading() as connection:
            count = connection.execute(select(func.count()).select_from(link_candidates)).scalar_one()
        assert count == 3, "one for each pair and day"


def test_a_month_counts_anew(settings: Settings) -> None:
    with platform(settings, FixedClock(NOW)) as world:
        activate(world, MONTHLY)
        said = [
            {**message(0, (ANN, mail), mail[1]), "timestamp": f"2026-01-{day}T00:00:00Z"}
            for day, mail in ((10, FIRST), (20, SECOND))
        ]
        send(world, *said)
        assert len(groups(world, (ANN, FIRST, SECOND))) == 2
        send(world, {**said[1], "messageId": "later", "timestamp": "2026-02-01T00:00:00Z"})
        assert len(groups(world, (ANN, FIRST, SECOND))) == 1
