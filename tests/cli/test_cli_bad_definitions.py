"""What no definition is, in a file: a command names file and line, says what to do, stores nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

Shell = Callable[..., str]
LEAF = "{event: Order Completed}"
NOTS = "{not: " * 500 + LEAF + "}" * 500
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{below}'] * 9)}]\n"
    for below, key in zip("abcdefgh", "bcdefghi", strict=True)
)
NUMBER = "trait: order_count\n  op: gt\n  value: "
NESTED = "where:\n" + "".join("  " * depth + "not:\n" for depth in range(1, 60)) + "  " * 60 + "event: A\n"
FILES = {  # each is behind a first line with the name; where it is wrong, and what is said
    # what unfolds, or refers to itself
    "laughs": (LAUGHS + "where: *i\n", ":2: ", "anchors"),
    "alias": (f"where:\n  all:\n    - &one {LEAF}\n    - *one\n", ":4: ", "anchors"),
    "itself": ("where: &a\n  all: [*a]\n", ":2: ", "anchors"),
    "merged": (f"base: &b {LEAF}\nwhere:\n  <<: *b\n", ":2: ", "anchors"),
    "tag": ("where:\n  event: !!python/object/apply:os.system [ls]\n", ":3: ", "tags"),
    "binary": ("where:\n  event: !!binary aGk=\n", ":3: ", "tags"),
    # too much of it
    "nots": (f"where:\n  {NOTS}\n", ":3: ", "nested"),
    "lines": (NESTED, ":53: where.not", "nested deeper than 50 levels"),
    "brackets": ("where:\n  all: " + "[" * 100_000, ":3: ", "nested"),
    "many": ("where:\n  any:\n" + f"    - {LEAF}\n" * 10_000, ":1004: where.any[1000]", "more than 1000"),
    "big": ("#" * 600_000, ": ", "at most 524288"),
    "long": (f"where:\n  event: {'x' * 5_000}\n", ":3: where.event", "1000 characters"),
    # names and types
    "trait": (
        "where:\n  all:\n    - trait: contry\n      op: exists\n",
        ":4: where.all[0].trait", "did you mean country?",
    ),
    "alike": ("where:\n  trait: c\u043euntry\n  op: exists\n", ":3: where.trait", "did you mean country?"),
    "key": ("where:\n  not:\n    event: A\n    witin: 3d\n", ":4: where.not", "did you mean within?"),
    "sealed": ("where:\n  trait: email\n  op: exists\n", ":3: where.trait", "is sealed (category user"),
    "undeclared": (
        "where:\n  event: A\n  where:\n    - property: shoe_size\n      op: exists\n",
        ":5: where.where[0].property", "declare it under properties in policies/fields.yaml",
    ),
    "type": ("where:\n  event: A\n  count:\n    gte: '2'\n", ":5: where.count.gte", "number"),
    "zone": ("timezone: Mars/Olympus\nwhere:\n  event: A\n", ":2: timezone", "Europe/Berlin"),
    "circle": ("where:\n  segment: itself\n", ":1: ", "itself → itself"),
    "nobody": ("where:\n  all:\n    - segment: nobody\n", ":3: where", "there is no segment nobody"),
    # numbers that are none, or too large
    "nan": (f"where:\n  {NUMBER}.nan\n", ":5: where.value", "number"),
    "infinity": (f"where:\n  {NUMBER}-.inf\n", ":5: where.value", "number"),
    "exponent": (f"where:\n  {NUMBER}1e999\n", ":5: where.value", "number"),
    "400 digits": (f"where:\n  {NUMBER}{'9' * 400}\n", ":5: where.value", "out of range"),
    "5000 digits": (f"where:\n  {NUMBER}{'9' * 5_000}\n", ": ", "not readable"),
    "minutes": (f"where:\n  {NUMBER}1:30\n", ":5: where.value", "number"),
    # hostile text
    "NUL": ('where:\n  event: "a\\0b"\n', ":1: ", "NUL"),
    "raw NUL": ("where:\n  event: a\0b\n", ": ", "not valid YAML"),
    "half a pair": ('where:\n  event: "\\uD800"\n', ":3: ", "Unicode"),
    "half a pair in JSON": ('{"where": {"event": "\\ud800"}}', ":1: ", "Unicode"),
    "statement": ("where:\n  segment: \"x'; DROP TABLE segments --\"\n", ":3: where.segment", "lower-case"),
    "twice": ("where:\n  event: A\nwhere:\n  event: B\n", ":4: ", "twice"),
    "twice in JSON": ('{"where": {"event": "A"},\n "where": {"event": "B"}}', ":2: ", "twice"),
    "twice below in JSON": ('{"where":\n{"event": "A",\n"event": "B"}}', ":3: ", "twice"),
}  # fmt: skip


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite: files are read and refused before any store is asked."""
    return f"sqlite:///{tmp_path / 'cdp.sqlite'}"


def test_the_file_and_the_line_are_named_and_nothing_is_stored(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    for what, (text, place, said) in FILES.items():
        file.write_text(
            text.replace("{", '{"name": "itself", ', 1) if text[0] == "{" else f"name: itself\n{text}"
        )
        line = shell("segment", "apply", file, expect=1)
        assert line.startswith(f"cdp: {file}{place}"), (what, line[:300])
        assert said in line, (what, line[:300])
        assert "Traceback" not in line
    assert msgspec.json.decode(shell("segment", "list", "--json")) == []
