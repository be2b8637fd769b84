"""Segment's consent object → statements (specs: consent-signals.md §5, segment-http-api.md §7). Pure.

Invariants:

1. ``context.consent.categoryPreferences`` on an event is a *stamp*: the SDK reports. On the track event
   ``Segment Consent Preference Updated`` it is an *act*: the person just chose.
2. A consent object without ``categoryPreferences``, or with one of another shape, provides nothing;
   neither does a category that is not mapped or whose value is not true or false. Nothing provided is
   not a refusal, and not a grant.
3. Where several categories of one message stand for the same purpose, all must be true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cdp.clock import Micros
from cdp.consent.model import RecordState, Statement

PREFERENCE_UPDATED = "Segment Consent Preference Updated"
_MAX_CATEGORIES = 100


def statements(
    message_type: str,
    event_name: str,
    context: Mapping[str, Any],
    event_time: Micros,
    mapping: Mapping[str, tuple[str, ...]],
) -> tuple[Statement, ...]:
    """Return what a message says about consent.

    :param message_type: ``track``, ``identify``…
    :param event_name: a track event's name.
    :param context: the message's ``context``.
    :param event_time: when it was said, by the client's clock.
    :param mapping: consent category → purposes (``signals.segment`` of ``purposes.yaml``).
    """
    preferences = _preferences(context)
    if not preferences:
        return ()
    granted: dict[str, bool] = {}
    for category, value in preferences.items():
        for purpose in mapping.get(category, ()):
            granted[purpose] = value and granted.get(purpose, True)
    if not granted:
        return ()
    act = message_type == "track" and event_name == PREFERENCE_UPDATED
    no: RecordState = "withdrawn" if act else "refused"
    evidence = msgspec.json.encode({"categoryPreferences": preferences}, order="sorted")
    return tuple(
        Statement(
            purpose=purpose,
            state="granted" if yes else no,
            act=act,
            event_time=event_time,
            signal="segment",
            method="preference_updated" if act else "stamp",
            evidence=evidence,
        )
        for purpose, yes in granted.items()
    )


def unmapped(context: Mapping[str, Any], mapping: Mapping[str, tuple[str, ...]]) -> int:
    """Return how many categories of a message no purpose is mapped to (for the counters)."""
    return sum(category not in mapping for category in _preferences(context))


def _preferences(context: Mapping[str, Any]) -> dict[str, bool]:
    """Return the well-formed categories; none when the object is absent or of another shape."""
    consent = context.get("consent")
    if not isinstance(consent, dict):
        return {}
    given = consent.get("categoryPreferences")
    if not isinstance(given, dict) or len(given) > _MAX_CATEGORIES:
        return {}
    return {name: value for name, value in given.items() if isinstance(value, bool)}
