"""The rows of a file, one at a time: CSV, JSON Lines and Parquet, each with its number.

Invariants: memory does not grow with the file, nor with one bad line of it; a row that cannot be read is
yielded as such, with its reason and its beginning, and the ones after it are read as if it were not there.
The number of a row is that of the line on which it begins, in Parquet its place, from 1: the same in every
run.
"""

from __future__ import annotations

import base64
import codecs
import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import msgspec

from cdp.errors import InvalidInputError

MOST_BYTES = 256 * 1024
"""Of one row; a larger one is unreadable."""
_KEPT_BYTES = 4 * 1024  # of an unreadable row
_RECORD_BYTES = 1024 * 1024  # of CSV lines in which a quote is open: beyond it the first of them is bad
_BATCH = 500
_GZIP = b"\x1f\x8b"
_NUL = b"\\u0000"
_DELIMITERS = {"tab": "\t"}


class Record(NamedTuple):
    """A row.

    :param row: an object, or values in the order of the columns; None for one that cannot be read.
    :param reason: why it cannot be.
    :param raw: its beginning, of one that cannot be read.
    :param size: bytes of its JSON.
    """

    number: int
    row: Any
    reason: str = ""
    raw: bytes = b""
    size: int = 0


class Rows(NamedTuple):
    """A file that is open.

    :param columns: their names, where rows are lists.
    """

    columns: list[str]
    records: Iterator[Record]


class _BadLineError(Exception):
    """Ends the reading of one CSV record; holds the reason."""


def open_rows(file: BinaryIO, form: str, read: dict[str, Any]) -> Rows:
    """Return the rows of a file.

    :param file: open at its beginning; gzip is recognised.
    :param form: csv, jsonl or parquet.
    :param read: the part ``format`` of a mapping.
    :raises InvalidInputError: it is no such file.
    """
    if form == "parquet":
        return _parquet(file)
    unpacked = _unpacked(file)
    data: _Lined = _Recoded(unpacked) if read["encoding"] == "utf-16" else unpacked
    return _csv(data, read) if form == "csv" else Rows([], map(_checked, _jsonl(data)))


def _unpacked(file: BinaryIO) -> BinaryIO:
    begins = file.read(2)
    file.seek(0)
    if begins != _GZIP:
        return file
    return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]  # it is read like one


class _Lined(Protocol):
    """What has lines."""

    def readline(self, size: int, /) -> bytes:
        """Return a line, or as much of it as ``size`` says."""
        ...


class _Recoded:
    """UTF-16 read as lines of UTF-8; what is no UTF-16 becomes no UTF-8 either."""

    def __init__(self, data: BinaryIO) -> None:
        self._text = io.TextIOWrapper(data, encoding="utf-16", errors="replace", newline="\n")

    def readline(self, size: int, /) -> bytes:
        """Return a line, or as much of it as ``size`` says."""
        return self._text.readline(size).encode().replace("\ufffd".encode(), b"\xff")


def _lines(data: _Lined) -> Iterator[tuple[int, bytes, bool]]:
    """Yield (number, line, whether that is all of it)."""
    number = 0
    try:
        while line := data.readline(MOST_BYTES + 1):
            number += 1
            whole = len(line) <= MOST_BYTES
            rest = line
            while not whole and rest and not rest.endswith(b"\n"):
                rest = data.readline(MOST_BYTES)
            yield number, line, whole
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise
        raise InvalidInputError(f"the file is no whole gzip file after line {number}") from None


def _checked(record: Record) -> Record:
    """Return a row with its size; as an unreadable one where the platform would not take it as it is."""
    if record.row is None:
        return record._replace(raw=record.raw[:_KEPT_BYTES])
    try:
        encoded = msgspec.json.encode(record.row)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError, UnicodeEncodeError):
        return Record(record.number, None, "malformed", b"")
    if len(encoded) > MOST_BYTES:
        return Record(record.number, None, "too_large", encoded[:_KEPT_BYTES])
    if _NUL in encoded:
        return Record(record.number, None, "malformed", encoded[:_KEPT_BYTES])
    return record._replace(size=len(encoded))


# -- JSON Lines ---------------------------------------------------------------------------------------


def _jsonl(data: _Lined) -> Iterator[Record]:
    for number, line, whole in _lines(data):
        if not whole:
            yield Record(number, None, "too_large", line)
            continue
        text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not text.strip():
            continue
        try:
            text.decode()
            row = msgspec.json.decode(text)
        except UnicodeDecodeError:
            yield Record(number, None, "encoding", text)
            continue
        except (msgspec.DecodeError, RecursionError):
            row = None
        yield Record(number, row) if isinstance(row, dict) else Record(number, None, "malformed", text)


# -- CSV ----------------------------------------------------------------------------------------------


class _Feed:
    """The lines of a CSV file as its reader takes them, of which some can be given back."""

    def __init__(self, data: _Lined, encoding: str) -> None:
        self._lines = _lines(data)
        self._encoding = encoding
        self._waiting: deque[tuple[int, bytes, bool]] = deque()
        self.taken: list[tuple[int, bytes, bool]] = []
        self._size = 0

    def begin(self) -> None:
        """Forget what was taken: it is read."""
        self.taken, self._size = [], 0

    def give_back(self) -> None:
        """Have all lines taken since but the first be read again."""
        self._waiting.extendleft(reversed(self.taken[1:]))

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else next(self._lines)
        self.taken.append(line)
        number, raw, whole = line
        self._size += len(raw)
        if not whole or self._size > _RECORD_BYTES:
            raise _BadLineError("malformed" if whole else "too_large")
        if number == 1 and self._encoding == "utf-8":
            raw = raw.removeprefix(codecs.BOM_UTF8)
        try:
            return raw.decode(self._encoding)
        except UnicodeDecodeError:
            raise _BadLineError("encoding") from None


def _csv(data: _Lined, read: dict[str, Any]) -> Rows:
    records = _csv_records(data, read)
    columns = list(read["columns"])
    if read["header"]:
        first = next(records, None)
        if first is None or first.row is None:
            raise InvalidInputError("the header of the file cannot be read; check its format in the mapping")
        columns = first.row
        if len(set(columns)) != len(columns):
            raise InvalidInputError("the header of the file names a column twice")

    def fitting() -> Iterator[Record]:
        for record in records:
            if record.row is None or len(record.row) == len(columns):
                yield _checked(record)
            else:
                yield Record(record.number, None, "columns", msgspec.json.encode(record.row)[:_KEPT_BYTES])

    return Rows(columns, fitting())


def _csv_records(data: _Lined, read: dict[str, Any]) -> Iterator[Record]:
    csv.field_size_limit(_RECORD_BYTES)
    delimiter = _DELIMITERS.get(read["delimiter"], read["delimiter"])
    feed = _Feed(data, "utf-8" if read["encoding"] == "utf-16" else read["encoding"])

    def reader() -> Iterator[list[str]]:
        return csv.reader(feed, delimiter=delimiter, quotechar=read["quote"], strict=True)

    rows = reader()
    while True:
        feed.begin()
        try:
            row = next(rows)
        except StopIteration:
            return
        except (csv.Error, _BadLineError) as error:
            number, raw, _ = feed.taken[0]
            only = len(feed.taken) == 1
            reason = str(error) if only and isinstance(error, _BadLineError) else "malformed"
            feed.give_back()
            rows = reader()
            yield Record(number, None, reason, raw[:_KEPT_BYTES])
            continue
        if row:
            yield Record(feed.taken[0][0], row)


# -- Parquet ------------------------------------------------------------------------------------------


def _parquet(file: BinaryIO) -> Rows:
    import pyarrow as pa  # noqa: PLC0415  # large, and only for this format
    import pyarrow.parquet as pq  # noqa: PLC0415  # likewise

    try:
        table = pq.ParquetFile(file)
    except (pa.ArrowException, OSError):
        raise InvalidInputError("the file is no Parquet file") from None
    columns = list(table.schema_arrow.names)
    if len(set(columns)) != len(columns):
        raise InvalidInputError("the file names a column twice")

    def records() -> Iterator[Record]:
        number = 0
        try:
            for batch in table.iter_batches(_BATCH):
                held = [_values(batch.column(place)) for place in range(batch.num_columns)]
                for row in zip(*held, strict=True):
                    number += 1
                    yield _checked(Record(number, list(row)))
        except pa.ArrowException:
            raise InvalidInputError(f"the file is no whole Parquet file after row {number}") from None

    return Rows(columns, records())


def _values(column: Any) -> list[Any]:
    import pyarrow as pa  # noqa: PLC0415  # it is loaded already

    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return [_plain(value) for value in column.to_pylist()]


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: times in ISO 8601, decimals as text, bytes as text or else Base64."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(name): _plain(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def form_of(file: Path) -> str:
    """Return the form that a file's name tells; empty for none."""
    known = {
        ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
        ".json": "jsonl", ".parquet": "parquet",
    }  # fmt: skip
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() != ".gz"]
    return known.get(suffixes[-1], "") if suffixes else ""
