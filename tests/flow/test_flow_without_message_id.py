"""A message without ``messageId`` is one of its own each time it is received: it repeats nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from caller import Caller

from cdp.clock import DAY, SECOND, FixedClock
from cdp.crypto import Dek, seal
from cdp.ingest import Classified, Classifier, Replay, Wanted

EMAIL = "marketing.communications.email"
SHARING = "marketing.advertising.third_party"


def says(granted: bool, **more: Any) -> dict[str, Any]:  # noqa: FBT001  # what is said
    return act(context=preferences(granted), **more)


def act(**more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Segment Consent Preference Updated", "userId": "ann", **more}


def preferences(granted: bool) -> dict[str, Any]:  # noqa: FBT001  # what is said
    return {"consent": {"categoryPreferences": {"Email": granted}}}


def post(
    caller: Caller, body: object, *, path: str = "batch", kind: str = "server", control: str = ""
) -> None:
    answer = caller.http.post(
        f"/v1/{path}",
        content=msgspec.json.encode(body),
        auth=(caller.write_key(kind), ""),
        headers={"Sec-GPC": control} if control else {},
    )
    assert answer.status_code == 200, answer.text


def state(caller: Caller, kind: str = "user_id", value: str = "ann", purpose: str = EMAIL) -> str:
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, kind, value)
        assert number is not None
        profile_no = services.identity.profile_of(connection, number)
        found = services.ledger.states(connection, purpose).get(profile_no)
    return "missing" if found is None else found.state


def landed(caller: Caller, kind: str = "user_id", value: str = "ann") -> int:
    found = caller.lookup(kind, value)["id"]
    return len(caller.api("GET", f"/profiles/{found}/events?limit=100", purpose="data_quality")["items"])


@pytest.mark.parametrize("days", [0, 1, 41])
def test_a_second_no_in_the_words_of_the_first_is_a_no(caller: Caller, clock: FixedClock, days: int) -> None:
    for granted, later in ((False, 0), (True, 0), (False, days)):
        clock.advance(SECOND + later * DAY)
        post(caller, says(granted), path="track")
    assert state(caller) == "withdrawn"


def test_a_no_in_the_context_of_the_batch_is_no_repeat(caller: Caller, clock: FixedClock) -> None:
    for granted in (True, False):
        clock.advance(SECOND)
        post(caller, {"batch": [act()], "context": preferences(granted)})
    assert state(caller) == "withdrawn"


def test_sec_gpc_on_a_page_seen_before_is_no_repeat(caller: Caller, clock: FixedClock) -> None:
    for control in ("", "1"):
        clock.advance(SECOND)
        post(caller, {"anonymousId": "b1", "name": "Home"}, path="page", kind="browser", control=control)
    assert state(caller, "anonymous_id", "b1", SHARING) == "opted_out"


def test_a_second_no_of_a_rejected_message_is_a_no(caller: Caller, clock: FixedClock) -> None:
    for message in (says(False, properties=7), says(True), says(False, properties=7)):
        clock.advance(SECOND)
        post(caller, {"batch": [message]})
    assert state(caller) == "withdrawn"


def test_two_of_the_same_words_in_one_batch_are_two_events(caller: Caller) -> None:
    page = {"type": "page", "userId": "ann", "name": "Home", "timestamp": "2026-01-01T00:00:00Z"}
    caller.send(page, page)
    assert landed(caller) == 2


def fails(*_: object) -> Classified:
    raise RuntimeError


def test_a_message_keeps_its_id_through_quarantine(
    caller: Caller, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, quarantine = caller.services.pipeline, caller.services.quarantine
    page = {"type": "page", "userId": "ann", "name": "Home"}
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "__call__", fails)
        post(caller, {"batch": [page, page]})
    sources = {source.source_id: source for source in caller.services.access.list_sources()}
    stored = []
    for _ in range(2):
        taken = [delivery for _, delivery in quarantine.take(10, 0, Wanted(), sources) if delivery]
        stored.append(pipeline.store(pipeline.prepare(taken, Replay("key:1"))).stored)
        clock.advance(SECOND)
    assert stored == [2, 0]


@pytest.mark.parametrize("legacy", [False, True])
def test_a_rejected_no_is_heard_once_however_often_its_replay_fails(
    caller: Caller,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
    legacy: bool,  # noqa: FBT001  # by parametrize
) -> None:
    with monkeypatch.context() as patch:
        if legacy:
            patch.setattr("cdp.ingest.quarantine.finding.seal", sealed_as_before)
        post(caller, {"batch": [says(False, properties=7)]})
    caller.api("POST", "/quarantine/replay", {})
    clock.advance(SECOND)
    post(caller, {"batch": [says(True)]})
    caller.api("POST", "/quarantine/replay", {})
    assert state(caller) == "granted"


def sealed_as_before(dek: Dek, prefix: bytes, row: bytes, identity_no: int, plain: bytes) -> bytes:
    """Seal a quarantined message as versions did that stored no nonce."""
    *kept, _nonce, _address = msgspec.msgpack.decode(plain)
    return seal(dek, prefix, row, identity_no, msgspec.msgpack.encode(kept))
