"""How the uses of one person's data are recorded, refused ones too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from cdp.audit import Entry, Outcome
from cdp.crypto import Keyring, derive
from cdp.errors import CdpError, InvalidInputError, noted
from cdp.gate import CONTROLLER, Refusal
from cdp.store import Batch

T = TypeVar("T")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LONGEST_REASON = 500


def entry_of(
    action: str,
    actor: str,
    purpose: str,
    subjects: Sequence[int],
    *,
    people: int | None = None,
    outcome: Outcome = "allowed",
) -> Entry:
    """Return the entry of a use by the controller."""
    return Entry(
        action=action,
        actor=actor,
        outcome=outcome,
        purpose=purpose,
        destination=CONTROLLER,
        people={} if people is None else {"people": people},
        subjects=tuple(subjects),
    )


def deny(
    batch: Batch,
    action: str,
    actor: str,
    purpose: str,
    found: Refusal,
    subjects: Sequence[int] = (),
    about: Mapping[str, str | int] | None = None,
    said: Mapping[str, Any] | None = None,
) -> CdpError:
    """Record a refusal and return its error, to be raised once the batch has committed.

    :param about: what else the entry says.
    :param said: what else lies sealed beside it, for each of the subjects.
    """
    known = "" if found.reason == "unknown_purpose" else purpose  # which may be any word of the caller's
    entry = entry_of(action, actor, known, subjects, outcome="denied")
    told = {**(about or {}), "refused": found.reason}
    details = dict.fromkeys(subjects, said) if said else {}
    batch.record(msgspec.structs.replace(entry, object=told, details=details))
    return noted(found.error)


def result_of(found: T | CdpError) -> T:
    """Return what a batch that has committed gave, or raise the refusal that it recorded."""
    if isinstance(found, CdpError):
        raise found
    return found


def reason_of(keyring: Keyring, reason: str) -> str:
    """Return a reason as the log holds it: a code as it is, a sentence as its keyed digest.

    :raises InvalidInputError: it is empty, or too long.
    """
    if not 0 < len(reason.strip()) <= _LONGEST_REASON:
        raise InvalidInputError(f"reason is a code or a sentence of up to {_LONGEST_REASON} characters")
    if _CODE.fullmatch(reason):
        return reason
    return f"text:{derive(keyring.secret('index'), b'cdp/reveal-reason/v1', reason.encode()).hex()}"
