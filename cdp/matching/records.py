"""What is derived from each record, in memory, to block and to compare it: one set of columns for each field.

A name is evidence once: beside a given and a family name, a full name fills what they lack and is compared
for the names that they do not have, and a second full name is left out (``plan``). So is a birth date:
year, month and day that are columns of their own are compared as one date, and left out beside a whole one.

Field number i becomes ``f{i}`` (the value as it compares, null when nothing is left of it), ``f{i}_k`` (a
coarse key that a typo seldom changes), ``f{i}_t`` (its words, of a street, a full name and a text) and, of a
birth date, ``f{i}_y``, ``f{i}_m``, ``f{i}_d``; of an e-mail address ``f{i}_a`` (what is before the @); of a
street ``f{i}_n`` (its numbers); of a given name ``f{i}_x`` (its formal forms); of a full name ``f{i}_g`` (its
given names) and their ``f{i}_x``. ``tf_f{i}`` is the share of the records with a value that have this value.

Invariants: each distinct value is read once; whatever is sent, nothing raises; no value is longer than
``LONGEST`` characters, so that comparing one pair takes a bounded time; row r of what comes out is row r of
what went in, which is sorted by record number first, so that nothing depends on the order of the input.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cdp.identity import addresses, characters, names
from cdp.matching.dates import dates
from cdp.matching.model import FieldKind, MatchField
from cdp.matching.nicknames import formal

LONGEST = 120
_WORDS = 24
_SOUNDS = str.maketrans("bfpvcgjkqsxzdtlmnr", "111122222222334556")
_SILENT = re.compile("[^1-6]")
_DIGITS = re.compile(r"\d+")
_PARTS = (FieldKind.birth_year, FieldKind.birth_month, FieldKind.birth_day)

Column = Any  # pa.Array or pa.ChunkedArray, which publish no types


def plan(fields: Sequence[MatchField]) -> list[MatchField]:
    """Return the fields that are compared, each as what."""
    first = {field.kind: field.name for field in reversed(fields)}
    split = FieldKind.given_name in first and FieldKind.family_name in first
    made = []
    for field in fields:
        kind = field.kind
        if kind is FieldKind.full_name:
            if field.name != first[kind]:
                continue
            kind = FieldKind.other_names if split else kind
        elif kind in _PARTS:
            year = first.get(FieldKind.birth_year, field.name)
            if FieldKind.birth_date in first or field.name != year:
                continue
            kind = FieldKind.birth_date if kind is FieldKind.birth_year else FieldKind.number
        made.append(MatchField(field.name, kind))
    return made


def derive(table: pa.Table, fields: Sequence[MatchField]) -> pa.Table:
    """Return the derived columns with ``rid`` (row number) of ``fields``, of a table sorted by number."""
    columns: dict[str, Column] = {"rid": pa.array(range(table.num_rows), pa.int64())}
    planned = plan(fields)
    sources = {field.name: table[field.name] for field in fields}
    _share_names(sources, planned)
    _one_date(sources, fields)
    for number, field in enumerate(planned):
        for suffix, column in _columns(sources[field.name], field.kind).items():
            columns[f"f{number}{suffix}"] = column
        columns[f"tf_f{number}"] = _frequency(columns[f"f{number}"])
    return pa.table(columns)


def _share_names(sources: dict[str, Column], fields: Sequence[MatchField]) -> None:
    """Fill given and family names from the full name, and leave of it only what they do not have."""
    kinds = {field.kind: field.name for field in reversed(fields)}
    if FieldKind.other_names not in kinds or FieldKind.given_name not in kinds:
        return
    places = [kinds[one] for one in (FieldKind.given_name, FieldKind.family_name, FieldKind.other_names)]
    known: dict[tuple[str | None, ...], tuple[str | None, ...]] = {}
    rows = []
    for row in zip(*(sources[place].to_pylist() for place in places), strict=True):
        if row not in known:
            known[row] = _shared(*row)
        rows.append(known[row])
    for place, values in zip(places, zip(*rows, strict=True), strict=True):
        sources[place] = pa.array(values, pa.string())


def _shared(given: str | None, family: str | None, full: str | None) -> tuple[str | None, ...]:
    if full is None:
        return given, family, None
    of_given, of_family = names.parts(full)
    given, family = given or of_given, family or of_family
    have = {*names.normalise(given or "").split(), *names.normalise(family or "").split()}
    others = " ".join(word for word in names.normalise(full).split() if word not in have)
    return given or None, family or None, others or None


def _one_date(sources: dict[str, Column], fields: Sequence[MatchField]) -> None:
    """Write the parts of a birth date as one, where its year was."""
    first = {field.kind: field.name for field in reversed(fields)}
    if FieldKind.birth_year in first:
        year = sources[first[FieldKind.birth_year]]
        empty = [None] * len(year)
        parts = [sources[first[kind]].to_pylist() if kind in first else empty for kind in _PARTS]
        sources[first[FieldKind.birth_year]] = pa.array(map(_date, zip(*parts, strict=True)), pa.string())


def _date(parts: tuple[str | None, ...]) -> str | None:
    """Return a date of year, month and day: it ends with what is known last; 0 is what is not."""
    known = [(part or "").strip().rjust(2, "0") for part in parts]
    while known and not known[-1].strip("0"):
        known.pop()
    return "-".join([known[0].rjust(4, "0"), *known[1:]]) if known else None


def _columns(column: Column, kind: FieldKind) -> dict[str, Column]:
    encoded = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    encoded = encoded.cast(pa.large_string()).combine_chunks().dictionary_encode()
    values = encoded.dictionary.to_pylist()
    made = _MAKERS.get(kind, _text)(values)
    return {
        suffix: pa.array(of, _TYPES.get(suffix, pa.string())).take(encoded.indices)
        for suffix, of in made.items()
    }


_TYPES = {
    "_t": pa.list_(pa.string()),
    "_x": pa.list_(pa.string()),
    "_y": pa.int16(),
    "_m": pa.int8(),
    "_d": pa.int8(),
}
_Made = dict[str, list[Any]]


def _frequency(column: Column) -> pa.Array:
    encoded = column.dictionary_encode()
    counts = pc.value_counts(encoded.indices.drop_null())
    known = len(column) - column.null_count
    share = [0.0] * len(encoded.dictionary)
    for value, count in zip(
        counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True
    ):
        share[value] = count / known
    return pa.array(share, pa.float64()).take(encoded.indices)


def _each(values: list[str], function: Callable[[str], str]) -> list[str | None]:
    return [function(value)[:LONGEST] or None for value in values]


def sound(word: str) -> str:
    """Return a coarse key of a Latin word (as Soundex: first letter, consonants by class), else its start."""
    if not word.isascii():
        return word[:2]
    rest = _SILENT.sub("", word[1:].translate(_SOUNDS))
    kept = "".join(one for i, one in enumerate(rest) if i == 0 or one != rest[i - 1])
    return (word[:1] + kept)[:4]


def _name(values: list[str]) -> _Made:
    whole = _each(values, names.normalise)
    return {"": whole, "_k": [None if one is None else sound(one.split()[0]) for one in whole]}


def _given(values: list[str]) -> _Made:
    # "Sir" stands for no name: beside any other word it is gone
    made = _name([value if names.normalise(f"{value} x") != "x" else "" for value in values])
    return made | {"_x": [None if one is None else formal(one) for one in made[""]]}


def _full_name(values: list[str]) -> _Made:
    whole = _each(values, names.normalise)
    given = [names.parts(value)[0][:LONGEST] or None for value in values]
    return {
        "": whole,
        "_k": [_two_sounds(one) for one in whole],
        "_t": [_tokens(one) for one in whole],
        "_g": given,
        "_x": [None if one is None else formal(one) for one in given],
    }


def _text(values: list[str]) -> _Made:
    whole = _each(values, characters.words)
    return {"": whole, "_k": [_two_sounds(one) for one in whole], "_t": [_tokens(one) for one in whole]}


def _two_sounds(text: str | None) -> str | None:
    """Return a key of the two longest words in any order."""
    if text is None:
        return None
    longest = sorted(sorted(text.split(), key=lambda word: (-len(word), word))[:2])
    return "".join(map(sound, longest))


def _tokens(text: str | None) -> list[str] | None:
    return None if text is None else sorted(set(text.split()))[:_WORDS]


def _street(values: list[str]) -> _Made:
    whole = _each(values, addresses.normalise)
    numbers = [None if one is None else "-".join(_DIGITS.findall(one)) or None for one in whole]
    plain = [None if one is None else " ".join(w for w in one.split() if not w[0].isdigit()) for one in whole]
    return {
        "": whole,
        "_k": [None if one is None else _two_sounds(one or "0") for one in plain],
        "_t": [None if one is None else _tokens(one) for one in plain],
        "_n": numbers,
    }


def _email(values: list[str]) -> _Made:
    whole = _each(values, lambda value: "".join(characters.fold(value).split()))
    local = [None if one is None else one.partition("@")[0] or None for one in whole]
    return {
        "": whole,
        "_a": local,
        "_k": [None if one is None else one[:5] for one in local],
        "_n": [None if one is None else "".join(_DIGITS.findall(one)) for one in local],
    }


def _phone(values: list[str]) -> _Made:
    # the last nine digits: with or without the country's code and the 0 in front, they are the same
    digits = ["".join(_DIGITS.findall(characters.fold(value)))[-9:] or None for value in values]
    return {"": digits, "_k": [None if one is None else one[-4:] for one in digits]}


def _solid(values: list[str]) -> _Made:
    solid = _each(values, lambda value: characters.words(value).replace(" ", ""))
    return {"": solid, "_k": [None if one is None else one[:4] for one in solid]}


def _area(values: list[str]) -> _Made:
    solid = _each(values, lambda value: characters.words(value).replace(" ", ""))
    return {"": solid, "_k": [None if one is None else one[:3] for one in solid]}


_MAKERS: dict[FieldKind, Callable[[list[str]], _Made]] = {
    FieldKind.given_name: _given,
    FieldKind.family_name: _name,
    FieldKind.full_name: _full_name,
    FieldKind.other_names: _full_name,
    FieldKind.birth_date: dates,
    FieldKind.email: _email,
    FieldKind.phone: _phone,
    FieldKind.street: _street,
    FieldKind.postal_code: _area,
    FieldKind.id_number: _solid,
    FieldKind.number: _solid,
}
