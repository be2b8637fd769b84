"""Who objects to being segmented is taken back from the audiences that they were chosen for."""

from __future__ import annotations

from typing import Any

from caller import Caller
from recovery_world import EMAIL, say

NAMES = ("ann", "ben")


def test_an_objection_to_segmentation_recalls_what_was_delivered(caller: Caller) -> None:
    for name in NAMES:
        traits: dict[str, Any] = {"email": f"{name}@people.example", "country": "Germany"}
        caller.send({"type": "identify", "userId": name, "traits": traits}, wait=True)
        say(caller, name, True, 1)
    where = {"all": [{"trait": "country", "op": "eq", "value": "Germany"}]}
    caller.api("PUT", "/segments/germans", {"name": "germans", "where": where})
    asked = {"segment": "germans", "destination": "mailer", "purpose": EMAIL}
    export = caller.api("POST", "/exports", asked)
    key = caller.destination_key("mailer", EMAIL)
    headers = {"Authorization": f"Bearer {key}"}
    rows = caller.http.get(f"/api/v1/exports/{export['id']}/data", headers=headers).content.splitlines()
    assert len(rows) == len(NAMES)
    outbox = caller.services.outbox
    outbox.issue()
    assert caller.api("GET", "/destinations/mailer/recalls", key=key)["items"] == []
    objection = {
        "identifiers": [{"type": "user_id", "value": "ann"}],
        "purpose": "segmentation",
        "state": "objected",
    }
    caller.api("POST", "/consents", objection)
    outbox.issue()
    (message,) = caller.api("GET", "/destinations/mailer/recalls", key=key)["items"]
    (removal,) = message["data"]["removals"]
    assert removal["reason"] == "unlist"
    assert any(removal["profile_ref"].encode() in row for row in rows)
    outbox.issue()
    assert len(caller.api("GET", "/destinations/mailer/recalls", key=key)["items"]) == 1
