"""An explanation of one decision, as an officer reads it: the outcome, then what it rests on. No values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

REASONS = {
    "permitted": "every law that applies permits it",
    "forbidden": "a forbid applies, or could for what is not known",
    "not_permitted": "no permit covers one of the jurisdictions",
    "no_consent": "there is no consent that is granted",
    "no_separate_consent": "there is consent, but none given separately",
    "consent_not_confirmed": "the consent was not confirmed (double opt-in)",
    "stale": "the consent has lost its force, by age or by a new notice",
    "notice_not_given": "the person was not shown the notice",
    "notice_not_current": "the notice shown is not the current one",
    "minor": "it is not known that the person is no minor",
    "jurisdiction_unknown": "no place is recorded, and one of all laws does not permit it",
    "input_not_permitted": "the segment reads what no permit that holds lists under inputs",
    "destination_off": "the destination is switched off",
    "contract_expired": "the contract with the destination has expired",
    "purpose_not_for_destination": "the destination may not receive data for this purpose",
    "identity_changed": "the person's links changed since the segment was evaluated",
    "suppressed": "the person is suppressed",
    "black_list": "the person stands on a black list",
    "restricted": "the person had processing restricted",
    "objected": "the person objected",
    "opted_out": "the person opted out",
    "withdrawn": "the person withdrew consent",
    "refused": "the person refused",
}
"""Reason code → what it means."""
_RECORDED = {
    "released": "the export released this person",
    "changed_meanwhile": "the export decided for this person, then took them out: something had changed",
    "absent": "this person was not in the export",
}
_LEAF = {
    "present": "the manifest proves it",
    "missing": "the manifest has no such leaf",
    "no_key": "the person was erased since, so the manifest cannot be asked",
}


def told(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield an explanation, as REST shows it, line by line."""
    reason = found["reason"]
    yield f"{found['outcome']}: {REASONS.get(reason, 'see the rules below')} ({reason})"
    segment = f", segment {found['segment']}" if found["segment"] else ""
    yield f"  to {found['destination']} for {found['purpose']}{segment}"
    yield f"  at {found['at']}, policies {found['bundle'][:12]}, ledger position {found['ledger_position']}"
    if found["instead"]:
        yield f"  permitted instead, chosen by none of the person's data: {found['instead']}"
    if recorded := found["recorded"]:
        yield from _on_record(recorded)
    yield "laws that apply:"
    yield from (f"  {one['jurisdiction']} ({_spaced(one['because'])})" for one in found["jurisdictions"])
    if found["restraints"]:
        yield "restraints of the person:"
        yield from (f"  {name}: {REASONS.get(name, '')}" for name in found["restraints"])
    yield from _consent(found["consent"])
    yield "rules:"
    yield from _rules(found["rules"])
    for place, names in found["inputs"]["unlisted"].items():
        yield f"read by the segment and listed by no permit that holds in {place}: {', '.join(names)}"
    if found["fields"]:
        yield "fields:"
        yield from (_field(field) for field in found["fields"])
    if found["not_reproduced"]:
        yield f"not reproduced: {', '.join(map(_spaced, found['not_reproduced']))}"


def _on_record(recorded: Mapping[str, Any]) -> Iterator[str]:
    yield f"on record: {_RECORDED[recorded['outcome']]}; {_LEAF[recorded['leaf']]}"
    if recorded["outcome"] == "released":
        fetched = ", ".join(recorded["fetched_at"])
        yield f"  fetched: {fetched or 'never'}"


def _consent(consent: Mapping[str, Any]) -> Iterator[str]:
    since = f" since {consent['since']}" if consent["since"] else ""
    until = f" until {consent['expires_at']}" if consent["expires_at"] else ""
    yield f"consent: {consent['state']}{since}{until} ({_spaced(consent['reason'])})"
    if shown := consent["notice_given"]:
        yield f"  was given the notice on {shown}"
    if record := consent["record"]:
        act = "an act" if record["act"] else "a report"
        notice = f", notice {record['notice']} {record['notice_version'] or ''}" if record["notice"] else ""
        yield f"  rests on record {record['id']}: {record['state']} for {record['purpose']}{notice.rstrip()}"
        times = f"{act} of {record['event_time']}, received {record['received_at']}"
        yield f"  {times}, {record['source_kind']} source"


def _rules(rules: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for rule in rules:
        about = (
            f", about {', '.join(rule['inputs'])}" if rule["inputs"] and rule["effect"] == "forbid" else ""
        )
        yield f"  {rule['effect']} {rule['rule']}{about}"
        for where in rule["where"]:
            by = f", because of {where['decided_by']}" if where["decided_by"] else ""
            yield f"    {where['jurisdiction']}: {where['truth']}{by}"
        if not rule["where"]:
            yield "    is about none of these laws"


def _field(field: Mapping[str, Any]) -> str:
    words = ", ".join(f"{word['rule']}: {word['transform']}" for word in field["words"])
    return f"  {field['field']}: {field['transform']} ({words})"


def _spaced(code: str) -> str:
    return code.replace("_", " ")
