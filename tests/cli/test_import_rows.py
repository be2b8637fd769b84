"""Reading files of rows: what is well written comes as it is, what is not is named and harms no neighbour."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.cli.import_rows import MOST_BYTES, Record, open_rows
from cdp.errors import InvalidInputError

PLAIN = {"delimiter": ",", "quote": '"', "encoding": "utf-8", "header": True, "columns": []}
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=8)


def read(data: bytes, form: str = "csv", **more: Any) -> tuple[list[str], list[Record]]:
    rows = open_rows(io.BytesIO(data), form, {**PLAIN, **more})
    return rows.columns, list(rows.records)


def shown(records: list[Record]) -> list[tuple[int, Any]]:
    return [(record.number, record.reason if record.row is None else record.row) for record in records]


@given(
    st.lists(st.tuples(CELLS, CELLS), max_size=6),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-16", "gb18030"]),
)
def test_what_a_writer_of_csv_writes_is_read(
    rows: list[tuple[str, str]], delimiter: str, end: str, encoding: str
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *rows])
    columns, records = read(out.getvalue().encode(encoding), delimiter=delimiter, encoding=encoding)
    assert columns == ["a", "b"]
    assert [record.row for record in records] == [list(row) for row in rows]
    numbers = [record.number for record in records]
    assert numbers == sorted(set(numbers))


def test_dialects_of_csv() -> None:
    assert read("\ufeffä;b\n1;2\n\n3;4\n".encode(), delimiter=";") == (
        ["ä", "b"],
        [Record(2, ["1", "2"], size=9), Record(4, ["3", "4"], size=9)],
    )
    assert read(b"1\t'2'\n", delimiter="tab", quote="'", header=False, columns=["a", "b"])[1][0].row == [
        "1",
        "2",
    ]
    assert read("a\nGrüße\n".encode("windows-1252"), encoding="windows-1252")[1][0].row == ["Grüße"]
    assert read(gzip.compress(b"a\n1\n"))[1][0].row == ["1"]
    for header in (b"", b'a,"b', b"a,a\n", b"\xff\n"):
        with pytest.raises(InvalidInputError, match="the header of the file"):
            read(header)


def test_a_bad_row_of_csv_is_named_and_the_next_are_read() -> None:
    lines = [
        b"a,b", b"1,2", b"only one", b"1,2,3", b'"x"y,2', b'open "quote", 2', b"\xff,2", b'"open,2', b"3,4",
        b'"two', b'lines",5', b"6,7",
    ]  # fmt: skip
    _, records = read(b"\n".join(lines))
    assert shown(records) == [
        (2, ["1", "2"]),
        (3, "columns"),
        (4, "columns"),
        (5, "malformed"),
        (6, ['open "quote"', " 2"]),
        (7, "encoding"),
        (8, "malformed"),
        (9, ["3", "4"]),
        (10, ["two\nlines", "5"]),
        (12, ["6", "7"]),
    ]
    assert records[6].raw == b'"open,2\n'


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_huge_row_is_named_and_the_next_are_read(form: str) -> None:
    huge = b"x" * (3 * MOST_BYTES)
    if form == "csv":
        data = b"a,b\n1,2\n" + huge + b',"2\n3,4\n"' + huge + b"\n5,6\n"
        numbers = [2, 4, 6]
    else:
        data = b'{"a":1}\n{"a":"' + huge + b'"}\n{"a":2}\n'
        numbers = [1, 3]
    _, records = read(data, form)
    assert [record.number for record in records if record.row is not None] == numbers
    large = [record for record in records if record.row is None]
    assert {record.reason for record in large} == {"too_large"}
    assert all(len(record.raw) <= 4096 for record in large)


def test_an_open_quote_takes_no_more_than_its_line() -> None:
    rest = b"".join(b"%d,y\n" % number for number in range(100_000))
    _, records = read(b'a,b\n"open,1\n' + rest)
    assert shown(records[:2]) == [(2, "malformed"), (3, ["0", "y"])]
    assert len(records) == 100_001
    assert all(record.row is not None for record in records[1:])


def test_lines_of_json() -> None:
    lines = [
        b'\xef\xbb\xbf{"a":1}', b"", b"not json", b"[1]", b'{"a":"\xff"}', b'{"a":"\\u0000"}', b'{"a":1e999}',
        b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}", b'{"a":{"b":[1,null]}}',
    ]  # fmt: skip
    _, records = read(b"\n".join(lines), "jsonl")
    assert shown(records) == [
        (1, {"a": 1}),
        (3, "malformed"),
        (4, "malformed"),
        (5, "encoding"),
        (6, "malformed"),
        (7, "malformed"),
        (8, "malformed"),
        (9, {"a": {"b": [1, None]}}),
    ]


def test_types_of_parquet() -> None:
    zoned = pa.timestamp("ns", "Europe/Berlin")
    table = pa.table(
        {
            "at": pa.array([datetime(2026, 1, 2, 3, 4, 5, 6, UTC), None], zoned),
            "local": pa.array([1_767_323_045_000_000_123, None], pa.timestamp("ns")),
            "day": pa.array([date(2026, 1, 2), None]),
            "price": pa.array([Decimal("1.10"), None], pa.decimal128(10, 2)),
            "tags": pa.array([["a", "b"], None]),
            "address": pa.array([{"city": "Hamburg", "since": date(2020, 1, 1)}, None]),
            "raw": pa.array([b"text", b"\xff"]),
            "ratio": pa.array([0.5, float("nan")]),
            "big": pa.array([(1 << 62) + 1, None]),
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    columns, records = read(out.getvalue(), "parquet")
    row = dict(zip(columns, records[0].row, strict=True))
    assert row == {
        "at": "2026-01-02T04:04:05.000006+01:00",
        "local": "2026-01-02T03:04:05",
        "day": "2026-01-02",
        "price": "1.10",
        "tags": ["a", "b"],
        "address": {"city": "Hamburg", "since": "2020-01-01"},
        "raw": "text",
        "ratio": 0.5,
        "big": (1 << 62) + 1,
    }
    assert msgspec.json.decode(msgspec.json.encode(records[1].row)) == [*[None] * 6, "/w==", None, None]
    with pytest.raises(InvalidInputError, match="no Parquet file"):
        read(b"PAR1 and no more", "parquet")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_gzip_file_that_ends_early_is_refused_after_what_is_there(form: str) -> None:
    line = b'{"a":1}\n' if form == "jsonl" else b"a\n"
    packed = gzip.compress(line * 10_000)
    with pytest.raises(InvalidInputError, match="no whole gzip file"):
        read(packed[:-20], form)
