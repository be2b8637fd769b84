"""Each transform on plain values."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.clock import micros
from cdp.crypto import pae
from cdp.gate.transform import Json, applier, match_hash, pseudonymiser
from cdp.policy import GENERALISATIONS, Transform, generaliser

NOW = micros(datetime(2026, 3, 1, tzinfo=UTC))
EMAIL, PHONE, NAME = "user.contact.email", "user.contact.phone_number", "user.name"


def apply(kind: str, value: Json, category: str = NAME, argument: str = "", name: str = "field") -> object:
    transform = Transform(kind, argument)  # type: ignore[arg-type]  # a table of kinds
    applied = applier(transform, name, category, NOW)
    assert applied is not None
    return applied(value)


@pytest.mark.parametrize(
    ("value", "category", "masked"),
    [
        ("ada@people.example", EMAIL, "a***@p***"),
        ("+49 30 1234567", PHONE, "***67"),
        ("12345", PHONE, "***"),
        ("Adalbert", NAME, "A***"),
        ("Ada", NAME, "***"),
        (1234567, NAME, "1***"),
        (True, NAME, "t***"),
        (["Ada"], NAME, None),
        ("", NAME, None),
    ],
)
def test_mask(value: Json, category: str, masked: str | None) -> None:
    assert apply("mask", value, category) == masked


@given(st.text(min_size=4))
def test_a_mask_shows_neither_length_nor_more_than_two_letters(text: str) -> None:
    masked = apply("mask", text)
    assert isinstance(masked, str)
    assert len(masked.replace("*", "").replace("@", "")) <= 2
    assert len(masked) <= 9


@pytest.mark.parametrize(
    ("value", "category", "normal"),
    [
        (" Ada@People.Example ", EMAIL, "ada@people.example"),
        ("+49 (30) 123-45", PHONE, "+493012345"),
        ("VALE\u0301RY", NAME, "val\u00e9ry"),
    ],
)
def test_hash(value: str, category: str, normal: str) -> None:
    assert match_hash(value, category) == hashlib.sha256(normal.encode()).hexdigest()


def test_a_vendor_prints_the_same_hash() -> None:
    assert (
        match_hash("DANA@example.com", EMAIL)
        == "07e2f1394b0ea80e2adca010ea8318df697001a005ba7452720edda4b0ce57b3"
    )


@pytest.mark.parametrize(("value", "category"), [("  ", EMAIL), ("", NAME), ("n/a", PHONE)])
def test_nothing_is_never_hashed(value: str, category: str) -> None:
    assert apply("hash", value, category) is None


@pytest.mark.parametrize(
    ("level", "value", "name", "result"),
    [
        ("country", "Germany", "country", "Germany"),
        ("country", "Berlin", "address.city", None),
        ("country", "DE", "address.country", "DE"),
        ("country", {"street": "Elm Street 1", "country": "Norway"}, "address", "Norway"),
        ("country", {"street": "Elm Street 1"}, "address", None),
        ("country", ["Germany"], "country", None),
        ("state", {"state": "Texas"}, "address", "Texas"),
        ("year", "1990-05-05", "birthday", "1990"),
        ("year", "the fifth of May", "birthday", None),
        ("month", "1990-05-05T10:00:00Z", "created_at", "1990-05"),
        ("age_band", "1990-05-05", "birthday", "35-44"),
        ("age_band", "2008-03-01", "birthday", "18-24"),
        ("age_band", "2008-03-02", "birthday", "under 18"),
        ("age_band", "1930-01-01", "birthday", "65+"),
        ("age_band", "2126-01-01", "birthday", None),
        ("age_band", 41, "age", "35-44"),
        ("age_band", True, "age", None),
        ("domain", "ada@People.Example", "email", "people.example"),
        ("domain", "https://people.example/ada", "website", "people.example"),
        ("domain", "ada", "email", None),
    ],
)
def test_generalise(level: str, value: Json, name: str, result: str | None) -> None:
    assert apply("generalise", value, argument=level, name=name) == result


def test_every_level_that_a_policy_may_name_is_rendered() -> None:
    assert all(generaliser(level, "field", NOW) for level in GENERALISATIONS)
    assert generaliser("street", "field", NOW) is None


@pytest.mark.parametrize(
    "transform", [Transform("drop"), Transform("pseudonymise"), Transform("generalise", "vaguely")]
)
def test_what_does_not_look_at_the_value_has_no_function(transform: Transform) -> None:
    assert applier(transform, "email", EMAIL, NOW) is None


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("Ada", "Ada"),
        (3, 3),
        (True, True),
        (None, None),
        ("", None),
        (["a", 1], '["a",1]'),
        ({"a": 1}, '{"a":1}'),
    ],
)
def test_clear(value: Json, result: object) -> None:
    assert apply("clear", value) == result


def test_pseudonyms_cannot_be_joined() -> None:
    one, other, secret, another = bytes([1] * 32), bytes([2] * 32), bytes([3] * 32), bytes([4] * 32)
    made = {
        pseudonymiser(key, category)(subject)
        for key in (one, other)
        for category in ("user.unique_id", "profile_ref")
        for subject in (secret, another)
    }
    assert len(made) == 8
    assert pseudonymiser(one, "profile_ref")(secret) == pseudonymiser(one, "profile_ref")(secret)
    assert all(len(text) == 32 for text in made)
    whole = hmac.digest(one, pae(b"profile_ref", secret), "sha256")  # RFC 2104, in one go
    assert pseudonymiser(one, "profile_ref")(secret) == whole[:16].hex()
