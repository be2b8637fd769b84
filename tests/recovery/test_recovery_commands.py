"""``cdp backup`` and ``cdp restore`` as an operator runs them, on both databases."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
from platform_fixtures import Shell
from recovery_world import lost

from cdp.cli.lock import data_lock
from cdp.settings import Settings


def test_a_backup_and_the_way_back(shell: Shell, settings: Settings, tmp_path: Path) -> None:
    shell("source", "create", "shop")
    out, keys = tmp_path / "main-backup", tmp_path / "keys-backup"
    manifest = msgspec.json.decode(shell("backup", "--out", out, "--keys", keys, "--json"))
    assert manifest["holds"] == "main"
    assert {path.name for path in out.iterdir()} == {"main.backup", "manifest.json"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in [out, keys, *out.iterdir(), *keys.iterdir()])
    assert "is there already" in shell("backup", "--out", out, expect=1)
    assert "a folder of its own" in shell(
        "backup", "--out", tmp_path / "x", "--keys", tmp_path / "x", expect=1
    )

    assert "not empty" in shell("restore", out, expect=1)
    lost(settings)
    assert "not the other one" in shell("restore", keys, expect=1)
    with data_lock(settings.data_dir):
        assert "end it first" in shell("restore", out, expect=1)
    replayed = msgspec.json.decode(shell("restore", out, "--json"))
    assert replayed["without_journal"] is False
    assert "shop" in shell("source", "list")
    assert "verifies" in shell("audit", "verify")
    entries = msgspec.json.decode(shell("audit", "search", "--action", "recovery.replay", "--json"))
    assert [entry["object"]["backup"] for entry in entries] == [manifest["id"]]


def test_the_keys_come_back_apart(shell: Shell, settings: Settings, tmp_path: Path) -> None:
    out, keys = tmp_path / "main-backup", tmp_path / "keys-backup"
    shell("backup", "--out", out, "--keys", keys)
    lost(settings)
    lost(msgspec.structs.replace(settings, database_url=settings.keys_database_url))
    shell("restore", out, "--keys", keys)
    assert "ready" in shell("doctor")


def test_a_lost_journal_needs_an_officers_word(shell: Shell, settings: Settings, tmp_path: Path) -> None:
    shell("backup", "--out", tmp_path / "backup")
    lost(settings)
    shutil.rmtree(settings.journal_dir)
    assert "is missing" in shell("restore", tmp_path / "backup", expect=1)
    assert "is missing" in shell("source", "list", expect=1)  # nothing is served
    assert "is missing" in shell("restore", expect=1)
    shell("restore", "--without-journal")
    shell("source", "list")
