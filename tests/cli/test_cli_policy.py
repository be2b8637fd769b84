"""``cdp policy …`` as officers run it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_cli_commands import ROOT, Shell


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell over an initialised data directory."""
    monkeypatch.setenv("CDP_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("CDP_POLICIES_DIR", str(ROOT / "policies"))
    monkeypatch.delenv("CDP_API_KEY", raising=False)
    made = Shell(monkeypatch, capsys)
    made("init")
    return made


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    """A folder of policies that differs from the one in force."""
    folder = tmp_path / "candidate"
    shutil.copytree(ROOT / "policies", folder)
    mailer = folder / "destinations" / "mailer.yaml"
    mailer.write_text(mailer.read_text().replace("enabled: true", "enabled: false"))
    return folder


def test_a_candidate_is_compared_proposed_and_approved_by_a_second_key(
    ready: Shell, candidate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nothing else" in ready("policy", "diff")
    assert "changed" in ready("policy", "diff", str(candidate))
    held = ready.json("policy", "show")["sha256"]
    assert "key create --role officer" in ready("policy", "activate", str(candidate), expect=1)
    first, second = (
        ready.json("key", "create", "--name", name, "--role", "officer", "--purpose", "*")["key"]
        for name in ("first", "second")
    )
    monkeypatch.setenv("CDP_API_KEY", first)
    shown = ready("policy", "activate", str(candidate))
    sha256 = shown.split("--approve ")[1].strip()
    assert "nothing is in force yet" in shown
    assert sha256 in ready("policy", "show")
    assert "second officer" in ready("policy", "activate", "--approve", sha256, expect=1)
    assert "give no folder" in ready("policy", "activate", str(candidate), "--approve", sha256, expect=1)
    monkeypatch.setenv("CDP_API_KEY", second)
    assert sha256 in ready("policy", "activate", "--approve", sha256)
    found = ready.json("policy", "show")
    assert (found["sha256"], found["activations"][0]["four_eyes"]) == (sha256, True)
    assert sha256 != held
    assert "in force already" in ready("policy", "activate", str(candidate), expect=1)


def test_a_small_team_may_switch_four_eyes_off(
    ready: Shell, candidate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDP_FOUR_EYES", "false")
    proposal = ready.json("policy", "activate", str(candidate))["proposal"]
    ready("policy", "reject", proposal["id"])
    assert "no open proposal" in ready("policy", "activate", "--approve", proposal["id"], expect=1)
    again = ready.json("policy", "activate", str(candidate))["proposal"]
    ready("policy", "activate", "--approve", again["id"])
    assert ready.json("policy", "show")["activations"][0]["four_eyes"] is False


def test_the_switch_the_suggestions_and_an_explanation(ready: Shell) -> None:
    ready("policy", "switch", "mailer", "off", "--reason", "suspected_breach")
    assert ready.json("policy", "show")["switches"][0]["enabled"] is False
    assert "short code" in ready("policy", "switch", "mailer", "off", "--reason", "Oh no!", expect=1)
    ready("policy", "switch", "mailer", "sideways", "--reason", "x", expect=2)
    assert "declared" in ready("policy", "suggest")
    assert ready.json("policy", "suggest") == []
    asked = ("policy", "explain", "--destination", "mailer", "--purpose", "analytics")
    assert "no profile" in ready(*asked, "--profile", "p_nobody", expect=1)


def test_a_wrong_candidate_is_named_with_file_and_line(ready: Shell, candidate: Path) -> None:
    mailer = candidate / "destinations" / "mailer.yaml"
    mailer.write_text(mailer.read_text().replace("minimum_audience:", "minimum_audiense:"))
    for verb in ("diff", "activate"):
        assert "destinations/mailer.yaml:" in ready("policy", verb, str(candidate), expect=1)
