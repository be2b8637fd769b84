"""The mirror's directory: atomic files, one writer.

Invariants: a Parquet file is written under a temporary name, flushed to disk and renamed before a
manifest names it; the manifest is replaced in one step; so after a crash at any point the directory
holds a complete manifest, the files it lists, and perhaps orphans that the next writer removes. A file
is never changed after it has its name.
"""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from cdp.errors import IntegrityError, StoreError
from cdp.store import put_in_place
from cdp.warehouse.model import File, Manifest

_MANIFEST = "manifest.json"
_LOCK = "lock"
_GROUP_ROWS = 32_768  # rows of one row group: what a reader may skip or must read


class Directory:
    """Where the mirror lies.

    :param path: made when it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

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
            raise StoreError(f"the warehouse directory cannot be written: {error.strerror}") from error

    def read(self) -> Manifest:
        """Return the manifest; an empty one when nothing was mirrored yet or another format was.

        :raises IntegrityError: it cannot be read.
        """
        try:
            manifest = msgspec.json.decode((self.path / _MANIFEST).read_bytes(), type=Manifest)
        except FileNotFoundError:
            return Manifest()
        except (msgspec.DecodeError, OSError) as error:
            raise IntegrityError(
                "the warehouse's manifest.json cannot be read; remove the directory and run cdp rebuild"
            ) from error
        return manifest if manifest.current else Manifest()

    def publish(self, manifest: Manifest) -> None:
        """Make ``manifest`` the one that readers see."""
        self._replace(_MANIFEST, lambda path: path.write_bytes(msgspec.json.encode(manifest)))

    def write(self, dataset: str, table: pa.Table, *, ordered: bool = False) -> File:
        """Write one Parquet file; nobody reads it before a manifest names it."""
        name = f"{dataset}-{secrets.token_hex(8)}.parquet"
        self._replace(
            name,
            lambda path: pq.write_table(table, path, compression="zstd", row_group_size=_GROUP_ROWS),
        )
        return File(name, table.num_rows, ordered)

    def load(self, file: File) -> pa.Table:
        """Return a Parquet file's content."""
        return pq.read_table(self.path / file.name, memory_map=False)

    def remove(self, names: tuple[str, ...]) -> None:
        """Remove files that no manifest lists any more."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def sweep(self, manifest: Manifest) -> None:
        """Remove what a crash left behind: everything of ours that ``manifest`` does not list."""
        kept = {file.name for files in manifest.files.values() for file in files} | set(manifest.retired)
        for path in self.path.iterdir():
            if path.suffix == ".tmp" or (path.suffix == ".parquet" and path.name not in kept):
                path.unlink(missing_ok=True)

    def _replace(self, name: str, write: Callable[[Path], object]) -> None:
        temporary = self.path / f"{name}.tmp"
        try:
            write(temporary)
            put_in_place(temporary, self.path / name)
        except OSError:
            temporary.unlink(missing_ok=True)  # a full disk needs the room
            raise
