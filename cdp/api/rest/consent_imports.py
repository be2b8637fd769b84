"""Bulk import of consents: what was said elsewhere, before, taken over row by row.

An imported row is the word of a source of kind ``import``: it may restrain, it gives a grant where nothing
was recorded, and it lifts nothing (privacy.md, Consent, rule 3). A row that cannot be taken is named by its
number and a reason, never by what it holds, and its neighbours are taken.

A row's message id is made of the file's digest and the row's number, so a file may be sent again after a
broken connection, or by mistake, without doubling anything.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import post
from litestar.params import JSONBody

from cdp.access import Source
from cdp.api.auth import Caller, allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.api.rest.consents import LINKS_WORDS, OFFICERS_WORDS, Code
from cdp.api.rest.identifiers import IdentifierBody
from cdp.api.services import Services
from cdp.audit import Entry
from cdp.clock import DAY, Micros, parse_rfc3339
from cdp.consent import RESTRAINING, EventType, RecordState, Statement
from cdp.errors import InvalidInputError, NotPermittedError, TooLargeError
from cdp.ingest import Delivery
from cdp.told import Word

MOST_ROWS = 1_000
_EVENT = "Consent Imported"
Reason = Literal[
    "malformed",  # a column that is not known, is missing, or has a value of the wrong form
    "unknown_purpose",
    "unknown_recipient",
    "method_of_ours",  # what only links of ours record
    "officer_only",  # restrictions are recorded and lifted one by one, by an officer
    "bad_identifier",
    "bad_time",
    "no_time",  # a grant needs to be dated
    "future",  # a grant dated more than a day ahead
]


class ImportBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some rows of a file.

    :param file: SHA-256 of the whole file, hex.
    :param rows: each with its number in the file, by which it is named when it cannot be taken.
    :param source: name of a source of kind import; may be left out where there is just one.
    """

    file: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    rows: list[tuple[Annotated[int, msgspec.Meta(ge=0)], Any]]
    source: str = ""


class ImportRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row: whose it is, what was said, when, and where that is known from.

    :param provenance: where the row comes from; sealed with the record as its evidence.
    """

    identifiers: Annotated[tuple[IdentifierBody, ...], msgspec.Meta(min_length=1, max_length=20)]
    purpose: str
    state: RecordState
    event_time: str | None = None
    event_type: EventType = "regular"
    expires_at: str | None = None
    notice_id: Code | None = None
    notice_version: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)] | None = None
    language: Code | None = None
    method: Code = "import"
    jurisdiction: Code | None = None
    recipients: tuple[Code, ...] = ()
    provenance: Annotated[str, msgspec.Meta(max_length=2_000)] = ""


class _BadRowError(Exception):
    """Ends the reading of one row; holds the reason."""


@post("/consents/import", opt=allow("source", "officer"), sync_to_thread=True, status_code=200)
def import_consents(
    services: InjectedServices, caller: InjectedCaller, data: JSONBody[ImportBody]
) -> dict[str, Any]:
    """Take over rows of a file; answers what became of each kind, once they are committed."""
    if len(data.rows) > MOST_ROWS:
        raise TooLargeError(f"at most {MOST_ROWS} rows in one call")
    source = import_source(services, caller, data.source)
    now = services.clock.now()
    deliveries: list[Delivery] = []
    rejected: list[dict[str, Any]] = []
    for number, given in data.rows:
        try:
            deliveries.append(_delivery(services, source, data.file, number, given, now))
        except _BadRowError as bad:
            rejected.append({"row": number, "reason": str(bad)})
    outcome = services.writer.write(deliveries)
    changed = sum(1 for made in outcome.records.values() if made)
    suppressed = sum(1 for why in outcome.unheard.values() if why == "suppressed")
    counts = {
        "rows": len(data.rows),
        "changed": changed,
        "unchanged": outcome.received - outcome.duplicates - outcome.quarantined - suppressed - changed,
        "duplicates": outcome.duplicates,
        "quarantined": outcome.quarantined,
        "suppressed": suppressed,
        "rejected": len(rejected),
    }
    with services.committer.batch() as batch:
        about: dict[str, str | int] = {"file": data.file, "source": source.source_id}
        batch.record(Entry(action="consent.import", actor=caller.actor, object=about, counts=counts))
    return {**counts, "problems": rejected}


def import_source(services: Services, caller: Caller, named: str | int) -> Source:
    """Return the source whose word imported rows are.

    :param named: its name, empty where there is just one; or its number.
    :raises NotPermittedError: the caller is another source.
    :raises InvalidInputError: there is no such source, or none of kind import.
    """
    if caller.source is not None:
        if caller.source.kind != "import" or named not in {"", caller.source.name, caller.source.source_id}:
            raise NotPermittedError("only a source of kind import imports, and as itself")
        return caller.source
    held = [one for one in services.access.list_sources() if one.kind == "import" and one.enabled]
    chosen = [one for one in held if named in {"", one.name, one.source_id}]
    if len(chosen) != 1:
        raise InvalidInputError(
            "name one enabled source of kind import; `cdp source create NAME --kind import` makes one"
        )
    return chosen[0]


def _delivery(
    services: Services, source: Source, file: str, number: int, given: object, now: Micros
) -> Delivery:
    """Return a row as the delivery of its own that it is.

    :raises _BadRowError: it cannot be taken.
    """
    try:
        row = msgspec.convert(given, ImportRow)
    except msgspec.ValidationError:
        raise _BadRowError("malformed") from None
    if row.state in OFFICERS_WORDS:
        raise _BadRowError("officer_only")
    if row.method in LINKS_WORDS:
        raise _BadRowError("method_of_ours")
    if row.purpose not in services.bundle.purposes:
        raise _BadRowError("unknown_purpose")
    if not set(row.recipients) <= services.bundle.destinations.keys():
        raise _BadRowError("unknown_recipient")
    identifiers = tuple((item.type, item.value) for item in row.identifiers)
    normalise = services.identity.normalise
    usable = normalise.known if row.state in RESTRAINING else normalise
    if any(usable(*identifier, source.default_region) is None for identifier in identifiers):
        raise _BadRowError("bad_identifier")
    said_at, expires_at = _instant(row.event_time), _instant(row.expires_at)
    if row.state not in RESTRAINING:
        if said_at is None:
            raise _BadRowError("no_time")
        if said_at > now + DAY:
            raise _BadRowError("future")
    evidence = {"file": file, "row": number, "provenance": row.provenance}
    statement = Statement(
        purpose=row.purpose,
        state=row.state,
        act=True,
        event_time=now if said_at is None else said_at,
        event_type=row.event_type,
        expires_at=expires_at,
        notice_id=row.notice_id or "",
        notice_version=row.notice_version,
        language=row.language or "",
        method=row.method,
        jurisdiction=row.jurisdiction or "",
        recipients=row.recipients,
        evidence=msgspec.json.encode(evidence),
    )
    word = Word(
        source=source,
        event=_EVENT,
        message_id=f"consent-import-{file}-{number}",
        identifiers=identifiers,
        statement=statement,
        received_at=now,
        stamped_at=said_at,
    )
    return word.delivery()


def _instant(text: str | None) -> Micros | None:
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError:
        raise _BadRowError("bad_time") from None


HANDLERS = [import_consents]
