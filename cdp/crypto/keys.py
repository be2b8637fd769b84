"""The key hierarchy: root → workspace KEK → DEK per (identity, domain) → value.

Invariants:

1. DEKs are random, made when first needed, and committed to the key database in a short
   transaction of their own *before* any row sealed under them commits. Orphans are harmless.
2. Two domains per identity: ``person`` (what erasure destroys) and ``proof`` (what may outlive it).
3. A transaction that stores a new key holds the KEK it is wrapped under as the newest one; where that
   was retired meanwhile, it wraps again under its successor. So nothing lies under a retired KEK that
   its re-wrapping has not seen (``cdp/crypto/rotate.py``).
4. A destroyed key leaves its row with ``wrapped`` NULL, also where no key had been made yet: it is never
   made again. Nor is the key of a bucket whose retention has ended.
5. Keys in memory are bounded in number and in age (60 s), and dropped when ``erasure_epoch`` moves.
6. The named secrets are those of ``SECRETS``, no others. The chain of migrations gives each an empty row
   once, ``initialise`` and ``complete`` fill it; so a row that is missing was lost, and nothing takes its
   place. What is needed per destination, source or version is derived from one of them (``derive``); only
   the destinations of version 0.1 keep the random secret that they had (``destination/NAME``).

Wrapping itself is in ``cdp/crypto/kek.py``, statements are in ``cdp/crypto/queries.py``.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal, TypeVar

from cdp.clock import DAY, Clock, rfc3339
from cdp.crypto import kek, queries
from cdp.crypto.blind import derive
from cdp.crypto.kek import AlteredKeyError
from cdp.crypto.provider import KeyProvider
from cdp.crypto.sealed import Dek
from cdp.errors import KeyAccessError
from cdp.store import Connection, Store, chunks
from cdp.store.migrate import Chain, upgrade

Domain = Literal["person", "proof"]
RETENTION = {"archive": (15 * DAY, 10), "intake": (3 * DAY, 13), "quarantine": (30 * DAY, 10)}
"""Kind of bucket → (how long it is kept, unless ``keep`` says so; characters of RFC 3339 in its name)."""
SECRETS = (
    "audit-signing",
    "counts",
    "destinations",
    "event-key",
    "feed-digests",
    "index",
    "journal",
    "links",
    "receipt-signing",
    "segment-ids",
    "user-id-signing",
    "webhooks",
)
"""A new one needs a revision in ``migrations/keys/`` that gives it its row."""
_DESTINATION = "destination/"
_CACHE_KEYS = 200_000
_CACHE_SECONDS = 60.0
_TRIES = 5
_Held = dict[int, Dek]
_Rows = list[tuple[object, ...]]
_T = TypeVar("_T")


class Keyring:
    """All keys of one workspace.

    :param store: the key database.
    :param provider: wraps the KEKs and the named secrets.
    :raises ConfigurationError: there is no KEK.
    :raises KeyAccessError: a KEK cannot be opened, or is not what it was; or a named secret is lost.
    """

    def __init__(self, store: Store, provider: KeyProvider, workspace: str, clock: Clock) -> None:
        self.workspace = workspace
        self.store = store
        self.provider = provider
        self._clock = clock
        self._lock = threading.Lock()
        self._cache: dict[Domain, _Held] = {"person": {}, "proof": {}}
        self._cache_until = 0.0
        self._epoch = 0
        self._erasures = 0
        self._secrets: dict[str, bytes] = {}
        self._kept = {kind: kept for kind, (kept, _) in RETENTION.items()}
        self.keks = kek.Keks(store, provider, workspace)
        with store.reading() as connection:
            names = queries.secret_names(connection)
        for name in sorted(set(SECRETS) - names):
            raise _lost(name)
        self._destinations = frozenset(name for name in names if name.startswith(_DESTINATION))

    @staticmethod
    def exists(store: Store) -> bool:
        """True when the key database holds a KEK, of whatever version of the schema."""
        with store.reading() as connection:
            return queries.has_kek(connection)

    @staticmethod
    def holds_people(store: Store) -> bool:
        """True when anybody has or had a key there, whatever the version of the schema."""
        with store.reading() as connection:
            return queries.has_dek(connection)

    @staticmethod
    def initialise(store: Store, provider: KeyProvider, workspace: str, clock: Clock) -> None:
        """Bring the schema up to date; make the first KEK in an empty key database, and the named secrets."""
        upgrade(store, Chain.KEYS)
        with store.writing() as connection, connection.begin():
            kek.initialise(connection, provider, workspace, clock.now())
        Keyring.complete(store, provider, workspace)

    @staticmethod
    def complete(store: Store, provider: KeyProvider, workspace: str) -> None:
        """Make the named secrets whose rows are still empty since a migration made them; safe to repeat."""
        with store.reading() as connection:
            empty = queries.empty_secrets(connection)
        if empty:
            kek.Keks(store, provider, workspace)  # under the root of all the others, or not at all
        for name in empty:
            made = os.urandom(kek.KEY_BYTES)
            wrapped = provider.wrap(made, kek.secret_context(workspace, name))
            with store.writing() as connection, connection.begin():
                queries.fill_secret(connection, name, wrapped, kek.commitment(made))

    def unlock(self) -> None:
        """Open every named secret: what is wrong shows at the start, and nothing asks the root for one later.

        :raises KeyAccessError: one of them cannot be opened.
        """
        for name in (*SECRETS, *sorted(self._destinations)):
            self.secret(name)

    def secret(self, name: str) -> bytes:
        """Return one of the workspace's named 32-byte secrets (``SECRETS``).

        :raises KeyAccessError: it is lost, cannot be opened, or is not what it was.
        """
        if name in self._secrets:
            return self._secrets[name]
        with self.store.reading() as connection:
            row = queries.secret(connection, name)
        if row is None:
            raise _lost(name)
        if not row.wrapped:
            raise KeyAccessError(f"the secret {name} is still to be made; run `cdp migrate`")
        opened = kek.unwrapped_secret(self.provider, self.workspace, row)
        if row.commitment is None:
            with self.store.writing() as connection, connection.begin():
                queries.commit_secret(connection, name, kek.commitment(opened))
        self._secrets[name] = opened
        return opened

    def destination_key(self, destination: str) -> bytes:
        """Return the 32-byte key of a destination's pseudonyms.

        What was delivered is recalled under the pseudonym that it had, so this key never changes.

        :raises KeyAccessError: see ``secret``.
        """
        name = _DESTINATION + destination
        if name in self._destinations:
            return self.secret(name)
        return derive(self.secret("destinations"), b"cdp/destination/v1", destination.encode())

    # -- DEKs -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Let pass, or refuse because keys cannot be read or no new ones stored.

        :raises UnavailableError: the key database does not answer, or its disk is full.
        """
        self.store.check_room()
        self.deks([0])

    def create(self, identity_nos: Sequence[int], domains: Sequence[Domain] = ("person", "proof")) -> None:
        """Make and commit the DEKs of new identities (harmless where they exist)."""
        wanted = sorted((no, domain) for no in identity_nos for domain in domains)
        if not wanted:
            return
        erasures = self._erasures
        fresh: dict[tuple[int, Domain], Dek] = {}

        def made(version: int) -> _Rows:
            rows: _Rows = []
            random = os.urandom(kek.RANDOM_BYTES * len(wanted))  # in one call, which gives up the interpreter
            for at, (no, domain) in enumerate(wanted):
                context = kek.dek_context(self.workspace, no, domain)
                mine = random[at * kek.RANDOM_BYTES : (at + 1) * kek.RANDOM_BYTES]
                dek, wrapped, commitment = self.keks.new_key(version, context, mine)
                rows.append((no, domain, dek.dek_id, version, wrapped, commitment))
                fresh[no, domain] = dek
            return rows

        taken = set(self._wrapping(made, queries.add_deks))
        for domain in domains:
            self._keep(
                {no: fresh[no, domain] for no in identity_nos if (no, domain) in taken}, domain, erasures
            )

    def _wrapping(
        self,
        make: Callable[[int], _Rows],
        store: Callable[[Connection, _Rows], _T],
    ) -> _T:
        """Store keys wrapped under the newest KEK, which stays the newest until they are committed."""
        for _ in range(_TRIES):
            version = self.keks.current
            rows = make(version)
            with self.store.writing() as connection, connection.begin():
                if queries.hold_kek(connection, version):
                    return store(connection, rows)
            self.keks.reload()
        raise KeyAccessError("the KEK was replaced each time that a key was made; try again later")

    def deks(self, identity_nos: Iterable[int], domain: Domain = "person") -> dict[int, Dek]:
        """Return the DEKs that exist; a destroyed, lost or never made key is absent from the answer.

        :raises KeyAccessError: a KEK is gone, or one of the rows was altered or moved.
        """
        found, altered = self._deks(identity_nos, domain)
        if altered is not None:
            raise altered
        return found

    def openable(self, identity_nos: Iterable[int], domain: Domain = "person") -> dict[int, Dek]:
        """Return the DEKs that exist and open: for whoever can go on without one person's key.

        :raises KeyAccessError: a KEK is gone, so that nobody's key opens.
        """
        return self._deks(identity_nos, domain)[0]

    def _deks(
        self, identity_nos: Iterable[int], domain: Domain
    ) -> tuple[dict[int, Dek], AlteredKeyError | None]:
        wanted = list(dict.fromkeys(identity_nos))
        with self._lock:
            self._expire()
            erasures = self._erasures
            cached = self._cache[domain]
            found = {no: cached[no] for no in wanted if no in cached}
        if len(found) == len(wanted):
            return found, None
        missing = [no for no in wanted if no not in found]
        loaded, altered = self._read(missing, domain)
        self._keep(loaded, domain, erasures)
        return found | loaded, altered

    def _read(self, numbers: Sequence[int], domain: Domain) -> tuple[dict[int, Dek], AlteredKeyError | None]:
        found: dict[int, Dek] = {}
        altered: AlteredKeyError | None = None
        with self.store.reading() as connection:
            rows = [row for chunk in chunks(numbers) for row in queries.find_deks(connection, chunk, domain)]
        for row in rows:
            no = int(row.identity_no)
            try:
                found[no] = self.keks.opened(row, kek.dek_context(self.workspace, no, domain))
            except AlteredKeyError as error:
                altered = error
        return found, altered

    def destroy(self, identity_nos: Iterable[int], domain: Domain = "person") -> None:
        """Destroy these DEKs for good, and forbid making those that never were; safe to repeat.

        Other processes forget theirs when the batch that called ``Batch.erase`` commits.
        """
        numbers = sorted(set(identity_nos))
        for chunk in chunks(numbers):
            with self.store.writing() as connection, connection.begin():
                queries.destroy_deks(connection, chunk, domain)
        with self._lock:
            self._erasures += 1  # what another thread has read meanwhile is not kept
            for no in numbers:
                self._cache[domain].pop(no, None)

    def destroyed(self, identity_nos: Iterable[int], domain: Domain = "person") -> set[int]:
        """Return those whose key was destroyed; a key that is lost, altered or never made is not."""
        with self.store.reading() as connection:
            return {
                number
                for chunk in chunks(list(identity_nos))
                for number in queries.destroyed_deks(connection, chunk, domain)
            }

    def highest_identity(self) -> int:
        """Return the highest identity number that ever had a key; 0 when none had."""
        with self.store.reading() as connection:
            return queries.highest_identity(connection)

    # -- buckets --------------------------------------------------------------------------------

    def bucket(self, name: str) -> Dek:
        """Return the key of a bucket for data without an identity (``quarantine/2026-01-31``).

        :raises KeyAccessError: it was destroyed, or the retention of what it holds has ended.
        """
        context = kek.bucket_context(self.workspace, name)
        with self.store.reading() as connection:
            row = queries.bucket(connection, name)
        if row is None:
            if self._has_ended(name):
                raise KeyAccessError(f"the retention of the bucket {name} has ended; it gets no key any more")

            def made(version: int) -> _Rows:
                random = os.urandom(kek.RANDOM_BYTES)
                dek, wrapped, commitment = self.keks.new_key(version, context, random)
                return [(name, dek.dek_id, version, wrapped, commitment)]

            row = self._wrapping(made, queries.add_bucket)
        if row.wrapped is None:
            raise KeyAccessError(f"the bucket key {name} was destroyed when its retention ended")
        return self.keks.opened(row, context)

    def destroy_buckets(self, names: Collection[str]) -> None:
        """Destroy the keys of these buckets for good; safe to repeat."""
        with self.store.writing() as connection, connection.begin():
            queries.destroy_buckets(connection, names)

    def destroyed_buckets(self, names: Iterable[str]) -> set[str]:
        """Return those of these buckets whose key was destroyed."""
        with self.store.reading() as connection:
            return queries.destroyed_buckets(connection, names)

    def ended_buckets(self) -> list[str]:
        """Return the buckets that still have a key although what they hold is past its retention."""
        with self.store.reading() as connection:
            return [
                name
                for kind in RETENTION
                for name in queries.buckets_before(connection, kind, self.oldest(kind))
            ]

    def oldest(self, kind: str) -> str:
        """Return the oldest bucket of a kind that may still hold something; older names sort before."""
        return f"{kind}/{rfc3339(max(self._clock.now() - self._kept[kind], 0))[: RETENTION[kind][1]]}"

    def keep(self, kind: str, days: int) -> None:
        """Keep what buckets of a kind hold for so long from now on; what was destroyed stays so."""
        self._kept[kind] = days * DAY

    def _has_ended(self, name: str) -> bool:
        kind = name.partition("/")[0]
        return kind in RETENTION and name < self.oldest(kind)

    # -- secrets of a subject -------------------------------------------------------------------

    def pseudonym_secrets(self, identity_nos: Iterable[int]) -> dict[int, bytes]:
        """Return each subject's 32-byte pseudonym secret; it dies with the ``person`` DEK."""
        held = self.openable(identity_nos, "person")
        return {no: hmac.digest(dek.key, b"cdp/pseudonym-secret/v1", "sha256") for no, dek in held.items()}

    def proof_secrets(self, identity_nos: Iterable[int]) -> dict[int, bytes]:
        """Return each subject's 32-byte proof secret; it dies with the ``proof`` DEK."""
        held = self.openable(identity_nos, "proof")
        return {no: hmac.digest(dek.key, b"cdp/proof-secret/v1", "sha256") for no, dek in held.items()}

    # -- what is in memory ----------------------------------------------------------------------

    def observe_epoch(self, epoch: int) -> bool:
        """Drop every key held in memory when ``erasure_epoch`` has moved; True when it has."""
        with self._lock:
            moved = epoch != self._epoch
            if moved:
                self._epoch = epoch
                self._erasures += 1
                self._forget()
        return moved

    def _keep(self, keys: _Held, domain: Domain, erasures: int) -> None:
        """Hold keys in memory, unless somebody was erased since they were read: theirs may be dead."""
        with self._lock:
            self._expire()
            if erasures != self._erasures:
                return
            cached = self._cache[domain]
            if len(cached) + len(keys) > _CACHE_KEYS:
                cached.clear()
            cached.update(keys)

    def _expire(self) -> None:
        now = time.monotonic()
        if now > self._cache_until:
            self._forget()
            self._cache_until = now + _CACHE_SECONDS

    def _forget(self) -> None:
        for cached in self._cache.values():
            cached.clear()


def _lost(name: str) -> KeyAccessError:
    return KeyAccessError(
        f"the secret {name} is lost: its row in the key database is missing. Restore the key database from "
        "its backup; nothing is made in its place"
    )
