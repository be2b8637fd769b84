"""Released rows as JSONL, CSV or Parquet, while they stream: nothing is spooled.

- **JSONL**: UTF-8, one object a line, ``profile_ref`` first; an absent value is an absent key.
- **CSV**: RFC 4180 with header, CRLF and UTF-8; an absent value is an empty field. Text that a
  spreadsheet would run as a formula (it begins with ``= + - @``, tab or return, and is not just a number or
  telephone number) gets a leading apostrophe, as OWASP advises: values come from the people themselves.
  Whoever needs them to the letter takes JSONL or Parquet.
- **Parquet**: one type a column; an absent value, or one that is not of the type, is null; a row group
  for every piece.

A piece is taken from the gate when the one before was handed over, and handed over at once: what is in it may
leave at that moment, however slow the reader is. A piece is small (64 KiB of text), so that little is on its
way; how many rows that makes is learnt from the pieces before.

Only ``Released`` comes in here, and only ``cdp/gate/release.py`` makes it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from cdp.gate import Column, Format, Released, Rendering, Value

PROFILE_REF = "profile_ref"
_PIECE = 64 * 1024  # bytes of text
_GROUP = 256 * 1024  # bytes of a Parquet row group
_FIRST = 100  # rows of the first piece
_MOST = 2000  # rows of a piece
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?[0-9][0-9 .,()/-]*")
_TYPES = {"string": pa.string(), "number": pa.float64(), "boolean": pa.bool_()}


def encode(kind: Format, rendering: Rendering) -> tuple[str, Iterator[bytes]]:
    """Return the media type and the bytes of a rendering, which come as its rows do."""
    media_type, encoder = _ENCODERS[kind]
    return media_type, encoder(rendering)


def _jsonl(rendering: Rendering) -> Iterator[bytes]:
    names = {f"value{place}": column.name for place, column in enumerate(rendering.columns)}
    line = msgspec.defstruct(  # many times as fast as a dictionary for each row
        "Line",
        [(PROFILE_REF, str), *((name, object, None) for name in names)],
        rename=names,
        omit_defaults=True,
    )
    encoder = msgspec.json.Encoder()

    def piece(rows: Sequence[Released]) -> bytes:
        return encoder.encode_lines([line(row.profile_ref, *row.values) for row in rows])

    yield from _pieces(rendering, piece, _PIECE)


def _csv(rendering: Rendering) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([PROFILE_REF, *(column.name for column in rendering.columns)])

    def piece(rows: Sequence[Released]) -> bytes:
        writer.writerows([row.profile_ref, *map(csv_cell, row.values)] for row in rows)
        return _taken(text)

    yield from _pieces(rendering, piece, _PIECE)
    if text.tell():  # not a single row: the header alone
        yield _taken(text)


def _taken(text: io.StringIO) -> bytes:
    data = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return data


def csv_cell(value: Value) -> str:
    """Return a value as a field of CSV: one that a spreadsheet would run as a formula is made harmless."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return msgspec.json.encode(value).decode()
    if value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return "'" + value
    return value


def _parquet(rendering: Rendering) -> Iterator[bytes]:
    schema = pa.schema(
        [
            pa.field(PROFILE_REF, pa.string(), nullable=False),
            *(pa.field(column.name, _TYPES[column.type]) for column in rendering.columns),
        ]
    )
    sink = _Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema) as writer:

        def piece(rows: Sequence[Released]) -> bytes:
            columns = [
                [_typed(column, row.values[place]) for row in rows]
                for place, column in enumerate(rendering.columns)
            ]
            refs = [row.profile_ref for row in rows]
            writer.write_table(pa.table([refs, *columns], schema=schema))
            return sink.taken()

        yield from _pieces(rendering, piece, _GROUP)
    yield sink.taken()


def _typed(column: Column, value: Value) -> Value:
    if value is None:
        return None
    if column.type == "boolean":
        return value if isinstance(value, bool) else None
    if column.type == "number":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if number else None
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class _Sink(io.RawIOBase):
    """A file that only grows and gives away what was written, so that no file is ever whole."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def write(self, data: object, /) -> int:
        """Take bytes."""
        piece = bytes(memoryview(data))  # type: ignore[arg-type]  # any buffer
        self._pieces.append(piece)
        self._at += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Return how much was written so far."""
        return self._at

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def _pieces(
    rendering: Rendering, encode_rows: Callable[[Sequence[Released]], bytes], wanted: int
) -> Iterator[bytes]:
    """Yield a rendering piece by piece, each of about ``wanted`` bytes."""
    size = _FIRST
    while rows := rendering.take(size):
        piece = encode_rows(rows)
        size = max(1, min(_MOST, wanted * len(rows) // max(1, len(piece))))
        yield piece


_ENCODERS: dict[Format, tuple[str, Callable[[Rendering], Iterator[bytes]]]] = {
    "jsonl": ("application/x-ndjson", _jsonl),
    "csv": ("text/csv; charset=utf-8", _csv),
    "parquet": ("application/vnd.apache.parquet", _parquet),
}
