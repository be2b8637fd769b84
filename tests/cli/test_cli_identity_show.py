"""``cdp identity show``: one person on a page, looked up without the value in any command line."""

from __future__ import annotations

import io
from collections.abc import Callable

import msgspec
import pytest

from cdp.cli.client import connected
from cdp.cli.output import show_list
from cdp.settings import Settings

Shell = Callable[..., str]
EMAIL = "ann.nobody@people.example"
MAIL = "marketing.communications.email"


@pytest.fixture
def ann(settings: Settings) -> str:
    """The id of somebody of whom several things are known."""
    with connected(settings) as api:
        key = api.post("/sources", {"name": "shop", "kind": "server"})["write_key"]
        traits = {"email": EMAIL, "country": "DE"}
        messages = [
            {"type": "identify", "messageId": "i", "userId": "ann", "traits": traits},
            {"type": "track", "messageId": "t", "userId": "ann", "event": "Order Completed"},
        ]
        api.ingest(key, messages, wait=True)
        where = {"where": {"trait": "country", "op": "eq", "value": "DE"}}
        api.call("PUT", "/segments/germans", body=where)
        user = {"type": "user_id", "value": "ann"}
        api.post("/consents", {"identifiers": [user], "purpose": MAIL, "state": "granted"})
        found: str = api.call("POST", "/profiles/lookup", body=user, purpose="rights")["id"]
    return found


def test_one_page_tells_all_and_nothing_that_is_sealed(shell: Shell, ann: str) -> None:
    printed = shell("identity", "show", ann, "--purpose", "compliance_review")
    assert EMAIL not in printed
    for told in (
        ann, "country", "shop", "most_recent", "sealed", "a***@p***", "2 identifiers", "germans",
        "one event named both: ", "of shop, decided", "granted", MAIL, "Order Completed", "profile.read",
    ):  # fmt: skip
        assert told in printed, told


def test_the_value_to_look_up_comes_on_standard_input(
    shell: Shell, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{EMAIL}\n"))
    found = msgspec.json.decode(shell("identity", "show", "--type", "email", "--value", "-", "--json"))
    assert found["profile"]["id"] == ann
    assert found.keys() == {"profile", "identifiers", "links", "consents", "events", "uses"}
    assert {item["value"] for item in found["identifiers"]} == {None}
    assert EMAIL not in str(found)
    looked = ("audit", "search", "--action", "profile.lookup", "--limit", "1", "--json")
    (entry,) = msgspec.json.decode(shell(*looked))
    assert (entry["outcome"], entry["purpose"]) == ("allowed", "data_quality")
    monkeypatch.setattr("sys.stdin", io.StringIO("nobody@people.example\n"))
    said = shell("identity", "show", "--type", "email", "--value", "-", expect=1)
    assert "nobody has this identifier" in said


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("p_x", "--type", "email", "--value", "-"),
        ("--type", "email"),
        ("--type", "email", "--value", EMAIL),
        ("p_x", "--last", "0"),
    ],
)
def test_what_does_not_fit_is_wrong_usage(shell: Shell, wrong: tuple[str, ...]) -> None:
    shell("identity", "show", *wrong, expect=2)


def test_nobodys_data_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_list([{"name": "\x1b[2J\x9b\u202egnp.exe\r[bold]x"}], ("name",), as_json=False)
    shown = capsys.readouterr().out
    assert "[bold]x" in shown
    assert not set("\x1b\x9b\u202e\r") & set(shown)
