"""Receipts: whoever has the key can check one offline, and nobody can change a field of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from cdp.clock import DAY
from cdp.consent import Record, receipt_jwk, verify_receipt
from cdp.consent.receipt import Place, compose, reference, sign
from cdp.crypto import Signer
from cdp.errors import IntegrityError
from cdp.policy import Purpose

SIGNER = Signer(b"s" * 32)
PURPOSE = Purpose(key="analytics", name="Analytics", description="Measuring.", basis={"*": "consent"})
RECORD = Record(
    record_id=7_361_234_567_890_123_456,
    identity_no=987_654_321_012,
    purpose="analytics",
    state="granted",
    act=True,
    event_time=20_000 * DAY,
    received_at=20_001 * DAY,
    source_kind="server",
    source_id=3,
    verified=True,
    legal_basis="consent",
    notice_id="news",
    notice_version=2,
    notice_sha256="ab" * 32,
    jurisdiction="EU",
    recipients=("mailer",),
)
PLACE = Place(origin="log.example/audit", commit_no=9, index=17, committed_at=20_001 * DAY)
RECEIPT = sign(compose(RECORD, PURPOSE, "Example Ltd", reference(b"p" * 32, RECORD.record_id), PLACE), SIGNER)


def paths(value: object, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every leaf."""
    if isinstance(value, dict):
        for key, held in value.items():
            yield from paths(held, (*above, key))
    elif isinstance(value, list):
        for place, held in enumerate(value):
            yield from paths(held, (*above, place))
    else:
        yield above


def changed(path: tuple[Any, ...]) -> bytes:
    """Return the receipt with the value at ``path`` changed, in canonical form."""
    document = json.loads(RECEIPT)
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    old = holder[path[-1]]
    if isinstance(old, bool):
        holder[path[-1]] = not old
    elif isinstance(old, int):
        holder[path[-1]] = old + 1
    elif isinstance(old, str):
        holder[path[-1]] = ("B" if old[0] == "A" else "A") + old[1:]
    else:
        holder[path[-1]] = "something"
    return rfc8785.dumps(document)


def test_a_receipt_says_what_was_recorded_and_of_whom_only_a_reference() -> None:
    said = verify_receipt(RECEIPT, SIGNER.public_key)
    assert said["record_id"] == str(RECORD.record_id)
    assert said["event"]["state"] == "granted"
    assert said["event"]["effective_at"] == said["event"]["event_time"]
    assert said["pii_processing"]["privacy_notice"] == {"id": "news", "version": 2, "sha256": "ab" * 32}
    assert said["audit"] == {
        "origin": "log.example/audit", "commit_no": 9, "index": 17, "time": "2024-10-05T00:00:00Z",
    }  # fmt: skip
    assert said["pii_principal_id"] == reference(b"p" * 32, RECORD.record_id)
    assert said["pii_principal_id"] != reference(b"p" * 32, RECORD.record_id + 1)
    assert str(RECORD.identity_no).encode() not in RECEIPT


@pytest.mark.parametrize("path", sorted(paths(json.loads(RECEIPT)), key=str), ids=str)
def test_no_field_can_be_changed(path: tuple[Any, ...]) -> None:
    with pytest.raises(IntegrityError):
        verify_receipt(changed(path), SIGNER.public_key)


@pytest.mark.parametrize("name", [*json.loads(RECEIPT), "added"])
def test_no_field_can_be_taken_away_or_added(name: str) -> None:
    document = json.loads(RECEIPT)
    if document.pop(name, None) is None:
        document[name] = 1
    with pytest.raises(IntegrityError):
        verify_receipt(rfc8785.dumps(document), SIGNER.public_key)


def test_another_key_or_another_spelling_is_refused() -> None:
    with pytest.raises(IntegrityError, match="another key"):
        verify_receipt(RECEIPT, Signer(b"t" * 32).public_key)
    with pytest.raises(IntegrityError, match="canonical"):
        verify_receipt(json.dumps(json.loads(RECEIPT)).encode(), SIGNER.public_key)


@given(st.binary(max_size=200))
def test_anything_else_is_refused_too(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        verify_receipt(data, SIGNER.public_key)


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b'{"a":NaN}', b'{"signature":[]}', b"x" * 70_000, b'"\\ud800"']
)
def test_hostile_documents_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        verify_receipt(data, SIGNER.public_key)


def test_the_key_has_the_thumbprint_of_rfc_8037() -> None:
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    found = receipt_jwk(public)
    assert found["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert found["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
