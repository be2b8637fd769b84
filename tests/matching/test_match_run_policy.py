"""What policies say of matching: thresholds in identity.yaml, and by their categories which fields."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cdp.errors import PolicyError
from cdp.gate import Wanted
from cdp.matching.columns import columns_of
from cdp.policy import Thresholds, load

SHIPPED = Path(__file__).parents[2] / "policies"
LINE = "matching: {accept: 0.99, review: 0.5}"


def edited(tmp_path: Path, name: str, old: str, new: str) -> Path:
    """Return the shipped folder with the only ``old`` of a file replaced."""
    folder = shutil.copytree(SHIPPED, tmp_path / "policies")
    text = (folder / name).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")
    return folder


def test_a_file_of_before_has_the_thresholds_that_are_shipped(tmp_path: Path) -> None:
    found = load(edited(tmp_path, "identity.yaml", LINE, "")).identity.matching
    assert found == Thresholds(0.99, 0.5) == load(SHIPPED).identity.matching


def test_thresholds_are_read_as_numbers(tmp_path: Path) -> None:
    folder = edited(tmp_path, "identity.yaml", LINE, "matching: {accept: 0.999}")
    assert load(folder).identity.matching == Thresholds(0.999, 0.5)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("{accept: 1}", "above 0.5 and below 1"),
        ("{accept: 0.5}", "above 0.5 and below 1"),
        ("{review: 0}", "above 0 and below 1"),
        ("{accept: sure}", "a number is wanted"),
        ('{accept: "0.9"}', "a number is wanted"),
        ("{accept: 1e-1}", "a number is wanted"),
        ("{accept: [0.9]}", "a single value"),
        ("{accept: 0.8, review: 0.9}", "matching.accept"),
        ("{sure: 0.9}", "unknown key"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused_with_their_place(
    tmp_path: Path, said: str, problem: str
) -> None:
    folder = edited(tmp_path, "identity.yaml", LINE, f"matching: {said}")
    with pytest.raises(PolicyError, match=problem) as refused:
        load(folder)
    lines = (folder / "identity.yaml").read_text(encoding="utf-8").splitlines()
    assert refused.value.line is not None
    assert lines[refused.value.line - 1].startswith("matching:")


def test_fields_are_compared_by_their_category_and_conclusions_never(tmp_path: Path) -> None:
    folder = edited(
        tmp_path,
        "fields.yaml",
        "  first_name: {category: user.name.first}",
        "  first_name: {category: user.name.first}\n  called: {category: user.name.first}",
    )
    columns = columns_of(load(folder).fields)
    parts = {
        field.name: [columns.wanted[place] for place in places]
        for field, places in zip(columns.fields, columns.parts, strict=True)
    }
    assert parts["given_name"] == [Wanted("first_name"), Wanted("called")]
    assert parts["email"] == [Wanted("email", identifier=True)]
    assert parts["region"] == [Wanted("address.state"), Wanted("region")]
    catalogue = load(folder).fields.traits
    assert not any(catalogue[name].inferred for name in columns.traits)
    assert {"ip_country", "location.country", "likely_pregnant", "gender"}.isdisjoint(columns.traits)
