"""How rules are read: what they aim at, which category they speak of, what a definition may read. Pure.

Evaluating a segment, a count or a tag is itself a use, for the purpose ``segmentation``, by the
controller. A category may be read where that is permitted of everybody:

1. in every configured jurisdiction a permit lists it (a sensitive one by name) that asks nothing of the
   person, for the definition is evaluated over all people at once;
2. no forbid bears on it. A forbid without inputs bears on everything.

Whoever is restrained for the purpose is taken away besides, one by one.
"""

from __future__ import annotations

from collections.abc import Iterable

from cdp.policy.model import Bundle, Destination, Require, Rule, Transform
from cdp.policy.names import covers, lineage

PURPOSE = "segmentation"
DESTINATION = "controller"
_ASKING = ("consent", "opt_out")


def unreadable(bundle: Bundle, categories: Iterable[str]) -> frozenset[str]:
    """Return those of ``categories`` that no definition may read under the policies of ``bundle``."""
    controller = bundle.destinations.get(DESTINATION)
    if controller is None or PURPOSE not in controller.purposes:
        return frozenset(categories)
    rules = [rule for rule in bundle.rules if aims_at(rule, controller)]
    permits = [
        rule
        for rule in rules
        if rule.effect == "permit" and rule.purpose == PURPOSE and rule.require == Require()
    ]
    forbids = [rule for rule in rules if rule.effect == "forbid" and covers(rule.purpose, PURPOSE)]
    return frozenset(
        category
        for category in categories
        if any(touches(rule, category) for rule in forbids)
        or not all(
            any(_counts(bundle, rule, place) and bundle.lists(rule.inputs, category) for rule in permits)
            for place in bundle.jurisdictions.configured
        )
    )


def _counts(bundle: Bundle, permit: Rule, jurisdiction: str) -> bool:
    """True when a permit counts in a jurisdiction, whoever the person is."""
    basis = bundle.basis(PURPOSE, jurisdiction)
    there = not permit.jurisdictions or jurisdiction in permit.jurisdictions
    return there and basis not in {None, *_ASKING} and permit.legal_basis in {"", basis}


def touches(forbid: Rule, category: str) -> bool:
    """True when a forbid or limit bears on a request that reads or names ``category``.

    One without inputs bears on every request; a listed category also speaks for those above and below it.
    """
    return not forbid.inputs or any(
        covers(listed, category) or covers(category, listed) for listed in forbid.inputs
    )


def word(bundle: Bundle, rule: Rule, category: str) -> Transform | None:
    """Return what a rule says of a category that leaves: its nearest key's word, else that of ``*``.

    A permit speaks of a sensitive category by name only, its own or a sensitive one's above it: neither ``*``
    nor an ordinary category above permits what is sensitive. Limits reach down all the same.

    :returns: None for silence.
    """
    keys = lineage(category)
    if rule.effect == "permit" and bundle.is_sensitive(category):
        keys = tuple(filter(bundle.is_sensitive, keys))
    else:
        keys = (*keys, "*")
    return next((rule.fields[key] for key in keys if key in rule.fields), None)


def aims_at(rule: Rule, destination: Destination) -> bool:
    """True when a rule is about a destination."""
    places = {destination.region, destination.country}
    return (
        (not rule.destination_types or destination.type in rule.destination_types)
        and (not rule.destination_names or destination.name in rule.destination_names)
        and (not rule.destination_regions or bool(places & rule.destination_regions))
    )
