"""One decision, explained, as GraphQL types: what ``POST /policies/explain`` shows, by the same names.

A map of REST is a list of pairs here, as GraphQL knows no map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import strawberry

from cdp.api.auth import roles
from cdp.api.graphql.guard import declared

PERSONAL = roles("officer", purpose=True)


@declared(PERSONAL)
@strawberry.type
class DecisionJurisdiction:
    """A jurisdiction of the person, because of ``controller``, ``recorded`` or ``no_place_recorded``."""

    jurisdiction: str
    because: str


@declared(PERSONAL)
@strawberry.type
class ConditionFinding:
    """A condition of a rule: ``TRUE``, ``FALSE`` or ``UNKNOWN``."""

    condition: str
    truth: str


@declared(PERSONAL)
@strawberry.type
class RuleVerdict:
    """What a rule says in one jurisdiction, and the condition that settled it."""

    jurisdiction: str
    truth: str
    decided_by: str | None
    conditions: list[ConditionFinding]


@declared(PERSONAL)
@strawberry.type
class RuleFinding:
    """One rule over the person."""

    rule: str
    effect: str
    where: list[RuleVerdict]
    inputs: list[str]


@declared(PERSONAL)
@strawberry.type
class UnlistedInputs:
    """Categories that the definition reads and that no permit TRUE there lists."""

    jurisdiction: str
    categories: list[str]


@declared(PERSONAL)
@strawberry.type
class DecisionInputs:
    """What the segment's definition reads."""

    read: list[str]
    unlisted: list[UnlistedInputs]


@declared(PERSONAL)
@strawberry.type
class FieldWord:
    """A rule's word on a field."""

    rule: str
    transform: str


@declared(PERSONAL)
@strawberry.type
class FieldFinding:
    """One field: in which form it leaves, and the words that met in it."""

    field: str
    category: str
    transform: str
    words: list[FieldWord]


@declared(PERSONAL)
@strawberry.type
class DecisionRecord:
    """The consent record that a state rests on."""

    id: strawberry.ID
    purpose: str
    state: str
    event_time: str
    received_at: str
    source: strawberry.ID
    source_kind: str
    act: bool
    notice: str | None
    notice_version: int | None


@declared(PERSONAL)
@strawberry.type
class DecisionConsent:
    """The state of consent for the purpose."""

    state: str
    reason: str
    since: str | None
    expires_at: str | None
    notice_given: str | None
    record: DecisionRecord | None


@declared(PERSONAL)
@strawberry.type
class FieldTransform:
    """In which form a field left."""

    field: str
    transform: str


@declared(PERSONAL)
@strawberry.type
class RecordedDecision:
    """What a past export has on record about the person."""

    outcome: str
    plan: list[FieldTransform]
    leaf: str
    fetched_at: list[str]


@declared(PERSONAL)
@strawberry.type
class Decision:
    """Why one person is decided about as they are."""

    outcome: str
    reason: str
    destination: str
    purpose: str
    segment: str | None
    bundle: str
    at: str
    ledger_position: int
    barred: str | None
    jurisdictions: list[DecisionJurisdiction]
    restraints: list[str]
    rules: list[RuleFinding]
    ungranted: list[str]
    inputs: DecisionInputs
    fields: list[FieldFinding]
    consent: DecisionConsent
    instead: str | None
    in_segment: bool | None
    recorded: RecordedDecision | None
    not_reproduced: list[str]


def typed(found: Mapping[str, Any]) -> Decision:
    """Return a decision as REST shows it in the types of this module."""
    rules = [
        {
            **rule,
            "where": [
                {**verdict, "conditions": _pairs(verdict["conditions"], "condition", "truth")}
                for verdict in rule["where"]
            ],
        }
        for rule in found["rules"]
    ]
    unlisted = _pairs(found["inputs"]["unlisted"], "jurisdiction", "categories")
    recorded = found["recorded"]
    if recorded is not None:
        recorded = {**recorded, "plan": _pairs(recorded["plan"], "field", "transform")}
    inputs = {**found["inputs"], "unlisted": unlisted}
    return msgspec.convert({**found, "rules": rules, "inputs": inputs, "recorded": recorded}, Decision)


def _pairs(held: Mapping[str, Any], key: str, value: str) -> list[dict[str, Any]]:
    return [{key: one, value: other} for one, other in held.items()]
