"""What lies sealed beside an audit entry, opened for an officer with a purpose.

It is a use of those whom it is about, under the rules of ``use.py``: the controller may use data for the
purpose, what is said of somebody restrained for it is left out, and the entry ``audit.detail`` has as its
subjects those of whom something is shown. What was erased is gone; that it was there shows.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cdp.audit import AuditLog
from cdp.crypto import ProfileIds
from cdp.errors import CdpError, NotFoundError
from cdp.gate import PERMITTED, Gate, Refusal
from cdp.identity import IdentityService, members_of
from cdp.portrait.record import deny, entry_of, result_of
from cdp.store import Committer, retrying

_ACTION = "audit.detail"


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry says of one of its subjects.

    :param profile_id: of the profile that the subject belongs to now.
    """

    profile_id: str
    said: dict[str, Any]

    def __repr__(self) -> str:
        return "<detail>"


class OpenedDetails(msgspec.Struct, frozen=True, kw_only=True):
    """The details of an entry.

    :param withheld: of how many subjects nothing may be shown for the purpose.
    :param erased: how many details are gone.
    """

    details: list[Detail]
    withheld: int
    erased: int


class EntryDetails:
    """Opens the details of audit entries."""

    def __init__(
        self, committer: Committer, ids: ProfileIds, identity: IdentityService, audit: AuditLog, gate: Gate
    ) -> None:
        self._committer = committer
        self._ids = ids
        self._identity = identity
        self._audit = audit
        self._gate = gate

    def __call__(self, actor: str, purpose: str, index: int) -> OpenedDetails:
        """Return what lies sealed beside the entry ``index``.

        :raises NotPermittedError: the purpose is not internal, or the controller is barred for it.
        :raises NotFoundError: there is no such entry.
        """
        return result_of(retrying(lambda: self._open(actor, purpose, index)))

    def _open(self, actor: str, purpose: str, index: int) -> OpenedDetails | CdpError:
        target: dict[str, str | int] = {"entry": index}
        with self._committer.batch() as batch:
            connection = batch.connection
            admitted = self._gate.inside.admit(connection, purpose)
            if isinstance(admitted, Refusal):
                return deny(batch, _ACTION, actor, purpose, admitted, about=target)
            entry = self._audit.entry(connection, index)
            if entry is None:
                batch.record(entry_of(_ACTION, actor, purpose, (), outcome="failed"))
                return NotFoundError("the audit log has no entry with this index")
            said, erased = self._audit.details(connection, index)
            homes = {number: self._identity.profile_of(connection, number) for number in said}
            members = members_of(connection, set(homes.values()))
            views = self._gate.inside.views(connection, admitted, members) if members else {}
            shown = [number for number in said if views[homes[number]].reason == PERMITTED]
            batch.record(msgspec.structs.replace(entry_of(_ACTION, actor, purpose, shown), object=target))
        found = [Detail(profile_id=self._ids.encode(homes[number]), said=said[number]) for number in shown]
        return OpenedDetails(details=found, withheld=len(said) - len(shown), erased=erased)
