"""Why two identifiers are one person, in words; what a terminal is told of somebody's own data."""

from __future__ import annotations

from typing import get_args

import pytest

from cdp.identity.model import Origin
from cdp.portrait.words import why


@pytest.mark.parametrize("origin", [*get_args(Origin), None])
def test_every_evidence_has_words(origin: Origin | None) -> None:
    said = why(origin, "accepted", accepted=True)
    assert said == said.strip() != ""
    assert why(origin, "suppressed", accepted=False) == f"{said}, but a steward took them apart"


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("unique:user_id", "each side has a value of its own of user_id"),
        ("unique", "each side has a value of its own of one type"),
        ("limit:email", "more values of email than the rules allow"),
        ("cap", "more identifiers than the rules allow"),
        ("something_new", "(something_new)"),
    ],
)
def test_every_reason_has_words_one_that_is_not_known_too(reason: str, words: str) -> None:
    assert words in why("event", reason, accepted=False)
