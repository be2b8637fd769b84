"""What a failed message is found again by: every spelling of a value shares a term with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.identity.identifiers import Normaliser
from cdp.ingest.quarantine.terms import MOST_TERMS, message_terms, sought, terms
from cdp.policy import load

NORMALISER = Normaliser(load(Path(__file__).parents[2] / "policies").identity)
KINDS = ("user_id", "anonymous_id", "email", "phone", "device_id", "external:ga")
REGIONS = (None, "GB", "DE", "US", "NU", "AD", "HU", "IT", "CN")
SPELT = (
    "Ada.L+news@" + "GMAIL.com", "mailto:ada@example.org", '"ada"@example.org', "ada@b\u00fccher.example",
    "ADA@XN--BCHER-KVA.example", "a\u200bda@example.org", "\uff21da@example.org", "ada\u3164@example.org",
    "+44 (0)20 8765 4321", "020 8765 4321", "tel:+44-20-8765-4321", "0044 20 8765 4321", "4002", "+683 4002",
    "06 1 234 5678", "+1 650 253 0000 ext. 123", "650-253-0000 x123", "1-800-FLOWERS", "\uff0b442087654321",
    "urn:uuid:6F9619FF-8B86-D011-B42D-00CF4FC964FF", "{6f9619ff-8b86-d011-b42d-00cf4fc964ff}",
    "u-1", " U-1 ", "***", "\u00e9t\u00e9", "\u00c5ngstr\u00f6m", "12345", "1.5e3",
)  # fmt: skip


def found(text: str) -> None:
    for kind in KINDS:
        values = {NORMALISER.known(kind, text, region) for region in REGIONS} | {
            NORMALISER.before(kind, text)
        }
        for value in values - {None}:
            assert value is not None
            assert terms(text) & sought(value), (kind, value)


@pytest.mark.parametrize("text", SPELT)
def test_a_spelling_is_found_by_its_value(text: str) -> None:
    found(text)


@given(
    st.one_of(
        st.text(max_size=40),
        st.emails(),
        st.from_regex(r"\+?[0-9][0-9 ().-]{3,20}( ?(x|ext\.?|#) ?[0-9]{1,4})?", fullmatch=True),
        st.uuids().map(str),
        st.builds(
            "{}{}{}".format, st.text("\u200b\u3164\uff21 +.", max_size=3), st.emails(), st.text(" \u200b")
        ),
    )
)
def test_any_text_is_found_by_whatever_it_may_be(text: str) -> None:
    found(text)


def test_a_message_of_very_many_texts_has_no_terms() -> None:
    assert message_terms({f"key-{n}": "x" for n in range(MOST_TERMS + 1)}, None) is None
    told = message_terms({"userId": "u-1", "n": [{"deep": "U 1"}]}, {"a": 7})
    assert told == frozenset({"u1", "n", "deep", "a", "7"})
