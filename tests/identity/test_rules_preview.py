"""What other rules would change is told before anything is, and without any value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from caller import Caller
from rules_world import (
    COUNTER,
    ONE_MAIL,
    SHARED,
    Change,
    Value,
    activate,
    drop_contact,
    files,
    finish,
    message,
    platform,
    send,
    text,
)

from cdp.api.rest.identity import preview_shown
from cdp.app import Platform
from cdp.audit import AuditFilter
from cdp.clock import FixedClock
from cdp.errors import ConflictError
from cdp.identity import RulesPreview
from cdp.identity.anew import preview as preview_module
from cdp.identity.anew.queries import decided
from cdp.policy import read_rules
from cdp.settings import Settings

Shell = Callable[..., str]
ADA: Value = ("user_id", "ada")
BO: Value = ("user_id", "bo")
MAIL: Value = ("email", "ada@mail.example")
WORK: Value = ("email", "ada@work.example")
COUNTER_MAIL: Value = ("email", "counter@shop.example")
TABLET: Value = ("anonymous_id", "tablet")


def look(world: Platform, *changes: Change) -> RulesPreview:
    rules = read_rules(text(*changes).encode(), world.services.bundle.fields)
    return world.services.rules_preview("key:steward", "data_quality", rules)


def test_the_rules_in_force_change_nothing(world: Platform) -> None:
    send(world, message(1, [ADA, MAIL, TABLET]), message(2, [BO, TABLET]))
    found = look(world)
    assert (found.base, found.merged, found.parted) == (found.candidate, 0, 0)
    assert found.profiles == {"before": 2, "after": 2}
    assert (found.merging, found.parting, found.blocked) == ((), (), {})
    assert found.set_aside == {"before": {"unique:user_id": 1}, "after": {"unique:user_id": 1}}
    (largest,) = found.largest["before"]
    assert (largest.size, largest.devices) == (3, 1)
    assert largest.types == {"anonymous_id": 1, "email": 1, "user_id": 1}
    assert found.largest["after"] == found.largest["before"]


def test_who_would_come_together_and_by_which_link(world: Platform) -> None:
    send(world, message(1, [ADA, TABLET]), message(2, [BO, TABLET]))
    found = look(world, SHARED)
    assert (found.components, found.merged, found.parted) == (1, 2, 0)
    assert found.profiles == {"before": 2, "after": 1}
    assert found.set_aside == {"before": {"unique:user_id": 1}, "after": {}}
    (sample,) = found.merging
    assert sorted(sample.before.values(), key=len) == [{"user_id": 1}, {"anonymous_id": 1, "user_id": 1}]
    assert list(sample.after.values()) == [{"anonymous_id": 1, "user_id": 2}]
    (link,) = sample.links
    assert (set(link.types), link.before, link.after) == (
        {"user_id", "anonymous_id"},
        "unique:user_id",
        "accepted",
    )
    assert [one.size for one in found.largest["after"]] == [3]


def test_who_would_come_apart_and_why(world: Platform) -> None:
    send(world, message(1, [ADA, MAIL]), message(2, [ADA, WORK]))
    found = look(world, ONE_MAIL)
    assert (found.merged, found.parted, found.profiles) == (0, 1, {"before": 1, "after": 2})
    (sample,) = found.parting
    assert sample.parts == 2
    assert list(sample.before.values()) == [{"email": 2, "user_id": 1}]
    (link,) = sample.links
    assert (link.before, link.after) == ("accepted", "limit:email")


def test_what_would_be_blocked_is_found_under_the_key(world: Platform) -> None:
    for number in range(3):
        send(world, message(number, [("anonymous_id", f"till-{number}"), COUNTER_MAIL]))
    found = look(world, COUNTER)
    assert found.blocked == {"email": {"blocked": 1}}
    assert (found.parted, found.profiles, found.unreadable) == (1, {"before": 1, "after": 4}, 0)
    assert found.set_aside == {"before": {}, "after": {"blocked": 3}}
    assert {link.after for link in found.parting[0].links} == {"blocked"}
    activate(world, COUNTER)
    finish(world)
    back = look(world)
    assert back.blocked == {"email": {"unblocked": 1}}
    assert (back.merged, back.profiles) == (4, {"before": 4, "after": 1})
    assert {(link.before, link.after) for link in back.merging[0].links} == {("blocked", "accepted")}


def test_what_is_told_is_what_a_pass_then_does(world: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        user, device = ("user_id", f"user-{number}"), ("anonymous_id", f"tablet-{number // 3}")
        send(world, message(2 * number, [user, device]), message(2 * number + 1, [user, MAIL]))
    whole = look(world, SHARED, ONE_MAIL)
    monkeypatch.setattr(preview_module, "_PAGE", 2)
    assert look(world, SHARED, ONE_MAIL) == whole, "page after page it is the same"
    activate(world, SHARED, ONE_MAIL)
    finish(world)
    done = world.services.rules_pass.passes()[0]
    assert (done.merged, done.parted) == (whole.merged, whole.parted)
    after = look(world, SHARED, ONE_MAIL)
    assert after.profiles == {"before": whole.profiles["after"], "after": whole.profiles["after"]}
    then, now = whole.largest["after"], after.largest["before"]
    assert [(one.profile_no, one.types) for one in now] == [(one.profile_no, one.types) for one in then]


def test_it_writes_its_audit_entry_and_nothing_else(world: Platform) -> None:
    send(world, message(1, [ADA, TABLET]), message(2, [BO, TABLET]))
    services = world.services

    def held() -> tuple[Any, ...]:
        with services.store.reading() as connection:
            return (
                services.identity.everybody(connection),
                decided(connection, range(1, 100)),
                services.audit.count(connection, AuditFilter()),
                services.audit.search(connection, AuditFilter(action="identity.rules.preview"), 10, None),
            )

    before = held()
    look(world, SHARED)
    after = held()
    assert (after[:2], after[2]) == (before[:2], before[2] + 1)
    (entry,) = after[3]
    assert (entry.actor, entry.purpose, entry.people["merged"]) == ("key:steward", "data_quality", "<10")
    assert entry.subjects


def test_no_value_is_told(world: Platform) -> None:
    send(world, message(1, [ADA, MAIL, TABLET]), message(2, [BO, TABLET]), message(3, [BO, COUNTER_MAIL]))
    shown = msgspec.json.encode(preview_shown(look(world, SHARED, COUNTER), world.services)).decode()
    for word in ("ada@", '"ada"', '"bo"', ".example", "counter@", "tablet"):
        assert word not in shown


def test_the_entry_says_how_many_values_were_opened_and_what_for(world: Platform) -> None:
    send(world, message(1, [ADA, TABLET]), *(message(2 + n, [(BO[0], f"u{n}"), MAIL]) for n in range(9)))
    assert (look(world, SHARED).opened, look(world, COUNTER).opened) == (0, 12)
    services = world.services
    with services.store.reading() as connection:
        blocking, plain = services.audit.search(
            connection, AuditFilter(action="identity.rules.preview"), 10, None
        )
    assert "opened" not in plain.people.keys() | plain.object.keys()
    assert (blocking.people["opened"], blocking.object["opened"]) == (
        12,
        "identifiers, to see which are blocked",
    )


def restrain(caller: Caller, user: str, purpose: str) -> None:
    who = {"type": "user_id", "value": user}
    caller.api("POST", "/consents", {"identifiers": [who], "purpose": purpose, "state": "objected"})


def test_whoever_is_restrained_is_counted_and_not_shown(caller: Caller) -> None:
    shared = [message(number, [("user_id", user), TABLET]) for number, user in enumerate(("ada", "bo", "cy"))]
    caller.send(*shared, message(5, [("user_id", "dee"), MAIL]), message(6, [("user_id", "dee"), WORK]))
    ids = {user: caller.lookup("user_id", user)["id"] for user in ("ada", "bo", "cy", "dee")}
    body = {"identity": text(SHARED, ONE_MAIL)}

    def asked(purpose: str = "data_quality") -> dict[str, Any]:
        found: dict[str, Any] = caller.api("POST", "/identity/rules/preview", body, purpose=purpose)
        return found

    whole = asked()
    assert (len(whole["merging"]), len(whole["parting"]), whole["hidden"]) == (1, 1, 0)
    assert len(whole["largest"]["before"]) == 2
    restrain(caller, "cy", "data_quality")
    found = asked()
    told = {
        key: value for key, value in found.items() if key not in {"merging", "parting", "largest", "hidden"}
    }
    assert told == {key: whole[key] for key in told}, "everybody is counted"
    assert (found["merging"], found["parting"]) == ([], whole["parting"]), "cy would be one of the merged"
    assert [len(found["largest"][when]) for when in ("before", "after")] == [2, 1]
    assert found["hidden"] == 2, "the merged profile, as a sample and among the largest of afterwards"
    assert ids["cy"] not in str(found)
    restrain(caller, "dee", "data_quality")
    assert ids["dee"] not in str(asked())
    assert asked("rights")["merging"] == whole["merging"], "which nobody can restrain"
    entry = caller.api("GET", "/audit?action=identity.rules.preview&limit=1")["items"][-1]
    assert entry["outcome"] == "allowed"
    uses = {user: str(caller.api("GET", f"/profiles/{ids[user]}/uses", purpose="rights")) for user in ids}
    assert [user for user in ids if uses[user].count("identity.rules.preview") == 4] == ["ada"]


def test_nobody_looks_while_the_controller_is_switched_off_or_for_a_purpose_of_others(caller: Caller) -> None:
    caller.send(message(1, [ADA, TABLET]), message(2, [BO, TABLET]))
    path, body = "/identity/rules/preview", {"identity": text(SHARED)}
    caller.api("POST", path, body, purpose="marketing.communications.email", expect=403)
    caller.api("POST", "/destinations/controller/switch", {"enabled": False, "reason": "suspected_breach"})
    caller.api("POST", path, body, purpose="data_quality", expect=403)
    entries = caller.api("GET", "/audit?action=identity.rules.preview")["items"]
    assert {(one["outcome"], one["object"]["refused"]) for one in entries} == {
        ("denied", "purpose_not_internal"),
        ("denied", "destination_off"),
    }


def test_a_type_that_the_policies_drop_is_not_named(world: Platform) -> None:
    send(world, message(1, [ADA, MAIL]), message(2, [ADA, WORK]), message(3, [BO, TABLET]))
    shown = msgspec.json.encode(preview_shown(look(world, ONE_MAIL), world.services)).decode()
    assert "limit:email" in shown
    drop_contact(world)
    found = look(world, ONE_MAIL)
    (sample,) = found.parting
    assert list(sample.before.values()) == [{"other": 2, "user_id": 1}]
    (link,) = sample.links
    assert (set(link.types), link.before, link.after) == ({None, "user_id"}, "accepted", "limit")
    assert "email" not in str([one.types for one in found.largest["before"]])


def test_the_queue_names_no_type_either_that_the_policies_drop(world: Platform) -> None:
    """Of six addresses one is set aside; the portrait tells the same of it."""
    send(world, *(message(number, [ADA, ("email", f"ada{number}@mail.example")]) for number in range(6)))
    services = world.services

    def told() -> tuple[set[str | None], str]:
        (one,) = services.watch.set_aside("key:steward", 10)
        ada = services.profile_ids.encode(min(one.pair))
        (link,) = [
            link
            for link in services.portrait.links("key:steward", "identity_resolution", ada, 10)
            if not link.accepted
        ]
        assert (set(link.types), link.reason) == (set(one.types), one.reason)
        return set(one.types), one.reason

    assert told() == ({"email", "user_id"}, "limit:email")
    drop_contact(world, "identity-resolution")
    assert told() == ({None, "user_id"}, "limit")


def test_one_at_a_time(world: Platform) -> None:
    with world.services.rules_preview.alone(), pytest.raises(ConflictError):
        look(world)


def test_a_value_whose_key_is_lost_stays_as_it_was(world: Platform) -> None:
    send(world, message(1, [ADA, COUNTER_MAIL]))
    services = world.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, *COUNTER_MAIL)
    assert number is not None
    services.keyring.destroy([number])
    services.keyring.observe_epoch(10**6)
    found = look(world, COUNTER)
    assert (found.unreadable, found.blocked, found.parted) == (1, {}, 0)


# -- over HTTP and from the shell -------------------------------------------------------------------


def test_a_steward_asks_over_http(caller: Caller) -> None:
    caller.send(message(1, [ADA, TABLET]), message(2, [BO, TABLET]), wait=True)
    path = "/identity/rules/preview"
    steward = caller.officer("stewart", roles=("steward",))
    whole = {name: content.decode() for name, content in files(SHARED).items()}
    found = caller.api("POST", path, {"identity": text(SHARED)}, key=steward, purpose="data_quality")
    assert (found["merged"], found["profiles"]) == (2, {"before": 2, "after": 1})
    assert [one["id"][:2] for one in found["merging"][0]["before"]] == ["p_", "p_"]
    assert caller.api("POST", path, {"files": whole}, key=steward)["merging"] == found["merging"]
    assert caller.api("POST", path, key=steward)["merged"] == 0, "the server's own folder"
    officers = [caller.officer(name) for name in ("first", "second")]
    proposal = caller.api("POST", "/policies/activate", {"files": whole}, key=officers[0])["proposal"]
    assert caller.api("POST", path, {"proposal": proposal["id"]}, key=steward)["merged"] == 2
    caller.api("POST", path, {"proposal": "pp_none"}, key=steward, expect=404)
    caller.api("POST", path, {"proposal": ""}, key=steward, expect=404)
    caller.api("POST", path, {"identity": "types: {", "files": whole}, key=steward, expect=400)
    endless = text(('pattern: ["[0', 'pattern: ["(a+)+b", "[0'))
    caller.api("POST", path, {"identity": endless}, key=steward, expect=400)
    answer = caller.http.post(
        f"/api/v1{path}",
        content=msgspec.json.encode({"identity": "version: nonsense"}),
        headers={"Authorization": f"Bearer {steward}"},
    )
    assert answer.status_code == 400
    assert "identity.yaml:1" in answer.text
    marketer = caller.officer("mark", roles=("marketer",))
    for method, route in (("POST", path), ("GET", "/identity/rules"), ("POST", "/identity/rules/pause")):
        caller.api(method, route, key=marketer, expect=403)


def test_rules_and_passes_over_http(caller: Caller) -> None:
    found = caller.api("GET", "/identity/rules")
    assert found["types"][0] | {"blocked": None} == {
        "type": "user_id",
        "class": "person",
        "priority": 1,
        "unique": True,
        "limit": None,
        "blocked": None,
    }
    assert {key: found[key] for key in ("profile_cap", "growth_alarm", "component_cap")} == {
        "profile_cap": 500,
        "growth_alarm": 100,
        "component_cap": 10_000,
    }
    assert found["source_trust"] == {"server": 30, "import": 20, "browser": 10}
    assert found["matching"] == {"accept": 0.99, "review": 0.5}
    assert [one["state"] for one in found["passes"]] == ["done"]
    for verb in ("pause", "resume"):
        caller.api("POST", f"/identity/rules/{verb}", expect=409)
    caller.send(message(1, [ADA, TABLET]), message(2, [BO, TABLET]))
    whole = {name: content.decode() for name, content in files(SHARED).items()}
    first, second = caller.officer("first"), caller.officer("second")
    proposed = caller.api("POST", "/policies/activate", {"files": whole}, key=first)["proposal"]
    caller.api("POST", "/policies/activate", {"approve": proposed["id"]}, key=second)
    newest, _ = caller.api("GET", "/identity/rules")["passes"]
    assert newest["started_by"].startswith("key:"), "whoever approved the policies"
    finish_over(caller)
    newest, _ = caller.api("GET", "/identity/rules")["passes"]
    assert {key: newest[key] for key in ("state", "total", "done", "merged", "parted")} == {
        "state": "done",
        "total": 1,
        "done": 1,
        "merged": 2,
        "parted": 0,
    }


def finish_over(caller: Caller) -> None:
    """Do what the clockwork may not have done yet."""
    while caller.services.rules_pass.advance():
        pass


def test_the_command_tells_rules_difference_and_passes(
    settings: Settings, clock: FixedClock, shell: Shell, tmp_path: Path
) -> None:
    with platform(settings, clock) as world:
        send(world, message(1, [ADA, TABLET]), message(2, [BO, TABLET]))
    shown = shell("identity", "rules")
    assert "user_id" in shown
    assert "external:*" in shown
    assert "passes over everything" in shown
    assert "a profile holds at most 500 identifiers, and stewards are told from 100 on" in shown
    assert "what is told connects at most 10000 identifiers" in shown
    assert "trust in sources: server 30, import 20, browser 10" in shown
    assert "links from probability 0.99 on, a steward sees from 0.5 on" in shown
    file = tmp_path / "identity.yaml"
    file.write_text(text(SHARED), encoding="utf-8")
    shown = shell("identity", "rules", "--candidate", file)
    assert "2 profiles now, 1 under the candidate; nothing is changed" in shown
    assert "2 profiles would come together with others" in shown
    assert "unique:user_id → accepted" in shown
    folder = tmp_path / "policies"
    for name, content in files(COUNTER).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    found = msgspec.json.decode(shell("identity", "rules", "--candidate", folder, "--json"))
    assert (found["merged"], found["parted"], found["blocked"]) == (0, 0, {})
    assert "no pass" in shell("identity", "rules", "--pause", expect=1)
    for several in (["--pause", "--resume"], ["--candidate", folder, "--proposal", "pp_x"]):
        shell("identity", "rules", *several, expect=2)
    assert (
        msgspec.json.decode(shell("identity", "rules", "--follow", "--json"))["passes"][0]["state"] == "done"
    )
    assert (
        "no such file" in shell("identity", "rules", "--candidate", tmp_path / "none.yaml", expect=1).lower()
    )
