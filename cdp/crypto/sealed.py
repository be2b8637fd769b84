"""Sealed values: authenticated encryption bound to one place.

Envelope: ``version(1) | suite(1) | dek_id(16) | nonce(12) | ciphertext | tag(16)``.

Suite 1 is AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce over the value padded to at
least 32 bytes (ISO/IEC 7816-4: ``0x80`` then zeros), so that short, low-cardinality values all look
alike. The additional data is a pre-authentication encoding with 64-bit little-endian lengths over
(``cdp/field/v1``, header, workspace, table, column, row key, identity_no, dek_id): a ciphertext
moved to another row, column, person or workspace does not open.

AES-GCM does not commit to its key, so a key is looked up by ``dek_id``, never tried out.
"""

from __future__ import annotations

import os
from functools import lru_cache
from struct import Struct, pack

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cdp.errors import SealError

VERSION = 1
SUITE_AES_256_GCM = 1
HEADER = bytes([VERSION, SUITE_AES_256_GCM])
_LABEL = b"cdp/field/v1"
_PADDED = 32
_PLACES = 10_000  # trait names come from outside
_DEK_ID = slice(2, 18)
_NONCE = slice(18, 30)
_SHORTEST = 30 + _PADDED + 16


class Dek(msgspec.Struct, frozen=True):
    """One data encryption key, in memory only.

    :param dek_id: 16 random bytes that name it.
    :param key: 32 bytes.
    """

    dek_id: bytes
    key: bytes
    cipher: AESGCM

    def __repr__(self) -> str:
        return "<dek>"


class Sealed(msgspec.Struct, frozen=True):
    """An encrypted value in its envelope; it cannot print itself."""

    blob: bytes

    def __repr__(self) -> str:
        return "<sealed>"


class Place(msgspec.Struct, frozen=True):
    """Where a sealed column lives.

    :param workspace: the workspace's name.
    :param table: table name.
    :param column: column name, with the trait's name where a column holds many traits.
    """

    workspace: str
    table: str
    column: str

    def prefix(self) -> bytes:
        """Return the constant front part of the additional data; it is kept, for many rows need it."""
        return _prefix(self)


@lru_cache(_PLACES)
def _prefix(place: Place) -> bytes:
    return pae(_LABEL, HEADER, place.workspace.encode(), place.table.encode(), place.column.encode())


def pae(*parts: bytes) -> bytes:
    """Pre-authentication encoding: each part behind its length as 64-bit little endian."""
    return b"".join(pack("<Q", len(part)) + part for part in parts)


def seal(dek: Dek, prefix: bytes, row_key: bytes, identity_no: int, value: bytes) -> bytes:
    """Seal ``value`` for one place.

    :param prefix: ``Place.prefix()`` of the column.
    :param row_key: the row's key, as bytes.
    :param identity_no: the identity whose key ``dek`` is (0 for a bucket key).
    :returns: the envelope.
    """
    padded = value + b"\x80"
    if len(padded) < _PADDED:
        padded = padded.ljust(_PADDED, b"\x00")
    nonce = os.urandom(12)
    head = HEADER + dek.dek_id + nonce
    return head + dek.cipher.encrypt(nonce, padded, _aad(prefix, row_key, identity_no, dek.dek_id))


def open_sealed(dek: Dek, prefix: bytes, row_key: bytes, identity_no: int, envelope: bytes) -> bytes:
    """Open an envelope in its place.

    :raises SealError: it is truncated, of another version or suite, of another key, altered, or
        it was sealed for another place.
    """
    if len(envelope) < _SHORTEST or envelope[:2] != HEADER:
        raise SealError("an envelope is truncated or of an unknown version")
    if envelope[_DEK_ID] != dek.dek_id:
        raise SealError("an envelope names another key than the one held for it")
    try:
        padded = dek.cipher.decrypt(
            envelope[_NONCE], envelope[30:], _aad(prefix, row_key, identity_no, dek.dek_id)
        )
    except InvalidTag:
        raise SealError("an envelope does not open in this place: altered or moved") from None
    return padded[: padded.rindex(b"\x80")]


_TAIL = {length: Struct(f"<Q{length}sQQQ16s").pack for length in (8, 16)}
"""The rest of the additional data for the usual lengths of row keys: one call instead of four."""


def _aad(prefix: bytes, row_key: bytes, identity_no: int, dek_id: bytes) -> bytes:
    """Return ``prefix`` and the encoding of row key, identity number and key id (see ``pae``)."""
    length = len(row_key)
    tail = _TAIL.get(length)
    if tail is None:
        return prefix + pae(row_key, pack("<Q", identity_no), dek_id)
    return prefix + tail(length, row_key, 8, identity_no, 16, dek_id)
