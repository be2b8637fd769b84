"""``cdp keys status | rotate`` as a user runs them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from cdp.cli import keys, main

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
