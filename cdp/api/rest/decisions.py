"""One decision, explained, as REST and GraphQL show it: rules, facts and words, never a value."""

from __future__ import annotations

from typing import Any

from cdp.clock import rfc3339
from cdp.consent import Record, Standing
from cdp.gate import Explained, Recorded, RuleFinding, condition_word, transform_word


def decision(found: Explained) -> dict[str, Any]:
    """Return an explanation as it is shown."""
    explanation = found.explanation
    return {
        "outcome": "permitted" if found.allowed else "denied",
        "reason": found.reason,
        "destination": found.destination,
        "purpose": found.purpose,
        "segment": found.segment or None,
        "bundle": found.bundle,
        "at": rfc3339(found.at),
        "ledger_position": found.ledger_position,
        "barred": found.barred or None,
        "jurisdictions": [
            {"jurisdiction": place, "because": found.because[place]} for place in explanation.places
        ],
        "restraints": list(explanation.restraints),
        "rules": [_rule(rule) for rule in explanation.rules],
        "ungranted": list(explanation.ungranted),
        "inputs": {
            "read": sorted(found.terms.inputs),
            "unlisted": {place: list(names) for place, names in explanation.unlisted.items()},
        },
        "fields": [
            {
                "field": field.name,
                "category": field.category,
                "transform": transform_word(field.transform),
                "words": [{"rule": rule, "transform": transform_word(word)} for rule, word in field.words],
            }
            for field in explanation.fields
        ],
        "consent": _consent(found.standing, found.record),
        "instead": found.instead or None,
        "in_segment": found.in_segment,
        "recorded": None if found.recorded is None else _recorded(found.recorded),
        "not_reproduced": list(found.limits),
    }


def _rule(rule: RuleFinding) -> dict[str, Any]:
    return {
        "rule": rule.rule,
        "effect": rule.effect,
        "where": [
            {
                "jurisdiction": place,
                "truth": verdict.truth.name,
                "decided_by": None if verdict.decided_by is None else condition_word(verdict.decided_by),
                "conditions": {condition_word(needed): known.name for needed, known in verdict.conditions},
            }
            for place, verdict in rule.where.items()
        ],
        "inputs": sorted(rule.inputs),
    }


def _consent(standing: Standing, record: Record | None) -> dict[str, Any]:
    return {
        "state": standing.state,
        "reason": standing.reason,
        "since": rfc3339(standing.since) if standing.since else None,
        "expires_at": None if standing.expires_at is None else rfc3339(standing.expires_at),
        "notice_given": None if standing.notice_given is None else rfc3339(standing.notice_given),
        "record": None if record is None else _record(record),
    }


def _record(record: Record) -> dict[str, Any]:
    return {
        # ids have 63 bits, more than a JSON number holds everywhere
        "id": str(record.record_id),
        "purpose": record.purpose,
        "state": record.state,
        "event_time": rfc3339(record.event_time),
        "received_at": rfc3339(record.received_at),
        "source": str(record.source_id),
        "source_kind": record.source_kind,
        "act": record.act,
        "notice": record.notice_id or None,
        "notice_version": record.notice_version,
    }


def _recorded(found: Recorded) -> dict[str, Any]:
    return {
        "outcome": found.outcome,
        "plan": found.plan,
        "leaf": found.leaf,
        "fetched_at": [rfc3339(at) for at in found.fetched_at],
    }
