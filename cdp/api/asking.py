"""Asking the audit log, for REST and GraphQL alike: what is asked, a page of it, what it is shown as.

Invariants:

1. Asking is a use: it is on record, with the names of the conditions and never with what was written in them,
   before anything is answered.
2. A cursor holds the place behind an entry, the size that the log had at the first page and a digest of what
   was asked. So all pages are of the same entries, count the same total, whatever is appended meanwhile; and
   a cursor of another question is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from cdp.api.paging import Page, checked_limit, decode_cursor, page_of
from cdp.api.services import Services
from cdp.audit import AuditEntry, AuditFilter, AuditPage, DayOfUses, Entry
from cdp.clock import DAY, Micros, parse_rfc3339, rfc3339
from cdp.errors import InvalidInputError

CONDITIONS = ("actor", "action", "purpose", "destination", "segment", "outcome", "profile", "from", "to")
MOST_DAYS = 366
_DEFAULT_DAYS = 30


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the log.

    :param profile: the id of a profile whose entries are wanted.
    :param given: the conditions as they were written, by name.
    """

    wanted: AuditFilter
    profile: str | None
    given: dict[str, str]

    @property
    def digest(self) -> str:
        """What tells this question from others in a cursor."""
        said = msgspec.json.encode(self.given, order="sorted")
        return hashlib.blake2b(said, digest_size=8).hexdigest()


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """A page of entries with its cursors.

    :param digest: of the question.
    """

    page: AuditPage
    digest: str
    name: str
    limit: int

    def position(self, entry: AuditEntry) -> tuple[int | str, ...]:
        """Return where an entry stands in the list, as a cursor holds it."""
        return (self.digest, self.page.size, entry.index)

    @property
    def items(self) -> Page[AuditEntry]:
        """The entries, with the cursor of the page after them."""
        return page_of(self.page.entries, self.limit, self.name, self.position)


def asked(given: dict[str, str | None]) -> Asked:
    """Return a question from text, by the names of ``CONDITIONS``; empty ones ask nothing.

    :raises InvalidInputError: a time is not RFC 3339, ``from`` is not before ``to``, there is no such
        outcome.
    """
    kept = {name: value for name, value in given.items() if value}
    if kept.get("outcome", "allowed") not in {"allowed", "denied", "failed"}:
        raise InvalidInputError("outcome is allowed, denied or failed")
    from_, to = _instant("from", kept.get("from")), _instant("to", kept.get("to"))
    if from_ is not None and to is not None and from_ >= to:
        raise InvalidInputError("from is not before to")
    names = {name: value for name, value in kept.items() if name not in {"profile", "from", "to"}}
    wanted = msgspec.convert({**names, "from_": from_, "to": to}, AuditFilter)
    return Asked(wanted=wanted, profile=kept.get("profile"), given=kept)


def _instant(name: str, text: str | None) -> Micros | None:
    try:
        return None if not text else parse_rfc3339(text)
    except ValueError:
        raise InvalidInputError(f"{name} is not an RFC 3339 time") from None


def entry_page(services: Services, actor: str, question: Asked, limit: int, cursor: str | None) -> Counted:
    """Return the page of matching entries behind a cursor; that they were asked for is recorded."""
    size, after = place(question.digest, "audit", cursor)
    with services.committer.batch() as batch:
        wanted = about(services, batch.connection, question)
        found = services.audit.page(batch.connection, wanted, checked_limit(limit) + 1, after, size)
        batch.record(searched("audit.search", actor, question, wanted, len(found.entries[:limit])))
    return Counted(page=found, digest=question.digest, name="audit", limit=limit)


def use_page(
    services: Services, actor: str, purpose: str, profile_id: str, limit: int, cursor: str | None
) -> Counted:
    """Return a page of the uses of one person's data, newest first."""
    digest = asked({"profile": profile_id}).digest
    size, after = place(digest, "uses", cursor)
    found = services.portrait.uses(actor, purpose, profile_id, checked_limit(limit) + 1, after, size)
    return Counted(page=found, digest=digest, name="uses", limit=limit)


def place(digest: str, name: str, cursor: str | None) -> tuple[int | None, int | None]:
    """Return (size of the log at the first page, index to continue behind) from a cursor.

    :raises InvalidInputError: it is of another list, or of another question.
    """
    at = decode_cursor(name, cursor, str, int, int)
    if at is None:
        return None, None
    if at[0] != digest:
        raise InvalidInputError("the cursor is one of another question; ask for the first page")
    return at[1], at[2]


def about(services: Services, connection: Any, question: Asked) -> AuditFilter:
    """Return the filter of a question, with the identities that its profile has now."""
    if question.profile is None:
        return question.wanted
    identities = services.portrait.about(connection, question.profile).identity_nos
    return msgspec.structs.replace(question.wanted, identity_nos=identities)


def searched(action: str, actor: str, question: Asked, wanted: AuditFilter, entries: int) -> Entry:
    """Return the entry of a search."""
    return Entry(
        action=action,
        actor=actor,
        object={"conditions": ",".join(name for name in CONDITIONS if name in question.given)},
        counts={"entries": entries},
        subjects=wanted.identity_nos or (),
    )


def days_of_uses(
    services: Services, actor: str, question: Asked, *, by_action: bool = False
) -> list[DayOfUses]:
    """Return the uses of whole days (UTC), by purpose and destination; that they were asked for is recorded.

    Of the last 30 days where no time is asked for.

    :raises InvalidInputError: over 366 days are asked for, or what is not counted by day.
    """
    if not_counted := question.given.keys() & {"actor", "segment", "profile"}:
        raise InvalidInputError(
            f"uses are not counted by {' or '.join(sorted(not_counted))}; search for them"
        )
    wanted = question.wanted
    last = (services.clock.now() if wanted.to is None else wanted.to - 1) // DAY
    first = last - _DEFAULT_DAYS + 1 if wanted.from_ is None else wanted.from_ // DAY
    if last - first >= MOST_DAYS:
        raise InvalidInputError(f"uses are counted of at most {MOST_DAYS} days at once")
    with services.store.reading() as connection:
        found = services.audit.uses_by_day(connection, wanted, first, last, by_action=by_action)
    with services.committer.batch() as batch:
        batch.record(searched("audit.uses", actor, question, wanted, sum(day.entries for day in found)))
    return found


def day_of_uses(found: DayOfUses, *, by_action: bool = False) -> dict[str, Any]:
    """Return the uses of a day as they are shown."""
    shown: dict[str, Any] = {
        "day": rfc3339(found.day)[:10],
        "purpose": found.purpose or None,
        "destination": found.destination or None,
        "entries": found.entries,
        "people": found.people,
    }
    return shown | {"action": found.action, "outcome": found.outcome} if by_action else shown


def audit_entry(entry: AuditEntry) -> dict[str, Any]:
    """Return an entry as it is shown."""
    return {
        "index": entry.index,
        "at": rfc3339(entry.at),
        "commit_no": entry.commit_no,
        "actor": entry.actor,
        "action": entry.action,
        "outcome": entry.outcome,
        "purpose": entry.purpose or None,
        "destination": entry.destination or None,
        "object": entry.object,
        "counts": entry.counts,
        "people": entry.people,
        "detailed": bool(entry.details),
    }


class CountedItems(msgspec.Struct, frozen=True):
    """A page of a list whose length is known.

    :param next: the cursor of the page after it, None at the end.
    :param total: how many items all pages have.
    """

    items: Sequence[dict[str, Any]]
    next: str | None
    total: int


def shown_page(found: Counted) -> CountedItems:
    """Return a page as REST answers it."""
    page = found.items
    return CountedItems([audit_entry(entry) for entry in page.items], page.next, found.page.total)
