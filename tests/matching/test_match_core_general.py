"""Matching in general: where nobody is there twice, other columns, people who moved, whole families."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pyarrow as pa
import pytest

from cdp.matching import FieldKind, Matched, MatchField, MatchSettings, fields_of, match
from cdp.matching.dates import dates

pytest.importorskip("splink", reason="install the extra: pip install 'cdp[match]'")

NAMES = ["given_name", "family_name", "dob", "street", "suburb", "postcode"]
Row = Sequence[str | None]


def _word(draw: random.Random, syllables: int) -> str:
    return "".join(draw.choice("bdfgklmnprstvz") + draw.choice("aeiou") for _ in range(syllables))


def _home(draw: random.Random) -> list[str | None]:
    town = draw.randrange(20)
    return [
        f"{draw.randrange(1, 200)} {_word(draw, 2)} road",
        f"Town{'abcdefghijklmnopqrst'[town]}",
        f"{5000 + town}",
    ]


def population(number: int, seed: int = 3) -> list[list[str | None]]:
    """Return plainly fictional people, no two alike, of whom a third live with the one before."""
    draw = random.Random(seed)  # noqa: S311  # test data
    given = [_word(draw, 2) for _ in range(80)]
    rows: list[list[str | None]] = []
    for _ in range(number):
        with_family = bool(rows) and draw.random() < 0.33
        family, home = (rows[-1][1], rows[-1][3:]) if with_family else (_word(draw, 3), _home(draw))
        name = draw.choice([one for one in given if not rows or one != rows[-1][0]])
        born = f"{draw.randrange(1940, 2004)}-{draw.randrange(1, 13):02}-{draw.randrange(2, 28):02}"
        rows.append([name, family, born, *home])
    return rows


def found(rows: Sequence[Row], fields: Sequence[MatchField]) -> Matched:
    columns = {field.name: pa.array([row[n] for row in rows], pa.string()) for n, field in enumerate(fields)}
    table = pa.table({"record_no": pa.array(range(len(rows)), pa.int64()), **columns})
    return match(table, fields, MatchSettings(memory=1024, sample=50_000))


def joined(matched: Matched) -> set[tuple[int, int]]:
    return {(pair.low, pair.high) for pair in matched.joined}


@pytest.mark.parametrize(
    "places", [range(6), [0, 1, 2], [0, 1, 4, 5]], ids=["all", "name and date", "no date"]
)
def test_where_nobody_is_there_twice_neighbours_are_not_taken_for_what_one_person_looks_like(
    places: Sequence[int],
) -> None:
    rows = [[row[n] for n in places] for row in population(600)]
    result = found(rows, fields_of([NAMES[n] for n in places]))
    assert not result.joined
    for name, levels in result.model.fields.items():
        if name in NAMES[:3]:
            assert levels[-1].m < 0.2, "one person's names and birth dates are mostly the same"


def test_who_moved_is_found_by_name_and_birth_date_though_all_of_the_address_differs() -> None:
    people = population(400)
    draw = random.Random(5)  # noqa: S311  # test data
    again: list[Row] = [[*row[:3], *_home(draw)] for row in people[:4]]
    result = found([*people, *(list(row) for row in people[100:300]), *again], fields_of(NAMES))
    moved = [pair for pair in result.joined if (pair.low, pair.high) in {(n, 600 + n) for n in range(4)}]
    assert len(moved) == 4
    for pair in moved:
        assert [step for step in pair.steps if (step.field, step.level) == ("address", "moved")]
        assert sum(step.weight for step in pair.steps) == pytest.approx(pair.weight, abs=0.02)


def test_two_of_a_family_with_full_names_alike_are_two_and_an_initial_or_a_short_form_is_one() -> None:
    people = population(200)
    rows: list[Row] = [[f"{row[0]} {row[1]}", row[2], row[3]] for row in people]
    rows += [list(row) for row in rows[50:150]]
    born, home = "1971-03-09", "4 Heron Alley"
    rows += [[name, born, home] for name in ("Marit Quillfeather", "Dario Quillfeather")]
    rows += [[name, "1965-11-23", "9 Copper Lane"] for name in ("Robert Nightjar", "Bob Nightjar")]
    rows += [[name, "1959-07-14", "2 Mill Yard"] for name in ("Edda C. Larkspur", "Edda Clara Larkspur")]
    pairs = joined(found(rows, fields_of(["name", "dob", "address"])))
    assert (300, 301) not in pairs
    assert {(302, 303), (304, 305)} <= pairs


def test_a_birth_date_in_parts_is_one_date() -> None:
    people = population(300)
    rows: list[Row] = [[row[0], row[1], *str(row[2]).split("-")] for row in people]
    rows += [[*row[:3], None, row[4]] for row in rows[:100]]
    names = ["fname_c1", "lname_c1", "by", "bm", "bd"]
    result = found(rows, fields_of(names))
    assert list(result.model.fields) == names[:3]
    assert len(joined(result) & {(n, 300 + n) for n in range(100)}) > 80
    assert {step.field for pair in result.joined for step in pair.steps} >= {"by"}


def test_parts_of_a_date_beside_a_whole_one_or_without_a_year_are_no_date() -> None:
    rows: list[Row] = [[*row[:3], str(row[2])[:4], "7"] for row in population(30)]
    fields = fields_of(["fname", "lname", "dob", "birth_year", "birth_day"])
    assert [field.kind for field in fields[2:]] == [
        FieldKind.birth_date, FieldKind.birth_year, FieldKind.birth_day,
    ]  # fmt: skip
    assert list(found(rows, fields).model.fields) == ["fname", "lname", "dob"]
    month = MatchField("month", FieldKind.birth_month)
    assert list(found([[row[0], row[4]] for row in rows], [fields[0], month]).model.fields) == [
        "fname",
        "month",
    ]


def test_a_date_without_a_day_has_a_month() -> None:
    made = dates(["1953-10", "1953-10-08", "0000-04-24", "1953"])
    assert (made["_y"], made["_m"], made["_d"]) == (
        [1953, 1953, None, 1953], [10, 10, 4, None], [None, 8, 24, None],
    )  # fmt: skip


def test_columns_of_other_exports_are_known_by_their_names() -> None:
    names = {
        "姓名": "full_name", "出生日期": "birth_date", "手机号": "phone", "邮编": "postal_code",
        "Vorname": "given_name", "Nachname": "family_name", "f_name": "given_name", "last": "family_name",
        "street_name": "street", "city_name": "city", "yob": "birth_year", "birthday": "birth_date",
        "first_and_surname": "full_name", "last_login": "text", "created_by": "text",
    }  # fmt: skip
    assert {field.name: str(field.kind) for field in fields_of(list(names))} == names | {
        "birthday": "birth_day"
    }
