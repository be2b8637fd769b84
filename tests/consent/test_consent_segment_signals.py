"""Segment's consent object as statements."""

from __future__ import annotations

from typing import Any

import pytest

from cdp.consent import segment_statements, segment_unmapped

MAPPING = {
    "Advertising": ("ads.first", "ads.third"),
    "DataSharing": ("ads.third",),
    "Analytics": ("analytics",),
}


def said(preferences: object, kind: str = "page", name: str = "") -> dict[str, str]:
    context = {"consent": {"categoryPreferences": preferences}}
    found = segment_statements(kind, name, context, 7, MAPPING)
    assert all(item.event_time == 7 and item.signal == "segment" for item in found)
    return {item.purpose: f"{'act' if item.act else 'stamp'} {item.state}" for item in found}


def test_on_any_event_it_is_a_stamp() -> None:
    expected = {"ads.first": "stamp granted", "ads.third": "stamp granted", "analytics": "stamp refused"}
    assert said({"Advertising": True, "Analytics": False}) == expected


def test_preference_updated_is_an_act() -> None:
    name = "Segment Consent Preference Updated"
    assert said({"Analytics": True}, "track", name) == {"analytics": "act granted"}
    assert said({"Analytics": False}, "track", name) == {"analytics": "act withdrawn"}
    assert said({"Analytics": False}, "page", name) == {"analytics": "stamp refused"}


@pytest.mark.parametrize("sharing", [True, False])
def test_all_categories_of_a_purpose_must_be_true(sharing: bool) -> None:  # noqa: FBT001  # a table
    for preferences in ({"Advertising": not sharing, "DataSharing": sharing}, {"DataSharing": sharing}):
        granted = all(preferences.values())
        assert said(preferences)["ads.third"] == ("stamp granted" if granted else "stamp refused")


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"consent": None},
        {"consent": {}},
        {"consent": []},
        {"consent": {"categoryPreference": {"Analytics": True}}},
        {"consent": {"categoryPreferences": None}},
        {"consent": {"categoryPreferences": {}}},
        {"consent": {"categoryPreferences": ["Analytics"]}},
        {"consent": {"categoryPreferences": {"Analytics": "true"}}},
        {"consent": {"categoryPreferences": {"Analytics": None}}},
        {"consent": {"categoryPreferences": {"analytics ": True}}},
    ],
)
def test_what_is_not_provided_is_neither_a_grant_nor_a_refusal(context: dict[str, Any]) -> None:
    assert segment_statements("track", "Order Completed", context, 7, MAPPING) == ()


def test_unmapped_categories_are_counted() -> None:
    context = {"consent": {"categoryPreferences": {"Analytics": True, "Weather": False}}}
    assert segment_unmapped(context, MAPPING) == 1
    assert segment_unmapped({}, MAPPING) == 0


def test_the_evidence_is_what_was_sent() -> None:
    context = {"consent": {"categoryPreferences": {"Weather": False, "Analytics": True}, "note": "private"}}
    (statement,) = segment_statements("page", "", context, 7, MAPPING)
    assert statement.evidence == b'{"categoryPreferences":{"Analytics":true,"Weather":false}}'
