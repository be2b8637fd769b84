"""The entries of an action in a period, by the index through which the log is asked, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator

from cdp.audit import AuditEntry, AuditFilter, AuditLog, Outcome
from cdp.reports.period import Period
from cdp.store import Connection

_PAGE = 1000


def logged(
    audit: AuditLog, connection: Connection, period: Period, action: str, outcome: Outcome, actor: str = ""
) -> Iterator[AuditEntry]:
    """Yield the entries of an action in a period, newest first; of one actor where one is named."""
    wanted = AuditFilter(
        actor=actor or None, action=action, outcome=outcome, from_=period.from_, to=period.to
    )
    size, after = audit.size(connection), None
    while True:
        found = audit.page(connection, wanted, _PAGE, after, size).entries
        yield from found
        if len(found) < _PAGE:
            return
        after = found[-1].index
