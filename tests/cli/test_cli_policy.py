"""``cdp policy …`` as officers run it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from test_cli_commands import ROOT, Shell

from cdp.cli.client import connected


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


def test_a_candidate_whose_tests_fail_says_so_to_both_officers(
    ready: Shell, candidate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = candidate / "rules" / "communications.yaml"
    rules.write_text(rules.read_text().replace("max_age_days: 730", "max_age_days: 700"))
    failed = ready("policy", "check", str(candidate), expect=1).removeprefix("cdp: ").split(";")[0]
    monkeypatch.setenv("CDP_FOUR_EYES", "false")
    for verb in ("diff", "activate"):
        shown = ready("policy", verb, str(candidate))
        assert f"check: {failed}, " in shown
        assert "tests/european_union.yaml:" in shown
        assert "max_age_days: 730 → 700" in shown
        assert "enabled: true → false" in shown
    proposal = ready.json("policy", "show")["proposals"][0]
    assert f"though {failed} stood" in ready("policy", "activate", "--approve", proposal["id"])


def test_what_is_not_there_is_named_with_what_lists_it(ready: Shell, tmp_path: Path) -> None:
    assert "`cdp policy show`" in ready("policy", "activate", "--approve", "pp_0", expect=1)
    assert "`cdp policy show`" in ready("policy", "switch", "nobody", "off", "--reason", "test", expect=1)
    assert "mailer" in ready("policy", "show")
    nowhere = str(tmp_path / "nowhere")
    for verb in ("check", "diff", "activate"):
        assert f"{nowhere}: there is no such folder" in ready("policy", verb, nowhere, expect=1)


def test_a_wrong_candidate_is_named_with_file_and_line(ready: Shell, candidate: Path) -> None:
    mailer = candidate / "destinations" / "mailer.yaml"
    mailer.write_text(mailer.read_text().replace("minimum_audience:", "minimum_audiense:"))
    for verb in ("diff", "activate"):
        assert "destinations/mailer.yaml:" in ready("policy", verb, str(candidate), expect=1)


def test_what_is_for_officers_is_refused_to_a_marketer(ready: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ready.json("key", "create", "--name", "m", "--role", "marketer", "--purpose", "*")
    monkeypatch.setenv("CDP_API_KEY", made["key"])
    for verb in (
        ("show",),
        ("diff",),
        ("diff", str(ROOT / "policies")),
        ("activate",),
        ("activate", "--approve", "x" * 12),
        ("reject", "x"),
        ("suggest",),
        ("explain", "--profile", "p", "--destination", "mailer", "--purpose", "analytics"),
        ("switch", "mailer", "off", "--reason", "test"),
    ):
        assert "officer" in ready("policy", *verb, expect=1), verb


BROKEN = [
    ("purposes.yaml", "basis: {", "bases: {", "unknown key 'bases'; did you mean 'basis'?"),
    ("rules/protection.yaml", "effect: limit", "effect: limits", "did you mean 'limit'?"),
    ("jurisdictions.yaml", "controller: [EU]", "controller: [EUU]", "did you mean 'EU'?"),
    ("signals.yaml", "tcf:\n", "tcf:\n  marketing.communications.email: [1]\n", "direct communication"),
    ("destinations/mailer.yaml", "country: IE", "country: [IE", "not valid YAML"),
    ("fields.yaml", "traits:", "traits: &x", "anchors"),
    ("taxonomy.yaml", "categories:", "categories: !!map", "tags"),
]


@pytest.mark.parametrize(("name", "old", "new", "said"), BROKEN, ids=[row[0] for row in BROKEN])
def test_each_verb_names_file_line_and_fix(
    ready: Shell, tmp_path: Path, name: str, old: str, new: str, said: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(ROOT / "policies", folder)
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    held = ready.json("policy", "show")["sha256"]
    for verb in ("check", "diff", "activate"):
        line = ready("policy", verb, str(folder), expect=1)
        assert re.search(rf"{re.escape(name)}:\d+: ", line), (verb, line)
        assert said in line or verb == "check", (verb, line)
    assert ready.json("policy", "show")["sha256"] == held


def test_policies_that_contradict_each_other_are_reported(ready: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    shutil.copytree(ROOT / "policies", folder)
    shutil.rmtree(folder / "tests")  # they would say what no longer comes out as expected
    assert "warning" not in ready("policy", "check", str(folder))
    (folder / "rules" / "zz.yaml").write_text("{id: never, effect: forbid, purpose: marketing.advertising}")
    found = ready.json("policy", "check", str(folder))["findings"]
    assert {one["severity"] for one in found} >= {"warning"}
    warned = [one for one in found if "ads-first-party-opt-in" in one["message"]]
    assert warned
    assert warned[0]["place"].startswith("rules/advertising.yaml:")
    assert "zz.yaml" in warned[0]["message"] + warned[0]["fix"]


def test_an_officer_asks_about_a_person_and_about_fields(
    ready: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = ready.json("source", "create", "shop", "--kind", "server")
    traits = {"email": "ann@people.example", "country": "Germany", "shoe_size": 42}
    shown = {"type": "track", "event": "Privacy Notice Shown", "userId": "ann", "messageId": "m2"}
    with connected() as api:
        api.ingest(
            shop["write_key"],
            [{"type": "identify", "userId": "ann", "messageId": "m1", "traits": traits}, shown],
        )
        assert api.get("/policies/suggestions")["fields"]  # kept from here on
    made = ready.json("key", "create", "--name", "o", "--role", "officer", "--purpose", "*")
    monkeypatch.setenv("CDP_API_KEY", made["key"])
    with connected() as api:
        body = {"type": "user_id", "value": "ann"}
        profile = api.call("POST", "/profiles/lookup", body=body, purpose="compliance_review")["id"]
    asked = ("policy", "explain", "--profile", profile, "--destination", "mailer")
    told = ready(*asked, "--purpose", "marketing.communications.email")
    for part in ("denied: there is no consent", "EU (controller)", "was given the notice on 20"):
        assert part in told, (part, told)
    assert "ann@people.example" not in told
    assert ready.json(*asked, "--purpose", "analytics")["outcome"] == "denied"
    assert "for compliance_review or rights only" in ready(
        *asked, "--purpose", "analytics", "--for", "analytics", expect=1
    )
    assert "shoe_size" in ready("policy", "suggest")
    assert [one["name"] for one in ready.json("policy", "suggest")] == ["shoe_size"]
