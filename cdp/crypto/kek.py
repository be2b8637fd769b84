"""The workspace's key-encryption keys in memory, and what they wrap.

Invariants:

1. A KEK is believed only when it has 32 bytes and matches the commitment beside its wrapped form: a
   key service that answers with another key, or a row that was altered, is an error and nothing is
   used. A KEK from before there were commitments gets its own once it has opened something.
2. The newest version wraps; older ones only open. A newest version that is marked as retired means that
   rows are missing: an error, for nothing may be wrapped under a key that is to be destroyed.
3. A key is wrapped with AES-256-GCM-SIV (RFC 8452); the additional data binds the KEK's version and what
   the key is for, so no wrapped key opens in another row, under another version or in another workspace.
   A 16-byte HMAC commitment lies beside it, because these modes do not commit to their key.
4. A version that is not in memory is looked up once more before it is called gone: another process may
   have made it.
"""

from __future__ import annotations

import hmac
import os
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import pack
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV

from cdp.crypto import queries
from cdp.crypto.provider import KeyProvider
from cdp.crypto.sealed import SUITE_AES_256_GCM, Dek, pae
from cdp.errors import ConfigurationError, KeyAccessError
from cdp.store import Connection, Row, Store

KEY_BYTES = 32
RANDOM_BYTES = 60
"""What a new key takes: itself, its id, the nonce of its wrapping."""
_SUITE = pae(bytes([SUITE_AES_256_GCM]))
Context = Callable[[bytes, int], bytes]
"""(dek_id, KEK version) → the additional data under which a key is wrapped."""
WrappedKey = tuple[Context, bytes, int, bytes, bytes]
"""A key as it lies: its context, dek_id, KEK version, wrapped, commitment."""
_NONCE = 12


class AlteredKeyError(KeyAccessError):
    """A wrapped key is not what was stored; other keys are as they were."""


class Keks:
    """The KEK versions of one workspace that can still be opened.

    :param store: the key database.
    :param provider: the root that wraps them.
    :raises ConfigurationError: there is none.
    :raises KeyAccessError: one cannot be opened, or is not what it was.
    """

    def __init__(self, store: Store, provider: KeyProvider, workspace: str) -> None:
        self._store = store
        self._provider = provider
        self._workspace = workspace
        self._lock = threading.Lock()
        self._held: dict[int, AESGCMSIV] = {}
        self.current = 0
        """The version that wraps what is made now."""
        self.reload()

    def reload(self) -> None:
        """Learn of versions that were made, and forget those that were destroyed."""
        with self._lock:
            with self._store.reading() as connection:
                rows = [row for row in queries.all_keks(connection) if row.destroyed_at is None]
            if not rows:
                raise ConfigurationError(
                    "the key database holds no KEK; restore it from its backup, or run `cdp init` in an "
                    "empty installation"
                )
            if rows[-1].retired_at is not None:
                raise KeyAccessError(
                    f"KEK version {rows[-1].version} was retired and its successor's row is missing; "
                    "restore the key database from its backup"
                )
            held = self._held
            self._held = {int(row.version): held.get(int(row.version)) or self._open(row) for row in rows}
            self.current = int(rows[-1].version)

    def _open(self, row: Row[Any]) -> AESGCMSIV:
        version = int(row.version)
        key = unwrapped_kek(self._provider, self._workspace, row)
        cipher = AESGCMSIV(key)
        if row.commitment is None:
            self._prove(version, cipher)
            with self._store.writing() as connection, connection.begin():
                queries.commit_kek(connection, version, commitment(key))
        return cipher

    def _prove(self, version: int, cipher: AESGCMSIV) -> None:
        with self._store.reading() as connection:
            row = queries.any_under(connection, version)
        if row is not None:
            number, domain = int(row.identity_no), row.domain
            _opened(cipher, row, dek_context(self._workspace, number, domain)(row.dek_id, version))

    def newest(self) -> Row[Any]:
        """Return the newest KEK's row as it lies there now, proven to open under this process's root.

        :raises KeyAccessError: the root does not open it: it is gone, or the keys lie under another one now.
        """
        with self._store.reading() as connection:
            row = queries.all_keks(connection)[-1]
        self._open(row)
        return row

    def problem(self) -> str:
        """Ask the root for the newest KEK; return why it cannot be had, empty when it can."""
        try:
            self.newest()
        except KeyAccessError as error:
            return error.message
        return ""

    def make(self, version: int) -> tuple[bytes, bytes]:
        """Return (wrapped, commitment) of a new KEK."""
        key = os.urandom(KEY_BYTES)
        return self._provider.wrap(key, kek_context(self._workspace, version)), commitment(key)

    def new_key(self, version: int, context: Context, random: bytes) -> tuple[Dek, bytes, bytes]:
        """Return a new DEK with (wrapped, commitment) for its row.

        :param random: ``RANDOM_BYTES`` from the operating system, used for nothing else.
        """
        key, dek_id, nonce = random[:32], random[32:48], random[48:60]
        wrapped = nonce + self._kek(version).encrypt(nonce, key, context(dek_id, version))
        return Dek(dek_id, key, AESGCM(key)), wrapped, commitment(key)

    def opened(self, row: Row[Any], context: Context) -> Dek:
        """Return the DEK in a row with ``dek_id, kek_version, wrapped, commitment``.

        :raises KeyAccessError: its KEK is gone, or the row was altered or moved.
        """
        version = int(row.kek_version)
        key = _opened(self._kek(version), row, context(row.dek_id, version))
        return Dek(row.dek_id, key, AESGCM(key))

    def rewrapped(self, rows: Sequence[WrappedKey], version: int) -> list[bytes]:
        """Return the DEKs in rows wrapped under another version; empty where one does not open.

        :param rows: of each its context, dek_id, KEK version, wrapped, commitment.
        """
        # A loop without calls that can be spared: rotation goes through it millions of times beside ingest.
        encrypt = self._kek(version).encrypt
        held = {old: self._find(old) for old in {row[2] for row in rows}}
        nonces = os.urandom(_NONCE * len(rows))  # in one call, which gives up the interpreter
        found: list[bytes] = []
        for at, (context, dek_id, old, wrapped, committed) in enumerate(rows):
            nonce = nonces[at * _NONCE : (at + 1) * _NONCE]
            try:
                kek = held[old]
                key = kek.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], context(dek_id, old)) if kek else b""
            except (InvalidTag, ValueError):
                key = b""
            sound = len(key) == KEY_BYTES and hmac.compare_digest(commitment(key), committed)
            found.append(nonce + encrypt(nonce, key, context(dek_id, version)) if sound else b"")
        return found

    def _find(self, version: int) -> AESGCMSIV | None:
        if version not in self._held:
            self.reload()
        return self._held.get(version)

    def _kek(self, version: int) -> AESGCMSIV:
        kek = self._held.get(version) or self._find(version)
        if kek is None:
            raise KeyAccessError(f"KEK version {version} is gone; what it wrapped cannot be opened")
        return kek


def initialise(connection: Connection, provider: KeyProvider, workspace: str, now: int) -> None:
    """Make the first KEK in an empty key database; otherwise do nothing."""
    if not queries.all_keks(connection):
        key = os.urandom(KEY_BYTES)
        wrapped = provider.wrap(key, kek_context(workspace, 1))
        queries.add_kek(connection, 1, wrapped, commitment(key), now)


def unwrapped_kek(provider: KeyProvider, workspace: str, row: Row[Any]) -> bytes:
    """Return the KEK in a row, as the root answers it and as its commitment, where there is one, confirms.

    :raises KeyAccessError: the root does not open it, or answers something else.
    """
    version = int(row.version)
    key = provider.unwrap(row.wrapped, kek_context(workspace, version))
    if len(key) != KEY_BYTES:
        raise KeyAccessError(f"{provider.describe()} did not answer a key for KEK version {version}")
    if row.commitment is not None and not hmac.compare_digest(commitment(key), row.commitment):
        raise KeyAccessError(
            f"{provider.describe()} answered another key than KEK version {version}; nothing of "
            "it is used. Restore the key database from its backup, or see to the key service"
        )
    return key


def unwrapped_secret(provider: KeyProvider, workspace: str, row: Row[Any]) -> bytes:
    """Return the named secret in a row, likewise.

    :raises KeyAccessError: the root does not open it, or answers something else.
    """
    secret = provider.unwrap(row.wrapped, secret_context(workspace, row.name))
    if row.commitment is not None and not hmac.compare_digest(commitment(secret), row.commitment):
        raise KeyAccessError(
            f"{provider.describe()} answered something other than the secret {row.name}; it is not used"
        )
    return secret


def _opened(kek: AESGCMSIV, row: Row[Any], context: bytes) -> bytes:
    try:
        key = kek.decrypt(row.wrapped[:12], row.wrapped[12:], context)
    except (InvalidTag, ValueError):
        raise AlteredKeyError(
            "a DEK does not unwrap: its row in the key database was altered or moved"
        ) from None
    if len(key) != KEY_BYTES or not hmac.compare_digest(commitment(key), row.commitment):
        raise AlteredKeyError("a DEK does not match its commitment")
    return key


def commitment(key: bytes) -> bytes:
    """Return the 16 bytes that lie beside a wrapped key."""
    return hmac.digest(key, b"cdp/commitment/v1", "sha256")[:16]


def kek_context(workspace: str, version: int) -> bytes:
    """Return the context under which the root wraps a KEK."""
    return pae(b"cdp/kek/v1", workspace.encode(), pack("<Q", version))


def secret_context(workspace: str, name: str) -> bytes:
    """Return the context under which the root wraps a named secret."""
    return pae(b"cdp/secret/v1", workspace.encode(), name.encode())


def dek_context(workspace: str, identity_no: int, domain: str) -> Context:
    """Return the additional data of an identity's DEK, but for id and KEK version."""
    # Equal to pae(label, workspace, identity_no, domain, version, dek_id, suite), at a third of its cost:
    # ingest makes and rotation changes millions of these.
    front = _framed(b"cdp/dek/v1", workspace) + pack("<QQ", 8, identity_no) + _framed(b"", domain)
    return lambda dek_id, version: (
        b"%b%b%b%b"
        % (
            front,
            pack("<QQQ", 8, version, len(dek_id)),
            dek_id,
            _SUITE,
        )
    )


@lru_cache(maxsize=64)
def _framed(label: bytes, name: str) -> bytes:
    return pae(label, name.encode()) if label else pae(name.encode())


def bucket_context(workspace: str, name: str) -> Context:
    """Return the additional data of a bucket's key, but for id and KEK version."""
    front = pae(b"cdp/bucket/v1", workspace.encode(), name.encode())
    return lambda dek_id, version: front + pae(dek_id, pack("<Q", version))
