"""People with something of everything, and their erasure: for the tests of erasure."""

from __future__ import annotations

import time
from typing import Any

from caller import Caller
from recovery_world import EMAIL, say

RIGHTS = "rights"


def shopper(caller: Caller, name: str, *, wait: bool = True) -> None:
    """Have somebody come by: from a device, with an address, events, traits, and consent."""
    ids = {"userId": name, "anonymousId": f"device-of-{name}"}
    traits = {"email": f"{name}@people.example", "country": "Germany", "plan": f"plan of {name}"}
    caller.send(
        {"type": "identify", "messageId": f"{name}-1", **ids, "traits": traits},
        {
            "type": "track",
            "event": "Product Added",
            "messageId": f"{name}-2",
            **ids,
            "properties": {"coupon": f"coupon-{name}", "engraving": f"secret of {name}"},
        },
        wait=wait,
    )
    say(caller, name, True, 1)


def asked(caller: Caller, value: str, kind: str = "user_id") -> str:
    """Open a request for erasure; returns its id."""
    body = {"identifier": {"type": kind, "value": value}, "kind": "erasure"}
    made: str = caller.api("POST", "/rights/requests", body)["id"]
    return made


def worked(caller: Caller, request_id: str) -> Any:
    """Have the work of a request done to its end; returns the request."""
    services = caller.services
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        services.rights.advance()
        services.mirror.refresh()
        found = caller.api("GET", f"/rights/requests/{request_id}")
        if found["state"] != "in_progress":
            return found
    raise AssertionError("the request did not come to its end")


def erased(caller: Caller, value: str, kind: str = "user_id") -> str:
    """Erase somebody; returns the id of the request."""
    request_id = asked(caller, value, kind)
    assert worked(caller, request_id)["state"] == "fulfilled"
    return request_id


def germans(caller: Caller) -> Any:
    """Have a segment exported; returns the export."""
    where = {"all": [{"trait": "country", "op": "eq", "value": "Germany"}]}
    caller.api("PUT", "/segments/germans", {"name": "germans", "where": where})
    body = {"segment": "germans", "destination": "mailer", "purpose": EMAIL}
    return caller.api("POST", "/exports", body)
