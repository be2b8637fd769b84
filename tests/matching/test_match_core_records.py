"""Matching in memory: households, chains, every script, faults, and that nothing is left behind."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from cdp.errors import InvalidInputError
from cdp.matching import FieldKind, Matched, MatchField, MatchSettings, Model, fields_of, kind_of, match
from cdp.matching.cluster import Edges, cluster
from cdp.matching.memory import in_memory, run

pytest.importorskip("splink", reason="install the extra: pip install 'cdp[match]'")

FIELDS = fields_of(["given_name", "family_name", "birth_date", "email", "phone", "street", "city"])
SETTINGS = MatchSettings(memory=1024, sample=50_000)
Row = Sequence[str | None]

GIVEN = [
    "Amara", "Bruno", "Celia", "Dario", "Edith", "Fabian", "Greta", "Hugo", "Ingrid", "Jonas", "Katja",
    "Lorenz", "Mira", "Nils", "Olga", "Pavel", "Rosa", "Stefan", "Tilda", "Ulrich", "Vera", "Wanda",
    "Xaver", "Yvonne", "Zeno",
]  # fmt: skip
FAMILY = [
    "Aldermann", "Brookfield", "Castellan", "Dornbach", "Eichwald", "Fairweather", "Greenholt",
    "Hasselbeck", "Ironwood", "Jasperson", "Kestrelby", "Lindqvister", "Morgenthau", "Northcote",
    "Oakhampton", "Penderwick", "Quillfeather",
]  # fmt: skip


def population(number: int, seed: int = 7) -> list[list[str | None]]:
    """Return plainly fictional people, no two alike."""
    chance = random.Random(seed)  # noqa: S311  # test data
    rows: list[list[str | None]] = []
    for place in range(number):
        given, family = GIVEN[place % len(GIVEN)], FAMILY[(place * 7) % len(FAMILY)]
        born = f"{chance.randrange(1940, 2004)}-{chance.randrange(1, 13):02}-{chance.randrange(2, 28):02}"
        rows.append([
            given, family, born, f"{given}.{family}{place}@mail.example".lower(),
            f"0155{5000000 + place * 7919}",
            f"{chance.randrange(1, 200)} {chance.choice(FAMILY)} Road", f"{chance.choice(GIVEN)}ville",
        ])  # fmt: skip
    return rows


def table(rows: Sequence[Row], fields: Sequence[MatchField] = FIELDS, *, first: int = 0) -> pa.Table:
    columns = {field.name: pa.array([row[n] for row in rows], pa.string()) for n, field in enumerate(fields)}
    return pa.table({"record_no": pa.array(range(first, first + len(rows)), pa.int64()), **columns})


def found(rows: Sequence[Row], fields: Sequence[MatchField] = FIELDS, **more: Any) -> Matched:
    return match(table(rows, fields), fields, SETTINGS, **more)


def joined(matched: Matched) -> set[tuple[int, int]]:
    return {(pair.low, pair.high) for pair in matched.joined}


def with_again(**changes: str | None) -> tuple[list[Row], tuple[int, int]]:
    """Return a population in which many are there twice, and the last is person 3 with ``changes``."""
    people = population(60)
    rows: list[Row] = [*people, *([*row[:5], None, row[6]] for row in people[20:50])]
    names = [field.name for field in FIELDS]
    rows.append([changes.get(name, value) for name, value in zip(names, people[3], strict=True)])
    return rows, (3, len(rows) - 1)


def test_the_same_person_with_typos_is_joined_with_a_waterfall_that_adds_up() -> None:
    rows, pair = with_again(family_name="Dornbahc", phone=None, city=None)
    result = found(rows)
    one = next(one for one in result.joined if (one.low, one.high) == pair)
    assert one.probability >= SETTINGS.accept
    assert sum(step.weight for step in one.steps) == pytest.approx(one.weight, abs=0.02)
    assert [step.field for step in one.steps][:3] == ["prior", "given_name", "family_name"]


def test_swapped_names_are_joined() -> None:
    person = population(60)[3]
    rows, pair = with_again(given_name=person[1], family_name=person[0])
    assert pair in joined(found(rows))


@pytest.mark.parametrize(
    ("who", "changes"),
    [
        ("twins", {"given_name": "Theodora", "email": None}),
        ("father and son", {"birth_date": "1911-10-29", "email": None}),
        ("a couple", {"given_name": "Theodora", "birth_date": "1988-11-30", "email": None}),
        ("a household of which no more is known", {"given_name": None, "birth_date": None, "email": None}),
        ("brothers with names alike", {"given_name": "Darwin", "birth_date": None, "email": None}),
        ("twins with their mother's address", {"given_name": "Theodora"}),
    ],
)
def test_a_household_is_not_one_person(who: str, changes: Mapping[str, str | None]) -> None:
    rows, pair = with_again(**changes)
    assert pair not in joined(found(rows)), who


def test_two_of_one_name_whose_addresses_are_made_of_it_are_two() -> None:
    rows, pair = with_again(
        birth_date=None, email="dario.dornbach731@mail.example", phone=None, street=None, city=None
    )
    rows[3] = [*rows[3][:3], "dario.dornbach12@post.example", *rows[3][4:]]
    result = found(rows)
    assert pair not in joined(result)


def test_the_same_input_in_any_order_gives_the_same_output() -> None:
    rows, _ = with_again(city=None)
    whole = table(rows)
    shuffled = whole.take(pa.array(np.random.default_rng(1).permutation(len(rows))))
    assert match(whole, FIELDS, SETTINGS) == match(shuffled, FIELDS, SETTINGS)


def test_new_records_join_what_they_join_in_a_full_run() -> None:
    rows, pair = with_again(phone=None)
    full = found(rows)
    added = found(rows, model=full.model, fresh=[pair[1]])
    assert joined(added) == {one for one in joined(full) if pair[1] in one} == {pair}
    assert added.pairs < full.pairs


def test_what_is_known_to_be_one_is_not_joined_again() -> None:
    rows, pair = with_again(phone=None)
    result = found(rows, clusters={pair[0]: 5, pair[1]: 5})
    assert pair not in joined(result)
    assert pair not in {(one.low, one.high) for one in result.review}


def test_the_model_can_be_kept_as_json_and_nothing_that_comes_out_holds_a_value() -> None:
    rows, _ = with_again(phone=None)
    result = found(rows)
    text = msgspec.json.encode(result).decode().casefold()
    assert not [value for row in rows for value in row if value and value.casefold() in text]
    assert msgspec.json.decode(msgspec.json.encode(result.model), type=Model) == result.model


@pytest.mark.parametrize("rows", [[], [["Ann", "Example", None, None, None, None, None]], [[None] * 7] * 3])
def test_few_or_empty_records(rows: list[Row]) -> None:
    assert not found(rows).joined


def test_one_field_and_columns_that_are_absent_or_constant() -> None:
    names = [MatchField("name", FieldKind.text)]
    assert not found([[str(n)] for n in range(30)], names).joined
    rows: list[Row] = [[row[0], row[1], "2000-01-01", None, None, None, "Oneville"] for row in population(60)]
    assert not found(rows).joined


def test_every_script_control_characters_and_huge_values() -> None:
    people = population(40)
    strange: list[Row] = [
        ["伟", "王", "1980-02-03", "王伟@邮件.example", "13900000001", "长安街1号", "北京"],
        ["Алёна", "Примерова", "03/04/1981", "a@b.example", "1", "ул. Примерная 5", "Примерск"],
        ["محمد", "مثال", "not a date", "@", "+", "٣ شارع", "مدينة"],
        ["a\x00b\x1b[31m", "\u202eevil", "9999-99-99", "\x00", "\ud7ff", "\t\n", "\u200b"],
        [
            "x" * 1_000_000,
            "'; DROP TABLE records; --",
            "1" * 5000,
            "e" * 5000,
            "9" * 5000,
            "1 " * 5000,
            "{c}",
        ],
    ]
    again = [[*row[:6], None] for row in (*people[:20], strange[0], strange[1])]
    rows = [*people, *strange, *again]
    assert {(40, 65), (41, 66)} <= joined(found(rows))


def test_a_chain_that_drifts_is_not_one_cluster() -> None:
    rows = [(0, 1, 9.0), (1, 2, 8.9), (2, 3, 8.8), (0, 2, -4.0), (1, 3, -6.0), (0, 3, -12.0)]
    low, high, weight = (np.array(column) for column in zip(*rows, strict=True))
    edges = Edges(low, high, weight, np.zeros(len(rows), dtype=bool))
    places, clusters = cluster(range(4), edges, accept=6.6, linkage=0.0)
    assert clusters.of(0) == clusters.of(2) != clusters.of(3)
    assert [rows[place][:2] for place in places] == [(0, 1), (1, 2)]


def test_a_table_that_cannot_be_matched_is_refused() -> None:
    good = table(population(3))
    for bad, fields in (
        (good.drop(["city"]), FIELDS),
        (good, []),
        (pa.concat_tables([good, good]), FIELDS),
        (good, [*FIELDS, FIELDS[0]]),
    ):
        with pytest.raises(InvalidInputError):
            match(bad, fields, SETTINGS)


def test_nothing_is_written_and_nothing_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    caplog.set_level(1)
    rows, _ = with_again(phone=None)
    assert found(rows).joined
    assert not [name for _, folders, files in os.walk(tmp_path) for name in (*folders, *files)]
    assert not [one for one in caplog.records if one.levelno < logging.CRITICAL]
    assert capfd.readouterr() == ("", "")


def test_the_engine_has_nothing_but_memory() -> None:
    with in_memory(SETTINGS) as connection:
        wanted = "SELECT name, value FROM duckdb_settings() WHERE name IN ('temp_directory', "
        assert sorted(run(connection, wanted + "'enable_external_access', 'lock_configuration')")) == [
            ("enable_external_access", "false"),
            ("lock_configuration", "true"),
            ("temp_directory", ""),
        ]


def test_too_little_memory_fails_and_does_not_spill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = population(20_000)
    with pytest.raises(Exception, match=r"(?i)memory"):
        match(table(rows), FIELDS, MatchSettings(memory=24))
    assert not list(tmp_path.rglob("*"))


def test_a_field_is_known_by_its_name() -> None:
    names = {
        "first_name": "given_name",
        "surname": "family_name",
        "dateOfBirth": "birth_date",
        "addr": "street",
        "soc_sec_id": "id_number",
        "occupation": "text",
        "street_number": "number",
    }
    assert {name: str(kind_of(name)) for name in names} == names
