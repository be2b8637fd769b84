"""A restriction or an objection acts at once, whoever opens the request (GDPR Art. 18, 21)."""

from __future__ import annotations

import pytest
from caller import Caller

from cdp.clock import SECOND, FixedClock
from cdp.rights import queries

EMAIL = "marketing.communications.email"
ADDRESS = "ada.lovelace@example.org"


@pytest.fixture
def ada(caller: Caller) -> Caller:
    """A platform with one person in Britain, who agreed to e-mail and is in a segment."""
    traits = {"email": ADDRESS, "country": "GB"}
    caller.send({"type": "identify", "messageId": "m1", "userId": "ada", "traits": traits}, wait=True)
    for identifier in ({"type": "user_id", "value": "ada"}, {"type": "email", "value": ADDRESS}):
        caller.api("POST", "/consents", {"identifiers": [identifier], "purpose": EMAIL, "state": "granted"})
    caller.api("PUT", "/segments/britons", {"where": {"trait": "country", "op": "eq", "value": "GB"}})
    return caller


def rows(caller: Caller, export: str) -> int:
    """Fetch an export; return how many people came."""
    headers = {"Authorization": f"Bearer {caller.destination_key('mailer', EMAIL)}"}
    answer = caller.http.get(f"/api/v1/exports/{export}/data", headers=headers)
    assert answer.status_code == 200, answer.text
    return len(answer.text.splitlines())


def states(caller: Caller) -> dict[str, str]:
    """Return purpose → state, read for ``rights``, which nothing restrains."""
    asked = {"type": "user_id", "value": "ada"}
    profile = caller.api("POST", "/profiles/lookup", asked, purpose="rights")["id"]
    found = caller.api("GET", f"/profiles/{profile}/consents", purpose="rights")["items"]
    return {item["purpose"]: item["state"] for item in found}


@pytest.mark.parametrize(("kind", "word"), [("restriction", "restricted"), ("objection", "objected")])
def test_the_persons_row_is_gone_from_the_next_fetch(
    ada: Caller, clock: FixedClock, kind: str, word: str
) -> None:
    asked = {"segment": "britons", "destination": "mailer", "purpose": EMAIL}
    export = ada.api("POST", "/exports", asked)["id"]
    assert rows(ada, export) == 1
    clock.advance(SECOND)
    request = {"identifier": {"type": "email", "value": ADDRESS}, "kind": kind}
    assert ada.api("POST", "/rights/requests", request)["kind"] == kind
    assert rows(ada, export) == 0
    assert states(ada)[EMAIL] == word
    assert states(ada)["segmentation"] == word
    assert states(ada)["rights"] == "missing"


def test_a_second_request_restrains_what_was_lifted_since_and_says_nothing_twice(
    ada: Caller, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ada.services.rights._work, "advance", lambda: 0
    )  # else it is fulfilled within a second
    request = {"identifier": {"type": "email", "value": ADDRESS}, "kind": "objection"}
    first = ada.api("POST", "/rights/requests", request)
    services = ada.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "email", ADDRESS)
        assert number is not None
        count = len(services.ledger.records_of(connection, [number]))
    assert ada.api("POST", "/rights/requests", request)["id"] == first["id"]
    with services.store.reading() as connection:
        assert len(services.ledger.records_of(connection, [number])) == count
    clock.advance(SECOND)
    for identifier in ({"type": "user_id", "value": "ada"}, {"type": "email", "value": ADDRESS}):
        ada.api("POST", "/consents", {"identifiers": [identifier], "purpose": EMAIL, "state": "granted"})
    assert states(ada)[EMAIL] == "granted"
    clock.advance(SECOND)
    assert ada.api("POST", "/rights/requests", request)["id"] == first["id"]
    assert states(ada)[EMAIL] == "objected"


def test_request_and_restraint_are_one_transaction(ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(queries, "add_request", fail)
    request = {"identifier": {"type": "email", "value": ADDRESS}, "kind": "restriction"}
    ada.api("POST", "/rights/requests", request, expect=500)
    assert states(ada)[EMAIL] == "granted"
    monkeypatch.undo()
    assert ada.api("GET", "/rights/requests")["items"] == []


def test_an_access_request_restrains_nothing(ada: Caller) -> None:
    request = {"identifier": {"type": "email", "value": ADDRESS}, "kind": "access"}
    ada.api("POST", "/rights/requests", request)
    assert states(ada)[EMAIL] == "granted"
