"""Another root for a workspace: what the root wraps, wrapped under another one; nothing else changes.

1. ``prepare`` opens every KEK and every named secret under the old root and believes what its commitment
   confirms, wraps it under the new one, and opens that again through a second provider of the new root: what
   a fresh process would see. Nothing is stored yet.
2. ``Prepared.put_in_place`` overwrites all of them in one transaction, each only where it still is what was
   opened, and only where nothing that the root wraps was left out.

Invariants: before that commit everything opens under the old root, after it under the new one; there is no
moment between, so an end at any point leaves nothing to resume: the next attempt begins anew, or finds it
done (``lies_under``). KEKs and secrets are the same as before, so what other processes hold in memory stays
right. One of them that still has the old root cannot wrap a new KEK under it: ``Rotation.begin`` opens the
newest row first and retires it only as what it opened.
"""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

import msgspec

from cdp.crypto import kek, queries
from cdp.crypto.keys import Keyring
from cdp.crypto.provider import FileKeyProvider, KeyProvider, open_provider
from cdp.errors import ConflictError, KeyAccessError
from cdp.store import Connection, Row, Store

_Moved = dict[Any, tuple[bytes, bytes]]
"""Version or name → (as it lies under the old root, under the new one)."""


class Prepared(msgspec.Struct, frozen=True):
    """Everything that the root wraps, under the new root and proven; ``put_in_place`` stores it."""

    store: Store
    keks: _Moved
    secrets: _Moved

    def put_in_place(self) -> None:
        """Put everything under the new root at once (step 2).

        :raises ConflictError: a key was made or destroyed meanwhile; nothing changed.
        """
        with self.store.writing() as connection, connection.begin():
            moved = [queries.move_kek(connection, version, *pair) for version, pair in self.keks.items()]
            moved += [queries.move_secret(connection, name, *pair) for name, pair in self.secrets.items()]
            if not all(moved) or not self._is_complete(connection):
                raise ConflictError("a key was made or destroyed meanwhile; nothing was moved, try again")

    def _is_complete(self, connection: Connection) -> bool:
        stored = {row.version: row.wrapped for row in queries.all_keks(connection) if row.wrapped}
        named = {row.name: row.wrapped for row in queries.all_secrets(connection)}
        return all(
            held == {name: new for name, (_, new) in moved.items()}
            for held, moved in ((stored, self.keks), (named, self.secrets))
        )


def open_target(spec: str) -> KeyProvider:
    """Open the root that ``spec`` names as ``CDP_KEYS`` does; a key file that is not there is made.

    :raises ConfigurationError: it cannot be understood, or its key cannot be read.
    """
    kind, _, place = spec.partition(":")
    if kind != "file" or not place:
        return open_provider(spec)
    path = Path(place)
    return FileKeyProvider.kept(path) if path.exists() else FileKeyProvider.create(path)


def prepare(keyring: Keyring, target: KeyProvider, witness: KeyProvider) -> Prepared:
    """Wrap everything under ``target``, and have ``witness`` open it again (step 1).

    :param witness: another provider of the same root as ``target``.
    :raises KeyAccessError: one of the roots does not answer or does not answer right; nothing changed.
    """
    workspace = keyring.workspace
    keyring.unlock()  # so everything has its commitment
    with keyring.store.reading() as connection:
        keks = [row for row in queries.all_keks(connection) if row.destroyed_at is None]
        secrets = queries.all_secrets(connection)

    def moved(row: Row[Any], secret: bytes, context: bytes) -> tuple[bytes, bytes]:
        wrapped = target.wrap(secret, context)
        if not hmac.compare_digest(kek.commitment(witness.unwrap(wrapped, context)), row.commitment or b""):
            raise KeyAccessError(f"{target.describe()} does not give back what it wrapped; nothing was moved")
        return row.wrapped, wrapped

    old = keyring.provider
    return Prepared(
        keyring.store,
        {
            row.version: moved(
                row, kek.unwrapped_kek(old, workspace, row), kek.kek_context(workspace, row.version)
            )
            for row in keks
        },
        {
            row.name: moved(
                row, kek.unwrapped_secret(old, workspace, row), kek.secret_context(workspace, row.name)
            )
            for row in secrets
        },
    )


def lies_under(store: Store, provider: KeyProvider, workspace: str) -> bool:
    """True when everything that a root wraps opens under this one."""
    with store.reading() as connection:
        keks = [row for row in queries.all_keks(connection) if row.destroyed_at is None]
        secrets = queries.all_secrets(connection)
    try:
        for row in keks:
            kek.unwrapped_kek(provider, workspace, row)
        for row in secrets:
            kek.unwrapped_secret(provider, workspace, row)
    except KeyAccessError:
        return False
    return bool(keks)
