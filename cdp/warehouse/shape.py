"""shape: rows of the store → typed Arrow tables (pure).

Invariants: a value of another type than declared becomes NULL and is counted; columns without any
value are left out of the table, so that a file costs what it holds; times become ``Micros``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.json import ParseOptions, ReadOptions, read_json

from cdp.policy import TYPED, ValueType
from cdp.profiles import WITHDRAWN, mark
from cdp.warehouse.model import EVENTS, MEMBERS, TRAITS, VALUE_COLUMN, Declared, event_column
from cdp.warehouse.queries import Columns

_ARROW: dict[ValueType, pa.DataType] = {
    "string": pa.string(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "time": pa.int64(),
}
_EVENT = [
    ("commit_no", pa.int64()),
    ("identity_no", pa.int64()),
    ("type", pa.string()),
    ("name", pa.string()),
    ("occurred_at", pa.int64()),
    ("received_at", pa.int64()),
    ("source_id", pa.int64()),
]
_TRAIT = [
    ("identity_no", pa.int64()),
    ("name", pa.string()),
    ("observed_at", pa.int64()),
    ("source_id", pa.int64()),
    ("tie", pa.int64()),
]
_MEMBER = [("identity_no", pa.int64()), ("profile_no", pa.int64()), ("commit_no", pa.int64())]
_TIE_BYTES = 4
_decode = msgspec.json.decode


def schema(dataset: str, declared: Declared) -> pa.Schema:
    """Return the full schema of a dataset under ``declared``."""
    if dataset == EVENTS:
        typed = [(event_column(name), _ARROW[kind]) for name, kind in declared.properties.items()]
        return pa.schema([*_EVENT, *typed])
    if dataset == TRAITS:
        return pa.schema([*_TRAIT, *((column, _ARROW[kind]) for kind, column in VALUE_COLUMN.items())])
    assert dataset == MEMBERS  # noqa: S101  # three datasets exist
    return pa.schema(_MEMBER)


def event_table(columns: Columns, declared: Declared, mistyped: Counter[str]) -> pa.Table:
    """Return events as a table; adds to ``mistyped`` by column.

    :param columns: as ``queries.read_events`` yields them; the last one is JSON text.
    """
    *plain, properties = columns
    typed_columns = _parsed(properties, declared, mistyped)
    if typed_columns is not None:
        arrays = [pa.array(values, kind) for values, (_, kind) in zip(plain, _EVENT, strict=True)]
        return pa.table([*arrays, *typed_columns.values()], names=[*(n for n, _ in _EVENT), *typed_columns])
    targets = {name: (event_column(name), TYPED[kind]) for name, kind in declared.properties.items()}
    found: dict[str, dict[int, Any]] = {}
    for row, text in enumerate(properties):
        if text is None:
            continue
        for name, value in _object(text, mistyped).items():
            target = targets.get(name)
            if target is None or value is None:
                continue
            column, read = target
            typed = read(value)
            if typed is None:
                mistyped[column] += 1
            else:
                found.setdefault(column, {})[row] = typed
    types = {event_column(name): _ARROW[kind] for name, kind in declared.properties.items()}
    return _table(plain, _EVENT, found, types)


def _parsed(
    properties: Sequence[str | None], declared: Declared, mistyped: Counter[str]
) -> dict[str, pa.Array] | None:
    """Return the typed columns of a page, parsed all at once outside the interpreter lock.

    None when a value is not of its declared type, or a number without bounds: then they are read one by one
    and counted. Times are read as texts, of which there are few.
    """
    if not declared.properties:
        return None
    texts = {**_ARROW, "time": pa.string()}
    schema = pa.schema([(name, texts[kind]) for name, kind in declared.properties.items()])
    lines = "\n".join(["{}" if text is None else text for text in properties]).encode()
    try:
        table = read_json(
            pa.BufferReader(lines),
            read_options=ReadOptions(use_threads=False, block_size=len(lines) + 1),
            parse_options=ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(properties):
        return None
    found = {}
    for name, kind in declared.properties.items():
        column = table.column(name)
        if column.null_count == table.num_rows:
            continue
        if kind == "time":
            column = _times(column, event_column(name), mistyped)
        elif kind == "number":
            if not pc.all(pc.is_finite(column)).as_py():
                return None
            column = pc.add(column, 0.0)  # as ``TYPED`` reads it, −0 is 0
        found[event_column(name)] = column
    return found


def _times(texts: pa.ChunkedArray, column: str, mistyped: Counter[str]) -> pa.Array:
    read = TYPED["time"]
    times = [None if text is None else read(text) for text in texts.to_pylist()]
    if wrong := times.count(None) - texts.null_count:
        mistyped[column] += wrong
    return pa.array(times, _ARROW["time"])


def trait_table(columns: Columns, declared: Declared, mistyped: Counter[str]) -> pa.Table:
    """Return observations as a table.

    An observation without a clear value of the declared type stays, with no value: it still takes
    part in the fold, so that the segment and the portrait agree on which observation holds. The ``tie``
    settles the order of equally old ones as the fold does: 32 bits of the event id, a keyed hash, then those
    that mark what one event says twice.
    """
    *plain, event_ids, values = columns
    ties = zip(event_ids, values, strict=True)
    plain.append([int.from_bytes(event_id[:_TIE_BYTES]) << 16 | mark(text) for event_id, text in ties])
    found: dict[str, dict[int, Any]] = {}
    for row, (name, text) in enumerate(zip(plain[1], values, strict=True)):
        if text is None or text == WITHDRAWN:
            continue
        kind = declared.traits[name]
        typed = TYPED[kind](_value(text))
        if typed is None:
            mistyped[f"trait {name}"] += 1
        else:
            found.setdefault(VALUE_COLUMN[kind], {})[row] = typed
    types = {column: _ARROW[kind] for kind, column in VALUE_COLUMN.items()}
    return _table(plain, _TRAIT, found, types)


def member_table(columns: Columns) -> pa.Table:
    """Return identity→profile rows as a table."""
    return _table(columns, _MEMBER, {}, {})


def _table(
    plain: Columns,
    names: Sequence[tuple[str, pa.DataType]],
    found: dict[str, dict[int, Any]],
    types: dict[str, pa.DataType],
) -> pa.Table:
    arrays = [pa.array(values, kind) for values, (_, kind) in zip(plain, names, strict=True)]
    rows = range(len(plain[0]))
    for column, values in found.items():
        arrays.append(pa.array([values.get(row) for row in rows], types[column]))
    return pa.table(arrays, names=[*(name for name, _ in names), *found])


def _object(text: str, mistyped: Counter[str]) -> dict[str, Any]:
    value = _value(text)
    if isinstance(value, dict):
        return value
    mistyped["properties"] += 1
    return {}


def _value(text: str) -> Any:
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None  # counted by the caller: one unreadable row must not stop the mirror
