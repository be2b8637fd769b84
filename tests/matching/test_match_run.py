"""Runs of matching over a whole platform: who is compared, linked, left alone; what is on record.

What the core finds is scripted here by a key, as these tests are about what is done with it; the core has
tests of its own, and ``test_match_run_whole.py`` runs all of it.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import msgspec
import pytest
from caller import Caller
from people import Person, are_one, profile, run
from scripted import LIKELY, SURE, Scripted, entries, object_to_it, people, rows, scripted

from cdp.identity.tables import link_candidates
from cdp.matching import service
from cdp.matching.tables import match_models, match_pairs, match_runs
from cdp.policy import read_folder

core = pytest.fixture(scripted, name="core")


def test_who_is_surely_one_is_linked_with_evidence_that_vouches_for_nobody(
    caller: Caller, core: Scripted
) -> None:
    people(caller, 1, 2)
    ended = run(caller)
    assert (ended["state"], ended["records"], ended["linked"], ended["queued"]) == ("done", 4, 2, 0)
    assert are_one(caller, 1)
    assert are_one(caller, 2)
    told = [row for row in rows(caller, link_candidates) if row.origin == "match"]
    assert len(told) == 2
    assert not any(row.verified for row in told)
    kept = {(row.low, row.high): row for row in rows(caller, match_pairs)}
    assert {(row.low, row.high) for row in told} == kept.keys()
    assert {row.state for row in kept.values()} == {"linked"}
    assert all("exact" in row.waterfall for row in kept.values())
    assert len(rows(caller, match_models)) == 1
    assert core.fresh is None


def test_a_run_is_on_record_before_anything_is_opened_and_found_by_each_person(
    caller: Caller, core: Scripted
) -> None:
    people(caller, 1)
    seen: list[list[Any]] = []
    core.meanwhile = lambda: seen.append(entries(caller, action="matching.run"))
    run(caller)
    ((begun,),) = seen
    assert (begun.purpose, begun.destination) == ("identity_resolution", "controller")
    assert begun.object["step"] == "begin"
    assert begun.object["bundle"] == caller.services.bundle.sha256
    assert "email" in begun.object["fields"].split(",")
    assert begun.subjects
    used = caller.api("GET", f"/profiles/{profile(caller, 'user_id', 'shop-1')}/uses", purpose="rights")
    assert {"matching.run", "matching.link"} <= {entry["action"] for entry in used["items"]}
    ended = entries(caller, action="matching.run")[0]
    assert (ended.object["step"], ended.object["state"]) == ("end", "done")
    assert ended.people["linked"] == "<10"


def test_later_runs_look_at_who_is_new_and_a_full_one_at_everybody(caller: Caller, core: Scripted) -> None:
    people(caller, 1)
    caller.send(Person(2).shop())
    run(caller)
    first = len(core.tables)
    assert run(caller)["linked"] == 0
    caller.send(Person(2).newsletter())
    ended = run(caller)
    assert ended["linked"] == 1
    assert are_one(caller, 2)
    assert core.fresh is not None
    assert len(core.fresh) < core.tables[-1].num_rows
    assert core.models[-1] is not None
    settled = run(caller)
    looked = len(core.tables)
    assert run(caller)["state"] == "done"
    assert settled["model"] == ended["model"] == 1
    assert len(core.tables) == looked, "nobody is new: nobody is opened"
    assert first < looked
    assert run(caller, full=True)["model"] == 2
    assert core.models[-1] is None


@pytest.mark.parametrize("state", ["objected", "restricted"])
def test_who_restrains_matching_is_in_no_record_pair_or_entry(
    caller: Caller, core: Scripted, state: str
) -> None:
    ada, _ = people(caller, 1, 2)
    object_to_it(caller, 1, state)
    ended = run(caller)
    assert (ended["records"], ended["excluded"], ended["linked"]) == (3, 1, 1)
    assert ada.email not in core.values
    assert not are_one(caller, 1)
    assert are_one(caller, 2)
    used = caller.api("GET", f"/profiles/{profile(caller, 'user_id', 'shop-1')}/uses", purpose="rights")
    assert not [entry for entry in used["items"] if entry["action"].startswith("matching")]


def test_who_objects_while_it_runs_is_left_alone(caller: Caller, core: Scripted) -> None:
    people(caller, 1, 2)
    core.meanwhile = lambda: object_to_it(caller, 1)
    ended = run(caller)
    assert ended["linked"] == 1
    assert not are_one(caller, 1)
    assert entries(caller, action="matching.run")[0].people["refused.restrained"] == "<10"


def test_what_a_steward_took_apart_is_never_proposed_again(caller: Caller, core: Scripted) -> None:
    people(caller, 1)
    run(caller)
    _split_off(caller, "letter-1")
    assert not are_one(caller, 1)
    assert run(caller, full=True)["linked"] == 0
    core.weight = LIKELY
    assert run(caller, full=True)["queued"] == 0
    assert not are_one(caller, 1)


@pytest.mark.usefixtures("core")
def test_who_was_taken_apart_is_not_brought_together_by_way_of_a_third(caller: Caller) -> None:
    people(caller, 1)
    run(caller)
    _split_off(caller, "letter-1")
    caller.send({**Person(1).newsletter(), "anonymousId": "till-1"})
    ended = run(caller)
    assert ended["linked"] == 1
    assert not are_one(caller, 1)
    till = profile(caller, "anonymous_id", "till-1")
    assert till in {profile(caller, "user_id", "shop-1"), profile(caller, "anonymous_id", "letter-1")}


def _split_off(caller: Caller, browser: str) -> None:
    """Take a browser out of its profile."""
    found = caller.api(
        "GET", f"/profiles/{profile(caller, 'anonymous_id', browser)}/identifiers", purpose="rights"
    )
    own = next(item["id"] for item in found["items"] if item["type"] == "anonymous_id")
    caller.api("POST", f"/profiles/{own}/split", {"dry_run": False}, purpose="data_quality")


@pytest.mark.usefixtures("core")
def test_what_the_rules_refuse_is_counted_and_not_kept(caller: Caller) -> None:
    ada = Person(1)
    caller.send(ada.shop(), {**ada.newsletter(), "userId": "another-account"})
    ended = run(caller)
    assert (ended["linked"], ended["queued"]) == (0, 0)
    assert entries(caller, action="matching.run")[0].people["refused.unique:user_id"] == "<10"
    assert not [row for row in rows(caller, link_candidates) if row.origin == "match"]
    assert rows(caller, match_pairs) == []


def test_a_dry_run_counts_and_changes_nothing(caller: Caller, core: Scripted) -> None:
    people(caller, 1)
    ended = run(caller, dry_run=True)
    assert (ended["state"], ended["linked"]) == ("rehearsed", 1)
    core.weight = LIKELY
    assert run(caller, dry_run=True)["queued"] == 1
    assert not are_one(caller, 1)
    assert (rows(caller, match_pairs), rows(caller, match_models)) == ([], [])
    core.weight = SURE
    assert run(caller)["linked"] == 1, "a dry run is no run that later ones build upon"


def test_a_dry_run_queues_whom_the_run_would(caller: Caller, core: Scripted) -> None:
    """Nobody whom a steward rejected or took apart, nor who objects while it runs."""
    people(caller, 1)
    run(caller)
    _split_off(caller, "letter-1")
    people(caller, 2, 3, 4)
    core.weight = LIKELY
    assert run(caller, full=True)["queued"] == 3
    first = caller.api("GET", "/identity/review")["items"][0]["id"]
    caller.api("POST", f"/identity/review/{first}", {"decision": "reject"})
    held = rows(caller, match_pairs)
    assert run(caller, full=True, dry_run=True)["queued"] == 2
    assert rows(caller, match_pairs) == held
    assert run(caller, full=True)["queued"] == 2

    def object_all() -> None:
        for number in (2, 3, 4):
            object_to_it(caller, number)

    core.meanwhile = object_all
    assert run(caller, full=True, dry_run=True)["queued"] == 0


@pytest.mark.usefixtures("core")
def test_a_run_that_broke_off_is_closed_and_the_next_goes_on(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    people(caller, *range(1, 6))
    monkeypatch.setattr(service, "_LINKED", 2)
    link = caller.services.matching._settler.link
    done: list[int] = []

    def breaks(*given: Any, **more: Any) -> Any:
        if len(done) == 1:
            raise RuntimeError("ada@people.example")
        done.append(1)
        return link(*given, **more)

    monkeypatch.setattr(caller.services.matching._settler, "link", breaks)
    ended = run(caller)
    assert (ended["state"], ended["linked"]) == ("failed", 2)
    printed = capsys.readouterr()
    assert "RuntimeError" in printed.out + printed.err
    assert "people.example" not in printed.out + printed.err
    assert sum(are_one(caller, number) for number in range(1, 6)) == 2
    monkeypatch.setattr(caller.services.matching._settler, "link", link)
    assert run(caller)["linked"] == 3
    assert all(are_one(caller, number) for number in range(1, 6))


@pytest.mark.usefixtures("core")
def test_a_run_that_died_with_its_process_is_closed_by_the_next(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(caller, 1)

    def dies(*_given: object) -> None:
        raise SystemExit  # ends the thread where it stands

    with monkeypatch.context() as patched:
        patched.setattr(caller.services.matching, "_end", dies)
        patched.setattr(threading, "excepthook", lambda _: None)
        lost = caller.api("POST", "/match/runs", expect=202)
        caller.services.matching.wait()
    caller.services.matching._alone.release()
    caller.services.matching._progress.clear()
    assert caller.api("GET", f"/match/runs/{lost['run']}")["state"] == "interrupted"
    assert [found["state"] for found in caller.api("GET", "/match/runs")["items"]] == ["interrupted"]
    run(caller)
    states = {found["run"]: found["state"] for found in caller.api("GET", "/match/runs")["items"]}
    assert states == {1: "interrupted", 2: "done"}
    assert all(run.finished_at for run in rows(caller, match_runs))


def test_only_one_run_at_a_time(caller: Caller, core: Scripted) -> None:
    people(caller, 1)
    refused: list[Any] = []
    core.meanwhile = lambda: refused.append(caller.api("POST", "/match/runs", expect=409))
    assert run(caller)["state"] == "done"
    assert "under way" in refused[0]["detail"]
    store = caller.services.store
    with store.holding("matching") as one, store.holding("matching") as two:
        assert (one, two, store.held("matching")) == (True, False, True)
    assert not store.held("matching")


def test_the_end_of_the_process_ends_a_run_between_two_steps(caller: Caller, core: Scripted) -> None:
    people(caller, 1)
    core.meanwhile = caller.services.matching._stopping.set
    ended = run(caller)
    assert (ended["state"], ended["linked"]) == ("interrupted", 0)
    caller.services.matching._stopping.clear()
    core.meanwhile = lambda: None
    assert run(caller)["linked"] == 1


def test_new_policies_in_the_middle_end_it(
    caller: Caller, core: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(caller, 1)
    chooser = caller.services.matching._chooser

    def then_others(*given: Any, **more: Any) -> Any:
        return msgspec.structs.replace(chooser(*given, **more), bundle="of before")

    monkeypatch.setattr(caller.services.matching, "_chooser", then_others)
    assert run(caller)["state"] == "policies_changed"
    assert core.tables == []


@pytest.mark.parametrize("weight", [SURE, LIKELY])
def test_what_was_found_under_other_policies_is_neither_linked_nor_queued(
    caller: Caller, core: Scripted, weight: float
) -> None:
    people(caller, 1)
    core.weight = weight

    def activate() -> None:
        core.meanwhile = lambda: None
        rules = read_folder(caller.services.settings.policies_dir)
        strict = rules["identity.yaml"].replace(b"{accept: 0.99,", b"{accept: 0.9999,")
        files = {name: text.decode() for name, text in {**rules, "identity.yaml": strict}.items()}
        made = caller.api("POST", "/policies/activate", {"files": files}, key=caller.officer("first"))
        named = {"approve": made["proposal"]["sha256"]}
        caller.api("POST", "/policies/activate", named, key=caller.officer("second"))
        assert caller.services.bundle.identity.matching.accept == 0.9999

    core.meanwhile = activate
    ended = run(caller)
    assert (ended["state"], ended["linked"], ended["queued"]) == ("policies_changed", 0, 0)
    assert rows(caller, match_pairs) == []
    assert not are_one(caller, 1)
    (end,) = entries(caller, action="matching.run", outcome="failed")
    assert end.object["state"] == "policies_changed"
    assert run(caller)["state"] == "done"


def test_the_switch_ends_a_run_at_its_next_step(caller: Caller, core: Scripted) -> None:
    people(caller, 1)
    off = {"enabled": False, "reason": "incident"}
    core.meanwhile = lambda: caller.api("POST", "/destinations/controller/switch", off)
    ended = run(caller)
    assert (ended["state"], ended["linked"]) == ("denied", 0)
    caller.api("POST", "/destinations/controller/switch", {"enabled": True, "reason": "resolved"})
    assert not are_one(caller, 1)


def test_nothing_is_matched_while_the_controller_is_off(caller: Caller, core: Scripted) -> None:
    people(caller, 1)
    off = {"enabled": False, "reason": "incident"}
    caller.api("POST", "/destinations/controller/switch", off)
    caller.api("POST", "/match/runs", expect=403)
    denied = entries(caller, action="matching.run", outcome="denied")
    assert [entry.object["refused"] for entry in denied] == ["destination_off"]
    caller.api("GET", "/identity/review", expect=403)
    assert core.tables == []


@pytest.mark.parametrize("role", ["marketer", "admin", "officer"])
def test_who_may_start_one(caller: Caller, role: str) -> None:
    key = caller.officer("somebody", roles=(role,))
    caller.api("POST", "/match/runs", key=key, expect=403)
    read = 200 if role == "officer" else 403
    caller.api("GET", "/match/runs", key=key, expect=read)
    caller.api("GET", "/identity/review", key=key, expect=read)


def test_a_key_without_the_purpose_starts_none(caller: Caller) -> None:
    body = {"name": "s", "roles": ["steward"], "purposes": ["data_quality"]}
    key = caller.api("POST", "/keys", body)["key"]
    caller.api("POST", "/match/runs", key=key, expect=403)
    for number in ("7", "x", "9" * 30):
        caller.api("GET", f"/match/runs/{number}", key=key, expect=404)


def test_without_the_extra_the_error_names_the_install_line(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "splink", None)
    with pytest.raises(Exception, match=r"cdp\[match\]"):
        caller.services.matching.start("key:1")
    problem = caller.api("POST", "/match/runs", expect=500)
    assert problem["type"].endswith("configuration")
