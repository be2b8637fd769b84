"""States of consent while policies change: those of other policies are never taken for those in force."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller

from cdp.access import Principal
from cdp.clock import DAY, SECOND, FixedClock
from cdp.errors import UnavailableError
from cdp.policy import read_folder
from cdp.settings import Settings

EMAIL = "marketing.communications.email"


class Policies:
    """Two sets of policies, of which the strict one lets every consent to e-mail age within a day."""

    def __init__(self, caller: Caller, settings: Settings) -> None:
        self.services = caller.services
        self.services.policies.four_eyes = False
        self.officer = Principal(
            key_id=1, name="one", roles=frozenset({"officer"}), purposes=frozenset({"*"})
        )
        self.lax = dict(read_folder(settings.policies_dir))
        periods = ((b"validity_days: 730", b"validity_days: 1"), (b"max_age_days: 730", b"max_age_days: 1"))
        self.strict = dict(self.lax)
        for name in self.lax:
            for old, new in periods:
                self.strict[name] = self.strict[name].replace(old, new)

    def activate(self, files: dict[str, bytes]) -> None:
        """Put policies in force, and have them adopted; nothing is derived yet."""
        services = self.services
        candidate = services.policies.check(files)
        services.policies.propose(self.officer, candidate, files, services.bundle.sha256, {}, {})
        services.policies.approve(self.officer, candidate.sha256)
        services.in_force.refresh()

    def states(self) -> list[str]:
        """Return the states of e-mail as they are stored, for whoever may read them."""
        with self.services.store.reading() as connection:
            self.services.ledger.check_derived(connection)
            return [one.state for one in self.services.ledger.states(connection, EMAIL).values()]


@pytest.fixture
def policies(caller: Caller, settings: Settings, clock: FixedClock) -> Policies:
    caller.send(said("m1", Email=True))
    clock.advance(2 * DAY)
    return Policies(caller, settings)


def said(message_id: str, **choices: bool) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": message_id,
        "userId": "ann",
        "context": {"consent": {"categoryPreferences": choices}},
    }


def test_what_was_derived_under_policies_in_between_is_not_taken_for_theirs(
    caller: Caller, policies: Policies, clock: FixedClock
) -> None:
    assert policies.states() == ["granted"]
    policies.activate(policies.strict)
    with pytest.raises(UnavailableError):
        policies.states()
    caller.send(said("m2", Analytics=True))  # derives the states of this person under the strict policies
    clock.advance(SECOND)
    policies.activate(policies.lax)
    with pytest.raises(UnavailableError):
        policies.states()
    policies.services.deriving.settle()
    assert policies.states() == ["granted"]


def test_a_derivation_that_policies_passed_through_begins_again(
    caller: Caller, policies: Policies, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    deriving = policies.services.deriving
    page, pages = deriving._make_page, 0  # there is no other place between two pages

    def pass_through(*given: Any, **more: Any) -> None:
        nonlocal pages
        pages += 1
        page(*given, **more)
        if pages == 1:
            policies.activate(policies.lax)
            caller.send(said("m2", Analytics=True))
            clock.advance(SECOND)
            policies.activate(policies.strict)

    policies.activate(policies.strict)
    monkeypatch.setattr(deriving, "_make_page", pass_through)
    deriving.settle()
    assert pages > 1
    assert policies.states() == ["stale"]
    policies.activate(policies.lax)
    deriving.settle()
    assert policies.states() == ["granted"]
