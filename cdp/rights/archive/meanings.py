"""What each field of an archive means, in the words of the policies; and what of it is portable. Pure.

Portable is (GDPR Art. 20; guidelines WP 242 of the Article 29 Working Party, part III) what the person
provided
or did, not what was concluded from it, where some rule uses its category on consent or on a contract. A field
that no policy declares counts as provided: nobody says that it is a conclusion, and it is theirs either way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from cdp.policy import Bundle, FieldRule, covers
from cdp.rights.archive.model import FieldMeaning, Kept, Meanings, PurposeMeaning

_PORTABLE = frozenset({"consent", "contract"})
_SENSITIVE = "sensitive"
_EXTERNAL = "external:"
RIGHTS = (
    "You may have what is wrong corrected (GDPR Art. 16; CCPA 1798.106; PIPL Art. 46).",
    "You may have your data erased (GDPR Art. 17; CCPA 1798.105; PIPL Art. 47).",
    "You may have its use restricted (GDPR Art. 18) or object to it (GDPR Art. 21; PIPL Art. 44).",
    "You may withdraw a consent at any time (GDPR Art. 7(3); PIPL Art. 15).",
    "You may complain to a supervisory authority (GDPR Art. 77; PIPL Art. 65).",
)


def meanings(bundle: Bundle, seen: Mapping[tuple[str, str], Collection[str]]) -> Meanings:
    """Return what the fields that were met mean.

    :param seen: (part, name) → the sources that said it.
    """
    return Meanings(
        fields=tuple(_field(bundle, part, name, seen[part, name]) for part, name in sorted(seen)),
        purposes=tuple(
            PurposeMeaning(
                purpose=key,
                name=one.name,
                description=one.description,
                basis=dict(one.basis),
                law=dict(one.source),
            )
            for key, one in sorted(bundle.purposes.items())
        ),
        rights=RIGHTS,
    )


def _field(bundle: Bundle, part: str, name: str, sources: Collection[str]) -> FieldMeaning:
    rule = rule_of(bundle, part, name)
    category = category_of(bundle, part, name)
    known = bundle.categories.get(category)
    declared = rule is not None or (part == "event" and name in bundle.fields.events)
    return FieldMeaning(
        part=part,
        name=name,
        declared=declared,
        category=category,
        category_name=category if known is None else known.name,
        sensitive=bundle.is_sensitive(category),
        protection="sealed" if rule is None else rule.protection,
        basis="" if rule is None else rule.basis,
        sources=tuple(sorted(sources)),
        kept=tuple(
            Kept(purpose=one.purpose, days=one.days, source=one.source)
            for one in sorted(bundle.retention, key=lambda one: (one.days, one.id))
            if any(covers(key, category) for key in one.categories)
        ),
    )


def rule_of(bundle: Bundle, part: str, name: str) -> FieldRule | None:
    """Return how a field is declared; None where it is not."""
    fields = bundle.fields
    match part:
        case "trait":
            return fields.traits.get(name)
        case "property":
            return fields.properties.get(name)
        case "context":
            return fields.context.get(name)
        case "identifier":
            return fields.identifiers.get("external" if name.startswith(_EXTERNAL) else name)
        case _:
            return None


def category_of(bundle: Bundle, part: str, name: str) -> str:
    """Return the data category of a field."""
    if part == "event":
        return bundle.fields.event_category(name)
    rule = rule_of(bundle, part, name)
    return bundle.fields.inference_category(name) if rule is None else rule.category


class Portable:
    """Says which fields are portable under one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        listed = set[str]()
        for rule in bundle.rules:
            if rule.effect == "permit" and rule.legal_basis in _PORTABLE:
                left = (key for key, transform in rule.fields.items() if transform.kind != "drop")
                listed.update(rule.inputs, left)
        self._listed = listed - {"*"}
        self._known: dict[tuple[str, str], bool] = {}

    def __call__(self, part: str, name: str) -> bool:
        """Return whether a field goes into the portable part."""
        place = part, name
        if place not in self._known:
            self._known[place] = self._decided(part, name)
        return self._known[place]

    def _decided(self, part: str, name: str) -> bool:
        rule = rule_of(self._bundle, part, name)
        if rule is None and part != "event":
            return True
        if rule is not None and rule.inferred:
            return False
        category = category_of(self._bundle, part, name)
        sensitive = _SENSITIVE in self._listed and self._bundle.is_sensitive(category)
        return sensitive or self._bundle.lists(self._listed, category)
