"""The commands, as a user runs them: exit codes, one line on failure, tables and JSON."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from cdp.access import Role
from cdp.cli import main, options
from cdp.gate import Format
from cdp.segments import ListKind

ROOT = Path(__file__).parents[2]
WHERE = "where: {trait: country, op: eq, value: GB}\n"


class Shell:
    """Runs commands in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, expect: int = 0) -> str:
        """Run a command; returns what it printed, or on failure its one line on standard error."""
        self._monkeypatch.setattr(sys, "argv", ["cdp", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capsys.readouterr()
        assert (ended.value.code or 0) == expect, printed
        if expect == 1:
            lines = [line for line in printed.err.splitlines() if not line.startswith("{")]  # not log lines
            assert len(lines) == 1, printed.err
            assert lines[0].startswith("cdp: ")
            assert "Traceback" not in printed.err
            return lines[0]
        return printed.out

    def json(self, *arguments: str) -> Any:
        """Run a command with ``--json`` and return what it printed."""
        return msgspec.json.decode(self(*arguments, "--json"))


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    monkeypatch.setenv("CDP_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("CDP_POLICIES_DIR", str(ROOT / "policies"))
    monkeypatch.delenv("CDP_API_KEY", raising=False)
    held = os.umask(0o022)  # a careless one, which the commands must not keep
    yield Shell(monkeypatch, capsys)
    os.umask(held)


@pytest.fixture
def ready(shell: Shell) -> Shell:
    """A shell over an initialised data directory."""
    shell("init")
    return shell


def test_before_init_every_command_says_what_to_do(shell: Shell) -> None:
    assert "cdp init" in shell("source", "list", expect=1)
    assert "not in order" in shell("doctor", expect=1)


def test_init_may_be_repeated_and_hides_its_key(shell: Shell, tmp_path: Path) -> None:
    printed = shell("init")
    key = tmp_path / "var" / "operator.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text().strip() not in printed
    held = key.read_text()
    assert "already" in shell("init")
    assert key.read_text() == held
    assert "nothing to do" in shell("migrate")
    assert {item["ok"] for item in shell.json("doctor")} == {True}


def test_a_sources_permission_is_given_and_taken_away(ready: Shell) -> None:
    ready("source", "create", "shop")
    assert ready.json("source", "links", "shop", "--allow")["links"] is True
    assert ready.json("source", "links", "shop", "--forbid")["links"] is False
    ready("source", "links", "shop", expect=2)


def test_sources_and_keys(ready: Shell) -> None:
    made = ready.json("source", "create", "shop", "--kind", "browser")
    assert made["write_key"]
    assert "exists already" in ready("source", "create", "shop", expect=1)
    rotated = ready.json("source", "rotate", "shop")
    assert rotated["write_key"] != made["write_key"]
    ready("source", "disable", "shop")
    assert ready.json("source", "list") == [
        {
            "id": made["id"],
            "name": "shop",
            "kind": "browser",
            "enabled": False,
            "signs_user_ids": False,
            "links": False,
            "default_region": None,
            "events_per_second": None,
            "burst": None,
            "max_body_kib": None,
            "max_event_kib": None,
        }
    ]
    assert "shop" in ready("source", "list")
    key = ready.json("key", "create", "--role", "marketer", "--name", "m", "--purpose", "analytics")
    assert key["key"].startswith("cdp_")
    assert [item["name"] for item in ready.json("key", "list")] == ["m", "operator"]
    assert key["key"] not in ready("key", "list")
    ready("key", "revoke", "m")
    assert [item["name"] for item in ready.json("key", "list")] == ["operator"]
    assert "no live API key" in ready("key", "revoke", "m", expect=1)


def test_a_key_in_the_environment_is_whom_the_command_acts_as(
    ready: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ready.json("key", "create", "--role", "marketer", "--name", "m")["key"]
    monkeypatch.setenv("CDP_API_KEY", key)
    assert "role admin" in ready("key", "list", expect=1)
    assert ready.json("segment", "list") == []
    monkeypatch.setenv("CDP_API_KEY", "cdp_wrong")
    assert "unknown or revoked" in ready("segment", "list", expect=1)


def test_serve_refuses_a_port_that_is_taken(ready: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}" in ready("serve", "--port", str(port), expect=1)
    assert "port" in ready("serve", "--host", "256.1.1.1", expect=1)


def test_wrong_usage_is_2(shell: Shell) -> None:
    shell("nonsense", expect=2)
    shell("source", "create", expect=2)
    shell("audit", "search", "--limit", "0", expect=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("source", "create", "x", "--kind", "purple"),
        ("key", "create", "--name", "x", "--role", "purple"),
        ("key", "create", "--name", "x", "--role", "source"),
        ("export", "x", "--destination", "mailer", "--purpose", "analytics", "--format", "purple"),
        ("list", "import", "x", "x.txt", "--kind", "purple"),
        ("audit", "search", "--outcome", "purple"),
    ],
)
def test_a_choice_that_there_is_not_is_wrong_usage(ready: Shell, arguments: tuple[str, ...]) -> None:
    ready(*arguments, expect=2)


def test_the_choices_are_those_of_the_platform() -> None:
    assert set(get_args(options.Format)) == set(get_args(Format))
    assert set(get_args(options.ListKind)) == set(get_args(ListKind))
    assert set(options.KeyRole) == set(get_args(Role)) - {"source"}


def test_what_lies_in_the_data_directory_is_its_owners_alone(ready: Shell, tmp_path: Path) -> None:
    ready("source", "create", "shop")
    found = sorted((tmp_path / "var").rglob("*"))
    assert {"cdp.sqlite", "keys.sqlite", "operator.key", "lock"} <= {path.name for path in found}
    assert [path.name for path in found if path.stat().st_mode & 0o077] == []


def test_an_unknown_setting_is_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDP_DATA_DIRECTORY", "x")
    assert "CDP_DATA_DIRECTORY" in shell("source", "list", expect=1)


def test_segments_from_files(ready: Shell, tmp_path: Path) -> None:
    file = tmp_path / "britons.yaml"
    file.write_text(f"name: britons\n{WHERE}")
    assert ready.json("segment", "preview", str(file))["count"] == 0
    assert ready.json("segment", "apply", str(file))["version"] == 1
    assert [item["name"] for item in ready.json("segment", "list")] == ["britons"]
    assert ready.json("segment", "show", "britons")["definition"]["where"]["value"] == "GB"
    shown = ready("segment", "show", "britons")
    assert shown.splitlines()[0] == "segment britons, version 1: 0 people"
    assert "  trait: country" in shown.splitlines()
    assert ready("segment", "apply", str(file)) == "segment britons, version 1: 0 people\n"
    file.write_text("name: [\n")
    assert "britons.yaml:" in ready("segment", "apply", str(file), expect=1)
    file.write_text(WHERE)
    assert "no name" in ready("segment", "apply", str(file), expect=1)
    file.write_bytes(b"\xff\xfe")
    assert "UTF-8" in ready("segment", "apply", str(file), expect=1)
    assert "No such file" in ready("segment", "apply", str(tmp_path / "gone.yaml"), expect=1)
    people = tmp_path / "people.txt"
    people.write_text("ada.nobody@example.org\n\nbob.nobody@example.org\n")
    shown = ready("list", "import", "staff", str(people), "--kind", "black")
    assert "2 lines read, 0 known identifiers, 2 not known yet" in shown
    assert "example.org" not in shown
    people.unlink()  # the scan for clear data would take it for ours


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"name: x\nwhere:\n  all:\n  - {{{WHERE[8:-2]}}}\n  - {{trait: email, op: eq}}\n",
            ":5: where.all[1]",
        ),
        ("name: x\n\nwhere: {trait: nonsense, op: eq, value: 1}\n", ":3: where.trait"),
        (
            "name: x\nwhere:\n  all:\n  - trait: country\n    op: eq\n    value: GB\n    colour: red\n",
            ":4: where.all",
        ),
        ("name: x\nname: y\n", ":2: "),
        ("name: x\nwhere: &a {trait: country}\n", ":2: "),
        ("name: x\nwhere: {segment: nobody}\n", ":2: where"),
        ("name: x\n", ":1: "),
        ("[1, 2]\n", ":1: a definition"),
        ("where: [\n", ":2: "),
        ('{"name": "x", "where": {"trait": "nonsense", "op": "exists"}}', ": where.trait"),
    ],
)
def test_a_mistake_in_a_definition_is_named_with_its_file_and_line(
    ready: Shell, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    line = ready("segment", "apply", str(file), expect=1)
    assert line.startswith(f"cdp: {file}{said}")
    assert "line " not in line.removeprefix(f"cdp: {file}")


def test_a_country_code_in_a_file_stays_text(ready: Shell, tmp_path: Path) -> None:
    file = tmp_path / "norway.yaml"
    file.write_text("name: norway\nwhere: {trait: country, op: eq, value: no}\n")
    ready("segment", "apply", str(file))
    assert ready.json("segment", "show", "norway")["definition"]["where"]["value"] == "no"


def test_exports_are_decided_and_fetched_into_a_file(ready: Shell, tmp_path: Path) -> None:
    file = tmp_path / "britons.yaml"
    file.write_text(f"name: britons\n{WHERE}")
    ready("segment", "apply", str(file))
    asked = ("export", "britons", "--destination", "controller", "--purpose", "compliance_review")
    tried = ready.json(*asked, "--dry-run")
    assert tried["id"] is None
    assert ready(*asked, "--dry-run").splitlines()[0] == "dry run: 0 would be released"
    out = tmp_path / "out.jsonl"
    made = ready.json(*asked, "--out", str(out))
    assert made["released"] == 0
    assert out.read_bytes() == b""
    assert out.stat().st_mode & 0o777 == 0o600
    assert [item["name"] for item in ready.json("key", "list")] == ["operator"]
    actions = [entry["action"] for entry in ready.json("audit", "search", "--limit", "8")]
    assert "key.revoke" in actions
    assert "key.create" in actions
    before = len(ready.json("audit", "search", "--action", "export.authorise"))
    assert "File exists" in ready(*asked, "--out", str(out), expect=1)
    assert len(ready.json("audit", "search", "--action", "export.authorise")) == before
    failed = tmp_path / "failed.jsonl"
    ready("export", "gone", *asked[2:], "--out", str(failed), expect=1)
    assert not failed.exists()
    ready("export", "nothing", "--destination", "mailer", "--purpose", "analytics", expect=1)


ASKED = ("export", "britons", "--destination", "controller", "--purpose", "compliance_review")


def test_a_destination_fetches_with_its_own_key(
    ready: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "britons.yaml"
    file.write_text(f"name: britons\n{WHERE}")
    ready("segment", "apply", str(file))
    own = ("--role", "destination", "--destination", "controller", "--purpose", "compliance_review")
    key = ready.json("key", "create", "--name", "d", *own)["key"]
    [segment] = ready.json("segment", "list")
    monkeypatch.setenv("CDP_API_KEY", key)
    for known_by in ("britons", segment["id"]):
        out = tmp_path / f"{known_by}.jsonl"
        ready("export", known_by, *ASKED[2:], "--out", str(out))
        assert out.read_bytes() == b""
    unknown = ready("export", "frisians", *ASKED[2:], "--out", str(tmp_path / "none"), expect=1)
    assert "nothing of this segment may leave" in unknown
    monkeypatch.delenv("CDP_API_KEY")
    assert len(ready.json("audit", "search", "--action", "key.create")) == 2  # the operator's and this one
    [denied] = ready.json("audit", "search", "--action", "access.denied")  # the segment that it may not know
    assert denied["object"] == {"at": "POST /api/v1/exports"}


@pytest.mark.parametrize(
    "wrong",
    [
        ("--role", "officer", "--role", "marketer", "--purpose", "compliance_review"),
        ("--role", "destination", "--destination", "mailer", "--purpose", "compliance_review"),
    ],
    ids=["no admin", "another destination"],
)
def test_who_cannot_fetch_is_told_before_anything_is_exported(
    ready: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, ...]
) -> None:
    file = tmp_path / "britons.yaml"
    file.write_text(f"name: britons\n{WHERE}")
    ready("segment", "apply", str(file))
    key = ready.json("key", "create", "--name", "k", *wrong)["key"]
    monkeypatch.setenv("CDP_API_KEY", key)
    out = tmp_path / "out.jsonl"
    said = ready(*ASKED, "--out", str(out), expect=1)
    assert "role admin" in said
    assert "own key" in said
    assert not out.exists()
    monkeypatch.delenv("CDP_API_KEY")
    assert ready.json("audit", "search", "--action", "export.authorise") == []


def test_the_audit_log_is_searched_and_verified(ready: Shell) -> None:
    ready("source", "create", "shop")
    found = ready.json("audit", "search", "--action", "source.create")
    assert [entry["action"] for entry in found] == ["source.create"]
    assert "verifies" in ready("audit", "verify")
    assert "RFC 3339" in ready("audit", "search", "--from", "yesterday", expect=1)


def test_a_flipped_byte_fails_the_verification_and_is_named(ready: Shell, tmp_path: Path) -> None:
    ready("source", "create", "shop")
    database = tmp_path / "var" / "cdp.sqlite"
    held = database.read_bytes()
    assert held.count(b'"action":"source.create"') >= 1
    database.write_bytes(held.replace(b'"action":"source.create"', b'"action":"source.creatf"'))
    assert "entry" in ready("audit", "verify", expect=1)


def test_the_rest_of_the_commands_answer(ready: Shell) -> None:
    assert ready.json("keys", "status")["current"] == 1
    assert ready.json("policy", "check")["rules"] > 0
    assert ready.json("quarantine", "list") == []
    assert ready.json("quarantine", "replay")["received"] == 0
    assert ready.json("rebuild")["segments"] == 0
    assert "no profile" in ready("identity", "show", "p_nonsense", expect=1)
    assert "no profile" in ready("identity", "split", "p_nonsense", expect=1)


def test_a_policy_mistake_is_named_with_its_file(ready: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    for file in (ROOT / "policies").rglob("*.yaml"):
        copy = folder / file.relative_to(ROOT / "policies")
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(file.read_text())
    assert ready.json("policy", "check", str(folder)) == ready.json("policy", "check")
    mailer = folder / "destinations" / "mailer.yaml"
    mailer.write_text(mailer.read_text().replace("minimum_audience:", "minimum_audiense:"))
    assert "mailer.yaml:" in ready("policy", "check", str(folder), expect=1)
