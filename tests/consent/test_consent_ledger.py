"""The consent ledger on both stores: what is appended, to whom, and the states that follow."""

from __future__ import annotations

import msgspec
import pytest
from ledger_world import (
    BROWSER,
    BUNDLE,
    DEVICE,
    EMAIL,
    MAIL,
    SMS,
    START,
    USER,
    World,
    draft,
    statement,
)
from pyroaring import BitMap
from sqlalchemy import select

from cdp.clock import DAY
from cdp.consent import Standing
from cdp.consent.tables import consent_records, consent_standings
from cdp.crypto import Place, open_sealed
from cdp.errors import SealError
from cdp.policy import Purpose
from cdp.store import read_head


def test_a_grant_goes_to_the_authenticated_identity_and_a_restraint_to_all(world: World) -> None:
    assert world.say(draft(statement("granted"))) == 1
    assert [(r.identity_no, r.state) for r in world.records()] == [(USER, "granted")]
    assert world.state() == "granted"
    later = draft(statement("withdrawn", START + 1), named=(MAIL,), received_at=START + 1)
    assert world.say(later) == 3
    assert {r.identity_no for r in world.records() if r.state == "withdrawn"} == {USER, MAIL, DEVICE}
    assert world.state() == "withdrawn"


def test_an_act_after_the_link_answers_for_all_until_the_split(world: World) -> None:
    world.say(draft(statement("withdrawn")))
    world.say(draft(statement("granted", START + 5), received_at=START + 5))
    assert world.state() == "granted"
    world.relink({USER: (USER, DEVICE), MAIL: (MAIL,)})
    assert world.state(USER) == "granted"
    assert world.state(MAIL) == "withdrawn"


def test_a_merge_takes_the_most_restrictive_and_forgets_the_state_of_the_vanished(world: World) -> None:
    world.relink({USER: (USER,), MAIL: (MAIL,)})
    world.say(draft(statement("granted")), draft(statement("refused"), named=(MAIL,)))
    assert (world.state(USER), world.state(MAIL)) == ("granted", "refused")
    world.linked_at = START + 9
    world.relink({USER: (USER, MAIL)})
    assert world.state(USER) == "refused"
    with world.store.reading() as connection:
        assert set(connection.execute(select(consent_standings.c.profile_no)).scalars()) == {USER}


def test_an_unsigned_browser_grants_for_the_device_only(world: World) -> None:
    world.relink({USER: (USER,), DEVICE: (DEVICE,)})
    world.say(draft(statement("granted"), named=(USER, DEVICE), **BROWSER))
    assert [(r.identity_no, r.state) for r in world.records()] == [(DEVICE, "granted")]
    assert world.say(draft(statement("granted"), named=(USER,), **BROWSER)) == 0
    assert world.say(draft(statement("granted"), named=(USER,), authenticated=None)) == 0


def test_a_browser_may_restrain_everybody_it_names(world: World) -> None:
    world.say(draft(statement("refused", act=False), named=(USER, DEVICE), **BROWSER))
    assert {r.identity_no for r in world.records()} == {USER, MAIL, DEVICE}


def test_only_changes_are_appended(world: World) -> None:
    stamp = draft(statement("granted", act=False))
    assert [world.say(stamp), world.say(stamp, stamp)] == [1, 0]
    refused = draft(statement("refused", act=False), received_at=START + 1)
    assert [world.say(refused), world.say(refused)] == [3, 0]
    assert world.say(stamp) == 0, "a stamp grants only where nothing was recorded"
    withdrawn = draft(statement("withdrawn", START + 2), received_at=START + 2)
    assert [world.say(withdrawn), world.say(withdrawn)] == [3, 0]
    assert world.say(refused) == 0, "a milder stamp over a restraint says nothing new"
    assert world.say(draft(statement("granted", START + 3), received_at=START + 3)) == 1
    assert world.say(draft(statement("granted", START + 4), received_at=START + 4)) == 1
    assert world.state() == "granted"
    again = draft(statement("refused", act=False), received_at=START + 5)
    assert world.say(again) == 1, "only over the grant"
    assert world.state() == "refused"


def test_a_restraint_above_is_materialised_for_what_lies_below(world: World) -> None:
    world.say(draft(statement("granted"), statement("granted", purpose="analytics")))
    world.say(draft(statement("withdrawn", purpose="marketing"), received_at=START + 1))
    with world.store.reading() as connection:
        assert world.ledger.restrained(connection, EMAIL) == BitMap([USER])
        assert world.ledger.restrained(connection, SMS) == BitMap([USER])
        assert world.ledger.restrained(connection, "analytics") == BitMap()
        assert world.ledger.states(connection, EMAIL)[USER].reason == "withdrawn_above"
    assert world.state(purpose="analytics") == "granted"


def test_a_grant_ages_without_any_writer(world: World) -> None:
    world.say(draft(statement("granted", expires_at=START + 10)))
    assert world.state() == "granted"
    world.clock.advance(10)
    assert world.state() == "stale"


def test_changed_since_names_real_changes_only(world: World) -> None:
    world.say(draft(statement("granted", act=False)))
    with world.store.reading() as connection:
        before, _ = read_head(connection)
        assert world.ledger.changed_since(connection, 0) == BitMap([USER])
    world.relink(world.profiles)
    with world.store.reading() as connection:
        assert world.ledger.changed_since(connection, before) == BitMap()
    world.say(draft(statement("withdrawn"), received_at=START + 1))
    with world.store.reading() as connection:
        assert world.ledger.changed_since(connection, before) == BitMap([USER])


def test_a_grant_keeps_the_notice_that_was_in_force(world: World) -> None:
    notice = BUNDLE.purposes[EMAIL].notices[0]
    world.say(draft(statement("granted")))
    (kept,) = world.records()
    assert (kept.notice_id, kept.notice_version, kept.notice_sha256) == (
        notice.id, notice.version, notice.sha256,
    )  # fmt: skip
    with world.store.reading() as connection:
        assert world.ledger.states(connection, EMAIL)[USER].notice_current
    other = statement("granted", START + 1, notice_id="paper-form", notice_version=3)
    world.say(draft(other, received_at=START + 1))
    assert world.records()[-1].notice_sha256 == ""
    with world.store.reading() as connection:
        assert not world.ledger.states(connection, EMAIL)[USER].notice_current


def test_all_that_was_said_comes_back(world: World) -> None:
    said = statement(
        "granted",
        act=True,
        event_type="separate",
        signal="form",
        expires_at=START + DAY,
        notice_id="email-news",
        notice_version=1,
        language="de",
        method="web\0form\ud800",
        jurisdiction="DE",
        recipients=("mailer", "crm"),
    )
    world.say(draft(said))
    (kept,) = world.records()
    assert (kept.event_type, kept.signal, kept.language, kept.method, kept.jurisdiction) == (
        "separate", "form", "de", "webform?", "DE",
    )  # fmt: skip
    assert kept.recipients == ("crm", "mailer")
    assert (kept.legal_basis, kept.source_kind, kept.verified, kept.act) == ("consent", "server", True, True)
    with world.store.reading() as connection:
        found = world.ledger.states(connection, EMAIL, [USER])[USER]
        assert world.ledger.states(connection, EMAIL, [MAIL]) == {}
        assert world.ledger.records_of(connection, [USER])
        assert not world.ledger.records_of(connection, [MAIL])
    assert found == Standing(
        purpose=EMAIL,
        state="granted",
        reason="granted",
        since=START,
        granted_at=START,
        expires_at=START + DAY,
        event_type="separate",
        notice_current=True,
        recipients=("crm", "mailer"),
        record_id=kept.record_id,
    )


def test_evidence_is_sealed_under_the_identity_s_proof_key(world: World) -> None:
    secret = b'{"categoryPreferences":{"Email":true}}'
    world.say(draft(statement("granted", evidence=secret)))
    (kept,) = world.records()
    assert kept.sealed is not None
    assert secret not in kept.sealed
    place = Place("test", "consent_records", "sealed").prefix()
    row_key = kept.record_id.to_bytes(8)
    proof = world.keyring.deks([USER], "proof")[USER]
    assert open_sealed(proof, place, row_key, USER, kept.sealed) == secret
    with pytest.raises(SealError):
        open_sealed(world.keyring.deks([USER])[USER], place, row_key, USER, kept.sealed)


def test_without_a_key_there_is_no_evidence(world: World) -> None:
    stranger = 99
    world.relink({stranger: (stranger,)})
    assert world.say(draft(statement("granted", evidence=b"said so"), named=(stranger,))) == 1
    with world.store.reading() as connection:
        assert connection.execute(select(consent_records.c.sealed)).scalars().all() == [None]


def test_states_of_names_every_purpose(world: World) -> None:
    with world.store.reading() as connection:
        found = world.ledger.states_of(connection, world.members(USER))
    assert set(found) == set(BUNDLE.purposes)
    assert {state.reason for state in found.values()} == {"no_record"}


def test_many_profiles_at_once(world: World) -> None:
    world.relink({number: (number,) for number in range(1000, 2000)})
    drafts = [
        draft(statement("granted" if n % 2 else "refused", act=False), named=(n,)) for n in world.profiles
    ]
    assert world.say(*drafts) == 1000
    with world.store.reading() as connection:
        everybody = world.ledger.states(connection, EMAIL)
        assert world.ledger.states(connection, EMAIL, range(6000)) == everybody
        assert len(everybody) == 1000
        assert world.ledger.restrained(connection, EMAIL) == BitMap(range(1000, 2000, 2))


def test_contradictions_in_one_message_end_restrained_whatever_their_order(world: World) -> None:
    both = (statement("withdrawn"), statement("granted"), statement("granted", purpose="analytics"))
    for turn, said in enumerate((both, both[::-1])):
        world.relink({turn: (100 + turn,)})
        world.say(draft(*said, named=(100 + turn,)))
        assert (world.state(turn), world.state(turn, "analytics")) == ("withdrawn", "granted")
        again = draft(statement("refused", act=False), named=(100 + turn,), received_at=START + 1)
        assert world.say(again) == 0, "the newest record is the one that binds"


def test_a_device_s_signal_binds_the_device(world: World) -> None:
    seen = draft(
        statement("refused", act=False, device_only=True),
        statement("granted", act=False, device_only=True, purpose="analytics"),
        named=(USER, DEVICE),
    )
    assert world.say(seen) == 2
    assert {r.identity_no for r in world.records()} == {DEVICE}
    world.relink({USER: (USER,), DEVICE: (DEVICE,)})
    assert (world.state(USER), world.state(DEVICE)) == ("missing", "refused")
    nobody = draft(statement("granted", act=False, device_only=True, purpose="analytics"), named=(USER,))
    assert world.say(nobody) == 0


def test_what_cannot_be_recorded_is_counted(world: World) -> None:
    odd = draft(statement("granted", purpose="marketing.pigeons"), statement("granted"), **BROWSER)
    with world.committer.batch() as batch:
        members, home = {USER: world.members(USER)}, dict.fromkeys(world.profiles[USER], USER)
        taken = world.ledger.append(batch, [odd], members, home)
    assert (taken.unknown, taken.unbound, taken.records, taken.profiles) == (1, 1, ((),), frozenset())


def test_what_restrains_a_purpose_that_is_not_declared_waits_for_it(world: World) -> None:
    pigeons = Purpose(key="marketing.pigeons", name="", description="", basis={"*": "consent"})
    world.adopt(purposes={**BUNDLE.purposes, pigeons.key: pigeons})
    world.say(draft(statement("granted", purpose=pigeons.key)))
    world.adopt()
    assert world.say(draft(statement("withdrawn", purpose=pigeons.key), received_at=START + 1)) == 3
    world.adopt(purposes={**BUNDLE.purposes, pigeons.key: pigeons})
    assert world.state(purpose=pigeons.key) == "withdrawn"


def test_a_refusal_of_all_reaches_what_was_re_affirmed_since(world: World) -> None:
    world.say(draft(statement("withdrawn", purpose="marketing")))
    world.say(draft(statement("granted", START + 1), received_at=START + 1))
    assert world.state() == "granted"
    milder = statement("refused", START + 2, act=False, purpose="marketing")
    assert world.say(draft(milder, received_at=START + 2)) == 1
    assert world.state() == "refused"


def test_stale_grants_are_counted_by_reason(world: World) -> None:
    world.relink({number: (number,) for number in (1, 2, 3)})
    world.say(draft(statement("granted", expires_at=START + 5), named=(1,)))
    world.say(draft(statement("granted"), named=(2,)))
    world.say(draft(statement("withdrawn", expires_at=START + 5), named=(3,)))
    email = BUNDLE.purposes[EMAIL]
    last = email.notices[-1]
    material = msgspec.structs.replace(last, version=last.version + 1, material=True, text="other")
    changed = msgspec.structs.replace(email, notices=(*email.notices, material))
    with world.store.reading() as connection:
        assert world.ledger.stale(connection) == {}
    world.clock.advance(5)
    with world.store.reading() as connection:
        assert world.ledger.stale(connection) == {EMAIL: {"stale_expired": 1}}
    world.adopt(purposes={**BUNDLE.purposes, EMAIL: changed})
    with world.store.reading() as connection:
        assert world.ledger.stale(connection) == {EMAIL: {"stale_expired": 1, "stale_notice": 1}}
