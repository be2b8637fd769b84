"""Consent categories of Segment and Rudder → statements (specs: consent-signals.md §5). Pure.

Invariants:

1. Categories on an event are a *stamp*: the SDK reports. On the track event ``Segment Consent Preference
   Updated`` they are an *act*: the person just chose.
2. A consent object without categories, or with them in another shape, provides nothing; neither does a
   category that is not mapped or whose value is not true or false. Nothing provided is not a refusal, and
   not a grant.
3. Where several categories of one consent tool stand for the same purpose, it needs all of them: one that is
   false refuses it, and it is granted when none is false or missing (§5: a category missing counts false). A
   missing one by itself refuses nothing: nobody said so.
4. Where the categories of several tools in one message differ about a purpose, it is refused.
5. Of more than ``MAX_CATEGORIES`` in one message only what is refused is heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from cdp.consent.model import RecordState, Statement
from cdp.consent.signals.gpc import UNDATED

PREFERENCE_UPDATED = "Segment Consent Preference Updated"
MAX_CATEGORIES = 100

Needs = Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]]
"""Category → the purposes it stands for, each with the categories of the same tool that it needs."""


def needs(tools: Iterable[Mapping[str, tuple[str, ...]]]) -> Needs:
    """Return what the categories of some consent tools stand for.

    :param tools: category → purposes, of each (``segment`` or ``rudder`` of ``signals.yaml``).
    """
    found: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {}
    for tool in tools:
        for category, purposes in tool.items():
            needed = ((key, tuple(one for one, named in tool.items() if key in named)) for key in purposes)
            found[category] = (*found.get(category, ()), *needed)
    return found


def segment(consent: Mapping[str, Any]) -> dict[str, bool]:
    """Return ``categoryPreferences``, the well-formed ones."""
    given = consent.get("categoryPreferences")
    if not isinstance(given, dict):
        return {}
    return {name: value for name, value in given.items() if isinstance(value, bool)}


def rudder(management: Mapping[str, Any]) -> dict[str, bool]:
    """Return ``allowedConsentIds`` and ``deniedConsentIds``; one that is both is denied."""
    found = dict.fromkeys(_names(management.get("allowedConsentIds")), True)
    found.update(dict.fromkeys(_names(management.get("deniedConsentIds")), False))
    return found


def _names(given: object) -> list[str]:
    if not isinstance(given, list):
        return []
    return [name for name in given if isinstance(name, str)]


def statements(
    given: Mapping[str, bool],
    mapping: Needs,
    *,
    signal: str,
    act: bool,
) -> list[Statement]:
    """Return what categories say about our purposes, undated.

    :param given: category → whether it was agreed to.
    :param act: the message is an act of the person.
    """
    granted: dict[str, bool] = {}
    for category in given:
        for purpose, needed in mapping.get(category, ()):
            values = [given.get(name) for name in needed]
            if False in values or None not in values:
                granted[purpose] = False not in values and granted.get(purpose, True)
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
