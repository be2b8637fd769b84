"""``cdp keys status | rotate | move`` as a user runs them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete, insert

from cdp.cli import keys, main
from cdp.cli.lock import alone
from cdp.crypto.tables import deks, keks
from cdp.store import Store

ROOT = Path(__file__).parents[2]
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command over an initialised data directory; returns what it printed."""
    monkeypatch.setenv("CDP_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("CDP_POLICIES_DIR", str(ROOT / "policies"))
    monkeypatch.delenv("CDP_API_KEY", raising=False)
    monkeypatch.setattr(keys, "_POLL_SECONDS", 0.05)

    def command(*arguments: str, expect: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["cdp", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert (ended.value.code or 0) == expect, printed
        return printed.out

    command("init")
    return command


def test_status_and_rotate(run: Run) -> None:
    assert "answers" in run("keys", "status")
    found = msgspec.json.decode(run("keys", "rotate", "--json"))
    assert [version["state"] for version in found["versions"]] == ["retired", "current"]
    table = run("keys", "status")
    assert "retired" in table
    assert "current" in table


def test_an_interrupted_rotation_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cdp.crypto.rotate.Rotation._claim", lambda *_: False)  # another process is at it
        patch.setattr("cdp.cli.keys.time.sleep", interrupt)
        assert "interrupted" in run("keys", "rotate", expect=1)
        run("keys", "rotate", "--no-wait")  # joins the one under way
        found = msgspec.json.decode(run("keys", "status", "--json"))
        assert [version["version"] for version in found["versions"]] == [1, 2]
    found = msgspec.json.decode(run("keys", "rotate", "--json"))
    assert found["versions"][0]["state"] == "retired"


def test_rotate_need_not_wait(run: Run) -> None:
    assert msgspec.json.decode(run("keys", "rotate", "--no-wait", "--json"))["current"] == 2


def test_migrate_names_both_chains(run: Run) -> None:
    assert "nothing to do" in run("migrate")


def test_a_move_is_recorded_and_the_new_root_is_the_only_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = f"file:{tmp_path / 'safe' / 'root.key'}"
    told = run("keys", "move", "--to", new)
    assert f"CDP_KEYS={new}" in told
    assert "keep file:" in told
    again = msgspec.json.decode(run("keys", "move", "--to", new, "--json"))
    assert again["moved"] is False
    run("keys", "status", expect=1)
    run("keys", "move", "--to", f"file:{tmp_path / 'third.key'}", expect=1)
    monkeypatch.setenv("CDP_KEYS", new)
    assert "answers" in run("keys", "status")
    entries = msgspec.json.decode(run("audit", "search", "--json"))
    moves = [entry for entry in entries if entry["action"] == "keys.move"]
    assert len(moves) == 1
    back = msgspec.json.decode(run("keys", "move", "--to", f"file:{tmp_path / 'var' / 'root.key'}", "--json"))
    assert back["moved"] is True


def test_status_says_which_kek_is_lost(run: Run, tmp_path: Path) -> None:
    run("keys", "rotate", "--no-wait")
    url = f"sqlite:///{tmp_path / 'var' / 'keys.sqlite'}"
    with closing(Store(url)) as store, store.writing() as connection, connection.begin():
        made = {"identity_no": 1, "domain": "person", "dek_id": b"", "kek_version": 1}
        connection.execute(insert(deks).values(**made, wrapped=b"w", commitment=b""))
        connection.execute(delete(keks).where(keks.c.version == 1))
    told = run("keys", "status")
    assert "KEK version 1 is lost: the 1 keys under it do not open" in told


def test_a_move_waits_for_nobody(run: Run, tmp_path: Path) -> None:
    with alone(tmp_path / "var"):
        run("keys", "move", "--to", f"file:{tmp_path / 'new.key'}", expect=1)
    assert not (tmp_path / "new.key").exists()
    run("keys", "move", "--to", "tape:1", expect=1)
