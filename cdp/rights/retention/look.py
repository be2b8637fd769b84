"""What is past its period of a page of people: read, judged by the laws that bind each, and cut.

Invariants: nothing is written here. What says that somebody is a minor stays while they are one; an envelope
whose key is lost stays as it is, and is counted; what a legal hold covers stays, and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

import msgspec

from cdp.clock import DAY, Micros
from cdp.crypto import Dek, Keyring, Place, open_sealed, seal
from cdp.errors import SealError
from cdp.gate import Laws
from cdp.policy import Bundle, FieldCatalogue
from cdp.rights.retention import queries
from cdp.rights.retention.cut import (
    category_of_event,
    category_of_trait,
    cut_clear,
    cut_sealed,
    sealed_categories,
)
from cdp.rights.retention.model import EVERYBODY, Hold, Run
from cdp.rights.retention.periods import Due, Periods
from cdp.rights.retention.queries import EventRow, Key
from cdp.store import Connection

_PAGE = 300
_decode = msgspec.json.decode
_encode = msgspec.json.encode
Laying = Callable[[Connection, Mapping[int, Collection[int]], Bundle, Micros], Laws]
"""(connection, profile_no → its identity numbers, policies, now) → what binds them (``FactReader.laws``)."""


class Looker:
    """Finds what is past its period."""

    def __init__(self, keyring: Keyring, laws: Laying) -> None:
        self._keyring = keyring
        self._laws = laws
        self._prefix = Place(keyring.workspace, "events", "sealed").prefix()

    def __call__(
        self, connection: Connection, run: Run, bundle: Bundle, since: Micros | None
    ) -> tuple[Page, int]:
        """Return what is past its period of the next identities of a run, and the last of them.

        :param since: up to when all envelopes were opened; see ``Due.crosses``.
        """
        owners = queries.page(connection, run.position, run.upto, _PAGE)
        page = Page()
        if not owners or not bundle.retention:
            return page, run.upto
        members = queries.members(connection, owners.values())
        laws = self._laws(connection, members, bundle, run.now)
        holds = queries.standing_on(
            connection, [number for numbers in members.values() for number in numbers]
        )
        periods = Periods(bundle)
        due = {
            profile_no: Due(periods, laws.of[profile_no], run.now, _held(holds, numbers))
            for profile_no, numbers in members.items()
        }
        telling = laws.ages
        before = run.now - min(row.days for row in bundle.retention) * DAY + 1
        for row in queries.traits_of(connection, list(owners), before):
            if row.name in telling and owners[row.identity_no] in laws.minors:
                continue
            category = category_of_trait(bundle.fields, row.name)
            if page.goes("traits", due[owners[row.identity_no]], category, row.received_at):
                page.traits.append((row.batch, row.seq))
                page.touched.add(row.identity_no)
        cutter = _Cutter(bundle.fields, self._prefix, since)
        rows = list(queries.events_of(connection, list(owners), before))
        sealed = {row.identity_no for row in rows if row.sealed is not None}
        keys = self._keyring.openable(sealed) if sealed else {}
        for event in rows:
            cutter.cut(page, event, due[owners[event.identity_no]], keys.get(event.identity_no))
        return page, max(owners) if len(owners) == _PAGE else run.upto


class Page:
    """What is past its period on one page.

    :param events: that go whole; ``left`` what is left of others; ``traits`` observations that go.
    """

    def __init__(self) -> None:
        self.events: list[Key] = []
        self.left: dict[Key, tuple[str | None, bytes | None]] = {}
        self.traits: list[Key] = []
        self.counts: Counter[str] = Counter()
        self.touched: set[int] = set()

    def goes(self, what: str, due: Due, category: str, received_at: Micros) -> bool:
        """Return whether data of a category goes, and count it by the row that says so."""
        row = due.row(category, received_at)
        if not row:
            return False
        if due.is_held(category):
            self.counts["held"] += 1
            return False
        self.counts[f"{what}.{row}"] += 1
        return True


class _Cutter:
    """Cuts what is past its period out of events.

    :param since: see ``Due.crosses``.
    """

    def __init__(self, fields: FieldCatalogue, prefix: bytes, since: Micros | None) -> None:
        self._fields = fields
        self._prefix = prefix
        self._since = since
        self._sealed = sealed_categories(fields)

    def cut(self, page: Page, event: EventRow, due: Due, key: Dek | None) -> None:
        """Note on the page what goes of one event."""
        whole = category_of_event(self._fields, event.type, event.name)
        if page.goes("events", due, whole, event.received_at):
            page.events.append((event.batch, event.seq))
            page.touched.add(event.identity_no)
            return

        def past(category: str) -> bool:
            return page.goes("values", due, category, event.received_at)

        clear, properties = event.properties, {} if event.properties is None else _decode(event.properties)
        kept = cut_clear(self._fields, properties, past)
        if len(kept) < len(properties):
            clear = _encode(kept).decode() if kept else None
        envelope = event.sealed
        if envelope is not None and due.crosses(self._sealed, event.received_at, self._since):
            envelope = self._reseal(page, event, envelope, key, past)
        if (clear, envelope) != (event.properties, event.sealed):
            page.left[event.batch, event.seq] = clear, envelope
            page.touched.add(event.identity_no)

    def _reseal(
        self, page: Page, event: EventRow, envelope: bytes, key: Dek | None, past: Callable[[str], bool]
    ) -> bytes | None:
        number, content = event.identity_no, None
        with suppress(SealError):
            if key is not None:
                content = _decode(open_sealed(key, self._prefix, event.event_id, number, envelope))
        if key is None or content is None:
            page.counts["unreadable"] += 1
            return envelope
        left = cut_sealed(self._fields, content, past)
        if left == content:
            return envelope
        return seal(key, self._prefix, event.event_id, number, _encode(left)) if left else None


def _held(holds: Iterable[Hold], numbers: Collection[int]) -> set[str]:
    """Return the categories of which a hold keeps the data of one person."""
    mine = {EVERYBODY, *numbers}
    return {category for hold in holds if hold.identity_no in mine for category in hold.categories}
