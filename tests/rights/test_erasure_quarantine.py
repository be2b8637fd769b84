"""Failed messages of somebody who is erased are found by index, and no replay brings anybody back."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller
from erasing_world import erased
from sqlalchemy import select

from cdp.ingest import Classifier
from cdp.ingest.quarantine.finding import Finder
from cdp.ingest.quarantine.terms import MOST_TERMS
from cdp.ingest.tables import quarantine, quarantine_index

CLASSIFY = Classifier.__call__


def bad(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Odd", "messageId": f"q{number}", **more}


def rows(caller: Caller) -> tuple[set[int], set[int]]:
    """Return what lies in quarantine, and what its index finds."""
    with caller.services.store.reading() as connection:
        held, indexed = (
            set(connection.execute(select(table.c.quarantine_id)).scalars())
            for table in (quarantine, quarantine_index)
        )
    return held, indexed


@pytest.mark.parametrize("opens", ["their values open", "only their tags are left"])
def test_messages_are_found_by_index(caller: Caller, monkeypatch: pytest.MonkeyPatch, opens: str) -> None:
    traits = {"email": "ada.l@people.example", "phone": "+44 20 8765 4321"}
    caller.send({"type": "identify", "userId": "ada-1", "messageId": "m1", "traits": traits})
    caller.send({"type": "identify", "userId": "bob-1", "messageId": "m2"})
    many = {f"key {number}": 1 for number in range(MOST_TERMS + 1)}
    named = [
        bad(1, properties={"customer": {"mail": "Ada.L@PEOPLE.example"}}),
        bad(2, properties={"tel": "+44-20 8765 4321"}),
        bad(3, context={"ids": ["ADA-1", "ada-1"]}),
        bad(4, event="", properties={"list": [{"ada-1": True}]}, userId="bob-1"),
        bad(5, properties={**many, "who": "ada-1"}),
    ]
    others = [
        bad(11, userId="bob-1", event=""),
        bad(12, properties={"id": "ada-11"}),
        bad(13, properties=many),
    ]
    caller.send(*named)
    lies = rows(caller)[0]
    caller.send(*others)
    assert rows(caller)[0] == rows(caller)[1]
    kept = Finder._kept
    opened: set[int] = set()

    def watched(self: Finder, row: Any, dek: Any) -> Any:
        opened.add(row.quarantine_id)
        return kept(self, row, dek)

    monkeypatch.setattr(Finder, "_kept", watched)
    if opens == "only their tags are left":
        monkeypatch.setattr(caller.services.identity, "values_of", lambda *_: [])
    every = rows(caller)[0]
    erased(caller, "ada-1")
    held, indexed = rows(caller)
    assert held == indexed == every - lies
    assert len(opened) == (6 if opens == "their values open" else 8)  # those, and the one of too many texts
    found = caller.api("GET", "/sources/test-server/counts")
    assert found["balanced"] is True
    assert (found["total"]["erased"], found["total"]["waiting"]) == (5, 3)

    monkeypatch.setattr(Classifier, "__call__", lambda *_: 1 / 0)
    caller.send({"type": "page", "name": "Home", "messageId": "m3", "userId": "ada-1"})
    monkeypatch.setattr(Classifier, "__call__", CLASSIFY)
    for dry in (True, False):
        again = caller.api("POST", "/quarantine/replay", {"reason": "unexpected", "dry_run": dry})
        assert (again["stored"], again["suppressed"]) == (0, 1)
    assert caller.api("GET", "/sources/test-server/counts")["balanced"] is True
