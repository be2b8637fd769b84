"""An export is decided again, whatever happened since; what was altered shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import pytest
from caller import Caller
from pyroaring import BitMap
from replay_world import (
    EMAIL,
    act,
    activate,
    black_list,
    erase,
    exported,
    number_of,
    numbers_of,
    on_device,
    person,
    preference,
    profile,
    replayed,
    said,
    send,
    split,
)
from sqlalchemy import delete, select, update

from cdp.audit import Entry
from cdp.clock import DAY, FixedClock
from cdp.consent.tables import consent_records
from cdp.gate.replay import record
from cdp.gate.tables import export_classes, export_records, exports
from cdp.profiles.tables import trait_observations
from cdp.store import Batch

NAMES = ("ann", "bob", "cyd", "dan", "eva", "fay", "gil", "hal", "ida", "jon", "kim", "leo", "mia")
GRANTED = NAMES[:9]


@pytest.fixture
def people(caller: Caller) -> Caller:
    """Thirteen people and two devices: nine agreed to e-mail, one in China, one a minor; two are listed."""
    told = [person(name) for name in NAMES]
    told.append(person("cyd", country="China"))
    told.append(person("dan", birthday="2015-02-03"))
    told += [preference(name, agreed=True) for name in GRANTED]
    told += [preference("jon", agreed=False)]
    told += [on_device(name) for name in ("kiosk", "tablet")]
    send(caller, told)
    black_list(caller, "eva", "jon")
    return caller


def everything(report: dict[str, object]) -> tuple[object, ...]:
    return report["verdict"], report["problems"], report["lacks"]


WHOLE: tuple[object, ...] = ("15 reproduced, 0 erased, 0 unexplained, root equal", {}, [])


def test_an_export_is_reproduced(people: Caller) -> None:
    export = exported(people)
    shown = people.api("GET", f"/exports/{export}")
    assert shown["withheld"] == {"black_list": 2, "forbidden": 1, "no_separate_consent": 1, "no_consent": 5}
    report = replayed(people, export)
    assert everything(report) == WHOLE
    assert (report["people"], report["leaves"], report["carried"]) == (15, 12, 0)
    assert (report["ok"], report["same_code"]) == (True, True)
    (entry,) = people.api("GET", "/audit?action=export.replay")["items"]
    assert (entry["purpose"], entry["people"]["reproduced"]) == ("compliance_review", 15)
    assert people.api("GET", f"/exports/{export}/replays")["items"][0]["report"] == report


def after_consent(people: Caller) -> None:
    act(people, "ann", "withdrawn")
    act(people, "bob", "objected", "marketing")
    act(people, "kim", "granted")
    act(people, "jon", "granted")


def after_traits(people: Caller) -> None:
    send(people, [person("ann", country="China"), person("bob", plan="basic", birthday="2014-01-01")])


def after_lists(people: Caller) -> None:
    black_list(people, "ann", "bob")


def after_merges(people: Caller) -> None:
    send(people, [said("track", "ann", event="Seen", anonymousId="kiosk")])
    send(people, [said("track", "kim", event="Seen", anonymousId="tablet")])
    split(people, "fay")
    act(people, "fay", "withdrawn")


def after_policies(people: Caller) -> None:
    activate(people, "rules/communications.yaml", "user.contact.email: clear", "user.contact.email: drop")


@pytest.mark.parametrize(
    "change",
    [after_consent, after_traits, after_lists, after_merges, after_policies],
    ids=lambda c: c.__name__,
)
def test_it_holds_after(people: Caller, clock: FixedClock, change: Callable[[Caller], None]) -> None:
    export = exported(people)
    before = people.api("GET", f"/exports/{export}")
    clock.advance(DAY)
    change(people)
    later = exported(people)
    after = people.api("GET", f"/exports/{later}")
    assert (before["withheld"], before["fields"]) != (after["withheld"], after["fields"])
    clock.advance(1000 * DAY)  # by now every grant is stale
    assert everything(replayed(people, export)) == WHOLE
    assert replayed(people, later)["ok"]


@pytest.mark.parametrize(("rows", "proof"), [(True, True), (True, False), (False, False)])
def test_it_holds_after_others_were_erased(people: Caller, *, rows: bool, proof: bool) -> None:
    export = exported(people)
    for names in (("ann", "jon"), ("gil",)):
        erase(people, numbers_of(people, *names), rows=rows, proof=proof)
    report = replayed(people, export)
    assert everything(report)[0] == "12 reproduced, 3 erased, 0 unexplained, root equal"
    assert (report["explained"], report["carried"]) == ({"erased": 3}, 4)


def test_of_a_profile_that_lost_an_identity_the_leaves_are_carried_if_it_mattered(people: Caller) -> None:
    send(people, [said("track", "ann", event="Seen", anonymousId="kiosk")])
    send(people, [said("track", "bob", event="Seen", anonymousId="tablet")])
    export = exported(people)
    assert replayed(people, export)["verdict"] == "13 reproduced, 0 erased, 0 unexplained, root equal"
    anns, bobs = numbers_of(people, "ann"), numbers_of(people, "bob")
    erase(people, [number_of(people, "kiosk", "anonymous_id")])  # nothing of it decided
    erase(people, [number_of(people, "bob")])  # it was bob who agreed
    assert (len(anns), len(bobs)) == (3, 3)
    report = replayed(people, export)
    assert everything(report)[0] == "12 reproduced, 1 erased, 0 unexplained, root equal"
    assert (report["explained"], report["carried"]) == ({"partly_erased": 1}, 2)


def test_who_was_taken_out_meanwhile_is_taken_out_again(
    people: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the decision and its commit one withdraws, one is listed, one objects, one is relinked."""
    keyring = people.services.keyring
    proof_secrets = keyring.proof_secrets

    def meanwhile(numbers: Iterable[int]) -> dict[int, bytes]:
        monkeypatch.undo()
        act(people, "ann", "withdrawn")
        act(people, "bob", "objected", "segmentation")
        send(people, [said("track", "fay", event="Seen", anonymousId="kiosk")])
        black_list(people, "eva", "jon", "hal")
        return proof_secrets(numbers)

    monkeypatch.setattr(keyring, "proof_secrets", meanwhile)
    export = exported(people)
    shown = people.api("GET", f"/exports/{export}")
    assert (shown["released"], shown["withheld"]["changed_meanwhile"]) == (2, 4)
    assert everything(replayed(people, export)) == WHOLE
    with people.services.committer.batch() as batch:  # ann is put back: no fact says so
        kept = BitMap.deserialize(batch.connection.execute(select(exports.c.changed)).scalar_one())
        left = kept - BitMap(numbers_of(people, "ann"))
        batch.connection.execute(update(exports).values(changed=left.serialize()))
    report = replayed(people, export)
    assert report["problems"] == {"taken_out_leaf": 1}
    assert not report["changed_root_equal"]
    assert report["verdict"].endswith("1 unexplained, root different")


def test_what_retention_deleted_is_explained_by_the_record_if_the_log_says_so(people: Caller) -> None:
    export = exported(people)
    told = trait_observations.c
    gone = told.value.contains("China") | told.name.in_(("birthday", "age_band"))
    with people.services.committer.batch() as batch:
        batch.connection.execute(delete(trait_observations).where(gone))
    problems = replayed(people, export)["problems"]
    assert problems == {"forbidden:permitted": 1, "no_separate_consent:permitted": 1}
    with people.services.committer.batch() as batch:
        batch.record(Entry(action="retention.end", actor="system", object={"dry": 0}))
    report = replayed(people, export)
    assert everything(report) == WHOLE
    assert report["explained"] == {"facts_expired": 2}
    send(people, [person("cyd", country="France")])  # which is of later
    assert everything(replayed(people, export)) == WHOLE


def test_under_other_code_it_is_replayed_and_says_so(people: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    export = exported(people)
    monkeypatch.setattr("cdp.gate.replay.service.code_version", lambda: "9.9.9+later")
    report = replayed(people, export)
    assert everything(report) == WHOLE
    assert (report["code"], report["code_now"], report["same_code"]) == (
        record.code_version(),
        "9.9.9+later",
        False,
    )


def test_an_explanation_of_an_export_knows_the_lists_and_the_members_of_then(people: Caller) -> None:
    send(people, [person("noa", plan="basic"), preference("noa", agreed=True)])
    export = exported(people)
    after_lists(people)
    send(people, [person("ann", plan="basic"), person("noa")])

    def explained(name: str) -> tuple[str, bool, list[str]]:
        body = {"profile": profile(people, name), "export": export}
        found = people.api("POST", "/policies/explain", body, purpose="compliance_review")
        return found["reason"], found["in_segment"], found["not_reproduced"]

    gone = ["erased_facts_missing"]
    assert explained("eva") == ("black_list", True, gone)
    assert explained("ann") == ("permitted", True, gone)
    assert explained("noa") == ("permitted", False, gone)


# -- what was altered ----------------------------------------------------------------------------------


def manifest_altered(_people: Caller, batch: Batch) -> None:
    """Ann's leaf says something else."""
    packed = bytearray(batch.connection.execute(select(exports.c.manifest)).scalar_one())
    packed[40] ^= 1
    batch.connection.execute(update(exports).values(manifest=bytes(packed)))


def manifest_shortened(_people: Caller, batch: Batch) -> None:
    packed = batch.connection.execute(select(exports.c.manifest)).scalar_one()
    batch.connection.execute(update(exports).values(manifest=packed[64:]))


def class_altered(people: Caller, batch: Batch) -> None:
    """Somebody else stands among the released."""
    (held,) = batch.connection.execute(select(export_classes.c.identities)).scalars()
    added = BitMap.deserialize(held) | BitMap(numbers_of(people, "kim"))
    batch.connection.execute(update(export_classes).values(identities=added.serialize()))


def members_altered(people: Caller, batch: Batch) -> None:
    """Kim was never in the segment."""
    packed = batch.connection.execute(select(export_records.c.record)).scalar_one()
    held = record.unpack(packed)
    kim = BitMap(numbers_of(people, "kim"))
    withheld = {reason: held.withheld_for(reason) - kim for reason in held.withheld}
    left, owners = BitMap(), b""
    for place, number in enumerate(record.Record.people_of(held.identities)):
        if number not in kim:
            left.add(number)
            owners += held.owners[4 * place : 4 * place + 4]
    altered = msgspec.structs.replace(
        held,
        identities=left.serialize(),
        owners=owners,
        withheld={reason: some.serialize() for reason, some in withheld.items()},
    )
    batch.connection.execute(update(export_records).values(record=altered.pack()))


def consent_lost(people: Caller, batch: Batch) -> None:
    """A fact is gone that was there."""
    anns = numbers_of(people, "ann")
    batch.connection.execute(delete(consent_records).where(consent_records.c.identity_no.in_(anns)))


def position_altered(_people: Caller, batch: Batch) -> None:
    batch.connection.execute(update(exports).values(ledger_position=exports.c.ledger_position - 1))


@pytest.mark.parametrize(
    ("alter", "problems", "equal"),
    [
        (manifest_altered, {"leaf_other": 1}, True),  # the replayed leaf is the one that the log knows
        (manifest_shortened, {"leaf_missing": 1}, True),
        (class_altered, {"unrecorded:no_consent": 1}, True),
        (members_altered, {"record_altered": 1, "counts_differ": 1}, True),
        (consent_lost, {"permitted:no_consent": 1}, False),
        (position_altered, {"entry_differs": 1}, True),
    ],
    ids=lambda given: given.__name__ if callable(given) else None,
)
def test_what_was_altered_is_unexplained(
    people: Caller,
    alter: Callable[[Caller, Batch], None],
    problems: dict[str, int],
    *,
    equal: bool,
) -> None:
    export = exported(people)
    with people.services.committer.batch() as batch:
        alter(people, batch)
    report = replayed(people, export)
    assert report["problems"] == problems
    assert (report["ok"], report["root_equal"]) == (False, equal)
    assert report["unexplained"] == sum(problems.values())


def test_a_manifest_altered_where_nobody_holds_a_secret_has_another_root(people: Caller) -> None:
    export = exported(people)
    erase(people, numbers_of(people, *NAMES))
    assert replayed(people, export)["verdict"] == "2 reproduced, 13 erased, 0 unexplained, root equal"
    with people.services.committer.batch() as batch:
        manifest_altered(people, batch)
    report = replayed(people, export)
    assert report["problems"] == {"leaf_of_erased_missing": 1, "leaf_of_nobody": 1}
    assert report["verdict"].endswith("2 unexplained, root different")


# -- exports of before ---------------------------------------------------------------------------------


def test_an_export_without_a_record_is_replayed_as_far_as_it_goes(people: Caller) -> None:
    export = exported(people)
    after_lists(people)
    after_merges(people)
    act(people, "ann", "withdrawn")
    with people.services.committer.batch() as batch:
        batch.connection.execute(delete(export_records))
    report = replayed(people, export)
    assert report["problems"] == {"record_altered": 1}  # the log names one
    assert report["lacks"] == ["segment_members", "withheld", "black_lists", "decided_at", "code_version"]
    assert (report["people"], report["reproduced"], report["code"]) == (6, 6, "")


def test_bad_input(people: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    people.api("POST", "/exports/e_unheard_of/replay", expect=404)
    export = exported(people)
    for wanted in ("0", "7", "x", "9" * 40):
        people.api("GET", f"/exports/{export}/replays/{wanted}", expect=404)
    people.api("GET", "/exports/e_unheard_of/replays", expect=404)
    marketer = people.officer("mia", roles=("marketer",))
    people.api("POST", f"/exports/{export}/replay", key=marketer, expect=403)
    narrow = people.api("POST", "/keys", {"name": "n", "roles": ["officer"], "purposes": [EMAIL]})["key"]
    people.api("POST", f"/exports/{export}/replay", key=narrow, expect=403)
    replays = people.services.replays
    assert replays._alone.acquire(blocking=False)
    people.api("POST", f"/exports/{export}/replay", expect=409)
    replays._alone.release()
    with people.services.store.holding("replay"):
        people.api("POST", f"/exports/{export}/replay", expect=409)
    monkeypatch.setattr("cdp.gate.replay.service.Comparison.end", lambda _: 1 / 0)
    begun = people.api("POST", f"/exports/{export}/replay", expect=202)
    replays.wait()
    assert people.api("GET", f"/exports/{export}/replays/{begun['replay']}")["state"] == "failed"
    assert people.api("GET", "/audit?action=export.replay")["items"][0]["outcome"] == "failed"
