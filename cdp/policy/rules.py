"""``rules/*.yaml`` → typed rules: names resolved, transforms parsed, contradictions refused.

A rule is refused when it could never do what it seems to say: a permit without the consent that its
basis needs, or on a basis that the purpose does not have there; a forbid with fields; a limit that
limits nothing, or that with another limit would silently mean ``drop``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import msgspec

from cdp.errors import PolicyError
from cdp.policy.declared import Category
from cdp.policy.document import Document, meant
from cdp.policy.model import Destination, Jurisdictions, Purpose, Rule, Transform, TransformKind
from cdp.policy.names import PSEUDONYMS, SENSITIVE, covers, levels_of, lineage
from cdp.policy.shapes import RuleShape

_KINDS: tuple[TransformKind, ...] = get_args(TransformKind)


class RulesRead(msgspec.Struct, frozen=True):
    """The rules by id, and which document names each, at which place."""

    rules: tuple[Rule, ...]
    places: dict[str, tuple[Document, int]]

    def at(self, rule: Rule, *path: str | int) -> PolicyError:
        """Return the place of something in a rule, as an error without words."""
        document, number = self.places[rule.id]
        return document.error("", number, *path)


class _Names:
    """What a rule may name."""

    def __init__(
        self,
        categories: Mapping[str, Category],
        purposes: Mapping[str, Purpose],
        jurisdictions: Jurisdictions,
        destinations: Mapping[str, Destination],
        regions: Mapping[str, str],
    ) -> None:
        self.categories = categories
        self.sensitive = tuple(
            key
            for key, category in categories.items()
            if category.sensitive and not any(categories[above].sensitive for above in lineage(key)[1:])
        )
        self.purposes = purposes
        self.jurisdictions = jurisdictions.configured
        self.destinations = destinations
        self.types = {destination.type for destination in destinations.values()}
        self.places = {*regions, *regions.values()}

    def meant_by(self, name: str) -> tuple[str, ...]:
        """Return the categories that a name in a rule stands for."""
        return self.sensitive if name == SENSITIVE else (name,)


def resolve_rules(
    documents: Sequence[Document],
    *,
    categories: Mapping[str, Category],
    purposes: Mapping[str, Purpose],
    jurisdictions: Jurisdictions,
    destinations: Mapping[str, Destination],
    regions: Mapping[str, str],
) -> RulesRead:
    """Return the rules of all files, by id.

    :param regions: country code → region.
    :raises PolicyError: a rule names something unknown or contradicts itself, a purpose or a limit.
    """
    names = _Names(categories, purposes, jurisdictions, destinations, regions)
    rules: dict[str, Rule] = {}
    places: dict[str, tuple[Document, int]] = {}
    for document in documents:
        for number, shape in enumerate(document.read_each(RuleShape)):
            if shape.id in rules:
                raise document.error(f"there is another rule with the id {shape.id!r}", number, "id")
            _check_names(document, number, shape, names)
            rule = _rule(document, number, shape, names)
            _check_effect(document, number, rule, names)
            _check_limits(document, number, rule, rules.values())
            rules[rule.id], places[rule.id] = rule, (document, number)
    return RulesRead(tuple(rules[key] for key in sorted(rules)), places)


def _check_names(document: Document, number: int, shape: RuleShape, names: _Names) -> None:
    document.check(shape.purpose, names.purposes, "the purpose", number, "purpose")
    target = shape.destinations
    lists: tuple[tuple[str, tuple[str, ...], Iterable[str], tuple[str, ...]], ...] = (
        ("jurisdiction", shape.jurisdictions, names.jurisdictions, ("jurisdictions",)),
        ("destination type", target.type, names.types, ("destinations", "type")),
        ("region or country", target.country_in, names.places, ("destinations", "country_in")),
        ("destination", target.name, names.destinations, ("destinations", "name")),
        ("category", shape.inputs, {*names.categories, SENSITIVE}, ("inputs",)),
    )
    if "*" in shape.inputs:
        message = '"*" never covers inputs; name the categories (`sensitive` for every sensitive one)'
        raise document.error(message, number, "inputs", shape.inputs.index("*"))
    for what, given, known, path in lists:
        for place, name in enumerate(given):
            document.check(name, known, f"the {what}", number, *path, place)
    for name in shape.fields:
        document.check(name, {*names.categories, SENSITIVE, "*"}, "the category", number, "fields", name)


def _rule(document: Document, number: int, shape: RuleShape, names: _Names) -> Rule:
    return Rule(
        id=shape.id,
        effect=shape.effect,
        purpose=shape.purpose,
        legal_basis=shape.legal_basis or "",
        channels=shape.channels,
        destination_types=frozenset(shape.destinations.type),
        destination_regions=frozenset(shape.destinations.country_in),
        destination_names=frozenset(shape.destinations.name),
        jurisdictions=frozenset(shape.jurisdictions or names.jurisdictions),
        inputs=tuple(dict.fromkeys(key for name in shape.inputs for key in names.meant_by(name))),
        require=shape.require,
        fields=_fields(document, number, shape, names),
        source=shape.source,
    )


def _fields(document: Document, number: int, shape: RuleShape, names: _Names) -> dict[str, Transform]:
    """Return the rule's words on fields; what it says of one category goes before ``sensitive``."""
    found = {
        category: transform(document, (number, "fields", category), category, given)
        for category, given in shape.fields.items()
    }
    every = found.pop(SENSITIVE, None)
    return found if every is None else dict.fromkeys(names.sensitive, every) | found


def transform(
    document: Document, path: tuple[str | int, ...], category: str, given: str | dict[str, str]
) -> Transform:
    """Parse ``clear`` or ``{generalise: country}``.

    :raises PolicyError: there is no such transform, or it makes no sense for the category.
    """
    pairs = [(given, "")] if isinstance(given, str) else list(given.items())
    if len(pairs) != 1:
        raise document.error("one transform a field: `clear`, or `{generalise: country}`", *path)
    name, argument = pairs[0]
    kind = next((kind for kind in _KINDS if kind == name), None)
    if kind is None:
        raise document.error(f"there is no transform {name!r}{meant(name, _KINDS)}", *path)
    allowed = _arguments(kind, category)
    if argument not in allowed:
        options = ", ".join(sorted(allowed - {""})) or "nothing"
        raise document.error(f"{kind} of {category} takes {options}{meant(argument, allowed)}", *path)
    return Transform(kind, argument)


def _arguments(kind: TransformKind, category: str) -> frozenset[str]:
    if kind == "generalise":
        return levels_of(category)
    return frozenset(PSEUDONYMS) if kind == "pseudonymise" else frozenset({""})


def _check_effect(document: Document, number: int, rule: Rule, names: _Names) -> None:
    purpose = names.purposes[rule.purpose]
    if rule.effect == "permit":
        _check_permit(document, number, rule, purpose)
        return
    if rule.legal_basis:
        raise document.error(f"a {rule.effect} needs no legal basis", number, "legal_basis")
    if rule.effect == "forbid" and rule.fields:
        message = "a forbid refuses whole rows; use effect: limit to hold fields back"
        raise document.error(message, number, "fields")
    if rule.effect == "limit" and rule.inputs:
        message = "a limit is about fields that leave; use effect: forbid to refuse inputs"
        raise document.error(message, number, "inputs")
    if rule.effect == "limit" and not rule.fields:
        raise document.error("a limit without fields limits nothing", number)
    for category, transform in rule.fields.items():
        if transform.kind == "clear":
            raise document.error("a limit to `clear` limits nothing", number, "fields", category)


def _check_permit(document: Document, number: int, rule: Rule, purpose: Purpose) -> None:
    if not rule.legal_basis:
        raise document.error("a permit names its legal basis (legal_basis: consent)", number)
    for name in sorted(rule.jurisdictions):
        basis = purpose.basis_in(name)
        if basis != rule.legal_basis and not (rule.legal_basis == "consent" and basis == "opt_out"):
            has = basis or "none"
            message = f"the basis of {purpose.key} in {name} is {has}, not {rule.legal_basis}"
            raise document.error(message, number, "legal_basis")
    for channel in rule.channels:
        if channel not in purpose.channels:
            message = f"{purpose.key} has no channel {channel!r}{meant(channel, purpose.channels)}"
            raise document.error(message, number, "channels")
    _check_require(document, number, rule, purpose)


def _check_require(document: Document, number: int, rule: Rule, purpose: Purpose) -> None:
    require, path = rule.require, (number, "require")
    if (rule.legal_basis == "consent") != (require.consent is not None):
        message = "require.consent: granted goes with legal_basis: consent, and only with it"
        raise document.error(message, *path)
    if require.consent not in {None, "granted"}:
        raise document.error("the only consent that permits is `granted`", *path, "consent")
    if require.not_minor is False or require.notice_current is False:
        raise document.error("a permit cannot ask for the lack of something; write a forbid", *path)
    if require.notice_current and not purpose.notices:
        raise document.error(f"{purpose.key} has no notice that could be current", *path, "notice_current")
    age, validity = require.max_age_days, purpose.validity_days
    if age is not None and (age < 1 or (validity is not None and age > validity)):
        message = f"max_age_days must lie between 1 and the purpose's validity_days ({validity})"
        raise document.error(message, *path, "max_age_days")


def _check_limits(document: Document, number: int, rule: Rule, others: Iterable[Rule]) -> None:
    """Refuse two limits whose transforms of one category differ: together they would mean ``drop``."""
    if rule.effect != "limit":
        return
    for other in others:
        if other.effect != "limit" or not (other.jurisdictions & rule.jurisdictions):
            continue
        if not (covers(other.purpose, rule.purpose) or covers(rule.purpose, other.purpose)):
            continue
        for category, transform in rule.fields.items():
            held = other.fields.get(category, transform)
            if held != transform and "drop" not in {held.kind, transform.kind}:
                message = f"contradicts the limit {other.id!r}: together they drop {category}; write `drop`"
                raise document.error(message, number, "fields", category)
