"""Links by which a person reaches their own choices.

A link is a capability: whoever holds it may do what it says, and it says nothing to them. Its token
holds all that is needed, so that nothing is stored when it is made.

==========  ================  =============================================  ==========
kind        is sent           lets its holder                                lives
==========  ================  =============================================  ==========
manage      on request        see and change one identity's choices          30 minutes
withdraw    in every message  withdraw from the purposes that it names       3 years
confirm     to a new address  confirm the consent that it holds, once        7 days
archive     on request        fetch one archive, as often as it wants to     as the archive
==========  ================  =============================================  ==========

Invariants:

1. Scope is the identity that the link was made for, never the profile that this identity is in now: a
   link survives merges and splits, and it dies with the identity's erasure.
2. A link for an identifier that nobody has looks like any other and leads to nobody.
3. Making a link is recorded; the entry names the person it was made for, the answer does not.
"""

from __future__ import annotations

import hashlib
from struct import Struct
from typing import Literal

import msgspec

from cdp.access import Source
from cdp.audit import Entry
from cdp.clock import DAY, SECOND, Clock, Micros
from cdp.consent import EventType, SourceKind
from cdp.crypto import LinkTokens
from cdp.identity import IdentityService
from cdp.store import Committer, retrying

LinkKind = Literal["manage", "withdraw", "confirm", "archive"]
LIFETIMES: dict[LinkKind, Micros] = {
    "manage": 30 * 60 * SECOND,
    "withdraw": 3 * 365 * DAY,
    "confirm": 7 * DAY,
}
_NOBODY = 0
_HEAD = Struct("<QQQ")  # fixed, so that a large number and nobody's take the same room
_PURPOSE = "rights"


class _Terms(msgspec.Struct, frozen=True, array_like=True):
    """The rest of a link. Links are read for years: new fields go to the end, with a default."""

    purposes: tuple[str, ...] = ()
    language: str = ""
    destination: str = ""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """What a manage or withdraw link holds.

    :param identity_no: whose it is; 0 for an identifier that nobody had.
    :param language: of the message that carries it; empty when unknown.
    :param destination: through whom it is sent; empty when unknown.
    """

    identity_no: int
    issued_at: Micros
    expires_at: Micros
    purposes: tuple[str, ...] = ()
    language: str = ""
    destination: str = ""


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A consent that waits for its confirmation: held by its link alone, which pins what was asked.

    :param identifiers: (type, value) as the source gave them; in memory and inside the token only.
    :param asked_at: when the source reported the first half.
    """

    identifiers: tuple[tuple[str, str], ...]
    purpose: str
    asked_at: Micros
    source_id: int
    source_kind: SourceKind
    event_type: EventType = "explicit"
    notice_id: str = ""
    notice_version: int | None = None
    language: str = ""
    jurisdiction: str = ""
    recipients: tuple[str, ...] = ()
    expires_at: Micros | None = None

    def __repr__(self) -> str:
        return f"<pending consent for {self.purpose}>"


class Links:
    """Makes and opens links.

    :param tokens: seals them.
    :param public_url: where people reach this server.
    """

    def __init__(
        self,
        committer: Committer,
        identity: IdentityService,
        tokens: LinkTokens,
        clock: Clock,
        public_url: str,
    ) -> None:
        self._committer = committer
        self._identity = identity
        self._tokens = tokens
        self._clock = clock
        self._root = f"{public_url.rstrip('/')}/preferences"

    # -- making ---------------------------------------------------------------------------------

    def mint(
        self,
        actor: str,
        kind: Literal["manage", "withdraw"],
        identifier: tuple[str, str],
        *,
        source: Source | None = None,
        purposes: tuple[str, ...] = (),
        language: str = "",
        destination: str = "",
    ) -> tuple[str, Micros]:
        """Return (URL, expiry) of a link for whoever has ``identifier``; the same for nobody.

        :param source: who asks; None for an officer.
        :raises InvalidInputError: the identifier type is not declared, or an officer's number may be several
            people's.
        """

        def run() -> int | None:
            with self._committer.batch() as batch:
                found = self._identity.find(batch.connection, *identifier, source)
                batch.record(
                    Entry(
                        action="link.make",
                        actor=actor,
                        purpose=_PURPOSE,
                        destination=destination,
                        object={"kind": kind, "purposes": ",".join(purposes)},
                        subjects=() if found is None else (found,),
                    )
                )
            return found

        found = retrying(run)
        link = self.issue(
            kind,
            _NOBODY if found is None else found,
            purposes=purposes,
            language=language,
            destination=destination,
        )
        return self.url(kind, link), self._clock.now() + LIFETIMES[kind]

    def issue(
        self,
        kind: Literal["manage", "withdraw"],
        identity_no: int,
        *,
        purposes: tuple[str, ...] = (),
        language: str = "",
        destination: str = "",
    ) -> str:
        """Return the token of a link for an identity; the caller records what it is for."""
        now = self._clock.now()
        head = _HEAD.pack(identity_no, now, now + LIFETIMES[kind])
        terms = _Terms(purposes, language, destination)
        return self._tokens.seal(kind, head + msgspec.msgpack.encode(terms))

    def unsubscribe(self, identity_no: int, purpose: str, destination: str) -> str:
        """Return the address of a link that withdraws an identity from a purpose, for one recipient's rows.

        The caller records it: these links go out by the thousand, with the rows of an export.
        """
        token = self.issue("withdraw", identity_no, purposes=(purpose,), destination=destination)
        return self.url("withdraw", token)

    def issue_pending(self, actor: str, pending: Pending, subject: int | None) -> tuple[str, Micros]:
        """Return (URL, expiry) of a link that confirms ``pending``, and record that it was asked for.

        :param subject: whose identifier it is, where somebody is known by it.
        """
        expires = self._clock.now() + LIFETIMES["confirm"]

        def run() -> None:
            with self._committer.batch() as batch:
                batch.record(
                    Entry(
                        action="consent.ask_confirmation",
                        actor=actor,
                        purpose=pending.purpose,
                        subjects=() if subject is None else (subject,),
                    )
                )

        retrying(run)
        token = self._tokens.seal("confirm", expires.to_bytes(8) + msgspec.msgpack.encode(pending))
        return self.url("confirm", token), expires

    def archive(self, request_id: str, attempt: int, expires_at: Micros) -> str:
        """Return the address of a link that fetches one archive; the caller records what it is for."""
        content = expires_at.to_bytes(8) + msgspec.msgpack.encode((request_id, attempt))
        return self.url("archive", self._tokens.seal("archive", content))

    def url(self, kind: LinkKind, token: str) -> str:
        """Return the address of a token."""
        return f"{self._root}/{token}" if kind == "manage" else f"{self._root}/{kind}/{token}"

    # -- opening --------------------------------------------------------------------------------

    def open(self, kind: Literal["manage", "withdraw"], token: str) -> Link | None:
        """Return what a live link holds; None for whatever is not one, whyever."""
        content = self._tokens.open(kind, token)
        if content is None:
            return None
        identity_no, issued_at, expires_at = _HEAD.unpack_from(content)
        if expires_at <= self._clock.now():
            return None
        terms = msgspec.msgpack.decode(content[_HEAD.size :], type=_Terms)
        return Link(
            identity_no=identity_no,
            issued_at=issued_at,
            expires_at=expires_at,
            purposes=terms.purposes,
            language=terms.language,
            destination=terms.destination,
        )

    def open_pending(self, token: str) -> tuple[Pending, str] | None:
        """Return (what a live confirmation link holds, an id that is the same at each use of it)."""
        content = self._tokens.open("confirm", token)
        if content is None or int.from_bytes(content[:8]) <= self._clock.now():
            return None
        pending = msgspec.msgpack.decode(content[8:], type=Pending)
        return pending, f"confirm-{hashlib.sha256(token.encode()).hexdigest()[:32]}"

    def open_archive(self, token: str) -> tuple[str, int] | None:
        """Return (request id, attempt) of the archive that a live link fetches."""
        content = self._tokens.open("archive", token)
        if content is None or int.from_bytes(content[:8]) <= self._clock.now():
            return None
        return msgspec.msgpack.decode(content[8:], type=tuple[str, int])
