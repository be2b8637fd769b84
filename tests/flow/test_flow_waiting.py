"""Calls that wait for the warehouse: few at a time; who finds no place is refused and nothing stored."""

from __future__ import annotations

from contextlib import ExitStack

import msgspec
import pytest
from caller import Caller

from cdp.errors import OverloadedError
from cdp.warehouse import Mirror


def send(caller: Caller, person: str, query: str = "") -> tuple[int, str | None]:
    """Send one event; return the status of the answer and its ``Retry-After``."""
    body = {"batch": [{"type": "identify", "messageId": f"of-{person}", "userId": person}]}
    answer = caller.http.post(
        f"/v1/batch{query}", content=msgspec.json.encode(body), auth=(caller.write_key(), "")
    )
    return answer.status_code, answer.headers.get("Retry-After")


def take_all(held: ExitStack, mirror: Mirror) -> None:
    """Take places until there is none."""
    while True:
        held.enter_context(mirror.place())


def test_when_too_many_wait_the_next_is_refused_and_nothing_of_it_stored(caller: Caller) -> None:
    mirror = caller.services.mirror
    with ExitStack() as held:
        with pytest.raises(OverloadedError, match="wait for the warehouse already"):
            take_all(held, mirror)
        assert send(caller, "ann", "?wait=warehouse") == (429, "1")
        body = {"type": "user_id", "value": "ann"}
        caller.api("POST", "/profiles/lookup", body, purpose="data_quality", expect=404)
        assert send(caller, "ben") == (200, None), "who does not wait needs no place"
    for _ in range(6):  # more than there are places: each call gives its own back
        assert send(caller, "ann", "?wait=warehouse") == (200, None)
    assert caller.lookup("user_id", "ann")


def test_a_refused_call_gives_its_place_back(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller.services.mirror, "wait_for", lambda _commit_no, _seconds: False)
    for _ in range(6):
        assert send(caller, "ann", "?wait=warehouse")[0] == 503
