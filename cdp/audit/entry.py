"""What an entry looks like in the log: RFC 8785 canonical JSON, and back.

The fields, always all of them but the last three::

    v            1
    time         RFC 3339, when its batch committed
    commit_no    the commit it belongs to
    actor, action, outcome, purpose, destination
    object       ids, versions, hashes
    counts       numbers of things
    people       numbers of people; those under 10 are the text "<10"
    nonce        16 random bytes, hex       } only where the entry
    subjects     Merkle root, hex, see 3    } concerns people
    details      Merkle root, hex, see 5    only where there are any

Invariants:

1. No personal data and no free text: the log cannot be erased. Names are printable and short.
2. A subject's **reference** is ``HMAC-SHA-256(proof secret of the identity, nonce)``: two entries
   about one person have nothing in common, and once the proof key is destroyed nothing connects a
   reference to anybody.
3. ``subjects`` is the Merkle root (as of the log itself) over the references in ascending order, so
   that an entry is short and tells neither how many people it concerns nor their order. The
   references lie beside the entry and are verified against it; whoever holds a proof secret proves
   that an entry is about them by an inclusion proof.
4. An identity whose proof key was destroyed has no reference and is not indexed. Where a key is lost or
   altered instead, ``people`` says of how many that is so, as ``subjects_lost``: nobody may take an entry
   without references for one about nobody.
5. What may not stand in clear lies sealed beside the entry, one row for each subject
   (``cdp/audit/detail.py``). ``details`` is the Merkle root over those ciphertexts, whose leaf hashes lie
   beside the entry in ascending order and stay when a row is erased: so that what is left is what was
   written, and what is gone was there.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import msgspec
import rfc8785

from cdp.audit.merkle import leaf_hash, root
from cdp.audit.model import AuditEntry, Entry
from cdp.clock import Micros, parse_rfc3339, rfc3339
from cdp.errors import AuditError, InvalidInputError, TooLargeError

VERSION = 1
MAX_ENTRY_BYTES = 65_535
FEW = 10
_MAX_NAME = 200
_SAFE_INTEGER = 2**53 - 1  # what JSON numbers carry exactly everywhere


class Encoded(NamedTuple):
    """An entry ready to be appended.

    :param subjects: the identities that have a reference.
    :param references: 32 bytes each, ascending.
    """

    data: bytes
    subjects: list[int]
    references: list[bytes]


def reference(proof_secret: bytes, nonce: bytes) -> bytes:
    """Return the 32 bytes by which one entry refers to the subject that holds ``proof_secret``."""
    return hmac.digest(proof_secret, nonce, "sha256")


def subjects_root(references: Iterable[bytes]) -> bytes:
    """Return the Merkle root over references."""
    return root(leaf_hash(item) for item in references)


def encode(
    entry: Entry,
    *,
    commit_no: int,
    now: Micros,
    nonce: bytes,
    proof_secrets: Mapping[int, bytes],
    lost: AbstractSet[int] = frozenset(),
    details: Sequence[bytes] = (),
) -> Encoded:
    """Return ``entry`` as logged.

    :param nonce: 16 fresh random bytes.
    :param proof_secrets: by identity number; may hold others too.
    :param lost: identities that cannot be referred to, and were not erased; may hold others too.
    :param details: leaf hashes of the sealed details, ascending.
    :raises InvalidInputError: a name is too long or holds characters that cannot be printed.
    :raises TooLargeError: the entry is over 65,535 bytes.
    """
    for name in (entry.action, entry.actor, entry.purpose, entry.destination):
        if len(name) > _MAX_NAME or not name.isprintable():
            raise InvalidInputError(
                f"an audit entry's action, actor, purpose and destination have at most {_MAX_NAME} "
                "printable characters"
            )
    unnamed = len(lost & set(entry.subjects)) if lost else 0
    people = {**entry.people, "subjects_lost": unnamed} if unnamed else entry.people
    document: dict[str, object] = {
        "v": VERSION,
        "time": rfc3339(now),
        "commit_no": commit_no,
        "actor": entry.actor,
        "action": entry.action,
        "outcome": entry.outcome,
        "purpose": entry.purpose,
        "destination": entry.destination,
        "object": {key: _portable(value) for key, value in entry.object.items()},
        "counts": {key: _portable(value) for key, value in entry.counts.items()},
        "people": {key: f"<{FEW}" if value < FEW else value for key, value in people.items()},
    }
    subjects = [number for number in dict.fromkeys(entry.subjects) if number in proof_secrets]
    references = sorted(reference(proof_secrets[number], nonce) for number in subjects)
    if references:
        document |= {"nonce": nonce.hex(), "subjects": subjects_root(references).hex()}
    if details:
        document["details"] = root(details).hex()
    try:
        data = rfc8785.dumps(document)  # type: ignore[arg-type]  # dict[str, object] is JSON here
    except (rfc8785.CanonicalizationError, UnicodeError):
        raise InvalidInputError(f"the audit entry of {entry.action} holds what JSON cannot carry") from None
    if len(data) > MAX_ENTRY_BYTES:
        raise TooLargeError(f"the audit entry of {entry.action} is over {MAX_ENTRY_BYTES} bytes")
    return Encoded(data, subjects, references)


def segment_of(entry: Entry) -> str | None:
    """Return the segment that an entry names, by which it is searched for; None where it names none."""
    named = entry.object.get("segment")
    return named if isinstance(named, str) and named else None


def decode(index: int, data: bytes) -> AuditEntry:
    """Return the logged entry ``index`` from its bytes.

    :raises AuditError: the bytes are not an entry of this version.
    """
    try:
        document = json.loads(data)
        if document.pop("v") != VERSION:
            raise AuditError(f"audit entry {index} is of an unknown version")
        at = parse_rfc3339(document.pop("time"))
        return msgspec.convert(document | {"index": index, "at": at, "data": data}, AuditEntry)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise AuditError(f"audit entry {index} cannot be read; run `cdp audit verify`") from None


def _portable(value: str | int) -> str | int:
    """Return ids that JSON readers would round as decimal text."""
    return str(value) if isinstance(value, int) and abs(value) > _SAFE_INTEGER else value
