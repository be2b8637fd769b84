"""The mirror's directory: atomic files, one writer.

Invariants: a Parquet file is written under a temporary name, flushed to disk and renamed before a
manifest names it; the manifest is replaced in one step; so after a crash at any point the directory
holds a complete manifest, the files it lists, and perhaps orphans that the next writer removes. A file
is never changed after it has its name. The manifest holds its own SHA-256 and that of every file; nothing
is read that differs from it, so what rots on the disk is an error and never an answer.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec.structs import replace

from cdp.errors import IntegrityError, StoreError
from cdp.store import put_in_place
from cdp.warehouse.model import File, Key, Manifest

_MANIFEST = "manifest.json"
_LOCK = "lock"
_NOTE = b"cdp.note"
_GROUP_ROWS = 32_768  # rows of one row group: what a reader may skip or must read
_TRIES = 3
_encode = msgspec.json.encode


class _Format(msgspec.Struct):
    format: int = 0


class Directory:
    """Where the mirror lies.

    :param path: made when it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._sound: frozenset[str] = frozenset()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer, among threads and processes, until the block ends.

        :raises StoreError: the directory cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / _LOCK).open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            cause = os.strerror(error.errno) if error.errno else type(error).__name__
            raise StoreError(f"the warehouse directory cannot be written: {cause}") from error

    def read(self) -> Manifest:
        """Return the manifest, after comparing each file that is new to this object with its SHA-256.

        :raises IntegrityError: the manifest or a file is not what was written, or is missing.
        """
        for _ in range(_TRIES):
            manifest = self.read_alone()
            try:
                self.check(file for files in manifest.files.values() for file in files)
            except FileNotFoundError:
                continue  # replaced and removed between the manifest and its files
            self._sound &= {name for files in manifest.files.values() for name in (f.name for f in files)}
            return manifest
        raise IntegrityError("a file of the warehouse is missing; run cdp rebuild")

    def read_alone(self) -> Manifest:
        """Return the manifest; an empty one when nothing was mirrored yet or another format was.

        :raises IntegrityError: it is not what was written.
        """
        try:
            text = (self.path / _MANIFEST).read_bytes()
            if msgspec.json.decode(text, type=_Format).format != Manifest().format:
                return Manifest()
            manifest = msgspec.json.decode(text, type=Manifest)
        except FileNotFoundError:
            return Manifest()
        except (msgspec.DecodeError, OSError, UnicodeError) as error:
            raise IntegrityError("the warehouse's manifest.json cannot be read; run cdp rebuild") from error
        if _sealed(manifest) != manifest:
            raise IntegrityError("the warehouse's manifest.json is not as it was written; run cdp rebuild")
        return manifest

    def describe(self) -> str:
        """Return in a line what there is, for whoever looks after it; every file is checked.

        :raises IntegrityError: as ``read``.
        """
        manifest = self.read()
        if not manifest.files:
            return "empty; the server fills it"
        files = sum(len(files) for files in manifest.files.values())
        told = f"up to commit {manifest.commit_no} in {files} files"
        if not any(manifest.mistyped.values()):
            return told
        odd = ", ".join(f"{column} {values}" for column, values in sorted(manifest.mistyped.items()))
        return f"{told}; values of another type than declared, held as NULL: {odd}"

    def publish(self, manifest: Manifest) -> None:
        """Make ``manifest`` the one that readers see."""
        self._replace(_MANIFEST, lambda path: path.write_bytes(_encode(_sealed(manifest))))

    def write(
        self, dataset: str, table: pa.Table, *, run: str = "", key: tuple[str, ...] = (), note: bytes = b"[]"
    ) -> File:
        """Write one Parquet file; nobody reads it before a manifest names it.

        :param table: sorted by the columns ``key``.
        :param note: what ``note`` returns of it.
        """
        name = f"{dataset}-{secrets.token_hex(8)}.parquet"
        noted = table.replace_schema_metadata({_NOTE: note})
        digest = self._replace(
            name,
            lambda path: pq.write_table(noted, path, compression="zstd", row_group_size=_GROUP_ROWS),
        )
        first, last = (_key(table, row, key) if table.num_rows else () for row in (0, -1))
        return File(name, table.num_rows, digest, run, first, last)

    def note(self, file: File) -> bytes:
        """Return what was noted in a file when it was written.

        :raises IntegrityError: as ``load``.
        """
        return bytes(pq.read_metadata(self._sound_path(file)).metadata[_NOTE])

    def load(
        self, file: File, columns: list[str] | None = None, where: pc.Expression | None = None
    ) -> pa.Table:
        """Return a Parquet file's content, or only some columns or rows of it.

        :raises IntegrityError: it is not what was written, or is missing.
        """
        path = self._sound_path(file)
        table = pq.read_table(path, columns=columns, filters=where, memory_map=False, partitioning=None)
        return table.replace_schema_metadata(None)

    def _sound_path(self, file: File) -> Path:
        try:
            self.check([file])
        except FileNotFoundError:
            raise IntegrityError(f"the warehouse's file {file.name} is missing; run cdp rebuild") from None
        return self.path / file.name

    def check(self, files: Iterable[File]) -> None:
        """Compare files with their SHA-256, each once for this object.

        :raises IntegrityError: one differs.
        :raises FileNotFoundError: one is gone.
        """
        for file in files:
            if file.name in self._sound:
                continue
            if _sha256(self.path / file.name) != file.sha256:
                raise IntegrityError(f"the warehouse's file {file.name} is damaged; run cdp rebuild")
            self._sound |= {file.name}

    def remove(self, names: Iterable[str]) -> None:
        """Remove files that no manifest lists any more."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def sweep(self, manifest: Manifest) -> None:
        """Remove what a crash left behind: everything of ours that ``manifest`` does not need."""
        kept = manifest.own()
        for path in self.path.iterdir():
            if path.suffix == ".tmp" or (path.suffix == ".parquet" and path.name not in kept):
                path.unlink(missing_ok=True)

    def _replace(self, name: str, write: Callable[[Path], object]) -> str:
        temporary = self.path / f"{name}.tmp"
        try:
            write(temporary)
            digest = _sha256(temporary)
            put_in_place(temporary, self.path / name)
        except OSError:
            temporary.unlink(missing_ok=True)  # a full disk needs the room
            raise
        return digest


def _sealed(manifest: Manifest) -> Manifest:
    bare = replace(manifest, seal="")
    return replace(bare, seal=hashlib.sha256(_encode(bare)).hexdigest())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key(table: pa.Table, row: int, key: tuple[str, ...]) -> Key:
    return tuple(table[column][row].as_py() for column in key)
