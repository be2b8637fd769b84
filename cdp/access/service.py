"""Making, finding, changing and revoking sources and keys.

Every change is an audit entry in the same transaction. A key that could never work is not made. Look-ups on
the ingest path are cached for a few seconds by key hash, so a disabled source stops within that time in every
process.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Collection, Container

import msgspec

from cdp.access import queries
from cdp.access.checks import (
    check_grant,
    check_limits,
    check_links,
    check_usable,
    checked_name,
    region_of,
)
from cdp.access.hands import UNKNOWN_MAKER
from cdp.access.model import KEY_ACTOR, UNLIMITED, Limits, Principal, Role, Source, SourceKind
from cdp.audit import Entry
from cdp.clock import Clock, Micros, random_id
from cdp.errors import (
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    NotPermittedError,
)
from cdp.journal import Thing, switched
from cdp.store import Committer, Connection, Store

OPERATOR_NAME = "operator"
OPERATOR_ROLES: frozenset[Role] = frozenset({"marketer", "steward", "officer", "admin"})
_CACHE_SECONDS = 5.0
_MAX_CACHED = 10_000


def hash_key(key: str) -> bytes:
    """Return what is stored of a key: SHA-256; its 256 random bits need no slow hash."""
    return hashlib.sha256(key.encode()).digest()


class AccessService:
    """Sources and API keys.

    :param purposes: those that the policies declare; None where no policies are at hand to hold keys against.
    :param destinations: likewise.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        clock: Clock,
        purposes: Container[str] | None = None,
        destinations: Container[str] | None = None,
    ) -> None:
        self._store = store
        self._committer = committer
        self._clock = clock
        self.adopt(purposes, destinations)
        self._cached: dict[bytes, tuple[float, Source]] = {}

    def adopt(self, purposes: Container[str] | None, destinations: Container[str] | None) -> None:
        """Hold new keys against these."""
        self._purposes = purposes
        self._destinations = destinations

    # -- authentication -------------------------------------------------------------------------

    def source(self, write_key: str) -> Source:
        """Return the enabled source that holds ``write_key``.

        :raises NotAuthenticatedError: no such key, or its source is disabled.
        """
        key_hash = hash_key(write_key)
        held = self.cached_source(write_key)
        if held is not None:
            return held
        with self._store.reading() as connection:
            source = queries.source_by_hash(connection, key_hash)
        if source is None or not source.enabled:
            self._cached.pop(key_hash, None)
            raise NotAuthenticatedError("the write key is unknown, or its source is disabled")
        if len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
        self._cached[key_hash] = (time.monotonic() + _CACHE_SECONDS, source)
        return source

    def cached_source(self, write_key: str) -> Source | None:
        """Return the source when it was looked up a moment ago; never touches the database."""
        held = self._cached.get(hash_key(write_key))
        return held[1] if held is not None and held[0] > time.monotonic() else None

    def principal(self, key: str) -> Principal:
        """Return the API key's principal.

        :raises NotAuthenticatedError: the key is unknown, revoked or expired.
        """
        with self._store.reading() as connection:
            found = queries.principal_by_hash(connection, hash_key(key))
        if found is None:
            raise NotAuthenticatedError("the API key is unknown or revoked")
        if found.expires_at is not None and found.expires_at <= self._clock.now():
            raise NotAuthenticatedError("the API key has expired; ask an admin for a new one")
        return found

    @staticmethod
    def is_live(connection: Connection, principal: Principal) -> bool:
        """Return whether a key that was authenticated before is not revoked, as ``connection`` sees it."""
        return queries.is_live(connection, principal.key_id)

    # -- sources --------------------------------------------------------------------------------

    def create_source(
        self,
        actor: str,
        name: str,
        kind: SourceKind,
        *,
        links: bool = False,
        region: str | None = None,
        limits: Limits = UNLIMITED,
    ) -> tuple[Source, str]:
        """Make a source; returns it and its write key, which is shown this once.

        :param links: whether it may have manage links made; the caller sees to it that the maker may.
        :param region: the country of telephone numbers without a country code; it stays, as they do.
        :raises ConflictError: the name is taken.
        :raises InvalidInputError: only a server sends links to the address that they are for; no such region;
            limits that cannot be.
        """
        check_links(kind, links=links)
        check_limits(limits)
        write_key = secrets.token_urlsafe(32)
        source = Source(
            source_id=random_id(),
            name=checked_name(name),
            kind=kind,
            enabled=True,
            links=links,
            default_region=region_of(region),
            limits=limits,
        )
        with self._committer.batch() as batch:
            if queries.source_by_name(batch.connection, name) is not None:
                raise ConflictError("a source with this name exists already")
            queries.add_source(batch.connection, source, hash_key(write_key), self._clock.now())
            about: dict[str, str | int] = {"id": source.source_id, "kind": kind, "links": int(links)}
            about["region"] = source.default_region or ""
            about |= _said(limits)
            batch.record(Entry(action="source.create", actor=actor, object=about))
        return source, write_key

    def list_sources(self) -> list[Source]:
        """Return every source, by name."""
        with self._store.reading() as connection:
            return self.read_sources(connection)

    @staticmethod
    def read_sources(connection: Connection) -> list[Source]:
        """Return every source as a transaction at hand sees them (a second one could starve the pool)."""
        return queries.list_sources(connection)

    @staticmethod
    def regions(connection: Connection) -> list[str]:
        """Return the regions that any source has or had."""
        return queries.regions(connection)

    def disable_source(self, actor: str, name: str) -> None:
        """Refuse what a source sends from now on."""
        self._change(actor, name, "source.disable", enabled=False)

    def rotate_source(self, actor: str, name: str, *, links: bool = False) -> str:
        """Give a source a new write key and return it; the old one stops working.

        :param links: whether whoever is given it could have made a source that has manage links made.
        :raises NotPermittedError: the source may do that, and they could not.
        :raises ConflictError: the source is disabled, so that no key of it would work.
        """
        write_key = secrets.token_urlsafe(32)
        self._change(actor, name, "source.rotate", key_hash=hash_key(write_key), links=links)
        return write_key

    def sign_source(self, actor: str, name: str) -> Source:
        """Have a browser source sign user ids under a new secret; the one before it stops counting.

        :returns: the source with the version of its secret (``UserIdSignatures`` makes it).
        :raises NotFoundError: there is no such source.
        :raises InvalidInputError: it is not of kind browser; the others are believed without.
        """
        with self._committer.batch() as batch:
            source = _named(batch.connection, name)
            if source.kind != "browser":
                raise InvalidInputError(
                    "only a source of kind browser signs user ids; the word of this source counts without"
                )
            version = (source.secret_version or 0) + 1
            queries.change_source(batch.connection, source.source_id, secret_version=version)
            batch.facts.append(switched("user_id_secret", f"{source.source_id}/{version - 1}"))
            batch.record(self._entry("source.secret", actor, source.source_id, source.kind))
        self._cached.clear()
        return msgspec.structs.replace(source, secret_version=version)

    def change_links(self, actor: str, name: str, *, links: bool) -> Source:
        """Say from now on whether a source may have manage links made.

        :param links: as for ``create_source``; what is taken away does not come back with a backup.
        :raises NotFoundError: there is no such source.
        :raises InvalidInputError: only a server sends links to the address that they are for.
        """
        with self._committer.batch() as batch:
            source = _named(batch.connection, name)
            check_links(source.kind, links=links)
            queries.change_source(batch.connection, source.source_id, links=links)
            batch.facts.append(switched("source_links", str(source.source_id), on=links))
            about: dict[str, str | int] = {"id": source.source_id, "kind": source.kind, "links": int(links)}
            batch.record(Entry(action="source.links", actor=actor, object=about))
        self._cached.clear()
        return msgspec.structs.replace(source, links=links)

    def change_limits(self, actor: str, name: str, given: Callable[[Limits], Limits]) -> Source:
        """Say how much a source may send from now on, within seconds in every process.

        :param given: makes the limits from those before.
        :raises NotFoundError: there is no such source.
        :raises InvalidInputError: limits that cannot be.
        """
        with self._committer.batch() as batch:
            source = _named(batch.connection, name)
            limits = given(source.limits)
            check_limits(limits)
            queries.change_limits(batch.connection, source.source_id, limits)
            about = {"id": source.source_id, "kind": source.kind, **_said(limits)}
            batch.record(Entry(action="source.limits", actor=actor, object=about))
        self._cached.clear()
        return msgspec.structs.replace(source, limits=limits)

    def _change(
        self,
        actor: str,
        name: str,
        action: str,
        *,
        enabled: bool | None = None,
        key_hash: bytes | None = None,
        links: bool = False,
    ) -> None:
        with self._committer.batch() as batch:
            source = _named(batch.connection, name)
            if key_hash is not None and source.links and not links:
                raise NotPermittedError(
                    "this source has manage links made: its key is for keys with `rights`"
                )
            if key_hash is not None and not source.enabled:
                raise ConflictError(
                    "this source is disabled, so a new key of it would not work;"
                    " make another source with `cdp source create` or POST /api/v1/sources"
                )
            if enabled is False:
                batch.facts.append(switched("source", str(source.source_id)))
            if key_hash is not None:
                ended = queries.write_key(batch.connection, source.source_id).hex()
                batch.facts.append(switched("write_key", ended))
            queries.change_source(batch.connection, source.source_id, enabled=enabled, key_hash=key_hash)
            batch.record(self._entry(action, actor, source.source_id, source.kind))
        self._cached.clear()

    # -- API keys -------------------------------------------------------------------------------

    def create_key(
        self,
        creator: Principal | None,
        name: str,
        roles: Collection[Role],
        *,
        purposes: Collection[str] = (),
        destination: str = "",
        expires_at: Micros | None = None,
    ) -> tuple[Principal, str]:
        """Make an API key; returns its principal and the key, which is shown this once.

        :param creator: who makes it; None only for the first operator key of ``cdp init``.
        :raises NotPermittedError: the creator lacks a role or purpose it would grant.
        :raises InvalidInputError: a key like this could never work.
        :raises ConflictError: the name is taken.
        """
        if creator is not None:
            check_grant(creator, roles, purposes)
        check_usable(roles, purposes, destination, self._purposes, self._destinations)
        if expires_at is not None and expires_at <= self._clock.now():
            raise InvalidInputError("expires_at lies in the past; the key would never work")
        key = "cdp_" + secrets.token_urlsafe(32)
        principal = Principal(
            key_id=random_id(),
            name=checked_name(name),
            roles=frozenset(roles),
            purposes=frozenset(purposes),
            destination=destination,
            expires_at=expires_at,
        )
        actor = "system" if creator is None else creator.actor
        with self._committer.batch() as batch:
            if queries.name_taken(batch.connection, name):
                raise ConflictError("an API key with this name exists already")
            made_by = None if creator is None else creator.key_id
            queries.add_key(batch.connection, principal, hash_key(key), self._clock.now(), made_by)
            batch.record(self._entry("key.create", actor, principal.key_id, ",".join(sorted(roles))))
        return principal, key

    def list_keys(self) -> list[Principal]:
        """Return every live API key, by name."""
        with self._store.reading() as connection:
            return queries.list_keys(connection)

    @staticmethod
    def hands(connection: Connection, actor: str) -> frozenset[int]:
        """Return the keys whose holder may hold the key ``actor``: itself and those that made it.

        Who makes a key sees it. So two keys are two people's only where both have hands and share none.
        The operator's key is left out, or nobody would be a second person beside anybody; it has no hands of
        its own: it makes keys for people, and is not a person's. Its name is nobody else's: ``cdp init``
        gives it before there are other keys, and no name is given twice. Keys from before makers were
        recorded, and what they made, share the hand ``UNKNOWN_MAKER``.
        """
        if not actor.startswith(KEY_ACTOR):
            return frozenset()
        lineage = queries.lineage(connection, int(actor.removeprefix(KEY_ACTOR)))
        hands = frozenset(number for number, name in lineage.items() if name != OPERATOR_NAME)
        return hands if OPERATOR_NAME in lineage.values() else hands | {UNKNOWN_MAKER}

    def revoke_key(self, actor: str, name: str) -> None:
        """Revoke a key by name; it stops working with the commit."""
        with self._committer.batch() as batch:
            key_id = queries.revoke_key(batch.connection, name, self._clock.now())
            if key_id is None:
                raise NotFoundError("there is no live API key with this name")
            batch.facts.append(switched("api_key", str(key_id)))
            batch.record(Entry(action="key.revoke", actor=actor, object={"id": key_id}))

    # -- after a restore ------------------------------------------------------------------------

    def end_again(self, ended: Callable[[Thing, str], bool]) -> int:
        """Put keys and sources out of use again that a backup brought back; returns how many.

        A write key that was replaced is given to nobody: the source gets another one from an admin.

        :param ended: (thing, what identifies it) → it was put out of use, as the journal says.
        """
        count, now = 0, self._clock.now()
        with self._committer.batch() as batch:
            connection = batch.connection
            for key in queries.list_keys(connection):
                if ended("api_key", str(key.key_id)):
                    queries.revoke_key(connection, key.name, now)
                    count += 1
            for source in queries.list_sources(connection):
                number, version = source.source_id, source.secret_version
                if source.enabled and ended("source", str(number)):
                    queries.change_source(connection, number, enabled=False)
                    count += 1
                if source.links and ended("source_links", str(number)):
                    queries.change_source(connection, number, links=False)
                    count += 1
                if ended("write_key", queries.write_key(connection, number).hex()):
                    queries.change_source(connection, number, key_hash=secrets.token_bytes(32))
                    count += 1
                if version is not None and ended("user_id_secret", f"{number}/{version}"):
                    while ended("user_id_secret", f"{number}/{version}"):
                        version += 1
                    queries.change_source(connection, number, secret_version=version)
                    count += 1
        self._cached.clear()
        return count

    @staticmethod
    def _entry(action: str, actor: str, number: int, kind: str) -> Entry:
        return Entry(action=action, actor=actor, object={"id": number, "kind": kind})


def _named(connection: Connection, name: str) -> Source:
    source = queries.source_by_name(connection, name)
    if source is None:
        raise NotFoundError("there is no source with this name")
    return source


def _said(limits: Limits) -> dict[str, str | int]:
    """Return limits as the audit log has them: those that there are."""
    return {name: value for name, value in msgspec.structs.asdict(limits).items() if value is not None}
