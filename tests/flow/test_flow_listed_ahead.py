"""A list that is loaded before its people arrive binds them from the moment at which they are known."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from caller import Caller

from cdp.errors import StoreError
from cdp.ingest import add_events
from cdp.segments import ListKind
from cdp.segments.tables import list_waiting
from cdp.store import Connection

EMAIL = "marketing.communications.email"
GERMANS = {"where": {"trait": "country", "op": "eq", "value": "Germany"}}


def address(name: str) -> str:
    return f"{name}@people.example"


def put(caller: Caller, *names: str, kind: ListKind = "black", name: str = "robinson") -> tuple[int, int]:
    """Load a list of addresses; return how many are known, and how many not."""
    members = [{"type": "email", "value": address(one)} for one in names]
    made = caller.api("PUT", f"/lists/{name}", {"kind": kind, "members": members})
    return made["members"], made["unknown"]


def arrive(caller: Caller, user: str, *, email: bool = True, number: int = 0) -> None:
    traits = {"country": "Germany"} | ({"email": address(user)} if email else {})
    message = {"type": "identify", "messageId": f"{user}-{number}", "userId": user, "traits": traits}
    caller.send(message, wait=True)


def agree(caller: Caller, user: str) -> None:
    said = {"identifiers": [{"type": "user_id", "value": user}], "purpose": EMAIL, "state": "granted"}
    caller.api("POST", "/consents", said)


def export(caller: Caller) -> dict[str, Any]:
    """Ask what an export would release."""
    caller.api("PUT", "/segments/germans", GERMANS)
    asked = {"segment": "germans", "destination": "mailer", "purpose": EMAIL, "dry_run": True}
    made: dict[str, Any] = caller.api("POST", "/exports", asked)
    return made


def blocked(caller: Caller) -> set[str]:
    """Return the user ids of those who stand on a black list."""
    services = caller.services
    with services.store.reading() as connection:
        found = services.segments.blocked(connection)
        known = {user: services.identity.find(connection, "user_id", user) for user in ("ann", "ben", "cleo")}
        home = services.identity.profiles_of(connection, [no for no in known.values() if no is not None])
    return {user for user, number in known.items() if number is not None and home[number] in found}


def waiting(caller: Caller) -> list[tuple[bytes, str]]:
    with caller.services.store.reading() as connection:
        return [(bytes(row.tag), row.name) for row in connection.execute(list_waiting.select())]


def test_a_robinson_list_blocks_whoever_arrives_after_it(caller: Caller) -> None:
    arrive(caller, "ben")
    assert put(caller, "ann", "ben", "cleo") == (1, 2)
    arrive(caller, "ann")
    for user in ("ann", "ben"):
        agree(caller, user)
    assert blocked(caller) == {"ann", "ben"}
    made = export(caller)
    assert (made["released"], made["withheld"]) == (0, {"black_list": 2})
    assert [name for _, name in waiting(caller)] == ["robinson"]  # for cleo
    assert put(caller, "ann", "ben", "cleo") == (2, 1)
    arrive(caller, "cleo")
    assert blocked(caller) == {"ann", "ben", "cleo"}
    assert waiting(caller) == []


def test_a_list_that_is_replaced_waits_for_those_on_it_now(caller: Caller) -> None:
    put(caller, "ann", "cleo", kind="white")
    put(caller, "ann", name="staff")
    assert put(caller, "ben") == (0, 1)  # black now
    for user in ("ann", "ben", "cleo"):
        arrive(caller, user)
    assert blocked(caller) == {"ann", "ben"}
    put(caller, name="staff")
    assert blocked(caller) == {"ben"}


def test_who_is_left_out_by_a_list_stays_out_if_they_arrive_after_it(caller: Caller) -> None:
    put(caller, "ann", kind="white", name="staff")
    arrive(caller, "ann")
    arrive(caller, "ben")
    without = {"where": {"all": [GERMANS["where"], {"not": {"list": "staff"}}]}}
    assert caller.api("POST", "/segments/preview", without)["count"] == 1
    assert caller.api("POST", "/segments/preview", {"where": {"list": "staff"}})["count"] == 1
    assert blocked(caller) == set()


def test_an_address_that_comes_to_somebody_known_blocks_them_and_leaves_with_it(caller: Caller) -> None:
    arrive(caller, "ann", email=False)
    agree(caller, "ann")
    assert export(caller)["released"] == 1
    put(caller, "ann")
    assert blocked(caller) == set()
    arrive(caller, "ann", number=1)  # the address is linked to whom we have
    assert blocked(caller) == {"ann"}
    assert export(caller)["withheld"] == {"black_list": 1}
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "email", address("ann"))
    assert number is not None
    identifier = services.profile_ids.encode(number)
    caller.api("POST", f"/profiles/{identifier}/split", {"dry_run": False}, purpose="data_quality")
    assert blocked(caller) == set()  # the list names the address, and that is somebody else now
    with services.store.reading() as connection:
        assert set(services.segments.blocked(connection)) == {number}


def test_a_profile_is_blocked_by_what_one_of_its_merged_parts_was_awaited_for(caller: Caller) -> None:
    put(caller, "ben")
    arrive(caller, "ben", email=False)
    unnamed = {"type": "identify", "anonymousId": "tablet", "traits": {"email": address("ben")}}
    caller.send({**unnamed, "messageId": "unnamed"})
    assert (blocked(caller), waiting(caller)) == (set(), [])
    arrive(caller, "ben", number=1)
    assert blocked(caller) == {"ben"}


def test_what_waits_is_a_keyed_digest_of_what_can_identify_somebody(caller: Caller) -> None:
    members = [{"type": "email", "value": value} for value in ("no address", address("ann"), address("ann"))]
    made = caller.api("PUT", "/lists/robinson", {"kind": "black", "members": members})
    assert (made["members"], made["unknown"]) == (0, 2)
    undeclared = {"kind": "black", "members": [{"type": "shoe_size", "value": "42"}]}
    caller.api("PUT", "/lists/robinson", undeclared, expect=400)
    with caller.services.store.reading() as connection:
        (((index, *_),),) = caller.services.identity.indexes_of(connection, [("email", address("ann"))])
    assert waiting(caller) == [(bytes.fromhex(caller.services.journal.tag(index)), "robinson")]


def test_who_is_made_while_the_list_is_put_stands_on_it(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their batch looked before the list waited, and the list before they were committed."""
    found: list[tuple[int, int]] = []
    putting = threading.Thread(target=lambda: found.append(put(caller, "ann")))

    def meanwhile(connection: Connection, rows: Sequence[Any]) -> None:
        putting.start()
        putting.join(0.3)  # it cannot end before this batch does
        add_events(connection, rows)

    monkeypatch.setattr("cdp.pipeline.add_events", meanwhile)
    caller.write_key()
    try:
        arrive(caller, "ann")
    finally:
        putting.join()
    assert found == [(1, 0)]
    assert blocked(caller) == {"ann"}


def test_a_batch_that_fails_leaves_the_list_waiting(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    put(caller, "ann")

    def fail(*_: Sequence[Any]) -> None:
        raise StoreError("the disk went away")

    with monkeypatch.context() as broken:
        broken.setattr("cdp.pipeline.add_events", fail)
        answer = caller.http.post(
            "/v1/identify",
            json={"userId": "ann", "messageId": "m", "traits": {"email": address("ann")}},
            auth=(caller.write_key(), ""),
        )
        assert answer.status_code == 503
    assert len(waiting(caller)) == 1
    arrive(caller, "ann")
    assert blocked(caller) == {"ann"}
