"""Standard Webhooks signatures (specification 1.0, "Signature scheme"), pure.

The signed bytes are ``id.timestamp.body``. ``v1`` is HMAC-SHA-256 under the secret of the endpoint, ``v1a``
Ed25519 under the key of the destination; a message carries one ``v1`` for each live secret, so that a
rotation has a grace period, and one ``v1a``. Secrets are shown as ``whsec_``, public keys as ``whpk_``.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence

from cdp.crypto import Signer


def headers(
    message_id: str, at: int, body: bytes, secrets: Sequence[bytes], signer: Signer | None = None
) -> dict[str, str]:
    """Return the three headers of one attempt.

    :param message_id: the same at every attempt; has no full stop.
    :param at: Unix seconds of this attempt.
    :param secrets: the live secrets, newest first.
    """
    signed = b"%b.%d.%b" % (message_id.encode(), at, body)
    signatures = ["v1," + _text(hmac.digest(secret, signed, "sha256")) for secret in secrets]
    if signer is not None:
        signatures.append("v1a," + _text(signer.sign(signed)))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(signatures),
    }


def shown_secret(secret: bytes) -> str:
    """Return a secret as its owner is shown it."""
    return "whsec_" + _text(secret)


def shown_key(public_key: bytes) -> str:
    """Return a public key as receivers take it."""
    return "whpk_" + _text(public_key)


def _text(raw: bytes) -> str:
    return b64encode(raw).decode()
