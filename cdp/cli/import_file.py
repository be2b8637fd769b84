"""``cdp import``: the rows of a file become events, as a mapping file says.

Steps: hash the file → ask where its import stands → read it again, past what is done → send the rest, a
piece at a time → say that it ended. Nothing of the file is kept on disk, and what was done stands in the
database, so the same command goes on after whatever stopped it. A file that changes meanwhile is noticed
before its next piece.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cdp.cli.client import Api, connected
from cdp.cli.import_rows import Record, form_of, open_rows
from cdp.cli.options import AsJson, Format
from cdp.cli.output import progress, say, show_json, show_record
from cdp.errors import InvalidInputError, UnavailableError

_READ = 1 << 20
_ROWS, _BYTES = 500, 512 * 1024  # of a piece: what else is sent meanwhile waits for one
_PATIENCE_SECONDS = 600.0
_SHOWN = 20
_COUNTS = ("rows", "left_out", "stored", "duplicates", "quarantined", "refused", "suppressed")
_Json = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("import")(import_file)


def import_file(
    file: Annotated[Path | None, typer.Argument(help="CSV, JSON Lines or Parquet; gzip is unpacked.")] = None,
    source: Annotated[str, typer.Option(help="The source of kind import whose word it is.")] = "",
    file_format: Annotated[
        Format | None, typer.Option("--format", help="csv, jsonl or parquet; else by name.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="How rows become events; without it JSON Lines hold messages.")
    ] = None,
    anew: Annotated[  # noqa: FBT002  # a flag
        bool, typer.Option("--anew", help="Although the import of another file was broken off.")
    ] = False,
    correct: Annotated[
        str, typer.Option(help="Instead: read this import's rows in quarantine by MAPPING when replayed.")
    ] = "",
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Import a file as events. Run again after whatever stopped it, it goes on; nothing counts twice."""
    text = "" if mapping is None else _text(mapping)
    if correct:
        if file is not None or mapping is None:
            raise typer.BadParameter("--correct takes --mapping and no file")
        with connected() as api:
            shown = api.call("PUT", ("imports", correct, "mapping"), body={"mapping": text})
        show_record(shown, as_json=as_json)
        return
    if file is None or not source:
        raise typer.BadParameter("name a file, and its source with --source")
    form = file_format or form_of(file)
    if not form:
        raise typer.BadParameter("name the format of the file: --format csv, jsonl or parquet")
    with file.open("rb") as data, connected() as api:
        task = _Task(api, data)
        asked = {"source": source, "form": form, "mapping": text, "anew": anew}
        ended = task.run(asked)
    _report(ended, task.failed, as_json=as_json)


class _Task:
    """One import, from the first byte of its file to the last.

    ``failed``: by cause, of the rows that failed now: how many, and which are the first.
    """

    def __init__(self, api: Api, data: BinaryIO) -> None:
        self._api = api
        self._data = data
        self._seen = _state(data)
        self.failed: dict[str, tuple[int, list[int]]] = {}

    def run(self, asked: _Json) -> _Json:
        """Import the file; returns the import as it stands at the end."""
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with progress(*columns) as shown:
            bar = shown.add_task("reading", total=self._seen[0])
            digest = self._digest(shown, bar)
            held: _Json = self._api.post("/imports", {**asked, "file": digest})
            if held["finished_at"] is not None:
                return held
            shown.update(bar, description="importing", completed=0)
            self._data.seek(0)
            opened = open_rows(self._data, asked["form"], held["read"])
            for piece in _pieces(opened.records, held["row"]):
                body = _body(piece, held["row"], opened.columns)
                self._check()
                held = self._send(("imports", held["id"], "rows"), body)
                self._note(held.pop("problems"))
                shown.update(bar, completed=self._data.tell())
            self._check()
            ended: _Json = self._api.post(("imports", held["id"], "finish"))
            return ended

    def _note(self, problems: list[_Json]) -> None:
        for problem in problems:
            cause = f"{problem['kind']}: {problem['cause']}"
            count, first = self.failed.setdefault(cause, (0, []))
            if len(first) < _SHOWN:
                first.append(problem["row"])
            self.failed[cause] = count + 1, first

    def _digest(self, shown: Progress, bar: TaskID) -> str:
        hashed = hashlib.sha256()
        while block := self._data.read(_READ):
            hashed.update(block)
            shown.advance(bar, len(block))
        return hashed.hexdigest()

    def _check(self) -> None:
        if _state(self._data) != self._seen:
            raise InvalidInputError(
                "the file changed while it was read; what was sent until then is stored: put the file back "
                "as it was and run the command again"
            )

    def _send(self, path: tuple[str, ...], body: _Json) -> _Json:
        """Send a piece; wait while the server says that it is behind.

        :raises UnavailableError: it does so for long, or is gone.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                answer: _Json = self._api.post(path, body)
            except UnavailableError as error:
                if not error.retry_after or time.monotonic() > deadline:
                    text = f"{error.message}; run the command again, and it goes on where it stopped"
                    raise UnavailableError(text) from None
                time.sleep(error.retry_after)
            else:
                return answer


def _state(data: BinaryIO) -> tuple[int, int]:
    found = os.fstat(data.fileno())
    return found.st_size, found.st_mtime_ns


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidInputError("the mapping file is not UTF-8 text") from None


def _pieces(records: Iterable[Record], done: int) -> Iterator[list[Record]]:
    """Yield the rows after ``done``, as many at a time as a call may have."""
    piece: list[Record] = []
    size = 0
    for record in records:
        if record.number <= done:
            continue
        weight = record.size + len(record.raw) * 2
        if piece and (len(piece) >= _ROWS or size + weight > _BYTES):
            yield piece
            piece, size = [], 0
        piece.append(record)
        size += weight
    if piece:
        yield piece


def _body(piece: list[Record], after: int, columns: list[str]) -> _Json:
    return {
        "after": after,
        "columns": columns,
        "rows": [(record.number, record.row) for record in piece if record.row is not None],
        "unreadable": [
            (record.number, record.reason, base64.b64encode(record.raw).decode())
            for record in piece
            if record.row is None
        ],
    }


def _report(held: _Json, failed: dict[str, tuple[int, list[int]]], *, as_json: bool) -> None:
    """Print what became of the file; a file of which some lies in quarantine is not done.

    :raises InvalidInputError: there is some.
    """
    if as_json:
        causes = [{"cause": cause, "count": count, "rows": rows} for cause, (count, rows) in failed.items()]
        show_json({**held, "causes": causes})
    else:
        show_record({"import": held["id"], **{name: held[name] for name in _COUNTS}}, as_json=False)
        for cause, (count, rows) in sorted(failed.items(), key=lambda one: -one[1][0]):
            more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
            say(f"{cause}: {count} (row {', '.join(map(str, rows))}{more})")
    if held["quarantined"]:
        raise InvalidInputError(
            f"{held['quarantined']} in quarantine; correct the mapping with "
            f"`cdp import --correct {held['id']}`, then `cdp quarantine replay`"
        )
