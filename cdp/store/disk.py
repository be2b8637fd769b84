"""What is said to be on disk is on disk: a file's content and its folder's entry are flushed one by one."""

from __future__ import annotations

import os
from pathlib import Path

_ROOM = 1024 * 1024  # bytes: what a micro-batch takes, with its indexes


def has_room(folder: Path) -> bool:
    """Tell whether the disk of a folder is there and has room for another batch."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize >= _ROOM


def flush(path: Path) -> None:
    """Have a file's content, or the entries of a folder, written to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(written: Path, target: Path) -> None:
    """Give what was written beside ``target`` its name; after a crash there is the old one or the new."""
    flush(written)
    written.replace(target)
    flush(target.parent)
