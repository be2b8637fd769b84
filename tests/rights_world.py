"""People who ask, for the tests of rights."""

from __future__ import annotations

import time
from typing import Any

from caller import Caller

EMAIL = "marketing.communications.email"


def introduce(caller: Caller, name: str, **traits: Any) -> str:
    """Have a person in the platform, by name and address; returns the address."""
    address = f"{name}@people.example"
    told = {"email": address, **traits}
    caller.send({"type": "identify", "messageId": f"m-{name}", "userId": name, "traits": told}, wait=True)
    return address


def body(address: str, kind: str, **more: Any) -> dict[str, Any]:
    """Return what opens a request."""
    return {"identifier": {"type": "email", "value": address}, "kind": kind, **more}


def opened(caller: Caller, address: str, kind: str, **more: Any) -> dict[str, Any]:
    """Open a request as the officer; returns what is answered."""
    made: dict[str, Any] = caller.api("POST", "/rights/requests", body(address, kind, **more))
    return made


def step(caller: Caller, request: str, verb: str, said: object = None, expect: int = 0) -> Any:
    """Move a request on."""
    return caller.api("POST", f"/rights/requests/{request}/{verb}", said, expect=expect)


def read(caller: Caller, request: str) -> dict[str, Any]:
    """Return a request as it stands."""
    found: dict[str, Any] = caller.api("GET", f"/rights/requests/{request}")
    return found


def ended(caller: Caller, request: str) -> dict[str, Any]:
    """Have the work on a request done, by this thread or by the schedule's, and return it."""
    for _ in range(200):
        caller.services.rights.advance()
        found = read(caller, request)
        if found["state"] in {"fulfilled", "denied", "cancelled", "expired"}:
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def standing(caller: Caller, name: str, key: str = EMAIL) -> str:
    """Return the state of somebody's consent for a purpose, read for ``rights``."""
    asked = {"type": "user_id", "value": name}
    profile = caller.api("POST", "/profiles/lookup", asked, purpose="rights")["id"]
    found = caller.api("GET", f"/profiles/{profile}/consents", purpose="rights")["items"]
    states = {item["purpose"]: item["state"] for item in found}
    return str(states[key])


def actions(caller: Caller, name: str) -> list[str]:
    """Return what is on record about somebody, newest first."""
    asked = {"type": "user_id", "value": name}
    profile = caller.api("POST", "/profiles/lookup", asked, purpose="compliance_review")["id"]
    uses = caller.api("GET", f"/profiles/{profile}/uses?limit=100", purpose="compliance_review")["items"]
    return [use["action"] for use in uses]
