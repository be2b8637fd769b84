"""What matching is measured against: plain Splink with its defaults, and records that agree exactly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import pyarrow as pa

from cdp.matching import FieldKind, MatchField

_ALONE = (FieldKind.id_number, FieldKind.email, FieldKind.phone)
_NAMES = (FieldKind.given_name, FieldKind.family_name, FieldKind.full_name)
_FIRST = (FieldKind.family_name, FieldKind.given_name, FieldKind.birth_date, FieldKind.email,
          FieldKind.full_name, FieldKind.postal_code, FieldKind.phone, FieldKind.id_number,
          FieldKind.street, FieldKind.text, FieldKind.city)  # fmt: skip


def exact(table: pa.Table, fields: Sequence[MatchField]) -> list[tuple[int, int]]:
    """Return pairs that share an id, e-mail address or phone, or all of name and birth date (else: place)."""
    names = [field.name for field in fields if field.kind in _NAMES]
    dates = [field.name for field in fields if field.kind is FieldKind.birth_date]
    places = [field.name for field in fields if field.kind in (FieldKind.street, FieldKind.postal_code)]
    keys = [[field.name] for field in fields if field.kind in _ALONE]
    keys.append([*names, *(dates or places)] if names else [field.name for field in fields])
    records = table["record_no"].to_pylist()
    pairs = []
    for key in keys:
        first: dict[tuple[str, ...], int] = {}
        for record, values in zip(
            records, zip(*(table[n].to_pylist() for n in key), strict=True), strict=True
        ):
            if all(values):
                known = first.setdefault(tuple(value.casefold().strip() for value in values), record)
                if known != record:
                    pairs.append((known, record))
    return pairs


def splink(table: pa.Table, fields: Sequence[MatchField]) -> list[tuple[int, int]]:
    """Return what plain Splink joins: its library's comparisons, its defaults, components at 0.99."""
    import splink.comparison_library as cl  # noqa: PLC0415  # an extra
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on  # noqa: PLC0415  # an extra, only for this part

    made: dict[FieldKind, Callable[[str], Any]] = {
        FieldKind.given_name: cl.NameComparison, FieldKind.family_name: cl.NameComparison,
        FieldKind.full_name: cl.NameComparison, FieldKind.email: cl.EmailComparison,
        FieldKind.birth_date: lambda name: cl.LevenshteinAtThresholds(name, [1, 2]),
        FieldKind.city: lambda name: cl.ExactMatch(name).configure(term_frequency_adjustments=True),
    }  # fmt: skip
    comparisons = [made.get(field.kind, cl.JaroWinklerAtThresholds)(field.name) for field in fields]
    ordered = sorted(
        (field for field in fields if field.kind in _FIRST), key=lambda field: _FIRST.index(field.kind)
    )
    rules: list[Any] = [block_on(one.name) for one in ordered[:4]]
    certain: list[Any] = [block_on(one.name, other.name) for one, other in combinations(ordered[:3], 2)]
    api = DuckDBAPI()
    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="record_no",
        comparisons=comparisons,
        blocking_rules_to_generate_predictions=rules or [block_on(fields[0].name)],
    )
    logging.getLogger("splink").setLevel(logging.ERROR)
    linker = Linker(api.register(table), settings, log_level=None)
    linker.training.estimate_probability_two_random_records_match(certain[:2], recall=0.7)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    for one in ordered[:2]:
        linker.training.estimate_parameters_using_expectation_maximisation(block_on(one.name))
    scored = linker.inference.predict(threshold_match_probability=0.99, warning_mode="never")
    return [(row["record_no_l"], row["record_no_r"]) for row in scored.as_record_list()]
