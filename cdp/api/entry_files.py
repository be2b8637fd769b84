"""Audit entries as JSONL, CSV or Parquet, written while they stream.

JSONL has the fields of the REST API. CSV (RFC 4180, with header) and Parquet have one column for each of
them; ``object``, ``counts`` and ``people`` are JSON texts. In CSV a text that a spreadsheet would run as a
formula gets a leading apostrophe, as in exports.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from cdp.api.asking import audit_entry
from cdp.audit import AuditEntry
from cdp.export import GrowingFile, harmless

PIECE = 5000
"""Entries of a piece."""
_NUMBERS = ("index", "commit_no")
_TEXTS = ("at", "actor", "action", "outcome", "purpose", "destination")
_JSON = ("object", "counts", "people")
_FIELDS = (*_NUMBERS, *_TEXTS, *_JSON)
_SCHEMA = pa.schema(
    [
        *((name, pa.int64()) for name in _NUMBERS),
        *((name, pa.string()) for name in (*_TEXTS, *_JSON)),
    ]
)
Pieces = Iterable[list[AuditEntry]]


def encoded(kind: str, pieces: Pieces) -> tuple[str, Iterator[bytes]]:
    """Return the media type and the bytes of entries, which come as their pieces do.

    :param kind: ``jsonl``, ``csv`` or ``parquet``.
    """
    media_type, encoder = _ENCODERS[kind]
    return media_type, encoder(pieces)


def _jsonl(pieces: Pieces) -> Iterator[bytes]:
    encoder = msgspec.json.Encoder()
    for entries in pieces:
        yield encoder.encode_lines([audit_entry(entry) for entry in entries])


def _csv(pieces: Pieces) -> Iterator[bytes]:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_FIELDS)
    for entries in pieces:
        writer.writerows([harmless(value) for value in _row(entry)] for entry in entries)
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    if text.tell():
        yield text.getvalue().encode()


def _parquet(pieces: Pieces) -> Iterator[bytes]:
    sink = GrowingFile()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), _SCHEMA) as writer:
        for entries in pieces:
            columns = list(zip(*map(_row, entries), strict=True))
            writer.write_table(pa.table([list(column) for column in columns], schema=_SCHEMA))
            yield sink.taken()
    yield sink.taken()


def _row(entry: AuditEntry) -> list[Any]:
    shown = audit_entry(entry)
    texts = [msgspec.json.encode(shown[name]).decode() for name in _JSON]
    return [*(shown[name] for name in (*_NUMBERS, *_TEXTS)), *texts]


_ENCODERS: dict[str, tuple[str, Callable[[Pieces], Iterator[bytes]]]] = {
    "jsonl": ("application/x-ndjson", _jsonl),
    "csv": ("text/csv; charset=utf-8", _csv),
    "parquet": ("application/vnd.apache.parquet", _parquet),
}
