"""The three formats, read back with other people's readers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.export import encode
from cdp.gate import Column, Format, Released, Rendering, Value

COLUMNS = (Column("name"), Column("orders", "number"), Column("member", "boolean"))
ROWS: tuple[tuple[Value, ...], ...] = (
    ("Ada", 3, True),
    (None, None, None),
    ('quoted "x", and\r\nbroken', 2.5, False),
    ("Ünï ☃", 0, None),
)


def _rendering(kind: Format, rows: tuple[tuple[Value, ...], ...] = ROWS) -> Rendering:
    return _taking(kind, (Released(f"ref{number}", values) for number, values in enumerate(rows)))


def _taking(kind: Format, released: Iterator[Released]) -> Rendering:
    """What the gate makes, in life."""
    return Rendering(format=kind, columns=COLUMNS, take=lambda limit: list(islice(released, limit)))


def _bytes(kind: Format, rows: tuple[tuple[Value, ...], ...] = ROWS) -> bytes:
    return b"".join(encode(kind, _rendering(kind, rows))[1])


def test_jsonl_leaves_absent_values_out() -> None:
    media_type, data = encode("jsonl", _rendering("jsonl"))
    assert media_type == "application/x-ndjson"
    assert [json.loads(line) for line in b"".join(data).splitlines()] == [
        {"profile_ref": "ref0", "name": "Ada", "orders": 3, "member": True},
        {"profile_ref": "ref1"},
        {"profile_ref": "ref2", "name": 'quoted "x", and\r\nbroken', "orders": 2.5, "member": False},
        {"profile_ref": "ref3", "name": "Ünï ☃", "orders": 0},
    ]


def test_csv_is_rfc_4180() -> None:
    data = _bytes("csv").decode()
    assert data.startswith("profile_ref,name,orders,member\r\nref0,Ada,3,true\r\n")
    rows = list(csv.reader(io.StringIO(data, newline="")))
    assert rows[2] == ["ref1", "", "", ""]
    assert rows[3] == ["ref2", 'quoted "x", and\r\nbroken', "2.5", "false"]
    assert rows[4] == ["ref3", "Ünï ☃", "0", ""]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("\t=1", "'\t=1"),
        ("+49 30 123 456", "+49 30 123 456"),
        ("-12.5", "-12.5"),
        ("a=1", "a=1"),
    ],
)
def test_csv_runs_no_formula(value: str, cell: str) -> None:
    rows = list(csv.reader(io.StringIO(_bytes("csv", ((value, None, None),)).decode(), newline="")))
    assert rows[1][1] == cell


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")))
def test_csv_carries_any_text(text: str) -> None:
    rows = list(csv.reader(io.StringIO(_bytes("csv", ((text, None, None),)).decode(), newline="")))
    assert rows[1][1].removeprefix("'") == text.removeprefix("'")


def test_parquet_is_typed() -> None:
    table = pq.read_table(pa.BufferReader(_bytes("parquet")))
    assert table.schema.names == ["profile_ref", "name", "orders", "member"]
    assert table.to_pylist()[0] == {"profile_ref": "ref0", "name": "Ada", "orders": 3.0, "member": True}
    assert table.to_pylist()[1] == {"profile_ref": "ref1", "name": None, "orders": None, "member": None}


def test_parquet_has_null_for_a_value_of_another_type_and_text_of_a_number() -> None:
    table = pq.read_table(pa.BufferReader(_bytes("parquet", ((5, "many", "yes"), (True, True, 1)))))
    assert table.to_pylist() == [
        {"profile_ref": "ref0", "name": "5", "orders": None, "member": None},
        {"profile_ref": "ref1", "name": "true", "orders": None, "member": None},
    ]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_no_rows_at_all(kind: Format) -> None:
    data = _bytes(kind, ())
    if kind == "parquet":
        assert pq.read_table(pa.BufferReader(data)).num_rows == 0
    else:
        assert data == {"jsonl": b"", "csv": b"profile_ref,name,orders,member\r\n"}[kind]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_bytes_come_while_rows_do(kind: Format) -> None:
    """Nothing waits for the last row: an endless rendering gives bytes."""

    def endless() -> Iterator[Released]:
        number = 0
        while True:
            yield Released(f"ref{number}", ("Ada", number, True))
            number += 1

    _, data = encode(kind, _taking(kind, endless()))
    assert sum(len(next(data)) for _ in range(3)) > 100


def test_many_row_groups() -> None:
    data = _bytes("parquet", (("Ada", 1, True),) * 25_000)
    assert pq.read_table(pa.BufferReader(data)).num_rows == 25_000
    assert 10 < pq.ParquetFile(pa.BufferReader(data)).num_row_groups < 20
