"""Reveal: fields of one person in clear, for an officer or steward with a purpose and a reason.

Steps, in one transaction that holds the head of the log, so that no restraint comes in between:

1. A reason is given, the fields are few.
2. The controller may use data for the purpose now; the key has not had too many people revealed.
3. The gate decides about the person and reads the fields as it would for an export.
4. The entry, with fields, transforms, purpose and reason, is committed; only then does anything leave.

A refusal is recorded likewise. What the policies drop is absent, and the answer says so.

The log holds no free text: a reason that is no code stands in it as a keyed digest. The sentence itself, and
which of the fields the person has, lie sealed beside the entry, under the person's key (``audit.detail``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cdp.audit import AuditFilter, AuditLog
from cdp.clock import SECOND, Clock
from cdp.crypto import Keyring, ProfileIds
from cdp.errors import CdpError, InvalidInputError, OverloadedError
from cdp.gate import Admitted, Gate, Refusal, Revealed
from cdp.identity import IdentityService
from cdp.portrait.record import deny, entry_of, reason_of, result_of
from cdp.store import Committer, Connection, retrying

PEOPLE_AN_HOUR = 100
"""Reveals that one key may have within an hour."""
MOST_FIELDS = 50
_HOUR = 3600 * SECOND
_ACTION = "profile.reveal"


def _enough() -> Refusal:
    """Return the refusal, made anew: a kept error keeps alive what was at hand where it was raised."""
    said = (
        f"this key had fields of people revealed {PEOPLE_AN_HOUR} times within an hour; "
        "what is needed of many people is an export"
    )
    return Refusal("too_many_revealed", OverloadedError(said, retry_after=_HOUR // SECOND))


class Disclosure(msgspec.Struct, frozen=True, kw_only=True):
    """What was revealed.

    :param profile_id: the current id, also when an older one was asked for.
    :param audit_index: the place of its entry in the log.
    """

    profile_id: str
    revealed: Revealed
    audit_index: int


class Revealer:
    """Reveals fields of single people."""

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        ids: ProfileIds,
        identity: IdentityService,
        audit: AuditLog,
        gate: Gate,
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._ids = ids
        self._identity = identity
        self._audit = audit
        self._gate = gate
        self._clock = clock

    def __call__(
        self, actor: str, purpose: str, profile_id: str, fields: Sequence[str], reason: str
    ) -> Disclosure:
        """Open fields of one profile, as far as the policies let the controller see them for the purpose.

        :param fields: names of traits or identifier types.
        :param reason: a short code, ``customer_request``, which the audit log names, or a sentence.
        :raises InvalidInputError: no field is named, or too many, one is not declared; no reason.
        :raises NotPermittedError: the purpose, the controller or the policies stand against it.
        :raises NotFoundError: the id is none of this workspace.
        :raises OverloadedError: this key had as many reveals within an hour as it may.
        """
        names = tuple(dict.fromkeys(fields))
        if not 0 < len(names) <= MOST_FIELDS:
            raise InvalidInputError(f"fields names 1 to {MOST_FIELDS} traits or identifier types")
        word = reason_of(self._keyring, reason)
        number = self._ids.decode(profile_id)
        return result_of(retrying(lambda: self._reveal(actor, purpose, number, names, (word, reason))))

    def _reveal(
        self, actor: str, purpose: str, number: int, names: Sequence[str], reason: tuple[str, str]
    ) -> Disclosure | CdpError:
        about: dict[str, str | int] = {"reason": reason[0]}
        said: dict[str, Any] = {"reason": reason[1]}
        with self._committer.batch(head_first=True) as batch:
            connection = batch.connection
            profile_no = self._identity.profile_of(connection, number)
            members = self._identity.members(connection, profile_no)
            found: Refusal | Revealed
            may = self._may(connection, actor, purpose)
            if isinstance(may, Refusal):
                found = may
            else:
                found = self._gate.reveal(connection, may, profile_no, members, names)
                about["fields"] = ",".join(names)  # declared, every one, or this had raised
            if isinstance(found, Refusal):
                return deny(batch, _ACTION, actor, purpose, found, members, about, said)
            about["fields"] = ",".join(f"{name}={word}" for name, word in found.plan.items())
            entry = entry_of(_ACTION, actor, purpose, members)
            said["known"] = [name for name, value in found.values.items() if value is not None]
            about["bundle"] = found.bundle
            batch.record(msgspec.structs.replace(entry, object=about, details=dict.fromkeys(members, said)))
        return Disclosure(
            profile_id=self._ids.encode(profile_no), revealed=found, audit_index=batch.audit_indexes[0]
        )

    def _may(self, connection: Connection, actor: str, purpose: str) -> Admitted | Refusal:
        admitted = self._gate.inside.admit(connection, purpose)
        if isinstance(admitted, Refusal):
            return admitted
        since = self._clock.now() - _HOUR
        had = AuditFilter(actor=actor, action=_ACTION, outcome="allowed", from_=since)
        return _enough() if self._audit.count(connection, had) >= PEOPLE_AN_HOUR else admitted
