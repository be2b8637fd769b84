"""A platform with a few plainly fictional people of whom data left, for the tests of reports."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from caller import Caller

from cdp.policy import read_folder

EMAIL = "marketing.communications.email"
GONE = {"destinations/mailer.yaml": ("name: mailer", "name: courier")}
"""Policies under which there is no mailer."""
GERMANS = {"name": "germans", "where": {"all": [{"trait": "country", "op": "eq", "value": "Germany"}]}}


def identify(name: str, **traits: Any) -> dict[str, Any]:
    """Return a message about somebody in Germany."""
    told = {"email": f"{name}@people.example", "first_name": name, "country": "Germany", **traits}
    return {"type": "identify", "userId": f"user-{name}", "messageId": f"m-{name}", "traits": told}


def consent(caller: Caller, name: str, state: str = "granted", **more: Any) -> None:
    """Record what somebody says about e-mail."""
    who = [{"type": "user_id", "value": f"user-{name}"}]
    caller.api("POST", "/consents", {"identifiers": who, "purpose": EMAIL, "state": state, **more})


def arrive(caller: Caller, *names: str, kind: str = "server") -> None:
    """Have people arrive, and the segments know them."""
    caller.send(*(identify(name) for name in names), kind=kind, wait=True)
    caller.services.segments.follow.turn()


def people(caller: Caller, *names: str, kind: str = "server") -> None:
    """Have people arrive and say yes."""
    arrive(caller, *names, kind=kind)
    for name in names:
        consent(caller, name)


def export(caller: Caller, segment: str = "germans", **more: Any) -> dict[str, Any]:
    """Have an export to the mailer decided."""
    body = {"segment": segment, "destination": "mailer", "purpose": EMAIL, **more}
    made = caller.api("POST", "/exports", body)
    assert isinstance(made, dict)
    return made


def fetch(caller: Caller, key: str, export_id: str) -> int:
    """Fetch an export; returns how many rows came."""
    answer = caller.http.get(f"/api/v1/exports/{export_id}/data", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    return len(answer.content.splitlines())


def deliver(caller: Caller, *names: str) -> str:
    """Have people delivered to the mailer; returns the mailer's key."""
    people(caller, *names)
    caller.api("PUT", "/segments/germans", GERMANS)
    key = caller.destination_key("mailer", EMAIL)
    assert fetch(caller, key, export(caller)["id"]) >= len(names)
    return key


def policy_files(caller: Caller) -> dict[str, str]:
    """Return the files of the policies that every test begins with."""
    folder = caller.services.settings.policies_dir
    return {name: text.decode() for name, text in read_folder(folder).items()}


def activate(caller: Caller, changes: Mapping[str, tuple[str, str]]) -> None:
    """Put other policies in force.

    :param changes: file → (text, what stands in its place everywhere).
    """
    files = policy_files(caller)
    for name, change in changes.items():
        assert change[0] in files[name]
        files[name] = files[name].replace(*change)
    if "name: courier" in files["destinations/mailer.yaml"]:
        files["destinations/courier.yaml"] = files.pop("destinations/mailer.yaml")
    first, second = (caller.officer(f"officer-{secrets.token_hex(4)}") for _ in range(2))
    made = caller.api("POST", "/policies/activate", {"files": files}, key=first)
    caller.api("POST", "/policies/activate", {"approve": made["proposal"]["id"]}, key=second)


def report(caller: Caller, name: str, **params: str) -> Any:
    """Return a report."""
    query = "&".join(f"{key.rstrip('_')}={value}" for key, value in params.items())
    return caller.api("GET", f"/reports/{name}?{query}")
