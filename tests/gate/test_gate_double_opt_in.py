"""A purpose for which policy asks for a double opt-in: an unconfirmed yes is on record and moves nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from gate_world import EMAIL, World, running

from cdp.clock import DAY
from cdp.crypto import Place, seal
from cdp.gate import Authorisation
from cdp.identity.queries import add_identities, move
from cdp.policy import Purpose

world_fixture = pytest.fixture(running, name="world")


def ask(world: World, *jurisdictions: str) -> None:
    """Have policy ask for a double opt-in there."""
    purpose: Purpose = world.bundle.purposes[EMAIL]
    asking = msgspec.structs.replace(purpose, double_opt_in=jurisdictions)
    world.change(purposes={**world.bundle.purposes, EMAIL: asking})


def dry(world: World) -> Authorisation:
    return world.gate.authorise(world.request(), dry_run=True)


def confirm(world: World, number: int, **more: Any) -> None:
    """Have somebody confirm from their e-mail address."""
    world.say(number, "granted", **{"method": "double_opt_in", "by": number + 1, **more})


def test_a_yes_counts_once_it_is_confirmed(world: World) -> None:
    ask(world, "EU")
    ada, bea = world.person("Ada"), world.person("Bea")
    confirm(world, bea)
    given = world.gate.authorise(world.request())
    assert given.counts.withheld == {"consent_not_confirmed": 1}
    assert world.emails(given.export_id) == {"bea@people.example"}
    confirm(world, ada, method="preference_page")  # reached by a link that was sent to the very address
    assert dry(world).counts.released == 2


def test_a_no_ends_a_confirmation(world: World) -> None:
    ask(world, "EU")
    ada = world.person("Ada", consent=None)
    confirm(world, ada)
    export = world.gate.authorise(world.request()).export_id
    assert len(world.emails(export)) == 1
    world.say(ada, "granted")  # another yes takes nothing away
    assert len(world.emails(export)) == 1
    world.say(ada, "withdrawn", purpose="marketing")
    world.say(ada, "granted", purpose="marketing")
    world.say(ada, "granted")
    assert dry(world).counts.withheld == {"consent_not_confirmed": 1}


NOT_CONFIRMED = {"consent_not_confirmed": 1}


def test_a_confirmation_for_one_recipient_is_none_for_another(world: World) -> None:
    ask(world, "EU")
    ada = world.person("Ada", consent=None)
    confirm(world, ada, recipients=("crm",), expires_at=world.clock.now() + DAY)
    world.clock.advance(10 * DAY)
    world.say(ada, "granted", recipients=("mailer",))
    assert dry(world).counts.withheld == NOT_CONFIRMED
    confirm(world, ada, recipients=("mailer", "crm"))
    assert dry(world).counts.released == 1


def test_a_confirmation_ends_with_the_grant_that_was_confirmed(world: World) -> None:
    ask(world, "EU")
    ada = world.person("Ada", consent=None)
    end = world.clock.now() + DAY
    confirm(world, ada, expires_at=end)
    world.say(ada, "granted")  # for longer, which nobody confirmed
    given = world.gate.authorise(world.request())
    assert given.valid_until == end
    assert len(world.emails(given.export_id)) == 1
    world.clock.advance(DAY)
    assert world.emails(given.export_id) == set()
    assert dry(world).counts.withheld == NOT_CONFIRMED


def test_a_confirmation_is_no_older_than_a_grant_of_its_purpose_may_be(world: World) -> None:
    ask(world, "EU")
    purpose = msgspec.structs.replace(world.bundle.purposes[EMAIL], validity_days=30)
    world.change(purposes={**world.bundle.purposes, EMAIL: purpose})
    ada = world.person("Ada", consent=None)
    confirm(world, ada)
    world.clock.advance(20 * DAY)
    world.say(ada, "granted")
    assert dry(world).counts.released == 1
    world.clock.advance(20 * DAY)
    assert dry(world).counts.withheld == NOT_CONFIRMED


def test_a_confirmation_on_a_text_that_has_changed_does_not_count(world: World) -> None:
    ask(world, "EU")
    ada = world.person("Ada", consent=None)
    confirm(world, ada)
    purpose = world.bundle.purposes[EMAIL]
    newest = purpose.notice_at(world.clock.now())
    assert newest is not None
    material = msgspec.structs.replace(
        newest, version=newest.version + 1, material=True, in_force_from=world.clock.now()
    )
    changed = msgspec.structs.replace(purpose, notices=(*purpose.notices, material))
    world.change(purposes={**world.bundle.purposes, EMAIL: changed})
    world.say(ada, "granted")
    assert dry(world).counts.withheld == NOT_CONFIRMED


def test_a_confirmation_dated_before_a_no_ends_with_it(world: World) -> None:
    ask(world, "EU")
    ada = world.person("Ada", consent=None)
    said_at = world.clock.now()
    world.clock.advance(DAY)
    world.say(ada, "withdrawn")
    confirm(world, ada, event_time=said_at)
    world.say(ada, "granted")
    assert dry(world).counts.withheld == NOT_CONFIRMED


def test_of_several_laws_one_is_enough_to_ask_for_it(world: World) -> None:
    ask(world, "UK")
    world.person("Ada", {"country": "Germany"})
    world.person("Bea", {"country": "United Kingdom"})
    assert dry(world).counts.withheld == {"consent_not_confirmed": 1}


def test_nobody_said_yes_is_told_apart(world: World) -> None:
    ask(world, "EU")
    world.person("Ada", consent=None)
    assert dry(world).counts.withheld == {"no_consent": 1}


def join(world: World, profile_no: int, kind: str, value: str) -> int:
    """Add an identifier to somebody; returns its number."""
    world.numbers += 1
    number = world.numbers
    world.keyring.create([number])
    prefix = Place("test", "identities", kind).prefix()
    sealed = seal(world.keyring.deks([number])[number], prefix, number.to_bytes(8), number, value.encode())
    with world.committer.batch() as batch:
        row = (number, kind, sealed, world.clock.now(), bytes(16), batch.id)
        add_identities(batch.connection, [row], batch.id)
        move(batch.connection, {number: (profile_no, profile_no)}, batch.id)
    world.segments.as_of = world.head()
    return number


def test_who_confirms_is_the_address_that_is_used(world: World) -> None:
    """A confirmed user id, telephone or former address says nothing of the address that messages go to."""
    ask(world, "EU")
    ada = world.person("Ada")
    confirm(world, ada, by=ada)
    assert dry(world).counts.withheld == NOT_CONFIRMED
    phone, address = join(world, ada, "phone", "+4930123456"), ada + 1
    confirm(world, ada, by=phone, numbers=(ada, address, phone))
    assert dry(world).counts.withheld == NOT_CONFIRMED
    confirm(world, ada, numbers=(ada, address, phone))
    assert dry(world).counts.released == 1
    later = join(world, ada, "email", "ada@later.example")
    assert dry(world).counts.withheld == NOT_CONFIRMED
    confirm(world, ada, by=later, numbers=(ada, address, phone, later))
    export = world.gate.authorise(world.request()).export_id
    assert len(world.emails(export)) == 1
