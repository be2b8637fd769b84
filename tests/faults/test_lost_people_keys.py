"""A person whose key is lost: their events wait, what they refuse counts, and nobody else notices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from caller import Caller
from recovery_world import identify, number_of, say, state
from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from cdp.crypto.tables import deks, keks
from cdp.store import Row


def _deleted(connection: Connection, row: ColumnElement[bool]) -> None:
    connection.execute(delete(deks).where(row))


def _altered(connection: Connection, row: ColumnElement[bool]) -> None:
    connection.execute(update(deks).where(row).values(wrapped=bytes(60)))


WAYS = pytest.mark.parametrize("way", [_deleted, _altered], ids=["deleted", "altered"])
Way = Callable[[Connection, ColumnElement[bool]], None]


class Lost:
    """The keys of one person, lost."""

    def __init__(self, caller: Caller, name: str, way: Way, domains: Sequence[str] = ("person",)) -> None:
        self._keyring = caller.services.keyring
        number = number_of(caller, name)
        self._where = and_(deks.c.identity_no == number, deks.c.domain.in_(domains))
        with self._keyring.store.writing() as connection, connection.begin():
            self._rows: Sequence[Row[Any]] = connection.execute(select(deks).where(self._where)).all()
            way(connection, self._where)
        self._forget()

    def restore(self) -> None:
        with self._keyring.store.writing() as connection, connection.begin():
            connection.execute(delete(deks).where(self._where))
            connection.execute(insert(deks), [row._asdict() for row in self._rows])
        self._forget()

    def _forget(self) -> None:
        with self._keyring._lock:
            self._keyring._forget()


def act(name: str, granted: bool, number: int) -> dict[str, Any]:  # noqa: FBT001  # what is said
    """Return an act of consent that brings something to be sealed."""
    return {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": f"sealed-{name}-{number}",
        "userId": name,
        "properties": {"comment": "of my own words"},
        "context": {"consent": {"categoryPreferences": {"Email": granted}}},
    }


def quarantined(caller: Caller) -> list[str]:
    return [item["reason"] for item in caller.api("GET", "/quarantine")["items"]]


@WAYS
def test_events_of_a_person_whose_key_is_lost_wait_and_their_neighbours_land(
    caller: Caller, way: Way
) -> None:
    for name in ("ann", "ben"):
        say(caller, name, True, 1)
    lost = Lost(caller, "ann", way)
    caller.send(
        {"type": "identify", "messageId": "ann-2", "userId": "ann", "traits": {"nickname": "An"}},
        {"type": "identify", "messageId": "ben-2", "userId": "ben", "traits": {"nickname": "Be"}},
        act("ann", True, 3),
        act("ben", False, 3),
    )
    assert quarantined(caller) == ["key_lost", "key_lost"]
    assert state(caller, "ben") == "withdrawn"
    again = caller.api("POST", "/quarantine/replay", {})  # still lost: it ends, nothing doubles
    assert (again["received"], again["stored"], again["quarantined"]) == (2, 0, 2)
    assert quarantined(caller) == ["key_lost", "key_lost"]
    lost.restore()
    again = caller.api("POST", "/quarantine/replay", {})
    assert (again["received"], again["stored"], again["quarantined"]) == (2, 2, 0)
    assert quarantined(caller) == []


@WAYS
@pytest.mark.parametrize("domains", [("person",), ("person", "proof")], ids=["person", "both"])
def test_a_withdrawal_counts_without_the_key(caller: Caller, way: Way, domains: tuple[str, ...]) -> None:
    say(caller, "ann", True, 1)
    Lost(caller, "ann", way, domains)
    caller.send(act("ann", False, 2))
    assert state(caller, "ann") == "withdrawn"
    assert quarantined(caller) == ["key_lost"]
    caller.send(act("ann", True, 3))  # what lifts waits with its event
    assert state(caller, "ann") == "withdrawn"
    assert quarantined(caller) == ["key_lost"] * 2


@WAYS
def test_a_refusal_told_by_the_consent_api_is_recorded(caller: Caller, way: Way) -> None:
    say(caller, "ann", True, 1)
    Lost(caller, "ann", way, ("person", "proof"))
    answer = caller.http.post(
        "/api/v1/consents",
        json={
            "identifiers": [{"type": "user_id", "value": "ann"}],
            "purpose": "marketing.communications.email",
            "state": "withdrawn",
        },
        auth=(caller.write_key(), ""),
    )
    assert answer.status_code == 201, answer.text
    assert state(caller, "ann") == "withdrawn"


@WAYS
def test_one_press_unsubscribes_without_the_key(caller: Caller, way: Way) -> None:
    say(caller, "ann", True, 1)
    identifier = {"type": "user_id", "value": "ann"}
    wanted = {"identifier": identifier, "kind": "withdraw", "purposes": ["marketing.communications.email"]}
    path = caller.api("POST", "/preferences/links", wanted)["url"].removeprefix("http://127.0.0.1:8000")
    lost = Lost(caller, "ann", way, ("person", "proof"))
    answer = caller.http.post(path, data={"List-Unsubscribe": "One-Click"})
    assert (answer.status_code, "You are unsubscribed" in answer.text) == (200, True)
    assert state(caller, "ann") == "withdrawn"
    lost.restore()
    assert state(caller, "ann") == "withdrawn"


def test_a_lost_kek_refuses_the_call_and_quarantines_nobody(caller: Caller) -> None:
    """It comes back with its backup: whoever sent something sends it again."""
    identify(caller, "ann")
    services = caller.services
    services.rotation.begin("key:1")
    with services.keyring.store.writing() as connection, connection.begin():
        connection.execute(delete(keks).where(keks.c.version == 1))
    services.keyring.keks.reload()
    services.keyring._forget()
    message = {"type": "identify", "messageId": "ann-9", "userId": "ann", "traits": {"nickname": "An"}}
    answer = caller.http.post("/v1/batch", json={"batch": [message]}, auth=(caller.write_key(), ""))
    assert (answer.status_code, answer.json()["code"]) == (503, "keys_unavailable")
    assert quarantined(caller) == []
