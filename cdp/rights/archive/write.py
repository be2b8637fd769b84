"""The archive as a stream: a zip file, cut into chunks of one size before any of it is stored. Pure.

Every name in it is ours; none comes from data. Nothing of it is ever in a file: the zip is written into
memory and leaves it sealed, chunk by chunk.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from cdp.clock import SECOND, Micros
from cdp.rights.archive.model import Filed

CHUNK = 256 * 1024
"""Bytes of a chunk, the last one's at most."""
_MODE = 0o600 << 16  # for whoever unpacks it, too
_encode = msgspec.json.Encoder().encode


class _Chunks(io.RawIOBase):
    """A file that only grows and gives away what is full."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()
        self.size = 0
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def write(self, data: object, /) -> int:
        """Take bytes."""
        piece = bytes(memoryview(data))  # type: ignore[arg-type]  # any buffer
        self._held += piece
        self.size += len(piece)
        self.digest.update(piece)
        return len(piece)

    def take(self, *, last: bool = False) -> list[bytes]:
        """Return what is full; all that there is at the end."""
        whole = len(self._held) if last else len(self._held) // CHUNK * CHUNK
        taken = bytes(self._held[:whole])
        del self._held[:whole]
        return [taken[at : at + CHUNK] for at in range(0, whole, CHUNK)]


class ZipWriter:
    """Writes the files of one archive, one after the other."""

    def __init__(self, now: Micros) -> None:
        self._chunks = _Chunks()
        self._zip = zipfile.ZipFile(self._chunks, "w", zipfile.ZIP_DEFLATED)
        self._at = datetime.fromtimestamp(now // SECOND, UTC).timetuple()[:6]
        self.files: list[Filed] = []

    def add(self, name: str, data: bytes) -> None:
        """Write a file; ``name`` is ours."""
        entry = zipfile.ZipInfo(name, date_time=max(self._at, (1980, 1, 1, 0, 0, 0)))
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = _MODE
        self._zip.writestr(entry, data)
        self.files.append(Filed(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()))

    def add_json(self, name: str, held: msgspec.Struct | Sequence[msgspec.Struct]) -> None:
        """Write a file of JSON, to be read by people, too."""
        self.add(name, msgspec.json.format(_encode(held), indent=1) + b"\n")

    def take(self) -> list[bytes]:
        """Return the chunks that are full since the last time."""
        return self._chunks.take()

    def close(self) -> tuple[list[bytes], int, str]:
        """End the archive and return its last chunks, how many bytes it has, and their SHA-256."""
        self._zip.close()
        return self._chunks.take(last=True), self._chunks.size, self._chunks.digest.hexdigest()
