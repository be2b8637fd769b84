"""Files of rows that a mapping turns into events, taken over piece by piece (``cdp import``).

Steps: ``POST /imports`` says which file, as whose, read by which mapping, and learns where it stands;
``…/rows`` sends the next rows; ``…/finish`` says that there are no more. A piece is one transaction, with
the import's place in it: whatever is killed, the next command goes on where this one's last piece was
stored. A row that cannot become an event goes to quarantine, as it was sent; ``…/mapping`` has it read by
another mapping there.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import msgspec
from litestar import get, post, put
from litestar.params import FromPath, JSONBody

from cdp.api.auth import allow
from cdp.api.injected import Cursor, InjectedCaller, InjectedServices, Limit
from cdp.api.paging import DEFAULT_LIMIT, Page, checked_limit, decode_cursor, page_of
from cdp.api.rest.consent_imports import import_source
from cdp.api.services import Services
from cdp.clock import rfc3339
from cdp.errors import ConflictError, InvalidInputError, NotFoundError, TooLargeError
from cdp.ingest import (
    UNREADABLE,
    Delivery,
    FileForm,
    Import,
    MappingText,
    Piece,
    Prepared,
    import_form,
    row_message,
    row_number,
    unreadable_message,
)

MOST_ROWS = 2_000
OUTCOMES = ("stored", "duplicates", "quarantined", "refused", "suppressed")
_MOST_COLUMNS = 5_000
_IMPORTER = allow("source", "officer")
_Number = Annotated[int, msgspec.Meta(ge=0)]


class BeginBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which file is imported, and how.

    :param file: SHA-256 of the whole file, hex.
    :param source: name of a source of kind import; may be left out where there is just one.
    :param form: csv, jsonl or parquet.
    :param mapping: the text of the mapping file; empty where each line is a Segment message.
    :param anew: although the import of another file was broken off.
    """

    file: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    form: FileForm
    source: str = ""
    mapping: str = ""
    anew: bool = False


class RowsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows that follow on each other.

    :param after: number of the row that is done before them.
    :param rows: each with its number: an object, or a list of values in the order of ``columns``.
    :param columns: of rows that are lists.
    :param unreadable: rows that could not be read: number, reason, the beginning of their bytes as Base64.
    """

    after: _Number
    rows: list[tuple[_Number, Any]]
    columns: tuple[str, ...] = ()
    unreadable: list[tuple[_Number, str, str]] = []


class MappingBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping to read rows by that lie in quarantine."""

    mapping: str


@post("/imports", opt=_IMPORTER, sync_to_thread=True, status_code=200)
def begin(services: InjectedServices, caller: InjectedCaller, data: JSONBody[BeginBody]) -> dict[str, Any]:
    """Begin an import, or find out where it stands; answers also how the file is to be read."""
    source = import_source(services, caller, data.source)
    held = services.imports.begin(caller.actor, source, data.file, data.form, data.mapping, anew=data.anew)
    return {**_shown(held), "read": msgspec.structs.asdict(MappingText(data.mapping).format)}


@post("/imports/{import_id:str}/rows", opt=_IMPORTER, sync_to_thread=True, status_code=200)
def take(
    services: InjectedServices, caller: InjectedCaller, import_id: FromPath[str], data: JSONBody[RowsBody]
) -> dict[str, Any]:
    """Take the next rows; answers once they are committed, with where the import stands then."""
    held = _import(services, import_id)
    source = import_source(services, caller, held.source_id)
    if data.after != held.at_row:
        raise ConflictError(f"the import is at row {held.at_row}: another command sends its rows; run one")
    messages = _messages(held, data)
    delivery = Delivery(
        source=source,
        messages=tuple(messages[number] for number in sorted(messages)),
        received_at=services.clock.now(),
        form=import_form(held.import_no),
    )
    prepared = services.pipeline.prepare([delivery])
    left_out = len(messages) - len(_known(prepared))
    piece = Piece(held.at_row, max(messages), len(messages), left_out)
    services.pipeline.store(msgspec.structs.replace(prepared, note=services.imports.note(held, piece)))
    problems = [
        {"row": row_number(sent.raw), "kind": reject.kind, "cause": reject.cause}
        for reject in prepared.rejects
        if (sent := reject.message.origin or reject.message)
    ]
    return {**_shown(services.imports.get(held.import_no)), "problems": problems}


@post("/imports/{import_id:str}/finish", opt=_IMPORTER, sync_to_thread=True, status_code=200)
def finish(services: InjectedServices, caller: InjectedCaller, import_id: FromPath[str]) -> dict[str, Any]:
    """Say that the file has no more rows."""
    held = _import(services, import_id)
    import_source(services, caller, held.source_id)
    return _shown(services.imports.finish(caller.actor, held.import_no))


@put("/imports/{import_id:str}/mapping", opt=_IMPORTER, sync_to_thread=True)
def correct(
    services: InjectedServices, caller: InjectedCaller, import_id: FromPath[str], data: JSONBody[MappingBody]
) -> dict[str, Any]:
    """Have the import's rows in quarantine be read by another mapping when they are replayed."""
    held = _import(services, import_id)
    import_source(services, caller, held.source_id)
    return _shown(services.imports.correct(caller.actor, held.import_no, data.mapping))


@get("/imports", opt=allow("officer", query="import.list"), sync_to_thread=True)
def list_imports(
    services: InjectedServices, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[dict[str, Any]]:
    """List the imports, the newest first."""
    at = decode_cursor("imports", cursor, int)
    found = services.imports.list(checked_limit(limit) + 1, None if at is None else at[0])
    page = page_of(found, limit, "imports", lambda item: (item.import_no,))
    return Page([_shown(item) for item in page.items], page.next)


def _import(services: Services, import_id: str) -> Import:
    if not import_id.isdecimal() or len(import_id) > 19:
        raise NotFoundError("there is no such import")
    return services.imports.get(int(import_id))


def _messages(held: Import, data: RowsBody) -> dict[int, bytes]:
    """Return the message of each row, by its number.

    :raises InvalidInputError: a row cannot be one of this file.
    """
    count = len(data.rows) + len(data.unreadable)
    if not count:
        raise InvalidInputError("send at least one row")
    if count > MOST_ROWS or len(data.columns) > _MOST_COLUMNS:
        raise TooLargeError(f"at most {MOST_ROWS} rows of {_MOST_COLUMNS} columns in one call")
    if held.form != "jsonl":
        MappingText(held.mapping).check_columns(data.columns)
    found = {number: row_message(number, _row(row, data.columns)) for number, row in data.rows}
    found |= {number: _unreadable(number, *rest) for number, *rest in data.unreadable}
    if len(found) < count or min(found) <= data.after:
        raise InvalidInputError("rows are numbered upwards, each once, from the one that is done")
    return found


def _row(row: object, columns: tuple[str, ...]) -> bytes:
    if isinstance(row, list):
        if len(row) != len(columns):
            raise InvalidInputError("a row has not as many values as there are columns")
        row = dict(zip(columns, row, strict=True))
    return msgspec.json.encode(row)


def _unreadable(number: int, reason: str, begins: str) -> bytes:
    if reason not in UNREADABLE:
        raise InvalidInputError(f"an unreadable row's reason is one of: {', '.join(sorted(UNREADABLE))}")
    try:
        return unreadable_message(number, reason, base64.b64decode(begins, validate=True))
    except (binascii.Error, ValueError):
        raise InvalidInputError("the bytes of an unreadable row are not Base64") from None


def _known(prepared: Prepared) -> set[int]:
    """Return the rows that became something."""
    sent = [item.classified.event.message for item in prepared.events]
    sent += [reject.message for reject in prepared.rejects]
    return {row_number((message.origin or message).raw) for message in sent}


def _shown(held: Import) -> dict[str, Any]:
    return {
        "id": str(held.import_no),
        "source": str(held.source_id),
        "file": held.file,
        "form": held.form,
        "row": held.at_row,
        "rows": held.rows,
        "left_out": held.left_out,
        **{name: held.outcomes.get(name, 0) for name in OUTCOMES},
        "started_at": rfc3339(held.started_at),
        "finished_at": None if held.finished_at is None else rfc3339(held.finished_at),
    }


HANDLERS = [begin, take, finish, correct, list_imports]
