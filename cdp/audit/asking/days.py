"""Uses counted by day, purpose and destination."""

from __future__ import annotations

import msgspec

from cdp.audit.asking import queries
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
    counted = queries.days(connection, first, last, wanted, by_action=by_action)
    rows = queries.rows(connection, queries.end(connection), queries.size(connection))
    asked = (wanted.purpose, wanted.destination, wanted.action, wanted.outcome)
    for (day, *said), sums in tally(rows).items():
        if first <= day <= last and all(one in (None, other) for one, other in zip(asked, said, strict=True)):
            kept = said if by_action else [*said[:2], "", ""]
            add_up(counted, {(day, kept[0], kept[1], kept[2], kept[3]): sums})
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
        for key, (entries, people) in sorted(counted.items(), key=lambda item: (-item[0][0], *item[0][1:]))
    ]
