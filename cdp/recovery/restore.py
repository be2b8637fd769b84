"""Puts a backup back, into a database that is empty.

A restored main database is not in order: the next start replays the journal (``service.py``). Key
databases are restored apart, as they are backed up apart; what was destroyed since is destroyed again by
the replay.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from cdp.errors import ConfigurationError, IntegrityError
from cdp.recovery import queries
from cdp.recovery.backup import sha256_of
from cdp.recovery.model import FORMAT, KEYS, MAIN, MANIFEST, Manifest, Restored
from cdp.store import Connection, Progress, Store, require_vacant
from cdp.store import restore as fill


def read_manifest(folder: Path, workspace: str) -> Manifest:
    """Return the manifest of a backup after checking every file against it.

    :raises ConfigurationError: there is no backup here, or it is of another workspace or version.
    :raises IntegrityError: a file is not the one that was backed up.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        raise ConfigurationError(f"{folder} holds no whole backup: no {MANIFEST} that can be read") from None
    if manifest.format != FORMAT:
        raise ConfigurationError(f"the backup in {folder} was made by another version of the platform")
    if manifest.workspace != workspace:
        raise ConfigurationError(f"the backup in {folder} is of another workspace; see CDP_WORKSPACE")
    for name, held in manifest.files.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != held.bytes or sha256_of(file) != held.sha256:
            raise IntegrityError(f"{file} is not the file that was backed up")
    return manifest


def check_empty(store: Store, manifest: Manifest) -> None:
    """Refuse before anything is written.

    :raises ConflictError: the main database is not empty.
    :raises ConfigurationError: the backup is not of a main database, or of another kind of database.
    """
    _check(store, manifest, MAIN)
    require_vacant(store)


def drop_derived(mirror: Path) -> None:
    """Delete the Parquet mirror of this machine: it may be ahead of the database, and is made anew."""
    shutil.rmtree(mirror, ignore_errors=True)


def restore(store: Store, folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Fill the empty main database, and note which positions its journal must still hold.

    :raises ConflictError: the database is not empty; nothing was changed.
    :raises ConfigurationError: the backup is of another kind of database.
    :raises StoreError: it failed.
    """
    _check(store, manifest, MAIN)
    fill(store, folder / MAIN, progress)
    with store.writing() as connection, connection.begin():
        noted = Restored(backup=manifest.id, journal=manifest.journal)
        queries.write_state(connection, noted, ready=False)


def not_in_order(connection: Connection) -> None:
    """Mark a database that takes the place of a lost one: its journal is still to be replayed."""
    queries.write_state(connection, Restored(backup="none"), ready=False)


def in_order(store: Store) -> bool:
    """Return whether the database is in order; it is not where a replay is still to be done."""
    with store.reading() as connection:
        return queries.read_state(connection)[0]


def restore_keys(keys: Store, folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Fill the empty key database.

    :raises ConflictError: the database is not empty; nothing was changed.
    :raises ConfigurationError: the backup is of another kind of database.
    :raises StoreError: it failed.
    """
    _check(keys, manifest, KEYS)
    fill(keys, folder / KEYS, progress)


def _check(store: Store, manifest: Manifest, name: str) -> None:
    if name not in manifest.files:
        raise ConfigurationError(f"this backup holds the {manifest.holds} database, not the other one")
    if store.kind != manifest.engine:
        raise ConfigurationError(
            f"this backup is of a {manifest.engine} database; restore it into one of that kind"
        )
