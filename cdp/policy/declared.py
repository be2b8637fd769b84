"""What is declared of people: data categories, fields, inferences, identifier types. Records only."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

import msgspec

UNDECLARED_EVENT = "user.behavior"
"""The category of an event that ``fields.yaml`` does not declare."""
UNDECLARED_INFERENCE = "user.inferred.undeclared"
"""The category of a computed trait or tag that ``fields.yaml`` does not declare: a sensitive one."""
Protection = Literal["clear", "sealed", "sealed+index"]
ValueType = Literal["string", "number", "boolean", "time", "list"]
PlaceKind = Literal["country", "state", "hint"]
Period = Literal["ever", "daily", "monthly"]
Survivorship = Literal[
    "most_recent",
    "most_trusted",
    "most_frequent",
    "longest_lived",
    "min",
    "max",
    "sum",
    "union",
    "validated",
]
"""Which observation of a trait holds; ``cdp/profiles/fold.py`` defines each word."""


class Category(msgspec.Struct, frozen=True):
    """A data category of the taxonomy, e.g. ``user.contact.email``."""

    key: str
    name: str
    sensitive: bool


class Generalise(msgspec.Struct, frozen=True):
    """What stays clear of a sealed trait: its value generalised ``by`` a level, as the trait ``into``."""

    into: str
    by: str


class FieldRule(msgspec.Struct, frozen=True, kw_only=True):
    """How one declared trait, property, context value or identifier type is treated.

    :param name: snake_case, nested names joined by dots (``address.country``).
    :param place: this field records a country or state that decides the person's jurisdictions, or a place
        that may only add some (``hint``).
    :param items: for ``list``: the keys that its objects may hold in clear.
    :param inferred: True for a computed trait: a conclusion about the person, drawn from its ``basis``.
    """

    name: str
    category: str
    protection: Protection = "sealed"
    type: ValueType = "string"
    place: PlaceKind | None = None
    items: frozenset[str] = frozenset()
    survivorship: Survivorship = "most_recent"
    trust: dict[str, int] = {}
    expires: int | None = None
    validated_by: str = ""
    generalise: Generalise | None = None
    inferred: bool = False
    basis: str = ""

    @property
    def clear(self) -> bool:
        """True when the value may be stored and segmented in clear."""
        return self.protection == "clear"


class FieldCatalogue(msgspec.Struct, frozen=True, kw_only=True):
    """``fields.yaml``: what is declared; everything else is sealed and not mirrored.

    :param events: event name → the category that having done it tells.
    :param inferences: computed trait or tag → the category that it tells.
    """

    events: dict[str, str] = {}
    traits: dict[str, FieldRule]
    properties: dict[str, FieldRule]
    context: dict[str, FieldRule]
    identifiers: dict[str, FieldRule]
    inferences: dict[str, str] = {}

    def inference_category(self, name: str) -> str:
        """Return the category that a computed trait or tag tells; a sensitive one when it is not declared."""
        return self.inferences.get(name, UNDECLARED_INFERENCE)

    def event_category(self, name: str) -> str:
        """Return the category that having done ``name`` tells."""
        return self.events.get(name, UNDECLARED_EVENT)

    def folded_from(self, names: Collection[str]) -> frozenset[str]:
        """Return the traits whose observations decide what ``names`` are: these, and what validates them."""
        rules = (self.traits.get(name) for name in names)
        return frozenset(names).union(rule.validated_by for rule in rules if rule and rule.validated_by)

    def output(self, name: str) -> FieldRule | None:
        """Return the rule of a field that an export may name: a trait, else an identifier type."""
        return self.traits.get(name) or self.identifiers.get(name)


class Limit(msgspec.Struct, frozen=True):
    """At most ``count`` values of a type on one profile, ever or first linked within one UTC day or month."""

    count: int
    period: Period = "ever"


class Blocked(msgspec.Struct, frozen=True, kw_only=True):
    """Values that identify nobody: compared after normalisation, without case."""

    exact: frozenset[str] = frozenset()
    prefix: tuple[str, ...] = ()
    pattern: tuple[str, ...] = ()


class IdentifierRule(msgspec.Struct, frozen=True, kw_only=True):
    """How one identifier type links people (``identity.yaml``).

    :param device: True for device class, False for person class.
    :param priority: 1 is highest; an event attaches to its highest-priority identifier.
    :param unique: one value per profile ever; two different ones never merge.
    """

    type: str
    device: bool
    priority: int
    limit: Limit | None = None
    unique: bool = False
    blocked: Blocked = Blocked()


class Thresholds(msgspec.Struct, frozen=True):
    """How probable two records have to be one, to be linked (``accept``) or put before a steward."""

    accept: float = 0.99
    review: float = 0.5


class IdentityRules(msgspec.Struct, frozen=True, kw_only=True):
    """``identity.yaml``.

    :param profile_cap: most identities one profile may hold; a link beyond it is set aside.
    :param growth_alarm: identities of one profile from which stewards are told.
    :param component_cap: most identities that candidates may connect; one beyond it is counted, not kept.
    """

    version: int
    types: dict[str, IdentifierRule]
    external: IdentifierRule
    blocked: Blocked
    profile_cap: int
    source_trust: dict[str, int]
    growth_alarm: int = 250
    component_cap: int = 10_000
    matching: Thresholds = Thresholds()

    def of(self, kind: str) -> IdentifierRule | None:
        """Return the rule of identifier type ``kind`` (``external:<type>`` share one)."""
        rule = self.types.get(kind)
        return self.external if rule is None and kind.startswith("external:") else rule

    @property
    def recurs(self) -> bool:
        """Whether any limit counts anew with each day or month."""
        rules = (*self.types.values(), self.external)
        return any(rule.limit is not None and rule.limit.period != "ever" for rule in rules)

    def period_of(self, kinds: Iterable[str]) -> Period:
        """Return the shortest period in which a limit of these types counts anew."""
        rules = (self.of(kind) for kind in kinds)
        found = {rule.limit.period for rule in rules if rule is not None and rule.limit is not None}
        return "daily" if "daily" in found else "monthly" if "monthly" in found else "ever"

    def is_device(self, kind: str) -> bool:
        """Return whether identifiers of this type tell a device; what is not declared tells a person."""
        rule = self.of(kind)
        return rule is not None and rule.device
