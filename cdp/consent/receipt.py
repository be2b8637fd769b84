"""Consent receipts: made from a record, signed, and verified by anybody offline. Pure.

The shape follows ISO/IEC TS 27560 (consent record information structure): what was processed for which
purpose on which basis and notice, who says so, and the event. A receipt is RFC 8785 canonical JSON signed
with Ed25519 (RFC 8032) under a key that signs nothing else.

Invariants:

1. Whose it is stands in it as ``HMAC-SHA-256(proof secret, "cdp/receipt/v1" ‖ record id)`` only: two
   receipts of one person have nothing in common, whoever holds the proof secret can show that one is
   about them, and once it is destroyed nobody can. A key that is lost instead is said to be.
2. The same record gives the same receipt, but for the names that the policies give to its purpose, and as
   long as the person's key is there.
3. The signature covers every field but itself; a receipt with a field more, less or changed is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import rfc8785

from cdp.clock import Micros, rfc3339
from cdp.consent.grade import effective_at
from cdp.consent.model import Record
from cdp.crypto import Signer, verify_signature
from cdp.errors import IntegrityError
from cdp.policy import Purpose

SCHEMA = "ISO/IEC TS 27560:2023"
KEY = "receipt-signing"
"""The keyring's name of the signing seed."""
LOST = "lost"
"""Stands for the person where their proof key is lost or altered, and not destroyed by an erasure."""
_MAX_BYTES = 65_535


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a record stands in the audit log.

    :param origin: the log's name.
    :param index: of the first entry of the commit that holds the record.
    """

    origin: str
    commit_no: int
    index: int
    committed_at: Micros


def reference(proof_secret: bytes, record_id: int) -> str:
    """Return by what a receipt refers to the person, hex."""
    return hmac.digest(proof_secret, b"cdp/receipt/v1" + record_id.to_bytes(8), "sha256").hex()


def compose(
    record: Record, purpose: Purpose | None, controller: str, principal: str, place: Place
) -> dict[str, Any]:
    """Return the receipt of a record, unsigned.

    :param purpose: as declared now; None when the policies no longer know it.
    :param controller: who answers for the processing.
    :param principal: see ``reference``; empty when the person was erased, ``LOST`` when their key is lost.
    """
    return {
        "schema_version": SCHEMA,
        "record_id": str(record.record_id),
        "pii_principal_id": principal or None,
        "pii_controllers": [controller],
        "pii_processing": {
            "purpose": record.purpose,
            "purpose_name": purpose.name if purpose is not None else None,
            "purpose_description": purpose.description if purpose is not None else None,
            "lawful_basis": record.legal_basis or None,
            "privacy_notice": _notice(record),
            "language": record.language or None,
            "jurisdiction": record.jurisdiction or None,
            "collection_method": record.method or None,
            "recipients": list(record.recipients),
        },
        "event": {
            "state": record.state,
            "type": record.event_type,
            "act": record.act,
            "event_time": rfc3339(record.event_time),
            "received_at": rfc3339(record.received_at),
            "effective_at": rfc3339(effective_at(record)),
            "expires_at": None if record.expires_at is None else rfc3339(record.expires_at),
            "signal": record.signal or None,
            "source_id": str(record.source_id),
            "source_kind": record.source_kind,
            "verified": record.verified,
        },
        "audit": {
            "origin": place.origin,
            "commit_no": place.commit_no,
            "index": place.index,
            "time": rfc3339(place.committed_at),
        },
    }


def sign(receipt: Mapping[str, Any], signer: Signer) -> bytes:
    """Return ``receipt`` with its signature, as canonical JSON."""
    signature = {
        "algorithm": "Ed25519",
        "key_id": key_id(signer.public_key),
        "value": _encoded(signer.sign(rfc8785.dumps(dict(receipt)))),
    }
    return rfc8785.dumps({**receipt, "signature": signature})


def verify(data: bytes, public_key: bytes) -> dict[str, Any]:
    """Return the receipt in ``data``, without its signature, once that has been verified.

    Needs nothing but the key, which comes from elsewhere (``GET /api/v1/consents/receipts/key``).

    :param public_key: 32 bytes.
    :raises IntegrityError: it is no receipt, was changed, or another key signed it.
    """
    try:
        receipt = json.loads(data) if len(data) <= _MAX_BYTES else None
        if not isinstance(receipt, dict):
            raise IntegrityError("this is not a consent receipt")
        canonical = rfc8785.dumps(receipt)
        signature = msgspec.convert(receipt.pop("signature", None), _Signature)
        value = base64.urlsafe_b64decode(signature.value + "==")
        signed = rfc8785.dumps(receipt)
    except (ValueError, RecursionError, binascii.Error, rfc8785.CanonicalizationError):
        raise IntegrityError("this is not a consent receipt") from None
    if canonical != data:  # otherwise two files could be the same receipt
        raise IntegrityError("the receipt is not in canonical form (RFC 8785)")
    if signature.key_id != key_id(public_key) or not verify_signature(public_key, signed, value):
        raise IntegrityError("the receipt was changed, or another key signed it")
    if _encoded(value) != signature.value:
        raise IntegrityError("the receipt's signature has another spelling than ours")
    return receipt


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    algorithm: str
    key_id: str
    value: str

    def __post_init__(self) -> None:
        if self.algorithm != "Ed25519":
            raise ValueError("unknown algorithm")


def jwk(public_key: bytes) -> dict[str, str]:
    """Return the public key as a JSON Web Key (RFC 8037), for whoever verifies receipts."""
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "use": "sig",
        "kid": key_id(public_key),
        "x": _encoded(public_key),
    }


def key_id(public_key: bytes) -> str:
    """Return the JWK thumbprint of a key (RFC 7638 with RFC 8037)."""
    named = rfc8785.dumps({"crv": "Ed25519", "kty": "OKP", "x": _encoded(public_key)})
    return _encoded(hashlib.sha256(named).digest())


def _notice(record: Record) -> dict[str, Any] | None:
    if not record.notice_id:
        return None
    return {"id": record.notice_id, "version": record.notice_version, "sha256": record.notice_sha256 or None}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
