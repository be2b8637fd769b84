"""What is said to be on disk: the file's content first, its name next, the folder last."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cdp.store import put_in_place


def test_a_file_is_flushed_before_it_has_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, target = tmp_path / "new", tmp_path / "held"
    written.write_text("new", encoding="ascii")
    target.write_text("old", encoding="ascii")
    flushed: list[tuple[str, str]] = []

    def noted(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        flushed.append((kind, target.read_text(encoding="ascii")))

    monkeypatch.setattr("cdp.store.disk.os.fsync", noted)
    put_in_place(written, target)
    assert flushed == [("file", "old"), ("folder", "new")]
    assert not written.exists()
