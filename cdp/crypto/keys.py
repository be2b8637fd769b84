"""The key hierarchy: root → workspace KEK → DEK per (identity, domain) → value.

Invariants:

1. DEKs are random, made when first needed, and committed to the key database in a short
   transaction of their own *before* any row sealed under them commits. Orphans are harmless.
2. Two domains per identity: ``person`` (what erasure destroys) and ``proof`` (what may outlive it).
3. A DEK is wrapped with AES-256-GCM-SIV (RFC 8452) under the KEK; its additional data binds
   workspace, identity_no, domain, KEK version, dek_id and suite. A 16-byte HMAC commitment lies
   beside it, because GCM modes do not commit to their key.
4. A destroyed key leaves its row with ``wrapped`` NULL, which forbids making it again.
5. Keys in memory are bounded in number and in age (60 s), and dropped when ``erasure_epoch`` moves.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections.abc import Iterable, Sequence
from struct import pack
from typing import Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from sqlalchemy import Connection, Row, insert, select

from cdp.clock import Clock
from cdp.crypto.provider import KeyProvider
from cdp.crypto.sealed import SUITE_AES_256_GCM, Dek, pae
from cdp.crypto.tables import bucket_keys, deks, keks, key_metadata, secrets
from cdp.errors import ConfigurationError, KeyAccessError
from cdp.store import Store, among, chunks, insert_new

Domain = Literal["person", "proof"]
_CACHE_KEYS = 200_000
_CACHE_SECONDS = 60.0


class Keyring:
    """All keys of one workspace.

    :param store: the key database.
    :param provider: wraps the KEKs and the named secrets.
    """

    def __init__(self, store: Store, provider: KeyProvider, workspace: str, clock: Clock) -> None:
        self.workspace = workspace
        self._store = store
        self._provider = provider
        self._clock = clock
        self._lock = threading.Lock()
        self._cache: dict[tuple[int, Domain], Dek] = {}
        self._cache_until = 0.0
        self._epoch = 0
        self._secrets: dict[str, bytes] = {}
        self._keks = self._load_keks()
        self._kek_version = max(self._keks)

    # -- KEKs and named secrets -----------------------------------------------------------------

    @staticmethod
    def initialise(store: Store, provider: KeyProvider, workspace: str, clock: Clock) -> None:
        """Make the schema and the first KEK in an empty key database; otherwise do nothing."""
        with store.writing() as connection, connection.begin():
            key_metadata.create_all(connection)
            if connection.execute(select(keks.c.version).limit(1)).first() is None:
                wrapped = provider.wrap(os.urandom(32), _kek_context(workspace, 1))
                connection.execute(insert(keks).values(version=1, wrapped=wrapped, created_at=clock.now()))

    def _load_keks(self) -> dict[int, AESGCMSIV]:
        with self._store.reading() as connection:
            rows = connection.execute(select(keks.c.version, keks.c.wrapped)).all()
        if not rows:
            raise ConfigurationError("the key database holds no KEK; run `cdp init`")
        return {
            int(row.version): AESGCMSIV(
                self._provider.unwrap(row.wrapped, _kek_context(self.workspace, int(row.version)))
            )
            for row in rows
        }

    def secret(self, name: str) -> bytes:
        """Return the workspace's named 32-byte secret (index root, signing seed…), made once."""
        if name not in self._secrets:
            context = pae(b"cdp/secret/v1", self.workspace.encode(), name.encode())
            row = (name, self._provider.wrap(os.urandom(32), context))
            with self._store.writing() as connection, connection.begin():
                query = select(secrets.c.wrapped).where(secrets.c.name == name)
                wrapped = connection.execute(query).scalar()
                if wrapped is None:
                    insert_new(connection, secrets, ("name", "wrapped"), [row], ("name",))
                    wrapped = connection.execute(query).scalar_one()
            self._secrets[name] = self._provider.unwrap(wrapped, context)
        return self._secrets[name]

    # -- DEKs -----------------------------------------------------------------------------------

    def create(self, identity_nos: Sequence[int], domains: Sequence[Domain] = ("person", "proof")) -> None:
        """Make and commit the DEKs of new identities (harmless where they exist)."""
        made = sorted((no, domain) for no in identity_nos for domain in domains)
        if not made:
            return
        epoch = self._epoch
        rows = []
        fresh: dict[tuple[int, Domain], Dek] = {}
        for no, domain in made:
            key, dek_id = os.urandom(32), os.urandom(16)
            context = _dek_context(self.workspace, no, domain, self._kek_version, dek_id)
            wrapped = _wrap(self._keks[self._kek_version], key, context)
            rows.append((no, domain, dek_id, self._kek_version, wrapped, _commitment(key)))
            fresh[no, domain] = Dek(dek_id, key, AESGCM(key))
        columns = ("identity_no", "domain", "dek_id", "kek_version", "wrapped", "commitment")
        with self._store.writing() as connection, connection.begin():
            taken = insert_new(connection, deks, columns, rows, ("identity_no", "domain"))
        self._keep({(int(no), domain): fresh[int(no), domain] for no, domain in taken}, epoch)

    def deks(self, identity_nos: Iterable[int], domain: Domain = "person") -> dict[int, Dek]:
        """Return the DEKs that exist; a destroyed or never made key is absent from the answer."""
        wanted = list(dict.fromkeys(identity_nos))
        with self._lock:
            self._expire()
            epoch = self._epoch
            found = {no: dek for no in wanted if (dek := self._cache.get((no, domain)))}
        missing = [no for no in wanted if no not in found]
        if missing:
            with self._store.reading() as connection:
                loaded = self._read(connection, missing, domain)
            found |= loaded
            self._keep({(no, domain): dek for no, dek in loaded.items()}, epoch)
        return found

    def _keep(self, keys: dict[tuple[int, Domain], Dek], epoch: int) -> None:
        """Hold keys in memory, unless somebody was erased since they were read: theirs may be dead."""
        with self._lock:
            self._expire()
            if epoch != self._epoch:
                return
            if len(self._cache) + len(keys) > _CACHE_KEYS:
                self._cache.clear()
            self._cache.update(keys)

    def _read(self, connection: Connection, numbers: Sequence[int], domain: Domain) -> dict[int, Dek]:
        found = {}
        for chunk in chunks(numbers):
            query = select(deks).where(
                among(deks.c.identity_no, chunk), deks.c.domain == domain, deks.c.wrapped.is_not(None)
            )
            for row in connection.execute(query):
                no = int(row.identity_no)
                context = _dek_context(self.workspace, no, domain, int(row.kek_version), row.dek_id)
                found[no] = self._unwrap(row, context)
        return found

    def _unwrap(self, row: Row[Any], context: bytes) -> Dek:
        version, wrapped = int(row.kek_version), row.wrapped
        kek = self._keks.get(version)
        if kek is None:
            raise KeyAccessError(f"KEK version {version} is gone; what it wrapped cannot be opened")
        try:
            key = kek.decrypt(wrapped[:12], wrapped[12:], context)
        except InvalidTag:
            raise KeyAccessError(
                "a DEK does not unwrap: its row in the key database was altered or moved"
            ) from None
        if not hmac.compare_digest(_commitment(key), row.commitment):
            raise KeyAccessError("a DEK does not match its commitment")
        return Dek(row.dek_id, key, AESGCM(key))

    def bucket(self, name: str) -> Dek:
        """Return the key of a bucket for data without an identity (``quarantine/2026-01-31``)."""
        context_parts = (b"cdp/bucket/v1", self.workspace.encode(), name.encode())
        with self._store.writing() as connection, connection.begin():
            row = connection.execute(select(bucket_keys).where(bucket_keys.c.bucket == name)).first()
            if row is None:
                key, dek_id, version = os.urandom(32), os.urandom(16), self._kek_version
                context = pae(*context_parts, dek_id, pack("<Q", version))
                values = (name, dek_id, version, _wrap(self._keks[version], key, context), _commitment(key))
                columns = ("bucket", "dek_id", "kek_version", "wrapped", "commitment")
                insert_new(connection, bucket_keys, columns, [values], ("bucket",))
                row = connection.execute(select(bucket_keys).where(bucket_keys.c.bucket == name)).one()
        if row.wrapped is None:
            raise KeyAccessError(f"the bucket key {name} was destroyed when its retention ended")
        return self._unwrap(row, pae(*context_parts, row.dek_id, pack("<Q", int(row.kek_version))))

    # -- secrets of a subject -------------------------------------------------------------------

    def pseudonym_secrets(self, identity_nos: Iterable[int]) -> dict[int, bytes]:
        """Return each subject's 32-byte pseudonym secret; it dies with the ``person`` DEK."""
        held = self.deks(identity_nos, "person")
        return {no: hmac.digest(dek.key, b"cdp/pseudonym-secret/v1", "sha256") for no, dek in held.items()}

    def proof_secrets(self, identity_nos: Iterable[int]) -> dict[int, bytes]:
        """Return each subject's 32-byte proof secret; it dies with the ``proof`` DEK."""
        held = self.deks(identity_nos, "proof")
        return {no: hmac.digest(dek.key, b"cdp/proof-secret/v1", "sha256") for no, dek in held.items()}

    # -- cache and status -----------------------------------------------------------------------

    def observe_epoch(self, epoch: int) -> bool:
        """Drop every key held in memory when ``erasure_epoch`` has moved; True when it has."""
        with self._lock:
            moved = epoch != self._epoch
            if moved:
                self._epoch = epoch
                self._cache.clear()
        return moved

    def _expire(self) -> None:
        now = time.monotonic()
        if now > self._cache_until:
            self._cache.clear()
            self._cache_until = now + _CACHE_SECONDS

    def status(self) -> dict[str, object]:
        """Return what `cdp keys status` shows: KEK versions in memory and the newest of them."""
        return {"kek_versions": sorted(self._keks), "current": self._kek_version}


def _wrap(kek: AESGCMSIV, key: bytes, context: bytes) -> bytes:
    nonce = os.urandom(12)
    return nonce + kek.encrypt(nonce, key, context)


def _commitment(key: bytes) -> bytes:
    return hmac.digest(key, b"cdp/commitment/v1", "sha256")[:16]


def _kek_context(workspace: str, version: int) -> bytes:
    return pae(b"cdp/kek/v1", workspace.encode(), pack("<Q", version))


def _dek_context(workspace: str, identity_no: int, domain: str, kek_version: int, dek_id: bytes) -> bytes:
    return pae(
        b"cdp/dek/v1",
        workspace.encode(),
        pack("<Q", identity_no),
        domain.encode(),
        pack("<Q", kek_version),
        dek_id,
        bytes([SUITE_AES_256_GCM]),
    )
