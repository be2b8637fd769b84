"""Rectification: a correction is a fact of its own (GDPR Art. 16).

A trait is corrected, or withdrawn, by an observation of the source ``CORRECTION``, which holds over whatever
other sources said or will say, until the next correction (``cdp.profiles.fold``). It is said of the identity
of the request and of every identity of the profile that carries the trait, so that a split brings nothing
wrong back; what stays clear of a sealed trait (an age band) is corrected with it. Who did it, and for which
request, is recorded beside it.

What identifies somebody (a wrong address) is no trait: that identity is split off, and the right one comes
with the next event that names it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from cdp.clock import Clock
from cdp.crypto import Keyring, Place, seal
from cdp.errors import ConflictError, InvalidInputError, KeyAccessError, NotFoundError
from cdp.identity import IdentityService
from cdp.ingest import has_type
from cdp.policy import Bundle, generaliser
from cdp.profiles import CORRECTION, WITHDRAWN, ProfileService, add_observations
from cdp.rights import queries
from cdp.rights.model import RightsRequest
from cdp.rights.steps import about, entry
from cdp.store import Batch, Committer, Connection, retrying

MOST = 50
_MOST_BYTES = 16_384


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """What one trait is to be; None withdraws it."""

    trait: str
    value: Any = None

    def __repr__(self) -> str:
        return f"<correction of {self.trait}>"


class Corrections:
    """Records corrections."""

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        identity: IdentityService,
        profiles: ProfileService,
        clock: Clock,
        policy: Callable[[], Bundle],
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._identity = identity
        self._profiles = profiles
        self._clock = clock
        self._policy = policy

    def record(self, actor: str, request_id: str, given: Sequence[Correction]) -> RightsRequest:
        """Correct traits of the person of a request, whose work then goes on: recipients are told.

        :raises NotFoundError: there is no such request.
        :raises ConflictError: it is no rectification, not in progress, or about nobody.
        :raises InvalidInputError: a trait is not declared, identifies somebody or has another type.
        :raises KeyAccessError: the person's key is lost.
        """
        if not 0 < len(given) <= MOST:
            raise InvalidInputError(f"1 to {MOST} traits are corrected at once")
        if len({one.trait for one in given}) < len(given):
            raise InvalidInputError("a trait is corrected once")
        wanted = [known for one in given for known in self._checked(one)]

        def run() -> RightsRequest:
            with self._committer.batch() as batch:
                request = queries.find(batch.connection, request_id, lock=True)
                if request is None:
                    raise NotFoundError("there is no such request")
                if request.kind != "rectification" or not request.known:
                    raise ConflictError("the request is no rectification of somebody who is known")
                if request.state != "in_progress":
                    raise ConflictError(f"the request is {request.state}")
                self._keyring.observe_epoch(batch.epoch)
                self._write(batch, actor, request, wanted)
                queries.let_work(batch.connection, request_id)
                said = {**about(request), "traits": len(given)}
                batch.record(entry("rights.correct", actor, request.identity_nos, said))
            return request

        return retrying(run)

    def _checked(self, one: Correction) -> list[tuple[str, str, bool]]:
        """Return (trait, JSON of its value, may it stay clear) of a correction and what is derived of it."""
        fields = self._policy().fields
        rule = fields.traits.get(one.trait)
        if rule is None or rule.inferred:
            raise InvalidInputError("a trait is not declared in policies/fields.yaml, or is a conclusion")
        if one.trait in fields.identifiers:
            raise InvalidInputError("what identifies somebody is no trait: split the identity off")
        if one.value is None:
            text = WITHDRAWN
        else:
            text = msgspec.json.encode(one.value).decode()
            if len(text) > _MOST_BYTES:
                raise InvalidInputError(f"a value has at most {_MOST_BYTES:,} bytes")
            if rule.clear and not has_type(rule, one.value):
                raise InvalidInputError("a value has another type than its trait, or looks personal in clear")
        found = [(one.trait, text, rule.clear or text == WITHDRAWN)]
        if (derived := rule.generalise) is not None:
            apply = generaliser(derived.by, one.trait, self._clock.now())
            kept = None if apply is None or one.value is None else apply(one.value)
            fits = kept is not None and has_type(fields.traits[derived.into], kept)
            found.append((derived.into, msgspec.json.encode(kept).decode() if fits else WITHDRAWN, True))
        return found

    def _write(
        self, batch: Batch, actor: str, request: RightsRequest, wanted: Sequence[tuple[str, str, bool]]
    ) -> None:
        connection, now = batch.connection, self._clock.now()
        self._identity.lock(connection, request.identity_nos)
        members = self._members(connection, request)
        held = self._profiles.by_identity(connection, members, {name for name, _, _ in wanted})
        pairs = [
            (number, name, text, clear)
            for name, text, clear in wanted
            for number in sorted({request.identity_no, *held.get(name, ())})
        ]
        keys = self._keyring.openable({number for number, _, _, clear in pairs if not clear})
        rows, made = list[Any](), list[dict[str, Any]]()
        for seq, (number, name, text, clear) in enumerate(pairs):
            event_id, sealed = secrets.token_bytes(16), None
            if not clear:
                if number not in keys:
                    raise KeyAccessError("the key of this person is lost")
                place = Place(self._keyring.workspace, "trait_observations", name)
                sealed = seal(keys[number], place.prefix(), event_id, number, text.encode())
            value = text if clear else None
            rows.append((batch.id, seq, number, name, value, sealed, CORRECTION, now, event_id))
            made.append(
                {
                    "event_id": event_id,
                    "request_id": request.request_id,
                    "batch": batch.id,
                    "trait": name,
                    "withdrawn": text == WITHDRAWN,
                    "actor": actor,
                    "at": now,
                }
            )
        add_observations(connection, rows)
        queries.add_corrections(connection, made)

    def _members(self, connection: Connection, request: RightsRequest) -> list[int]:
        return self._identity.members(connection, self._identity.profile_of(connection, request.identity_no))
