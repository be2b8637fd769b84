"""The catalogue: every language says the same, and every place is filled in."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from cdp.clock import parse_rfc3339
from cdp.console.language import FOLDER, choose, languages
from cdp.console.model import RESULTS
from cdp.rights import KINDS

CODES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def flat(held: Any, prefix: str = "") -> dict[str, str]:
    """Return dotted key → text; a list counts as one text for each place."""
    if isinstance(held, dict):
        parts = [flat(value, f"{prefix}{key}.") for key, value in held.items()]
        return {key: text for part in parts for key, text in part.items()}
    if isinstance(held, list):
        return {f"{prefix}{place}": str(text) for place, text in enumerate(held)}
    return {prefix.rstrip("."): held}


def catalogue(code: str) -> dict[str, str]:
    return flat(yaml.safe_load((FOLDER / f"{code}.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("code", CODES)
def test_every_language_has_the_same_keys_with_the_same_places(code: str) -> None:
    english, other = catalogue("en"), catalogue(code)
    assert set(other) == set(english)
    assert {key: type(text) for key, text in other.items()} == dict.fromkeys(english, str)
    loose = {"date"}  # each language writes the day in its own way
    places = {key: set(re.findall(r"{(\w+)}", text)) for key, text in english.items() if key not in loose}
    assert {key: set(re.findall(r"{(\w+)}", other[key])) for key in places} == places


@pytest.mark.parametrize("code", CODES)
def test_what_the_pages_name_is_there(code: str) -> None:
    said = languages()[code]
    assert all(said.has(f"result.{result}") for result in RESULTS)
    assert all(said.has(f"right.{kind}") and said.has(f"right_short.{kind}") for kind in KINDS)
    assert not said.has("result.unheard_of")


def test_dates_read_as_people_write_them() -> None:
    at = parse_rfc3339("2026-03-03T07:05:00Z")
    assert languages()["en"].time(at) == "3 March 2026, 07:05 UTC"
    assert languages()["zh"].date(at) == "2026年3月3日"


@pytest.mark.parametrize(
    ("wishes", "code"),
    [
        (("zh-Hans-CN",), "zh"),
        (("", "de-DE, ZH;q=0.5"), "zh"),
        (("", "", "fr"), "en"),
        (("../../etc/passwd", "en-GB,zh"), "en"),
        ((), "en"),
    ],
)
def test_the_language_of_the_first_wish_that_there_is(wishes: tuple[str, ...], code: str) -> None:
    assert choose(*wishes).code == code
