"""Consent categories of Segment and Rudder → statements (specs: consent-signals.md §5). Pure.

Invariants:

1. Categories on an event are a *stamp*: the SDK reports. On the track event ``Segment Consent Preference
   Updated`` they are an *act*: the person just chose.
2. A consent object without categories, or with them in another shape, provides nothing; neither does a
   category that is not mapped or whose value is not true or false. Nothing provided is not a refusal, and
   not a grant.
3. Where several categories of one message stand for the same purpose, all must be true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cdp.consent.model import RecordState, Statement
from cdp.consent.signals.gpc import UNDATED

PREFERENCE_UPDATED = "Segment Consent Preference Updated"
_MAX_CATEGORIES = 100


def segment(consent: Mapping[str, Any]) -> dict[str, bool]:
    """Return ``categoryPreferences``, the well-formed ones."""
    given = consent.get("categoryPreferences")
    if not isinstance(given, dict) or len(given) > _MAX_CATEGORIES:
        return {}
    return {name: value for name, value in given.items() if isinstance(value, bool)}


def rudder(management: Mapping[str, Any]) -> dict[str, bool]:
    """Return ``allowedConsentIds`` and ``deniedConsentIds``; one that is both is denied."""
    found = dict.fromkeys(_names(management.get("allowedConsentIds")), True)
    found.update(dict.fromkeys(_names(management.get("deniedConsentIds")), False))
    return found


def _names(given: object) -> list[str]:
    if not isinstance(given, list) or len(given) > _MAX_CATEGORIES:
        return []
    return [name for name in given if isinstance(name, str)]


def statements(
    given: Mapping[str, bool],
    mapping: Mapping[str, tuple[str, ...]],
    *,
    signal: str,
    act: bool,
) -> list[Statement]:
    """Return what categories say about our purposes, undated.

    :param given: category → whether it was agreed to.
    :param mapping: category → purposes (``segment`` or ``rudder`` of ``signals.yaml``).
    :param act: the message is an act of the person.
    """
    granted: dict[str, bool] = {}
    for category, value in given.items():
        for purpose in mapping.get(category, ()):
            granted[purpose] = value and granted.get(purpose, True)
    if not granted:
        return []
    no: RecordState = "withdrawn" if act else "refused"
    evidence = msgspec.json.encode({"categoryPreferences": given}, order="sorted")
    return [
        Statement(
            purpose=purpose,
            state="granted" if yes else no,
            act=act,
            event_time=UNDATED,
            signal=signal,
            method="preference_updated" if act else "stamp",
            evidence=evidence,
        )
        for purpose, yes in granted.items()
    ]
