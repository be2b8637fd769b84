"""A poison event in every batch: its neighbours land, it lies in quarantine, and its cause names no value."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import msgspec
import pytest
from caller import Caller
from sqlalchemy import text
from structlog.testing import capture_logs

from cdp.identity import emails
from cdp.ingest import Delivery
from cdp.store import Batch, Committer

CANARY = "canary"
GOOD = b'{"type":"track","event":"Order Completed","userId":"u1","messageId":"%s","properties":{"revenue":1}}'
SAID = b'{"type":"track","event":"A","userId":"canary","properties":{%s}}'
TOLD = b'{"type":"track","event":"Odd","userId":"u1","properties":{%s}}'
POISON = {  # what follows "canary" shows whether a value of it is repeated
    "a number": b"5",
    "a text": b'"canary"',
    "a list": b'["canary"]',
    "no type": b'{"userId":"canary"}',
    "a type that is a list": b'{"type":["track"],"userId":"canary"}',
    "a NUL in an id": b'{"type":"track","event":"A","userId":"canary\\u0000"}',
    "a NUL in a name": b'{"type":"track","event":"canary\\u0000","userId":"u"}',
    "a lone surrogate": b'{"type":"track","event":"A","userId":"canary\\ud800"}',
    "surrogates the wrong way round": b'{"type":"track","event":"A","userId":"canary\\udc00\\ud800"}',
    "a surrogate in a key": b'{"type":"track","event":"A","userId":"u","canary\\udfff":1}',
    "no UTF-8": b'{"type":"track","event":"A","userId":"canary\xff"}',
    "a surrogate as UTF-8": b'{"type":"track","event":"A","userId":"canary\xed\xa0\x80"}',
    "a NUL too long": b'{"type":"track","event":"A","userId":"canary\xc0\x80"}',
    "no number": SAID % b'"revenue":1e400',
    "a number too long": SAID % (b'"revenue":' + b"9" * 5_000),
    "an id too long": b'{"type":"track","event":"A","userId":%s}' % (b"9" * 2_000),
    "an id that is a list": b'{"type":"track","event":"A","userId":["canary"]}',
    "a time ahead": b'{"type":"track","event":"A","userId":"canary","timestamp":"9999-12-31T23:59:59Z"}',
}  # fmt: skip
ODD = {  # odd, and events all the same
    "a key twice": b'{"type":"track","type":"track","event":"Odd","userId":"x","userId":"u1"}',
    "keys that are numbers": b'{"type":"track","event":"Odd","userId":"u1","properties":{"1":{"2":3}},"5":6}',
    "beyond 64 bit": TOLD % b'"revenue":123456789012345678901',
    "beyond any float": TOLD % (b'"quantity":' + b"9" * 400),
    "the least of numbers": TOLD % b'"revenue":-5e-324',
    "the greatest": TOLD % b'"revenue":1.7976931348623157e308',
    "minus nothing": TOLD % b'"revenue":-0.0',
    "NUL in texts": TOLD % b'"coupon":"a\\u0000b","note":"\\u0000"',
    "NUL in traits": b'{"type":"identify","userId":"u1","traits":{"name":"\\u0000","country":"\\u0000"}}',
    "NUL in ids": b'{"type":"alias","userId":"u1","context":{"externalIds":[{"type":"\\u0000","id":"b"}]}}',
    "nesting": TOLD % (b'"a":' + b"[" * 400 + b"]" * 400),
    "no characters": b'{"type":"track","event":"\xef\xbf\xbf\xf4\x8f\xbf\xbf","userId":"u1"}',
    "ids of numbers": b'{"type":"track","event":"Odd","userId":"u1","anonymousId":1e22,"messageId":1e22}',
    "every field wrong": b'{"type":"identify","userId":"u1","traits":{"email":[1],"phone":{},"country":9e99,'
    b'"birthday":-1,"created_at":"9999","order_count":"x"},"context":{"device":5,"locale":[],"page":"x",'
    b'"location":{"country":{}},"consent":[1],"externalIds":{"a":1},"campaign":{"name":{"a":[]}}}}',
}  # fmt: skip
BROKEN = (
    b"[" * 1_100 + b"]" * 1_100,
    b"NaN",
    b"Infinity",
    b"{1:2}",
    b"'canary'",
    b"\xef\xbb\xbf{}",
    b'{"a":1,}',
    b'{"a" 1}',
)


def landed(caller: Caller) -> int:
    """Return how many events the profile of u1 has."""
    path = f"/profiles/{caller.lookup('user_id', 'u1')['id']}/events?limit=500"
    return len(caller.api("GET", path, purpose="data_quality")["items"])


def send(caller: Caller, poison: bytes, number: int) -> tuple[int, str]:
    """Send a batch with something in its midst; returns the answer."""
    good = [GOOD % f"{number}-{place}".encode() for place in range(2)]
    raw = b'{"batch":[%s]}' % b",".join([good[0], poison, good[1]])
    answer = caller.http.post("/v1/batch", content=raw, auth=(caller.write_key(), ""))
    return answer.status_code, answer.text


def test_every_neighbour_of_a_poison_event_lands(caller: Caller) -> None:
    with capture_logs() as logs:
        for number, poison in enumerate(POISON.values()):
            assert send(caller, poison, number) == (200, '{"success": true}'), poison[:80]
        quarantined = caller.api("GET", "/quarantine?limit=500")["items"]
        assert len(quarantined) == len(POISON)
        assert landed(caller) == 2 * len(POISON)
        for number, odd in enumerate(ODD.values(), len(POISON)):
            assert send(caller, odd, number) == (200, '{"success": true}'), odd[:80]
        assert len(caller.api("GET", "/quarantine?limit=500")["items"]) == len(POISON)
        assert landed(caller) == 2 * len(POISON) + 3 * len(ODD)
        for broken in BROKEN:  # no JSON, or deeper than is read: no telling where neighbours begin
            status, said = send(caller, broken, 1_000)
            assert (status, msgspec.json.decode(said)["code"]) == (400, "malformed_body")
            assert CANARY not in said
        assert caller.api("POST", "/quarantine/replay", {})["stored"] == 0
        caller.services.mirror.refresh()
        found = caller.api("POST", "/segments/preview", {"where": {"event": "Odd", "count": {"gte": 5}}})
    assert found["as_of"] > 0
    assert CANARY not in str(quarantined) + str(logs)
    assert {item["kind"] for item in quarantined} != {"unexpected"}


def test_an_identifier_that_normalising_fails_on_harms_nobody(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    normalise = emails.normalise

    def failing(value: str) -> str:
        if CANARY in value:
            raise ArithmeticError(value)
        return normalise(value)

    monkeypatch.setattr(emails, "normalise", failing)
    with capture_logs() as logs:
        poison = b'{"type":"identify","userId":"u2","traits":{"email":"canary@shop.example"}}'
        assert send(caller, poison, 0)[0] == 200
    (item,) = caller.api("GET", "/quarantine")["items"]
    assert landed(caller) == 2
    assert CANARY not in str(item) + str(logs)
    monkeypatch.undo()
    assert caller.api("POST", "/quarantine/replay", {})["stored"] == 1


@contextmanager
def refusing(caller: Caller) -> Iterator[None]:
    """Have the store itself refuse events of a name, as it would a value that it cannot hold."""
    store = caller.services.store
    sqlite = (
        """CREATE TRIGGER refusing BEFORE INSERT ON events WHEN NEW.name = 'Poison'
        BEGIN SELECT RAISE(ABORT, 'refused'); END""",
        "DROP TRIGGER refusing",
    )
    postgres = (
        "ALTER TABLE events ADD CONSTRAINT refusing CHECK (name <> 'Poison') NOT VALID",
        "ALTER TABLE events DROP CONSTRAINT refusing",
    )

    def run(statements: tuple[str, str], which: int) -> None:
        with store.writing() as connection, connection.begin():
            connection.execute(text(statements[which]))

    with store.reading() as connection:
        statements = sqlite if connection.dialect.name == "sqlite" else postgres
    run(statements, 0)
    try:
        yield
    finally:
        run(statements, 1)


def test_what_the_store_refuses_in_every_call_is_found_in_few_transactions(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, size = 20, 10
    caller.write_key()
    services = caller.services
    (source,) = (one for one in services.access.list_sources() if one.kind == "server")

    def message(call: int, place: int) -> bytes:
        name = "Poison" if place == call % size else "Fine"
        said = {
            "type": "track",
            "event": name,
            "userId": "u1",
            "messageId": f"{call}-{place}",
        }
        return msgspec.json.encode(said)

    deliveries = [
        Delivery(
            source=source,
            messages=tuple(message(call, place) for place in range(size)),
            received_at=services.clock.now(),
        )
        for call in range(calls)
    ]
    begun: list[Committer] = []
    batch = Committer.batch
    with refusing(caller), capture_logs() as logs:
        with monkeypatch.context() as patched:

            def counted(committer: Committer) -> AbstractContextManager[Batch]:
                begun.append(committer)
                return batch(committer)

            patched.setattr(Committer, "batch", counted)
            outcome = services.writer.write(deliveries)
        assert (outcome.stored, outcome.quarantined) == (calls * (size - 1), calls)
        assert len(begun) <= 2 * calls * (math.ceil(math.log2(size)) + 2)
    assert landed(caller) == calls * (size - 1)
    items = caller.api("GET", "/quarantine?limit=500")["items"]
    assert len(items) == calls
    assert "Poison" not in str(items) + str(logs)
    assert caller.api("POST", "/quarantine/replay", {})["stored"] == calls
