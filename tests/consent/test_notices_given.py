"""Notices given: what an opt-out basis rests on, and whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from gate_world import EMAIL, START, World, running

from cdp.clock import DAY
from cdp.consent import Draft, Member, Statement
from cdp.consent.attach import bound_by
from cdp.consent.model import Record
from cdp.consent.notices import notice_given
from cdp.gate import run_policy_tests
from cdp.policy import Notice, load

world_fixture = pytest.fixture(running, name="world")
POLICIES = Path(__file__).parents[2] / "policies"
BUNDLE = load(POLICIES)
PURPOSE = msgspec.structs.replace(
    BUNDLE.purposes[EMAIL],
    notices=tuple(
        Notice(id="news", version=version, material=version != 2, text=str(version)) for version in (1, 2, 3)
    ),
)
ADA, BEA, PHONE = 1, 2, 3


def person(number: int, *, came_with: int = 0, **linked: int) -> Member:
    """Return a person's identity; ``to_2=5`` links it to 2 at 5."""
    linked_at = {int(name[3:]): at for name, at in linked.items()}
    return Member(identity_no=number, device=False, linked_at=linked_at, came_with={came_with: True})


def told(number: int, at: int, version: int | None = 3, **more: Any) -> Record:
    given = {
        "record_id": at, "identity_no": number, "purpose": EMAIL, "state": "informed", "act": True,
        "event_time": at, "received_at": at, "source_kind": "server", "source_id": 1, "verified": True,
        "notice_id": "news", "notice_version": version,
    }  # fmt: skip
    return Record(**{**given, **more})


DEVICE = Member(identity_no=PHONE, device=True, linked_at={ADA: 1})
APART = (person(ADA, to_2=50), person(BEA, to_1=50))


@pytest.mark.parametrize(
    ("members", "records", "expected"),
    [
        ((person(ADA),), [told(ADA, 10)], 10),
        ((person(ADA),), [], None),
        ((person(ADA),), [told(ADA, 10), told(ADA, 20)], 10),
        ((person(ADA),), [told(ADA, 10, event_time=90)], 10),  # a clock that runs ahead
        ((person(ADA),), [told(ADA, 10, 2)], None),  # the third version is material
        ((person(ADA),), [told(ADA, 10, None)], None),
        ((person(ADA),), [told(ADA, 10, 9)], None),
        ((person(ADA),), [told(ADA, 10, notice_id="other")], None),
        ((person(ADA),), [told(ADA, 10, purpose="marketing")], None),  # each notice is for its purpose
        ((person(ADA),), [told(ADA, 10, state="granted")], None),
        (APART, [told(ADA, 10)], None),  # told before the two were linked
        (APART, [told(ADA, 60)], 60),
        (APART, [told(ADA, 10), told(BEA, 20)], 20),
        ((person(ADA), person(BEA, came_with=ADA, to_1=50)), [told(ADA, 10)], 10),
        ((person(ADA), DEVICE), [told(ADA, 9)], 9),
        ((person(ADA), DEVICE), [told(PHONE, 9)], None),
    ],
)  # fmt: skip
def test_a_profile_was_told_when_each_of_its_persons_was(
    members: tuple[Member, ...], records: list[Record], expected: int | None
) -> None:
    assert notice_given(PURPOSE, members, records) == expected


def test_a_notice_is_told_of_a_person_or_of_nobody() -> None:
    said = Statement(purpose=EMAIL, state="informed", act=True, event_time=1)
    draft = Draft(
        statements=(said,),
        named=(ADA, PHONE),
        authenticated=ADA,
        received_at=1,
        source_id=1,
        source_kind="server",
        verified=True,
    )
    unsigned = msgspec.structs.replace(draft, source_kind="browser", verified=False, authenticated=PHONE)
    assert bound_by(draft, said, draft.named, {PHONE}) == (ADA,)
    assert bound_by(unsigned, said, draft.named, {PHONE}) == ()


@pytest.fixture
def america(world: World) -> World:
    """A controller in the United States, so that no other law asks for a yes."""
    jurisdictions = msgspec.structs.replace(world.bundle.jurisdictions, controller=frozenset({"US"}))
    world.change(jurisdictions=jurisdictions)
    return world


def _withheld(world: World) -> dict[str, int]:
    found: dict[str, int] = world.gate.authorise(
        world.request(fields=("email",)), dry_run=True
    ).counts.withheld
    return found


@pytest.mark.parametrize("many", [-1, 1_000_000])
def test_an_opt_out_basis_needs_the_notice_and_no_yes(
    america: World, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp.gate.facts._MANY", many)
    ada = america.person("Ada", {"country": "US", "address.state": "TX"}, consent=None)
    assert _withheld(america) == {"notice_not_given": 1}
    america.say(ada, "informed")
    assert _withheld(america) == {}
    with america.store.reading() as connection:
        state = america.ledger.states(connection, EMAIL)[ada]
    assert (state.state, state.reason, state.notice_given) == ("missing", "no_record", START)
    america.say(ada, "opted_out")
    assert _withheld(america) == {"opted_out": 1}
    america.say(ada, "informed")  # lifts nothing
    assert _withheld(america) == {"opted_out": 1}
    america.say(ada, "granted")
    assert _withheld(america) == {}


def test_being_told_is_no_yes_and_leaves_a_first_grant_the_first(world: World) -> None:
    ada = world.person("Ada", consent=None)
    world.say(ada, "informed")
    assert _withheld(world) == {"no_consent": 1}
    stamp = Statement(purpose=EMAIL, state="granted", act=False, event_time=world.clock.now())
    members = {ada: world._consent_members([ada, ada + 1])}
    draft = Draft(
        statements=(stamp,),
        named=(ada,),
        authenticated=ada,
        received_at=world.clock.now(),
        source_id=1,
        source_kind="server",
        verified=True,
    )
    with world.committer.batch() as batch:
        taken = world.ledger.append(batch, [draft], members, {ada: ada})
        world.ledger.refresh(batch, members, ())
    assert len(taken.records[0]) == 1
    assert _withheld(world) == {}


CASES = """
- name: told, nothing said
  destination: mailer
  purpose: marketing.communications.email
  fields: email
  facts: {countries: US, states: [PLACE], notice: current}
  expect: {decision: permit, fields: {email: clear}}
- name: not told
  destination: mailer
  purpose: marketing.communications.email
  facts: {countries: US, states: [PLACE]}
  expect: {decision: deny, reason: notice_not_given}
- name: told of what has materially changed since
  destination: mailer
  purpose: marketing.communications.email
  facts: {countries: US, states: [PLACE], notice: superseded}
  expect: {decision: deny, reason: notice_not_given}
- name: told, and opted out
  destination: adnet
  purpose: marketing.advertising.third_party
  facts: {countries: US, states: [PLACE], notice: current, consent: {state: opted_out}}
  expect: {decision: deny, reason: opted_out}
- name: told, of a place that nobody knows
  destination: mailer
  purpose: marketing.communications.email
  facts: {notice: current}
  expect: {decision: deny, reason: no_consent}
"""


@pytest.mark.parametrize("place", ["TX", "CA"])
def test_what_an_american_controller_may_do(place: str) -> None:
    bundle = msgspec.structs.replace(
        BUNDLE, jurisdictions=msgspec.structs.replace(BUNDLE.jurisdictions, controller=frozenset({"US"}))
    )
    cases = CASES.replace("PLACE", place).encode()
    assert run_policy_tests(bundle, {"tests/america.yaml": cases}, START + DAY) == (5, [])
