"""Uses counted by day, purpose and destination."""

from __future__ import annotations

import msgspec

from cdp.audit.asking import queries
from cdp.audit.asking.queries import Day
from cdp.audit.asking.spans import add_up, tally
from cdp.audit.entry import FEW
from cdp.audit.model import AuditFilter
from cdp.clock import DAY, Micros
from cdp.store import Connection


class DayOfUses(msgspec.Struct, frozen=True, kw_only=True):
    """What was done on one day for one purpose towards one destination.

    :param day: the instant at which it begins (UTC).
    :param entries: how many entries the log has of it.
    :param people: those that they concern, counted once for each entry; ``<10`` where they are fewer.
    """

    day: Micros
    purpose: str
    destination: str
    action: str
    outcome: str
    entries: int
    people: int | str


def uses_by_day(
    connection: Connection, wanted: AuditFilter, first: int, last: int, *, by_action: bool = False
) -> list[DayOfUses]:
    """Return what was done, by day, purpose and destination: the newest day first, else by name.

    :param connection: one snapshot.
    :param wanted: of it count purpose, destination, action and outcome.
    :param first: number of the first day since 1970-01-01 UTC; ``last`` that of the last.
    :param by_action: by action and outcome as well; they are empty otherwise.
    """
    counted = queries.days(connection, first, last)
    rows = queries.rows(connection, queries.end(connection), queries.size(connection))
    add_up(counted, {key: more for key, more in tally(rows).items() if first <= key[0] <= last})
    shown: dict[Day, tuple[int, int]] = {}
    for (day, purpose, destination, action, outcome), sums in counted.items():
        said = (purpose, destination, action, outcome)
        asked = (wanted.purpose, wanted.destination, wanted.action, wanted.outcome)
        if all(one in (None, other) for one, other in zip(asked, said, strict=True)):
            kept = (action, outcome) if by_action else ("", "")
            add_up(shown, {(day, purpose, destination, *kept): sums})
    return [
        DayOfUses(
            day=key[0] * DAY,
            purpose=key[1],
            destination=key[2],
            action=key[3],
            outcome=key[4],
            entries=entries,
            people=people if people >= FEW else f"<{FEW}",
        )
        for key, (entries, people) in sorted(shown.items(), key=lambda item: (-item[0][0], *item[0][1:]))
    ]
