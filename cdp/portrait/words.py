"""Why two identifiers are one person, or are not: in words for people. Pure; no word holds a value."""

from __future__ import annotations

from cdp.identity import Origin

_EVIDENCE: dict[Origin | None, str] = {
    "event": "one event named both",
    "alias": "an alias call said that both are one person",
    "merge": "a steward said that both are one person",
    "match": "matching found what is known of both alike",
    "index": "both became one value as identifiers are normalised now",
    None: "on evidence that was erased",
}
_AGAINST = {
    "suppressed": "a steward took them apart",
    "unique": "each side has a value of its own of {kind}, of which a person has only one",
    "limit": "one person would have more values of {kind} than the rules allow",
    "blocked": "the value of {kind} identifies nobody",
    "cap": "one person would have more identifiers than the rules allow",
}


def why(origin: Origin | None, reason: str, *, accepted: bool) -> str:
    """Return the evidence for a link and, where it was set aside, what stood against it.

    :param reason: the code of the decision, ``unique:<type>`` or without the type where that is not shown.
    """
    if accepted:
        return _EVIDENCE[origin]
    code, _, kind = reason.partition(":")
    against = _AGAINST.get(code, "the identity rules stand against it (" + code + ")")
    return f"{_EVIDENCE[origin]}, but {against.format(kind=kind or 'one type')}"
