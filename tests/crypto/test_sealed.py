"""Sealed values open in their place, under their key, unaltered; and nowhere else."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from cdp.crypto import Dek, Place, Sealed, open_sealed, pae, seal
from cdp.errors import SealError

KEY = bytes(range(32))
DEK = Dek(b"\x01" * 16, KEY, AESGCM(KEY))
PLACE = Place("default", "identifiers", "value")
PREFIX = PLACE.prefix()
VALUE = b"erika.mustermann@example.com"


def opens(envelope: bytes, dek: Dek = DEK, place: Place = PLACE, row: bytes = b"r", no: int = 7) -> bytes:
    return open_sealed(dek, place.prefix(), row, no, envelope)


@given(st.binary(max_size=200))
def test_what_was_sealed_opens(value: bytes) -> None:
    assert opens(seal(DEK, PREFIX, b"r", 7, value)) == value


@given(st.binary(max_size=30).map(lambda value: value + b"\x80\x00\x00"))
def test_values_that_look_like_padding_open(value: bytes) -> None:
    assert opens(seal(DEK, PREFIX, b"r", 7, value)) == value


def test_the_envelope_has_the_written_layout_and_hides_the_value() -> None:
    envelope = seal(DEK, PREFIX, b"r", 7, VALUE)
    assert envelope[:2] == b"\x01\x01"
    assert envelope[2:18] == DEK.dek_id
    assert len(envelope) == 30 + 32 + 16
    assert VALUE not in envelope
    assert seal(DEK, PREFIX, b"r", 7, VALUE)[18:30] != envelope[18:30]  # a fresh nonce each time


def test_short_values_all_have_one_length() -> None:
    assert {len(seal(DEK, PREFIX, b"r", 7, b"x" * size)) for size in range(32)} == {78}


def test_every_flipped_bit_is_refused() -> None:
    envelope = seal(DEK, PREFIX, b"r", 7, VALUE)
    for at in range(len(envelope)):
        for bit in (0, 7):
            altered = bytearray(envelope)
            altered[at] ^= 1 << bit
            with pytest.raises(SealError):
                opens(bytes(altered))


def test_every_truncation_and_extension_is_refused() -> None:
    envelope = seal(DEK, PREFIX, b"r", 7, VALUE * 3)
    for end in range(len(envelope)):
        with pytest.raises(SealError):
            opens(envelope[:end])
    with pytest.raises(SealError):
        opens(envelope + b"\x00")


@pytest.mark.parametrize(
    "place",
    [
        Place("other", "identifiers", "value"),
        Place("default", "traits", "value"),
        Place("default", "identifiers", "other"),
        Place("default", "identifiersv", "alue"),  # the same letters, cut elsewhere
    ],
)
def test_a_value_moved_to_another_place_does_not_open(place: Place) -> None:
    with pytest.raises(SealError, match="does not open in this place"):
        opens(seal(DEK, PREFIX, b"r", 7, VALUE), place=place)


def test_a_value_moved_to_another_row_or_identity_does_not_open() -> None:
    envelope = seal(DEK, PREFIX, b"r", 7, VALUE)
    with pytest.raises(SealError, match="does not open in this place"):
        opens(envelope, row=b"s")
    with pytest.raises(SealError, match="does not open in this place"):
        opens(envelope, no=8)


def test_another_key_does_not_open() -> None:
    envelope = seal(DEK, PREFIX, b"r", 7, VALUE)
    other = os.urandom(32)
    with pytest.raises(SealError, match="another key"):
        opens(envelope, Dek(b"\x02" * 16, other, AESGCM(other)))
    with pytest.raises(SealError, match="does not open"):
        opens(envelope, Dek(DEK.dek_id, other, AESGCM(other)))


@pytest.mark.parametrize("header", [b"\x00\x01", b"\x02\x01", b"\x01\x00", b"\x01\x02"])
def test_another_version_or_suite_is_refused(header: bytes) -> None:
    with pytest.raises(SealError, match="unknown version"):
        opens(header + seal(DEK, PREFIX, b"r", 7, VALUE)[2:])


def test_keys_and_sealed_values_cannot_print_themselves() -> None:
    sealed = Sealed(VALUE)
    for shown in (repr(sealed), str(sealed), f"{sealed}", f"{[sealed]}"):
        assert "<sealed>" in shown
        assert "erika" not in shown
    assert repr(DEK) == str(DEK) == "<dek>"


def test_errors_say_nothing_of_the_value() -> None:
    with pytest.raises(SealError) as caught:
        opens(seal(DEK, PREFIX, b"r", 7, VALUE), row=b"secret-row")
    assert "erika" not in caught.value.message
    assert "secret-row" not in caught.value.message


@given(st.lists(st.binary(max_size=12)), st.lists(st.binary(max_size=12)))
def test_the_encoding_before_authentication_is_injective(one: list[bytes], other: list[bytes]) -> None:
    assert (pae(*one) == pae(*other)) == (one == other)
