"""What a bundle that holds together lacks: pure.

1. Destinations, fields and inferences without what the law asks for.
2. Purposes for which nothing may be done; permits of whose purpose nobody was ever told, that end sooner than
   the consent that people see, or that release whatever is declared later; rules that are about nobody.
3. Variants (``purposes.yaml``) that choose people by their data after all, or that a refusal does not reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

from cdp.policy.declared import UNDECLARED_INFERENCE
from cdp.policy.findings import Finding
from cdp.policy.model import Transform
from cdp.policy.names import covers
from cdp.policy.reading import aims_at, unreadable

if TYPE_CHECKING:
    from cdp.policy.load import Reading

DROP = Transform("drop")
_NO_TOOL = {"", "none", "no"}
_TOLD = {"consent", "opt_out"}


def gaps(reading: Reading, today: date) -> Iterator[Finding]:
    """Yield what a lawyer should look at.

    :param today: the day on which contracts are looked at.
    """
    yield from _destinations(reading, today)
    yield from _fields(reading)
    yield from _purposes(reading)
    yield from _rules(reading)
    yield from _variants(reading)


def _destinations(reading: Reading, today: date) -> Iterator[Finding]:
    bundle = reading.bundle
    inside = {one.region for one in bundle.destinations.values() if one.role == "controller"}
    for destination in bundle.destinations.values():
        if destination.role == "controller":
            continue
        document = reading.documents[f"destinations/{destination.name}.yaml"]
        if not destination.contract.strip():
            yield Finding.at(
                document.error("", "contract"),
                f"{destination.name} receives data without a contract",
                "name the contract (GDPR Art. 28(3), 26(1), PIPL Art. 20-21), or switch the destination off",
            )
        if destination.contract_ended(today):
            yield Finding.at(
                document.error("", "contract_expires"),
                f"the contract with {destination.name} expired on {destination.contract_expires}: "
                "nothing is released to it",
                "enter the new contract, or switch the destination off",
            )
        if destination.region not in inside and destination.transfer_tool.strip().lower() in _NO_TOOL:
            yield Finding.at(
                document.error("", "transfer_tool"),
                f"{destination.name} is in another region than the controller, and has no transfer tool",
                "name the tool (GDPR Art. 46, PIPL Art. 38) or the adequacy decision",
            )


def _fields(reading: Reading) -> Iterator[Finding]:
    bundle, document = reading.bundle, reading.documents["fields.yaml"]
    for name, category in bundle.fields.inferences.items():
        if category == UNDECLARED_INFERENCE:
            yield Finding.at(
                document.error("", "inferences", name),
                f"the inference {name!r} has no category, so it counts as sensitive",
                "say what it tells: category: user.inferred.…",
            )
    for name, rule in bundle.fields.traits.items():
        if rule.clear and unreadable(bundle, (rule.category,)):
            part = "inferences" if rule.inferred else "traits"
            yield Finding.at(
                document.error("", part, name),
                f"{name!r} is clear, and no segment may read {rule.category}",
                "list the category under inputs of a permit for segmentation, or seal the field",
            )


def _purposes(reading: Reading) -> Iterator[Finding]:
    bundle, document = reading.bundle, reading.documents["purposes.yaml"]
    permitted = {rule.purpose for rule in bundle.rules if rule.effect == "permit"}
    for key in bundle.purposes:
        if key not in permitted and not any(covers(key, other) for other in bundle.purposes if other != key):
            yield Finding.at(
                document.error("", "purposes", key),
                f"nothing may be done for {key}: no permit is for it",
                "write a permit for it, or take the purpose out",
            )


def _rules(reading: Reading) -> Iterator[Finding]:
    bundle, at = reading.bundle, reading.rules.at
    for rule in bundle.rules:
        purpose = bundle.purposes[rule.purpose]
        if rule.effect != "permit":
            if not any(aims_at(rule, destination) for destination in bundle.destinations.values()):
                yield Finding.at(
                    at(rule, "destinations"),
                    f"the {rule.effect} {rule.id!r} is about no destination there is",
                    "name one of destinations/, or take the rule out",
                )
            continue
        if rule.legal_basis in _TOLD and not purpose.notices:
            yield Finding.at(
                at(rule, "legal_basis"),
                f"{rule.id!r} rests on {rule.legal_basis}, and {rule.purpose} has no notice: nobody was told",
                "archive the text that people are shown under notices of the purpose",
            )
        age, validity = rule.require.max_age_days, purpose.validity_days
        if age is not None and validity is not None and age < validity:
            yield Finding.at(
                at(rule, "require", "max_age_days"),
                f"a consent to {rule.purpose} is shown as valid for {validity} days and counts for {age}",
                "say the same number of days in validity_days of the purpose",
            )
        if rule.fields.get("*") not in {None, DROP}:
            yield Finding.at(
                at(rule, "fields", "*"),
                f'"*" of {rule.id!r} releases every ordinary category, also of fields declared later',
                'name the categories, and write "*": drop',
            )


def _variants(reading: Reading) -> Iterator[Finding]:
    bundle, document = reading.bundle, reading.documents["purposes.yaml"]
    for purpose in bundle.purposes.values():
        if not purpose.variant:
            continue
        variant = bundle.purposes[purpose.variant]
        asked = set(variant.basis.values()) <= {"consent"}
        if not asked and not covers(purpose.key, variant.key):
            yield Finding.at(
                document.error("", "purposes", purpose.key, "variant"),
                f"whoever refuses {purpose.key} would still get {variant.key}, which does not ask everybody "
                "for consent",
                f"put it below {purpose.key}, or give it the basis consent everywhere",
            )
        for rule in bundle.rules:
            if rule.effect != "permit" or rule.purpose != variant.key:
                continue
            leaving = [key for key, word in rule.fields.items() if word != DROP]
            chosen = sorted(key for key in rule.inputs if not bundle.lists(leaving, key))
            if chosen:
                yield Finding.at(
                    reading.rules.at(rule, "inputs"),
                    f"{rule.id!r} chooses people by {', '.join(chosen)}, and {variant.key} is the variant of "
                    f"{purpose.key} that does not (PIPL Art. 24, GDPR Art. 22)",
                    "list under inputs only what the rule releases anyway",
                )
