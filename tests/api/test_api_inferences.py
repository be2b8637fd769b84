"""A conclusion about people over the whole platform: no definition, count, list or export is chosen by it."""

from __future__ import annotations

from typing import Any

import pytest
from caller import Caller

SENSITIVE = "user.inferred.health"
LISTED = {"list": "likely-pregnant"}


def person(number: int, **traits: Any) -> dict[str, Any]:
    return {
        "type": "identify",
        "userId": f"u{number}",
        "traits": {"email": f"person{number}@people.example", "country": "France", **traits},
    }


@pytest.fixture
def platform(caller: Caller) -> Caller:
    """Two people of whom another system concluded something, once as a trait, once as a list."""
    caller.send(person(1, likely_pregnant=True), person(2, likely_pregnant=False), kind="server", wait=True)
    members = [{"type": "user_id", "value": "u1"}]
    caller.api(
        "PUT",
        "/lists/likely-pregnant",
        {"kind": "grey", "members": members, "category": SENSITIVE},
        purpose="segmentation",
    )
    return caller


@pytest.mark.parametrize(
    "where",
    [
        LISTED,
        {"not": LISTED},
        {"any": [{"trait": "country", "op": "eq", "value": "France"}, {"all": [{"not": {"not": LISTED}}]}]},
    ],
)
def test_no_definition_reads_it_however_deep(platform: Caller, where: dict[str, Any]) -> None:
    problem = platform.api("POST", "/segments/preview", {"where": where}, expect=400)
    assert SENSITIVE in problem["detail"]
    marketer = platform.api("POST", "/keys", {"name": "m", "roles": ["marketer"]})["key"]
    platform.api("POST", "/segments/preview", {"where": where}, key=marketer, expect=403)  # a short list
    for key in ("", marketer):
        platform.api("PUT", "/segments/expecting", {"where": where}, key=key, expect=400)
    assert platform.api("GET", "/segments")["items"] == []


def test_nor_through_another_segment_that_read_it_before_it_was_sensitive(platform: Caller) -> None:
    """A list that is given a sensitive category later takes every segment that uses it along."""
    body = {"kind": "grey", "members": [{"type": "user_id", "value": "u1"}]}
    platform.api("PUT", "/lists/harmless", body, purpose="segmentation")
    platform.api("PUT", "/segments/inner", {"where": {"list": "harmless"}})
    platform.api("PUT", "/segments/outer", {"where": {"not": {"segment": "inner"}}})
    platform.api("PUT", "/lists/harmless", {**body, "category": SENSITIVE}, purpose="segmentation")
    platform.api("POST", "/segments/preview", {"where": {"segment": "outer"}}, expect=400)
    asked = {
        "segment": "outer",
        "destination": "mailer",
        "purpose": "marketing.communications.email",
        "fields": ["email"],
    }
    problem = platform.api("POST", "/exports", asked, expect=400)
    assert SENSITIVE in problem["detail"]


def test_the_trait_itself_is_sealed_and_refused_with_the_reason(platform: Caller) -> None:
    where = {"trait": "likely_pregnant", "op": "eq", "value": True}
    problem = platform.api("POST", "/segments/preview", {"where": where}, expect=400)
    assert "sealed" in problem["detail"]
    profile = platform.lookup("user_id", "u1")
    assert "likely_pregnant" not in profile["traits"], "its name tells as much as its value"
    reviewed = platform.api("GET", f"/profiles/{profile['id']}", purpose="compliance_review")
    assert reviewed["traits"]["likely_pregnant"] is None


def test_a_conclusion_that_is_not_sensitive_may_choose_people(caller: Caller) -> None:
    caller.send(person(1, value_tier="gold"), person(2, value_tier="silver"), wait=True)
    where = {"trait": "value_tier", "op": "eq", "value": "gold"}
    assert caller.api("POST", "/segments/preview", {"where": where})["count"] == 1


def test_a_birth_date_leaves_its_age_band_in_clear_for_segments(caller: Caller) -> None:
    caller.send(
        person(1, birthday="1985-06-01"), person(2, birthday="1960-06-01"), person(3, birthday="?"), wait=True
    )
    where = {"trait": "age_band", "op": "eq", "value": "35-44"}
    assert caller.api("POST", "/segments/preview", {"where": where})["count"] == 1
    where = {"trait": "age_band", "op": "exists"}
    assert caller.api("POST", "/segments/preview", {"where": where})["count"] == 2
