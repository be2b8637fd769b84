"""The certificate of an erasure: what its holder is told, and by what they can prove it without us. Pure.

It names nobody. What it holds of the person are the **proof secrets** of their identities, one each:
``HMAC-SHA-256(secret, nonce)`` is how an entry of the log refers to them, ``HMAC-SHA-256(secret, export id)``
where they stand in an export's manifest. Whoever has the certificate can find themselves there; once it is
handed over and the time for proof is over, nobody else can.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from cdp.clock import Micros, rfc3339
from cdp.policy import Rights
from cdp.recovery import Erased

FORMAT = "cdp/erasure-certificate/v1"
_BACKUPS = (
    "What a backup of the main database holds sealed of the person opens under the destroyed keys alone. A "
    "backup of the key database from before has them: it is kept for so many days."
)


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the log with the proof that it is there.

    :param data: the logged bytes.
    :param hashes: the inclusion proof (RFC 9162, 2.1.3), in the log of the checkpoint's size.
    :param note: the checkpoint, a signed note; ``key`` is what it verifies under.
    """

    index: int
    data: bytes
    hashes: Sequence[bytes]
    note: str
    key: str

    def tlog_proof(self) -> str:
        """Return it as a C2SP ``tlog-proof``: it needs the entry beside it, and no network."""
        lines = ["c2sp.org/tlog-proof@v1", f"index {self.index}"]
        lines += [base64.b64encode(one).decode() for one in self.hashes]
        return "\n".join([*lines, "", self.note])


def compose(
    done: Erased,
    submitted_at: Micros,
    logged: Logged,
    secrets: Sequence[str],
    rights: Rights,
    key_backup_days: int,
) -> dict[str, Any]:
    """Return a certificate, as JSON has it.

    :param secrets: hex.
    :param key_backup_days: how long backups of keys are kept.
    """
    return {
        "format": FORMAT,
        "request": done.erasure_id,
        "submitted_at": rfc3339(submitted_at),
        "bound_at": rfc3339(done.bound_at),
        "identities": done.identities,
        "destroyed": {"keys": done.identities, **done.deleted},
        "kept": _kept(done, rights),
        "backups": {
            "key_backup_days": key_backup_days,
            "meaning": _BACKUPS,
        },
        "log": {
            "key": logged.key,
            "entry": logged.data.decode(),
            "proof": logged.tlog_proof(),
        },
        "secrets": list(secrets),
    }


def _kept(done: Erased, rights: Rights) -> list[dict[str, Any]]:
    rule = rights.erasure
    kept: list[dict[str, Any]] = []
    if done.proof_until is not None and rule.keep_proof_days:
        kept.append(
            {
                "what": "records of consent, sealed, and the key that opens them and makes these secrets",
                "until": rfc3339(done.proof_until),
                "ground": rule.source,
            }
        )
    return [
        *kept,
        {
            "what": "the request, its times and what came of it, under numbers that nothing resolves",
            "days": rights.keep_requests_days,
            "ground": rights.keep_requests_source,
        },
        {
            "what": "keyed hashes of the identifiers, so that nothing brings the person back unasked",
            "ground": "GDPR Art. 17: without them a replay or an import would undo the erasure",
        },
        {
            "what": "entries of the audit log and manifests of exports, which name nobody without a secret",
            "ground": "GDPR Art. 5(2), 30: they prove what was done",
        },
    ]
