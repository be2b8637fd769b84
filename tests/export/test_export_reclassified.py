"""What people were chosen by counts as what the policies of now call it: in fetches, feeds and recalls."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller
from recovery_world import EMAIL, say

from cdp.errors import NotPermittedError
from cdp.policy import read_folder

NAMES = ("ann", "ben")
ASKED = {"destination": "mailer", "purpose": EMAIL}
PLAN = "plan: {category: user.account, protection: clear, survivorship: most_trusted}"


@pytest.fixture
def key(caller: Caller) -> str:
    """The key of a destination, to which two people may go."""
    for name in NAMES:
        traits: dict[str, Any] = {"email": f"{name}@people.example", "country": "Germany", "plan": "special"}
        caller.send({"type": "identify", "userId": name, "traits": traits}, wait=True)
        say(caller, name, True, 1)
        caller.send({"type": "track", "event": "x", "userId": name}, wait=True)
    return caller.destination_key("mailer", EMAIL)


def chosen(caller: Caller, key: str, where: dict[str, Any]) -> str:
    """Have people exported whom a nested definition finds, and fetched; returns the export's id."""
    caller.api("PUT", "/segments/inner", {"where": where})
    caller.api("PUT", "/segments/some", {"where": {"not": {"not": {"segment": "inner"}}}})
    export = str(caller.api("POST", "/exports", {"segment": "some", **ASKED})["id"])
    assert len(fetched(caller, key, export).splitlines()) == len(NAMES)
    caller.services.outbox.issue()
    assert recalled(caller, key) == []
    other = {"trait": "country", "op": "eq", "value": "Germany"}
    for name in ("inner", "some"):  # it is what the definition read then that counts
        caller.api("PUT", f"/segments/{name}", {"where": other})
    return export


def fetched(caller: Caller, key: str, export: str) -> str:
    """What the destination gets of an export now; nothing when it is refused."""
    headers = {"Authorization": f"Bearer {key}"}
    answer = caller.http.get(f"/api/v1/exports/{export}/data", headers=headers)
    assert answer.status_code in {200, 403}
    return str(answer.text) if answer.status_code == 200 else ""


def recalled(caller: Caller, key: str) -> list[str]:
    """The reason of each removal that the destination is told."""
    messages = caller.api("GET", "/destinations/mailer/recalls", key=key)["items"]
    return [removal["reason"] for message in messages for removal in message["data"]["removals"]]


def activate(caller: Caller, fields: tuple[str, str]) -> list[str]:
    """Put other fields in force; returns the warnings that were shown before."""
    given = {name: text.decode() for name, text in read_folder(caller.services.settings.policies_dir).items()}
    assert given["fields.yaml"].count(fields[0]) == 1
    given["fields.yaml"] = given["fields.yaml"].replace(*fields)
    made = caller.api("POST", "/policies/activate", {"files": given}, key=caller.officer("first"))
    named = {"approve": made["proposal"]["sha256"]}
    caller.api("POST", "/policies/activate", named, key=caller.officer("second"))
    warnings: list[str] = made["difference"]["warnings"]
    return warnings


@pytest.mark.parametrize(
    "now",
    [
        pytest.param("plan: {category: user.health}", id="sensitive"),
        pytest.param("plan: {category: user.demographic.gender, protection: clear}", id="not listed"),
        pytest.param("plan: {category: user.account}", id="sealed"),
        pytest.param("other: {category: user.account}", id="undeclared"),
    ],
)
def test_a_trait_that_became_something_else_releases_and_keeps_nobody(
    caller: Caller, key: str, now: str
) -> None:
    where = {"trait": "plan", "op": "eq", "value": "special"}
    export = chosen(caller, key, where)
    (warning,) = [said for said in activate(caller, (PLAN, now)) if "mailer" in said]
    assert "recalled" in warning
    assert "people.example" not in fetched(caller, key, export)
    caller.services.outbox.issue()
    assert recalled(caller, key) == ["unlist", "unlist"]


def test_a_trait_that_the_rules_list_all_the_same_changes_nothing(caller: Caller, key: str) -> None:
    export = chosen(caller, key, {"trait": "plan", "op": "eq", "value": "special"})
    warnings = activate(caller, (PLAN, "plan: {category: user.location.coarse, protection: clear}"))
    assert not [said for said in warnings if "mailer" in said]
    assert len(fetched(caller, key, export).splitlines()) == len(NAMES)
    caller.services.outbox.issue()
    assert recalled(caller, key) == []


def test_a_list_that_tells_something_else_now_releases_and_keeps_nobody(caller: Caller, key: str) -> None:
    members = [{"type": "user_id", "value": name} for name in NAMES]
    held = {"kind": "white", "members": members, "category": "user.account"}
    caller.api("PUT", "/lists/some", held, purpose="segmentation")
    export = chosen(caller, key, {"list": "some"})
    running = caller.services.gate.render(export, caller.services.access.principal(key))
    assert len(running.take(1)) == 1
    caller.api("PUT", "/lists/some", {**held, "category": "user.health"}, purpose="segmentation")
    with pytest.raises(NotPermittedError):
        running.take(1)
    assert "people.example" not in fetched(caller, key, export)
    caller.services.outbox.issue()
    assert recalled(caller, key) == ["unlist", "unlist"]
