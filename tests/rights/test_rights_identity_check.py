"""Who asks is checked first, and whoever is not known to be somebody learns nothing of anybody."""

from __future__ import annotations

import threading
import time
from base64 import b64decode, b64encode
from collections import Counter
from typing import Any

import msgspec
import pytest
from caller import Caller
from msgspec import structs
from rights_world import actions, body, ended, introduce, opened, read, standing, step
from sqlalchemy import insert, inspect, text

from cdp.clock import DAY, SECOND, FixedClock
from cdp.crypto import Keyring
from cdp.rights import KINDS, RightsRequest
from cdp.rights.tables import rights_requests
from cdp.store import Store

NOBODY = "nobody@people.example"
DOCUMENT = b"%PDF a passport of a fictional person"


@pytest.fixture
def ada(caller: Caller) -> Caller:
    introduce(caller, "ada", country="GB")
    return caller


def asked(caller: Caller, address: str, kind: str, expect: int = 201, **more: Any) -> Any:
    """Pass a request on as a shop does."""
    key = caller.write_key()
    return caller.api("POST", "/rights/requests", body(address, kind, **more), key=key, expect=expect)


# -- nobody and somebody --------------------------------------------------------------------------------


def test_to_a_source_a_request_of_nobody_looks_like_anybodys(ada: Caller) -> None:
    for kind in KINDS:
        somebody, nobody = asked(ada, "ada@people.example", kind), asked(ada, NOBODY, kind)
        assert somebody.keys() == nobody.keys() == {"id", "kind", "state", "opened_at", "due_at"}
        assert len(somebody.pop("id")) == len(nobody.pop("id"))
        assert somebody == nobody
        assert somebody["state"] == "identity_check"
    listed = ada.api("GET", "/rights/requests")["items"]
    assert Counter((item["kind"], item["known"]) for item in listed) == Counter(
        (kind, known) for kind in KINDS for known in (True, False)
    )  # an officer sees it
    assert {item["channel"] for item in listed} == {"source"}


def test_who_asks_again_gets_the_same_request_and_sees_no_more_of_what_became_of_it(ada: Caller) -> None:
    for address in ("ada@people.example", NOBODY):
        first = asked(ada, address, "access")
        assert asked(ada, address, "access") == first
        assert asked(ada, address.upper(), "access") == first  # it identifies the same
        assert asked(ada, address, "erasure")["id"] != first["id"]
        step(ada, first["id"], "deny", {"reason": "identity_not_confirmed"})
        again = asked(ada, address, "access")
        assert (again["id"] != first["id"], again["state"]) == (True, "identity_check")
        step(ada, again["id"], "verify", {"method": "document"})
        assert asked(ada, address, "access")["state"] == "identity_check"


def test_it_takes_as_long_for_nobody(ada: Caller) -> None:
    taken: dict[str, list[float]] = {"ada@people.example": [], NOBODY: []}
    for kind in ("objection", "access"):
        for address, times in taken.items():
            began = time.perf_counter()
            asked(ada, address, kind)
            times.append(time.perf_counter() - began)
    assert min(map(min, taken.values())) >= 0.1  # the floor under both; the guide has figures


def test_what_is_asked_of_nobody_is_met_with_nothing(ada: Caller) -> None:
    for kind in ("access", "objection"):
        made = asked(ada, NOBODY, kind)
        step(ada, made["id"], "verify", {"method": "called_back"})
        found = ended(ada, made["id"])
        assert (found["state"], found["known"], found["profile"]) == ("fulfilled", False, None)
        step(ada, made["id"], "lift", {"told_at": "2026-03-01T11:00:00Z"}, expect=409)


def test_only_servers_pass_requests_on_and_nobody_vouches_for_a_person(ada: Caller) -> None:
    for kind in ("browser", "import"):
        key = ada.write_key(kind)
        ada.api("POST", "/rights/requests", body(NOBODY, "access"), key=key, expect=403)
        ada.api("POST", "/rights/requests", body("ada@people.example", "access"), key=key, expect=403)
    made = asked(ada, "ada@people.example", "rectification", verified=True)
    assert read(ada, made["id"])["state"] == "identity_check"
    for path in ("", f"/{made['id']}", f"/{made['id']}/proofs"):
        ada.api("GET", f"/rights/requests{path}", key=ada.write_key(), expect=403)
    ada.api(
        "POST",
        f"/rights/requests/{made['id']}/verify",
        {"method": "document"},
        key=ada.write_key(),
        expect=403,
    )
    asked(ada, "x", "access", purpose="rights", expect=400)
    body_of = {"identifier": {"type": "shoe_size", "value": "42"}, "kind": "access"}
    ada.api("POST", "/rights/requests", body_of, key=ada.write_key(), expect=400)


# -- what binds before the check ends -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["restriction", "objection"])
def test_it_binds_before_the_check_and_is_lifted_where_the_check_fails(
    ada: Caller, clock: FixedClock, kind: str
) -> None:
    before = standing(ada, "ada")
    made = asked(ada, "ada@people.example", kind)
    assert standing(ada, "ada") == "restricted"
    clock.advance(SECOND)
    said = {"told_at": "2026-03-01T12:00:01Z"}
    step(ada, made["id"], "lift", said, expect=409)  # the check goes on
    step(ada, made["id"], "deny", {"reason": "identity_not_confirmed"})
    assert standing(ada, "ada") == "restricted"
    step(ada, made["id"], "lift", {"told_at": "2027-01-01T00:00:00Z"}, expect=400)  # told first
    step(ada, made["id"], "lift", {"told_at": "yesterday"}, expect=400)
    step(ada, made["id"], "lift", said)
    assert standing(ada, "ada") == before
    assert "rights.lift" in actions(ada, "ada")


def test_an_objection_becomes_the_persons_own_word_when_it_is_known_to_be(
    ada: Caller, clock: FixedClock
) -> None:
    made = asked(ada, "ada@people.example", "objection")
    clock.advance(SECOND)
    step(ada, made["id"], "verify", {"method": "address_reached"})
    assert standing(ada, "ada") == "objected"
    ended(ada, made["id"])
    step(ada, made["id"], "lift", {"told_at": "2026-03-01T12:00:01Z"}, expect=409)  # the person's to lift
    clock.advance(SECOND)
    grant = {"identifiers": [{"type": "email", "value": "ada@people.example"}], "state": "granted"}
    ada.api("POST", "/consents", {**grant, "purpose": "marketing.communications.email"})
    assert standing(ada, "ada") == "granted"  # no restriction is left behind


# -- proofs -------------------------------------------------------------------------------------------


def everything(caller: Caller) -> bytes:
    """Return every value in both databases."""
    found = []
    services = caller.services
    for store in (services.store, services.keyring.store):
        assert isinstance(store, Store)
        with store.reading() as connection:
            for table in inspect(connection).get_table_names():
                for row in connection.execute(text(f'SELECT * FROM "{table}"')):  # noqa: S608  # of the schema
                    found += [
                        v
                        if isinstance(v, bytes)
                        else bytes(v)
                        if isinstance(v, memoryview)
                        else str(v).encode()
                        for v in row
                    ]
    return b"\n".join(found)


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("verify", {"method": "document"}),
        ("deny", {"reason": "identity_not_confirmed"}),
        ("cancel", None),
        ("", None),
    ],
)
def test_proofs_are_sealed_and_gone_when_the_check_ends_either_way(
    ada: Caller, clock: FixedClock, verb: str, said: object
) -> None:
    made = asked(ada, NOBODY, "rectification")["id"]
    step(ada, made, "proofs", {"method": "document", "content": b64encode(DOCUMENT).decode()})
    note = "=cmd|' /C calc'!A0 <script>\u202e"
    step(ada, made, "proofs", {"method": "called_back", "note": note})
    items = ada.api("GET", f"/rights/requests/{made}/proofs")["items"]
    assert [item["method"] for item in items] == ["named", "document", "called_back"]
    contents = [b64decode(item["content"]) for item in items]
    assert msgspec.json.decode(contents[0]) == {"type": "email", "value": NOBODY}
    assert contents[1:] == [DOCUMENT, note.encode()]
    held = everything(ada)
    assert all(clear not in held for clear in (DOCUMENT, note.encode(), NOBODY.encode()))
    sealed = sealed_proofs(ada)
    assert len(sealed) == 3
    if verb:
        step(ada, made, verb, said)
    else:
        clock.advance(46 * DAY)
        assert ended(ada, made)["state"] == "expired"
    assert ada.api("GET", f"/rights/requests/{made}/proofs")["items"] == []
    assert all(envelope not in everything(ada) for envelope in sealed)
    keyring: Keyring = ada.services.keyring
    assert keyring.destroyed_buckets([f"rights/{made}"]) == {f"rights/{made}"}
    step(ada, made, "proofs", {"method": "document", "note": "late"}, expect=409)


def sealed_proofs(caller: Caller) -> list[bytes]:
    with caller.services.store.reading() as connection:
        return [bytes(row[0]) for row in connection.execute(text("SELECT sealed FROM rights_proofs"))]


def test_a_proof_that_a_backup_brings_back_is_destroyed_again(ada: Caller) -> None:
    made = asked(ada, NOBODY, "rectification")["id"]
    step(ada, made, "cancel")
    with ada.services.committer.batch() as batch:
        row = {"r": made, "s": b"x" * 90}
        statement = "INSERT INTO rights_proofs VALUES (:r, 1, 1, 'document', 1, :s)"
        batch.connection.execute(text(statement), row)
    ada.services.rights.advance()
    assert sealed_proofs(ada) == []


def test_proofs_that_are_none_are_refused(ada: Caller) -> None:
    made = asked(ada, NOBODY, "rectification")["id"]
    for wrong in (
        {"method": "document"},
        {"method": "document", "content": "not base64!"},
        {"method": "document", "content": "QQ==", "note": "both"},
        {"method": "a hunch", "note": "x"},
        {"method": "document", "note": "x" * 4_001},
        {"method": "document", "content": b64encode(bytes((1 << 20) + 1)).decode()},
    ):
        step(ada, made, "proofs", wrong, expect=400)
    step(ada, "r_unknown", "proofs", {"method": "document", "note": "x"}, expect=404)
    ada.api("GET", "/rights/requests/r_unknown/proofs", expect=404)
    for _ in range(19):
        step(ada, made, "proofs", {"method": "document", "note": "x"})
    step(ada, made, "proofs", {"method": "document", "note": "x"}, expect=400)


def test_reading_a_proof_is_on_record(ada: Caller) -> None:
    made = asked(ada, "ada@people.example", "rectification")["id"]
    step(ada, made, "proofs", {"method": "document", "note": "seen"})
    ada.api("GET", f"/rights/requests/{made}/proofs")
    assert {"rights.proof", "rights.proof_read"} <= set(actions(ada, "ada"))


# -- many ---------------------------------------------------------------------------------------------


def test_hundreds_at_once_are_taken_up_to_a_limit_and_nothing_falls_over(ada: Caller) -> None:
    key, answers = ada.officer("o"), list[int]()

    def send(first: int) -> None:
        for number in range(first, first + 60):
            said = {"identifier": {"type": "email", "value": f"{number}@people.example"}, "kind": "access"}
            answer = ada.http.post(
                "/api/v1/rights/requests",
                content=msgspec.json.encode({**said, "verified": False}),
                headers={"Authorization": f"Bearer {key}"},
            )
            answers.append(answer.status_code)

    threads = [threading.Thread(target=send, args=(at,)) for at in range(0, 480, 60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) == {201, 429}
    assert answers.count(201) >= 300
    assert ada.api("GET", "/rights/requests?limit=500", key=key)["items"].__len__() == min(
        500, answers.count(201)
    )
    opened(ada, "ada@people.example", "rectification")  # another key is not held back


def test_ten_thousand_that_wait_are_listed_and_hold_nobody_up(ada: Caller, clock: FixedClock) -> None:
    with ada.services.committer.batch() as batch:
        rows = []
        for place in range(10_000):
            at = clock.now() + place * SECOND
            request = RightsRequest(
                request_id=f"r_{place:024x}",
                identity_no=0,
                identity_nos=(),
                kind="rectification" if place % 100 else "erasure",
                channel="source",
                opened_at=at,
                submitted_at=at,
                due_at=at + 30 * DAY,
                state="identity_check",
                state_at=at,
            )
            row = structs.asdict(request) | {"identity_nos": "[]", "result": "{}", "batch": batch.id}
            rows.append(row)
        batch.connection.execute(insert(rights_requests), rows)
    clock.advance(10_000 * SECOND)
    for query in ("", "state=identity_check&", "kind=erasure&", "due=ok&", "state=denied&", "due=late&"):
        found = ada.api("GET", f"/rights/requests?{query}limit=100")["items"]
        assert len(found) == (0 if query in {"state=denied&", "due=late&"} else 100)
    ada.services.rights.advance()
    opened(ada, "ada@people.example", "rectification")
