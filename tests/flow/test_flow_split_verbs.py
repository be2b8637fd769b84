"""Carving out, revoking a link, admitting it again: what is told first, what is done, what is on record."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import pytest
from caller import Caller
from typer.testing import CliRunner

from cdp.cli import identity as command
from cdp.cli.client import Api
from cdp.cli.commands import app as cli
from cdp.clock import SECOND, FixedClock
from cdp.identity.queries import latest_links

PURPOSE = "data_quality"
EMAIL = "marketing.communications.email"
ANN: dict[str, Any] = {
    "userId": "ann",
    "anonymousId": "phone",
    "traits": {"email": "ann@people.example", "plan": "pro"},
}
NAMED = {
    "user": ("user_id", "ann"),
    "email": ("email", "ann@people.example"),
    "device": ("anonymous_id", "phone"),
    "tablet": ("anonymous_id", "tablet"),
    "other": ("user_id", "bea"),
    "pad": ("anonymous_id", "pad"),
    "cid": ("user_id", "cid"),
    "dee": ("user_id", "dee"),
}
_ids = itertools.count()


class Desk:
    """A steward."""

    def __init__(self, caller: Caller, clock: FixedClock) -> None:
        self.caller, self.clock = caller, clock

    def tell(self, kind: str = "identify", **body: Any) -> None:
        self.caller.send({"type": kind, "messageId": f"m{next(_ids)}", **body})
        self.clock.advance(SECOND)

    def id(self, name: str) -> str:
        """Return the id of an identity, not of its profile."""
        services = self.caller.services
        with services.store.reading() as connection:
            number = services.identity.find(connection, *NAMED[name])
        assert number is not None
        return services.profile_ids.encode(number)

    def split(self, name: str, *, do: bool = True, expect: int = 0, **body: Any) -> Any:
        path = f"/profiles/{self.id(name)}/split"
        return self._change(path, {"dry_run": not do, **body}, expect)

    def merge(self, *names: str, do: bool = True, expect: int = 0) -> Any:
        body = {"ids": [self.id(name) for name in names], "dry_run": not do}
        return self._change("/profiles/merge", body, expect)

    def _change(self, path: str, body: dict[str, Any], expect: int) -> Any:
        found = self.caller.api("POST", path, body, purpose=PURPOSE, expect=expect)
        self.clock.advance(SECOND)
        return found

    def groups(self) -> set[frozenset[str]]:
        """Return the names of who is one person."""
        services = self.caller.services
        found: dict[int, set[str]] = {}
        with services.store.reading() as connection:
            for name, named in NAMED.items():
                number = services.identity.find(connection, *named)
                if number is not None:
                    found.setdefault(services.identity.profile_of(connection, number), set()).add(name)
        return {frozenset(names) for names in found.values()}


@pytest.fixture
def desk(caller: Caller, clock: FixedClock) -> Desk:
    made = Desk(caller, clock)
    made.tell(**ANN)
    made.tell("track", event="Order Completed", anonymousId="phone")
    return made


def groups(*names: str) -> set[frozenset[str]]:
    return {frozenset(several.split()) for several in names}


def test_a_plan_says_what_goes_where_and_touches_nothing(desk: Desk) -> None:
    who = [{"type": "email", "value": "ann@people.example"}]
    desk.caller.api("POST", "/consents", {"identifiers": who, "purpose": EMAIL, "state": "granted"})
    plan = desk.split("device", do=False)
    assert plan["dry_run"]
    (before,) = plan["before"]
    assert (before["events"], before["traits"], len(before["identities"])) == (3, 2, 3)
    after = {len(group["identities"]): group for group in plan["after"]}
    assert [(after[n]["events"], after[n]["traits"]) for n in (1, 2)] == [(1, 0), (2, 2)]
    assert plan["links"] == plan["links_gone"] == [sorted_pair(desk, "user", "device")]
    assert plan["links_made"] == plan["set_aside"] == plan["destinations"] == []
    (change,) = (one for one in plan["consents"] if one["purpose"] == EMAIL)
    assert [one["state"] for one in change["before"]] == ["granted"]
    assert {one["id"]: one["state"] for one in change["after"]} == {
        after[1]["id"]: "missing",
        after[2]["id"]: "granted",
    }
    assert desk.groups() == groups("user email device")
    assert desk.split("device", do=False) == plan
    assert desk.split("device") == {**plan, "dry_run": False}
    assert desk.groups() == groups("user email", "device")


def sorted_pair(desk: Desk, *names: str) -> list[str]:
    ids = {desk.id(name) for name in names}
    services = desk.caller.services
    return sorted(ids, key=services.profile_ids.decode)


def test_several_are_carved_out_as_one_and_stay_apart_whatever_is_told(desk: Desk) -> None:
    done = desk.split("user", identities=[desk.id("email"), desk.id("device")])
    assert desk.groups() == groups("user", "email device"), "the steward's word holds them together"
    assert done["links_made"] == [sorted_pair(desk, "email", "device")]
    desk.tell(**ANN)
    desk.tell(anonymousId="phone", traits={"email": "ann@people.example"})
    assert desk.groups() == groups("user", "email device")
    desk.merge("user", "email")
    assert desk.groups() == groups("user email device")


def test_one_link_is_revoked_and_admitted_again_inside_a_profile(desk: Desk) -> None:
    desk.tell(anonymousId="phone", traits={"email": "ann@people.example"})
    link = [desk.id("user"), desk.id("device")]
    plan = desk.split("user", link=link)
    assert plan["links_gone"] == [sorted_pair(desk, "user", "device")]
    assert desk.groups() == groups("user email device"), "the address still ties them together"
    desk.split("user", link=link, expect=400)
    desk.split("device", link=[desk.id("device"), desk.id("email")])
    assert desk.groups() == groups("user email", "device")
    desk.merge("user", "device")
    assert desk.groups() == groups("user email device")
    services = desk.caller.services
    with services.store.reading() as connection:
        held = latest_links(
            connection, [services.profile_ids.decode(desk.id(name)) for name in ("user", "device")]
        )
    assert {accepted for accepted, _ in held.values()} == {True}, "both links stand again"
    desk.split("user", link=link)
    desk.merge("user", "device")
    desk.merge("user", "device", expect=400)


def test_who_is_carved_out_may_join_whom_the_rules_had_kept_apart(desk: Desk) -> None:
    desk.tell(userId="bea", anonymousId="phone")
    assert desk.groups() == groups("user email device", "other"), "a device of two users stays with the first"
    plan = desk.split("device", do=False)
    assert plan["links_made"] == [sorted_pair(desk, "other", "device")]
    assert {len(group["identities"]) for group in plan["before"]} == {1, 3}
    desk.split("device")
    assert desk.groups() == groups("user email", "device other")
    assert desk.merge("user", "device", do=False)["refused"] == {"unique:user_id": 1}
    desk.merge("user", "device", expect=409)
    assert desk.groups() == groups("user email", "device other")


def test_a_merge_takes_nobody_out_of_another_profile(desk: Desk) -> None:
    """Old evidence for the very pair that the steward names comes first: it would take the pad from Dee."""
    desk.tell("track", event="Seen", anonymousId="pad")  # first, so that its number stands for its profile
    desk.tell(userId="cid", anonymousId="pad")
    desk.split("pad")
    desk.tell(userId="dee", anonymousId="pad")
    assert desk.groups() == groups("user email device", "cid", "pad dee")
    assert desk.merge("cid", "pad", do=False)["refused"] == {"unique:user_id": 1}
    desk.merge("cid", "pad", expect=409)
    desk.split("pad", link=[desk.id("pad"), desk.id("dee")])
    desk.tell("alias", userId="dee", previousId="tablet")
    desk.merge("pad", "tablet")
    assert desk.groups() == groups("user email device", "cid", "pad dee tablet")
    desk.merge("cid", "pad", expect=409)
    assert desk.groups() == groups("user email device", "cid", "pad dee tablet")


@pytest.mark.parametrize(
    "body",
    [
        {"identities": ["p_nonsense"]},
        {"link": ["p_nonsense", "p_nonsense"]},
        {"link": ["only-one"]},
        {"identities": "all"},
        {"reason": "x" * 501},
        {"unknown": 1},
        {"identities": []},
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(desk: Desk, body: dict[str, Any]) -> None:
    answer = desk.caller.http.post(
        f"/api/v1/profiles/{desk.id('device')}/split",
        json={"dry_run": False, **body},
        headers={"Authorization": f"Bearer {desk.caller.operator_key}", "CDP-Purpose": PURPOSE},
    )
    assert answer.status_code in {400, 404}, answer.text
    assert desk.groups() == groups("user email device")


def test_an_empty_choice_takes_no_merge_back_and_what_is_null_is_left_out(desk: Desk) -> None:
    desk.tell("track", event="Opened", anonymousId="tablet")
    desk.merge("user", "tablet")
    told = "identities names at least one identity; leave it out to take back the last merge of the id"
    assert desk.split("tablet", identities=[], expect=400)["detail"] == told
    assert desk.split("tablet", identities=[], link=[desk.id("tablet")] * 2, expect=400)["detail"] == told
    query = """mutation($id: ID!, $several: [ID!]) {
      splitProfile(id: $id, identities: $several, link: null, reason: null, dryRun: true) { dryRun }
    }"""
    answer = _asked(desk, query, id=desk.id("tablet"), several=[])
    assert answer["errors"][0]["message"] == told
    assert _ask(desk, query, id=desk.id("tablet"), several=None)["splitProfile"]["dryRun"]
    assert desk.groups() == groups("user email device tablet")
    desk.split("tablet", identities=None, link=None, reason=None)
    assert desk.groups() == groups("user email device", "tablet")
    both = [desk.id("user"), desk.id("tablet")]
    desk.caller.api("POST", "/profiles/merge", {"ids": both, "reason": None}, purpose=PURPOSE)


def test_ids_of_somebody_else_and_of_everybody_are_refused(desk: Desk) -> None:
    desk.tell(userId="bea")
    desk.split("device", identities=[desk.id("other")], expect=400)
    desk.split("device", identities=[desk.id(name) for name in ("user", "email", "device")], expect=400)
    desk.split("device", link=[desk.id("user"), desk.id("email")], expect=400)
    desk.split("device", link=[desk.id("device"), desk.id("other")], expect=400)
    desk.split("other", expect=400)


def test_a_reason_is_kept_as_a_reveal_keeps_it(desk: Desk) -> None:
    desk.split("device", do=False, reason="customer_request")
    desk.split("device", reason="Ann says that this is her sister's telephone")
    shown = desk.caller.api("GET", "/audit?action=identity.split")["items"]
    reasons = [entry["object"]["reason"] for entry in shown]
    assert reasons[1] == "customer_request"
    assert reasons[0].startswith("text:")
    assert "sister" not in str(shown)
    assert [entry["object"]["dry_run"] for entry in shown] == [0, 1]


def test_the_command_splits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = desk.caller

    def exchange(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        return caller.http.request(request.method, path, content=request.content, headers=request.headers)

    @contextmanager
    def connected() -> Iterator[Api]:
        yield Api(exchange, caller.operator_key)

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli, ["identity", "split", *words])
        assert done.exit_code == code, done.output
        return done.output

    monkeypatch.setattr(command, "connected", connected)
    email, device = desk.id("email"), desk.id("device")
    for wrong in ([email, "--link"], [email, device, email, "--link"], [email, device, "--alone"]):
        run(*wrong, code=2)
    planned = run(email, device)
    for told in ("nothing is done", "gone", "a***@p***", "anonymous_id", "user_id", "2 identifiers"):
        assert told in planned
    assert "so one identifier leaves: anonymous_id" in run(device)
    assert "ann@people.example" not in planned
    assert desk.groups() == groups("user email device")
    run(email, device, "--do", "--reason", "customer_request")
    assert desk.groups() == groups("user", "email device")
    plan = msgspec.json.decode(run(email, device, "--link", "--do", "--json"))
    assert not plan["dry_run"]
    assert desk.groups() == groups("user", "email", "device")


def test_graphql_has_the_same_verbs(desk: Desk) -> None:
    query = """mutation($id: ID!, $several: [ID!]) {
      splitProfile(id: $id, identities: $several, dryRun: false, reason: "customer_request") {
        dryRun before {id identities events traits} after {identities} links linksGone linksMade
        setAside {link reason} refused consents {purpose before {id state} after {id state}}
        destinations {destination purpose segment references}
      }
    }"""
    merge = (
        "mutation($ids: [ID!]!) { mergeProfiles(ids: $ids, dryRun: false) { refused after {identities} } }"
    )
    link = "mutation($id: ID!, $link: [ID!]) { splitProfile(id: $id, link: $link) { dryRun linksGone } }"
    several = [desk.id("email"), desk.id("device")]
    done = _ask(desk, query, id=desk.id("user"), several=several)["splitProfile"]
    assert not done["dryRun"]
    assert sorted(len(group["identities"]) for group in done["after"]) == [1, 2]
    assert desk.groups() == groups("user", "email device")
    assert _ask(desk, merge, ids=[desk.id("user"), desk.id("device")])["mergeProfiles"]["refused"] == {}
    assert desk.groups() == groups("user email device")
    assert _ask(desk, link, id=several[0], link=several)["splitProfile"]["dryRun"]


def _ask(desk: Desk, query: str, **variables: Any) -> Any:
    answer = _asked(desk, query, **variables)
    assert "errors" not in answer, answer
    return answer["data"]


def _asked(desk: Desk, query: str, **variables: Any) -> Any:
    headers = {"Authorization": f"Bearer {desk.caller.operator_key}", "CDP-Purpose": PURPOSE}
    body = {"query": query, "variables": variables}
    return desk.caller.http.post("/graphql", json=body, headers=headers).json()


def test_a_dry_run_leaves_nothing_but_its_entry(desk: Desk) -> None:
    """Not even what the change would have put on record beside it."""
    desk.split("device")
    desk.merge("user", "device", do=False)
    entries = desk.caller.api("GET", "/audit?limit=200")["items"]
    told = [(one["action"], one["object"].get("dry_run")) for one in entries]
    assert [one for one in told if one[0].startswith(("identity.", "profile."))] == [
        ("identity.merge", 1),
        ("identity.split", 0),
    ]
    assert desk.groups() == groups("user email", "device")
