"""Makes a backup: a folder with the copy of one database and its manifest.

Steps: (1) work in a folder beside the wanted one; (2) copy the database, one snapshot, with the figures
read from it; (3) hash the copy; (4) write and flush the manifest; (5) give the folder its name. An
interrupted backup leaves nothing under that name.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex

import msgspec

from cdp.audit import log_position
from cdp.errors import ConflictError, StoreError
from cdp.recovery.model import FORMAT, KEYS, MAIN, MANIFEST, Asked, Manifest, StoredFile
from cdp.store import Connection, Progress, Store, dump, flush, put_in_place, read_head, revision

_WITHOUT = ("recovery",)  # so that whatever comes out of a backup is known as such


def back_up(store: Store, folder: Path, asked: Asked, progress: Progress, *, workspace: str) -> Manifest:
    """Back the main database up into ``folder``, which is made.

    :param asked: what the platform said *before* this call.
    :raises ConflictError: the folder is there already and not empty.
    :raises StoreError: the copy failed, or the folder cannot be written.
    """

    def figures(connection: Connection) -> Manifest:
        log_size, checkpoint = log_position(connection)
        return Manifest(
            format=FORMAT,
            id=token_hex(8),
            made_at=asked.at,
            holds="main",
            workspace=workspace,
            engine=store.kind,
            revision=revision(connection),
            files={},
            commit_no=read_head(connection)[0],
            journal=asked.journal,
            log_size=log_size,
            checkpoint=checkpoint,
            bundle=asked.bundle,
        )

    return _backed_up(folder, MAIN, lambda file: dump(store, file, figures, progress, _WITHOUT))


def back_up_keys(keys: Store, folder: Path, asked: Asked, progress: Progress, *, workspace: str) -> Manifest:
    """Back the key database up into a folder of its own: delete it when its short retention ends.

    :raises ConflictError: the folder is there already and not empty.
    :raises StoreError: the copy failed, or the folder cannot be written.
    """

    def figures(connection: Connection) -> Manifest:
        return Manifest(
            format=FORMAT,
            id=token_hex(8),
            made_at=asked.at,
            holds="keys",
            workspace=workspace,
            engine=keys.kind,
            revision=revision(connection),
            files={},
        )

    return _backed_up(folder, KEYS, lambda file: dump(keys, file, figures, progress))


def _backed_up(folder: Path, name: str, copied: Callable[[Path], Manifest]) -> Manifest:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(f"{folder} is there already; a backup goes into a folder of its own")
    work = folder.with_name(f".{folder.name}.{token_hex(4)}.partial")
    try:
        work.mkdir(parents=True, mode=0o700)  # 1
        manifest = copied(work / name)  # 2
        (work / name).chmod(0o600)
        held = StoredFile((work / name).stat().st_size, sha256_of(work / name))  # 3
        manifest = msgspec.structs.replace(manifest, files={name: held})
        with (work / MANIFEST).open("xb") as file:  # 4
            file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        flush(work / MANIFEST)
        put_in_place(work, folder)  # 5
    except OSError as error:
        raise StoreError(f"the backup in {folder} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
