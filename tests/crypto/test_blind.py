"""Blind indexes, derived keys and opaque profile ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.crypto import BlindIndex, ProfileIds, derive
from cdp.errors import NotFoundError

ROOT = bytes(range(32))
IDS = ProfileIds(ROOT, "default")
numbers = st.integers(1, 2**63 - 1)


def test_equal_values_meet_and_others_do_not() -> None:
    index = BlindIndex(ROOT, "default")
    assert index("email", "erika@example.com") == BlindIndex(ROOT, "default")("email", "erika@example.com")
    assert len(index("email", "erika@example.com")) == 16
    assert index("email", "erika@example.com") != index("email", "max@example.com")


def test_types_workspaces_versions_and_roots_share_no_index() -> None:
    value = "4915112345678"
    found = {
        BlindIndex(ROOT, "default")("phone", value),
        BlindIndex(ROOT, "default")("user_id", value),
        BlindIndex(ROOT, "default")("phone", value, 2),
        BlindIndex(ROOT, "other")("phone", value),
        BlindIndex(bytes(32), "default")("phone", value),
        BlindIndex(ROOT, "defaul")("tphone", value),  # the same letters, cut elsewhere
    }
    assert len(found) == 6


def test_derived_keys_differ_by_context_and_length_is_kept() -> None:
    assert derive(ROOT, b"a", b"bc") != derive(ROOT, b"ab", b"c")
    assert derive(ROOT, b"a") != derive(bytes(32), b"a")
    assert len(derive(ROOT, b"a", length=64)) == 64


@given(numbers)
def test_profile_ids_go_round(number: int) -> None:
    text = IDS.encode(number)
    assert text.startswith("p_")
    assert len(text) == 28
    assert IDS.decode(text) == number


@given(numbers, numbers)
def test_profile_ids_of_two_numbers_differ(one: int, other: int) -> None:
    assert (IDS.encode(one) == IDS.encode(other)) == (one == other)


@given(numbers, st.integers(2, 27), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_an_altered_id_never_names_somebody_else(number: int, at: int, character: str) -> None:
    text = IDS.encode(number)
    altered = text[:at] + character + text[at + 1 :]
    try:
        named = IDS.decode(altered)
    except NotFoundError:
        return
    assert named == number


def test_ids_of_another_workspace_or_root_are_unknown() -> None:
    for other in (ProfileIds(ROOT, "other"), ProfileIds(bytes(32), "default")):
        with pytest.raises(NotFoundError):
            IDS.decode(other.encode(7))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p_",
        "7",
        "p_7",
        "p_" + "a" * 26,
        "p_" + "a" * 25,
        "p_" + "1" * 26,
        "p_" + "=" * 26,
        "p_" + "ä" * 26,
        "p_\x00" + "a" * 25,
        "p_\ud800" + "a" * 25,
        "p_" + "a" * 10_000,
        IDS.encode(7)[2:],
        IDS.encode(7).upper(),
        IDS.encode(7) + "a",
        "q_" + IDS.encode(7)[2:],
    ],
)
def test_forged_ids_are_unknown(text: str) -> None:
    with pytest.raises(NotFoundError, match="no profile with this id"):
        IDS.decode(text)


def test_an_id_has_one_spelling() -> None:
    ids = ProfileIds(b"r" * 32, "test")
    known = ids.encode(7)
    last = "abcdefghijklmnopqrstuvwxyz234567"
    others = {known[:-1] + character for character in last} | {known.upper(), known + "a"}
    for other in others - {known}:
        with pytest.raises(NotFoundError):
            ids.decode(other)
