"""``cdp consent …``: import what was said elsewhere, fetch receipts, see what has gone stale."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cdp.cli.client import Api, connected
from cdp.cli.options import AsJson
from cdp.cli.output import progress, say, show_json, show_list
from cdp.errors import InvalidInputError

consent = typer.Typer(help="What people agreed to and what they refused.", no_args_is_help=True)
_CHUNK = 500
_READ = 1 << 20
_SHOWN = 20
_COUNTS = ("rows", "changed", "unchanged", "duplicates", "quarantined", "suppressed", "rejected")
_LISTS = ("recipients",)
_REPLACED = "\ufffd"  # stands for bytes that are no UTF-8
_Row = dict[str, Any]


@consent.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, JSON Lines or Parquet.")],
    source: Annotated[str, typer.Option(help="A source of kind import, where there are several.")] = "",
    file_format: Annotated[str, typer.Option("--format", help="csv, jsonl or parquet; else by name.")] = "",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Take over consents with their provenance. Lifts nothing; may be run again without doubling.

    Columns: identifier_type, identifier_value, purpose, state, event_time; optional: event_type,
    expires_at, notice_id, notice_version, language, method, jurisdiction, recipients, provenance.
    """
    rows = _rows(file, file_format or file.suffix.lstrip(".").lower())
    digest, size = _digest(file)
    totals: Counter[str] = Counter()
    problems: list[dict[str, Any]] = []
    with connected() as api, progress() as shown:
        task = shown.add_task("importing", total=size or None)
        while chunk := list(islice(rows, _CHUNK)):
            answer = _send(api, {"file": digest, "rows": chunk, "source": source})
            totals.update({name: answer[name] for name in _COUNTS})
            problems += answer["problems"]
            shown.update(task, advance=len(chunk))
    _report(totals, problems, as_json=as_json)
    if totals["rejected"] or totals["quarantined"]:
        raise typer.Exit(1)


def _send(api: Api, body: _Row) -> _Row:
    answer: _Row = api.post("/consents/import", body)
    return answer


def _report(totals: Counter[str], problems: list[_Row], *, as_json: bool) -> None:
    reasons = Counter(str(problem["reason"]) for problem in problems)
    if as_json:
        counts = {name: totals[name] for name in _COUNTS}
        show_json({**counts, "reasons": dict(reasons), "problems": problems})
        return
    show_list([dict(totals)], _COUNTS, as_json=False)
    for reason, count in sorted(reasons.items()):
        lines = [str(problem["row"]) for problem in problems if problem["reason"] == reason]
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        say(f"{reason}: {count} (line {', '.join(lines[:_SHOWN])}{more})")


@consent.command("receipt")
def receipt(
    record: Annotated[str, typer.Argument(help="The record's id.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
) -> None:
    """Write the signed receipt of a consent record to a file."""
    with connected() as api:
        out.write_bytes(api.data(("consents", record, "receipt")))
    say(f"the receipt is in {out}; the key to verify it is at /api/v1/consents/receipts/key")


@consent.command("stale")
def stale(as_json: AsJson = False) -> None:  # noqa: FBT002  # a flag
    """Count by purpose whose grants have expired or were given on a notice that has materially changed."""
    with connected() as api:
        show_list(
            api.get("/consents/stale")["items"],
            ("purpose", "stale_expired", "stale_notice"),
            as_json=as_json,
        )


# -- files ------------------------------------------------------------------------------------------


def _digest(file: Path) -> tuple[str, int]:
    """Return the file's SHA-256 and about how many rows it has."""
    hashed, lines = hashlib.sha256(), 0
    with file.open("rb") as data:
        while block := data.read(_READ):
            hashed.update(block)
            lines += block.count(b"\n")
    return hashed.hexdigest(), lines


def _rows(file: Path, file_format: str) -> Iterator[tuple[int, _Row | None]]:
    """Yield (line number, row) for every row; None for one that cannot be read."""
    readers = {"csv": _csv_rows, "jsonl": _json_rows, "ndjson": _json_rows, "parquet": _parquet_rows}
    if file_format not in readers:
        raise InvalidInputError("name the format of the file: --format csv, jsonl or parquet")
    if not file.is_file():
        raise InvalidInputError(f"there is no file {file}")
    return readers[file_format](file)


def _csv_rows(file: Path) -> Iterator[tuple[int, _Row | None]]:
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as data:
        reader = csv.DictReader(data, strict=True)
        try:
            for row in reader:
                whole = None not in row and None not in row.values()
                legible = whole and not any(_REPLACED in value for value in row.values())
                yield reader.line_num, _shaped(row) if legible else None
        except csv.Error:
            raise InvalidInputError(f"the file is no CSV at line {reader.line_num}") from None


def _json_rows(file: Path) -> Iterator[tuple[int, _Row | None]]:
    with file.open("rb") as data:
        for number, line in enumerate(data, 1):
            if not line.strip():
                continue
            try:
                row = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                row = None
            yield number, _shaped(row) if isinstance(row, dict) else None


def _parquet_rows(file: Path) -> Iterator[tuple[int, _Row | None]]:
    import pyarrow as pa  # noqa: PLC0415  # large, and only for this format
    import pyarrow.parquet as pq  # noqa: PLC0415  # likewise

    try:
        with pq.ParquetFile(file) as table:
            number = 0
            for batch in table.iter_batches(_CHUNK):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _shaped(row)
    except pa.ArrowInvalid:
        raise InvalidInputError("the file is no Parquet file") from None


def _shaped(row: _Row) -> _Row:
    """Return a row of columns as the API takes it; what is empty is absent."""
    given = {name: value for name, value in row.items() if value not in (None, "")}
    if "identifier_type" in given and "identifier_value" in given:
        identifier = {"type": given.pop("identifier_type"), "value": str(given.pop("identifier_value"))}
        given["identifiers"] = [identifier]
    for name, value in given.items():
        if name in _LISTS and isinstance(value, str):
            given[name] = [part.strip() for part in value.split(",")]
        elif name == "notice_version" and isinstance(value, str) and value.isdecimal():
            given[name] = int(value)
        elif hasattr(value, "isoformat"):
            given[name] = value.isoformat()
    return given
