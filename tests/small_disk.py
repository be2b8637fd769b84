"""A disk of a few megabytes, in memory, that a test fills and frees."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A file system of its own, mounted at ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no byte free."""
        piece = bytes(1024 * 1024)
        with self._ballast.open("wb", buffering=0) as file:
            while piece:
                try:
                    while file.write(piece) == len(piece):
                        pass
                except OSError:
                    piece = piece[: len(piece) // 2]

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink()

    def mount(self, *options: str) -> None:
        """Mount it anew with other options."""
        self._mount(",".join(("remount", *options)))

    def _mount(self, options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder], check=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """Yield a disk mounted at a folder made for it; after the block it is gone, with all that is on it."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    folder.mkdir(parents=True)
    disk = Disk(folder)
    disk._mount(f"size={megabytes}m,mode=0777")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
