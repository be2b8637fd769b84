"""Levels of agreement of each kind of field, the strongest first, as Splink comparisons.

A level has a condition in DuckDB SQL over the derived columns (``{c}_l`` and ``{c}_r``; ``{o}`` is the other
name of a given or family name, the next line of an address), and ``m`` and ``u`` as they are before anything
is learned: how often it is met among pairs of one person and among pairs of two. They are general, from no
data set: they matter where there is little to learn from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import log2
from typing import Any, NamedTuple

from cdp.matching.model import FieldKind, Level, MatchField, Model


class Agreement(NamedTuple):
    """One level; ``rare``: an agreement on a rare value weighs more, by the value's frequency."""

    name: str
    sql: str
    m: float
    u: float
    rare: bool = False


_PLACES = re.compile(r"\{\w+\}")
_EXACT = "{c}_l = {c}_r"
# {and} is OR in the first of two fields and AND in the second: that one value stands in the other place is
# one observation, and both fields telling it would count it twice.
_SWAPPED = "{c}_l = {o}_r {and} {o}_l = {c}_r"
_SWAPPED_NAME = (
    "jaro_winkler_similarity({c}_l, {o}_r) >= 0.92 {and} jaro_winkler_similarity({o}_l, {c}_r) >= 0.92"
)
_INITIAL = "length(least({c}_l, {c}_r)) = 1 and starts_with(greatest({c}_l, {c}_r), least({c}_l, {c}_r))"
# Two characters that changed places are one edit of Damerau's; his distance takes ten times as long, so it is
# taken only where Levenshtein's, at most twice as large, allows it.
_EDIT_1 = (
    "CASE WHEN levenshtein({c}_l, {c}_r) <= 2 THEN damerau_levenshtein({c}_l, {c}_r) <= 1 ELSE false END"
)
_EDIT_2 = (
    "CASE WHEN length({c}_l) > 5 AND levenshtein({c}_l, {c}_r) <= 4 "
    "THEN damerau_levenshtein({c}_l, {c}_r) <= 2 ELSE false END"
)
_CLOSE = "jaro_winkler_similarity({c}_l, {c}_r) >= 0.92"
_NEAR = "jaro_winkler_similarity({c}_l, {c}_r) >= 0.85"
_WITHIN = (
    "(starts_with({c}_l, {c}_r) or starts_with({c}_r, {c}_l)) and least(length({c}_l), length({c}_r)) > 1"
)
_SHARED = "len(list_intersect({c}_t_l, {c}_t_r))"
_FEWER = "least(len({c}_t_l), len({c}_t_r))"
_ALL = f"(len({{c}}_t_l) + len({{c}}_t_r) - {_SHARED})"

# Two of one family share most of a full name: what is alike must be alike in the given names, too.
_GIVEN = (
    "({c}_g_l is null or {c}_g_r is null or jaro_winkler_similarity({c}_g_l, {c}_g_r) >= 0.85 "
    "or starts_with({c}_g_l, {c}_g_r) or starts_with({c}_g_r, {c}_g_l) or list_has_any({c}_x_l, {c}_x_r))"
)

_NAME_EXACT = Agreement("exact", _EXACT, 0.75, 0.004, rare=True)
_NAME_TYPO = Agreement("typo", f"({_EDIT_1} and length({{c}}_l) > 3) or {_CLOSE}", 0.10, 0.002)
_NAME_REST = (
    Agreement("initial", _INITIAL, 0.02, 0.002),
    Agreement("swapped", _SWAPPED_NAME, 0.03, 0.0005),
    Agreement("near", f"{_NEAR} or {_WITHIN}", 0.04, 0.01),
)
_LEVELS: dict[FieldKind, tuple[Agreement, ...]] = {
    FieldKind.given_name: (
        _NAME_EXACT,
        _NAME_TYPO,
        Agreement("short form", "list_has_any({c}_x_l, {c}_x_r)", 0.03, 0.001),
        *_NAME_REST,
    ),
    FieldKind.family_name: (_NAME_EXACT, _NAME_TYPO, *_NAME_REST),
    FieldKind.other_names: (
        Agreement("exact", _EXACT, 0.7, 0.01, rare=True),
        Agreement("within", f"{_SHARED} = {_FEWER} or {_CLOSE}", 0.1, 0.005),
        Agreement("initial", "left({c}_l, 1) = left({c}_r, 1)", 0.1, 0.08),
    ),
    FieldKind.full_name: (
        Agreement("exact", _EXACT, 0.6, 0.0002, rare=True),
        Agreement("same words", f"{_SHARED} = {_ALL}", 0.03, 0.00002),
        Agreement("words within", f"{_SHARED} = {_FEWER} and {_SHARED} > 1", 0.08, 0.0002),
        Agreement("typo", f"{_CLOSE} and {_GIVEN}", 0.1, 0.0005),
        Agreement("near", f"({_NEAR} or {_SHARED} > 0) and {_GIVEN}", 0.08, 0.005),
        Agreement("one word", f"{_SHARED} = 1", 0.06, 0.02),
    ),
    FieldKind.birth_date: (
        Agreement("exact", f"{_EXACT} and length({{c}}_l) > 6 and not ends_with({{c}}_l, '0101')",
                  0.8, 0.0001),
        Agreement("exact 1 January", _EXACT, 0.05, 0.0002),  # as many write who know the year only
        Agreement("typo", _EDIT_1, 0.06, 0.001),
        Agreement("two parts",
                  "({c}_y_l = {c}_y_r and {c}_m_l = {c}_m_r) or "
                  "({c}_m_l = {c}_m_r and {c}_d_l = {c}_d_r and {c}_m_l + {c}_d_l > 2) or "
                  "({c}_y_l = {c}_y_r and ({c}_d_l = {c}_d_r or ({c}_m_l = {c}_d_r and {c}_d_l = {c}_m_r)))",
                  0.05, 0.005),
        Agreement("off by one",
                  "abs({c}_y_l - {c}_y_r) IN (0, 1, 10) and abs({c}_m_l - {c}_m_r) <= 1", 0.03, 0.01),
        Agreement("year", "{c}_y_l = {c}_y_r", 0.02, 0.015),
    ),
    FieldKind.email: (
        Agreement("exact", _EXACT, 0.75, 0.00001),
        Agreement("typo", f"({_EDIT_2}) and {{c}}_n_l = {{c}}_n_r", 0.08, 0.00001),
        Agreement("same name", "{c}_a_l = {c}_a_r", 0.08, 0.0001),
        Agreement("near", "jaro_winkler_similarity({c}_a_l, {c}_a_r) >= 0.92", 0.04, 0.001),
    ),
    FieldKind.phone: (
        Agreement("exact", _EXACT, 0.75, 0.00001),
        Agreement("typo", _EDIT_1, 0.08, 0.00001),
    ),
    FieldKind.street: (
        Agreement("exact", _EXACT, 0.6, 0.0001, rare=True),
        Agreement("typo", f"{_EDIT_2} or {_CLOSE} and {{c}}_n_l is not distinct from {{c}}_n_r",
                  0.15, 0.0002),
        Agreement("same words", f"{_SHARED} = {_FEWER} and {_SHARED} > 0 and {{c}}_n_l = {{c}}_n_r",
                  0.05, 0.0001),
        Agreement("swapped", _SWAPPED, 0.02, 0.0001),
        Agreement("near", f"{_NEAR} or {_SHARED} = {_FEWER} and {_SHARED} > 0", 0.08, 0.005),
    ),
    FieldKind.postal_code: (
        Agreement("exact", _EXACT, 0.8, 0.002, rare=True),
        Agreement("typo", _EDIT_1, 0.08, 0.003),
        Agreement("area", "left({c}_l, 3) = left({c}_r, 3)", 0.04, 0.02),
    ),
    FieldKind.city: (
        Agreement("exact", _EXACT, 0.75, 0.01, rare=True),
        Agreement("typo", _CLOSE, 0.1, 0.002),
        Agreement("within", f"{_SHARED} = {_FEWER} and {_SHARED} > 0", 0.03, 0.005),
    ),
    FieldKind.region: (
        Agreement("exact", _EXACT, 0.85, 0.2, rare=True),
        Agreement("typo", _EDIT_1, 0.05, 0.1),
    ),
    FieldKind.id_number: (
        Agreement("exact", _EXACT, 0.85, 0.000001),
        Agreement("typo", _EDIT_1, 0.08, 0.00001),
        Agreement("two typos", _EDIT_2, 0.02, 0.0005),
    ),
    FieldKind.number: (
        Agreement("exact", _EXACT, 0.8, 0.05, rare=True),
        Agreement("typo", _EDIT_1, 0.08, 0.1),
    ),
    FieldKind.text: (
        Agreement("exact", _EXACT, 0.6, 0.005, rare=True),
        Agreement("typo", f"{_CLOSE} or {_SHARED} >= 0.75 * {_ALL}", 0.15, 0.002),
        Agreement("words within", f"{_SHARED} = {_FEWER} or {_SHARED} >= 0.4 * {_ALL}", 0.08, 0.005),
        Agreement("one word", f"{_SHARED} > 0", 0.07, 0.03),
    ),
}  # fmt: skip
_PARTNERS = {
    FieldKind.given_name: FieldKind.family_name,
    FieldKind.family_name: FieldKind.given_name,
    FieldKind.street: FieldKind.street,
}
_NAMES = (FieldKind.given_name, FieldKind.family_name, FieldKind.full_name)
ELSE = "different"
APART = 1e-5


def agreements(fields: Sequence[MatchField]) -> list[list[Agreement]]:
    """Return the levels of each field with its columns in their conditions; the last is "different"."""
    made = []
    for number, field in enumerate(fields):
        swap = _other(number, fields)
        places = {"{c}": f"f{number}", "{o}": f"f{swap}", "{and}": "OR" if number < (swap or 0) else "AND"}
        levels = [
            level._replace(sql=_PLACES.sub(lambda found: places[found[0]], level.sql))  # noqa: B023  # called here
            for level in _LEVELS[field.kind]
            if "{o}" not in level.sql or swap is not None
        ]
        made.append([*levels, _rest(levels)])
    return made


def _other(number: int, fields: Sequence[MatchField]) -> int | None:
    """Return the field whose value may stand in this one: the other name, or the next line of an address."""
    kind = _PARTNERS.get(fields[number].kind)
    after = [*range(number + 1, len(fields)), *range(number)]
    return next((one for one in after if fields[one].kind is kind), None)


def unknown(number: int, fields: Sequence[MatchField]) -> str:
    """Return the condition in which a field says nothing.

    It is unknown, or an e-mail address that is but like the other: of two records with the same names it says
    again what the names say (ann.example1@ and ann.example2@ are of two), and against it speaks nothing.
    """
    c = f"f{number}"
    condition = f"{c}_l is null or {c}_r is null"
    names = [f"f{n}" for n, one in enumerate(fields) if one.kind in _NAMES]
    if fields[number].kind is not FieldKind.email or not names:
        return condition
    known = " and ".join(f"{one}_l is not null and {one}_r is not null" for one in names)
    exact, typo = (level.sql.replace("{c}", c) for level in _LEVELS[FieldKind.email][:2])
    return (
        f"{condition} or (jaro_winkler_similarity({c}_a_l, {c}_a_r) >= 0.85 and {known} "
        f"and not ({exact}) and not ({typo}))"
    )


def _rest(levels: Sequence[Agreement]) -> Agreement:
    return Agreement(ELSE, "ELSE", max(1 - sum(x.m for x in levels), 0.01), 1 - sum(x.u for x in levels))


def weights(levels: Sequence[Level]) -> list[float]:
    """Return what each level adds to the log2 odds; no two the same and none 0, so that it tells which."""
    made: list[float] = []
    for level in levels:
        weight = log2(level.m / level.u)
        while any(abs(weight - other) < APART for other in (0.0, *made)):
            weight -= APART
        made.append(weight)
    return made


def comparisons(
    found: Sequence[Sequence[Agreement]], model: Model, fields: Sequence[MatchField]
) -> list[dict[str, Any]]:
    """Return the settings of Splink's comparisons with the probabilities of ``model``."""
    return [
        {
            "output_column_name": f"f{number}",
            "comparison_levels": [
                {"sql_condition": unknown(number, fields), "is_null_level": True},
                *(
                    _level(number, level, learned.u, weight)
                    for level, learned, weight in zip(
                        levels, model.fields[field.name], weights(model.fields[field.name]), strict=True
                    )
                ),
            ],
        }
        for number, (levels, field) in enumerate(zip(found, fields, strict=True))
    ]  # fmt: skip


def _level(number: int, level: Agreement, u: float, weight: float) -> dict[str, Any]:
    made: dict[str, Any] = {
        "sql_condition": level.sql,
        "label_for_charts": level.name,
        "m_probability": u * 2**weight,
        "u_probability": u,
    }
    if level.rare:
        made |= {"tf_adjustment_column": f"f{number}", "tf_adjustment_weight": 1.0}
    return made
