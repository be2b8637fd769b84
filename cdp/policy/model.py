"""The policy bundle as typed, immutable records.

Invariants: loading validates everything, so whoever holds a ``Bundle`` holds one without unknown
keys, dangling names or contradictions; a bundle is identified by the SHA-256 of its files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

import msgspec

from cdp.clock import Micros

UNDECLARED_EVENT = "user.behavior"
"""The category of an event that ``fields.yaml`` does not declare."""
Protection = Literal["clear", "sealed", "sealed+index"]
ValueType = Literal["string", "number", "boolean", "time", "list"]
TransformKind = Literal["clear", "mask", "hash", "pseudonymise", "generalise", "drop"]
Basis = Literal["consent", "opt_out", "contract", "legal_obligation", "legitimate_interest"]


class Category(msgspec.Struct, frozen=True):
    """A data category of the taxonomy, e.g. ``user.contact.email``."""

    key: str
    name: str
    sensitive: bool


class FieldRule(msgspec.Struct, frozen=True, kw_only=True):
    """How one declared trait, property, context value or identifier type is treated.

    :param name: snake_case, nested names joined by dots (``address.country``).
    :param place: this field records a place that decides the person's jurisdictions.
    :param items: for ``list``: the keys that its objects may hold in clear.
    :param survivorship: ``most_recent`` or ``most_trusted``.
    """

    name: str
    category: str
    protection: Protection = "sealed"
    type: ValueType = "string"
    place: bool = False
    items: frozenset[str] = frozenset()
    survivorship: Literal["most_recent", "most_trusted"] = "most_recent"

    @property
    def clear(self) -> bool:
        """True when the value may be stored and segmented in clear."""
        return self.protection == "clear"


class FieldCatalogue(msgspec.Struct, frozen=True, kw_only=True):
    """``fields.yaml``: what is declared; everything else is sealed and not mirrored.

    :param events: event name → the category that having done it tells.
    """

    events: dict[str, str] = {}
    traits: dict[str, FieldRule]
    properties: dict[str, FieldRule]
    context: dict[str, FieldRule]
    identifiers: dict[str, FieldRule]

    def event_category(self, name: str) -> str:
        """Return the category that having done ``name`` tells."""
        return self.events.get(name, UNDECLARED_EVENT)

    def output(self, name: str) -> FieldRule | None:
        """Return the rule of a field that an export may name: a trait, else an identifier type."""
        return self.traits.get(name) or self.identifiers.get(name)


class Limit(msgspec.Struct, frozen=True):
    """At most ``count`` values of a type on one profile (``ever``)."""

    count: int
    period: Literal["ever"] = "ever"


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


class IdentityRules(msgspec.Struct, frozen=True, kw_only=True):
    """``identity.yaml``.

    :param profile_cap: most identities one profile may hold; a link beyond it is set aside.
    """

    version: int
    types: dict[str, IdentifierRule]
    external: IdentifierRule
    blocked: Blocked
    profile_cap: int
    source_trust: dict[str, int]

    def of(self, kind: str) -> IdentifierRule | None:
        """Return the rule of identifier type ``kind`` (``external:<type>`` share one)."""
        rule = self.types.get(kind)
        return self.external if rule is None and kind.startswith("external:") else rule


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the text that people were shown.

    :param material: True when a grant given on an earlier version has become stale.
    """

    id: str
    version: int
    material: bool
    text: str
    in_force_from: Micros = 0

    @property
    def sha256(self) -> str:
        """Hex digest of the archived text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Purpose(msgspec.Struct, frozen=True, kw_only=True):
    """``purposes.yaml``: what data may be used for.

    :param key: dotted; a restraint on a key covers all keys below it.
    :param basis: legal basis by jurisdiction; ``*`` for the others.
    :param validity_days: a grant older than this is stale; None never ages.
    """

    key: str
    name: str
    description: str
    basis: dict[str, Basis]
    channels: tuple[str, ...] = ()
    validity_days: int | None = None
    separate_consent: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
    internal: bool = False
    restrainable: bool = True

    def basis_in(self, jurisdiction: str) -> Basis | None:
        """Return the legal basis in ``jurisdiction``, None where there is none."""
        return self.basis.get(jurisdiction, self.basis.get("*"))

    def notice_at(self, at: Micros) -> Notice | None:
        """Return the notice that was in force at ``at``: what was shown when nobody says otherwise."""
        shown = [notice for notice in self.notices if notice.in_force_from <= at]
        return max(shown, key=lambda notice: (notice.in_force_from, notice.version), default=None)


class Jurisdictions(msgspec.Struct, frozen=True, kw_only=True):
    """``jurisdictions.yaml``.

    :param controller: the jurisdictions of the controller's establishment.
    :param places: place value, lower case (country code or name) → jurisdiction.
    :param configured: all jurisdictions; what a person without any recorded place falls under.
    :param other: the jurisdiction of a recorded place that ``places`` does not name.
    :param nowhere: values, lower case, that name no place (``unspecified``): as if none were recorded.
    """

    controller: frozenset[str]
    places: dict[str, str]
    configured: frozenset[str]
    other: str
    nowhere: frozenset[str] = frozenset()

    def place(self, value: str) -> str | None:
        """Return the jurisdiction of one recorded place value; None when it names no place."""
        key = value.strip().casefold()
        return None if not key or key in self.nowhere else self.places.get(key, self.other)

    def of(self, values: Iterable[str]) -> frozenset[str]:
        """Return the jurisdictions of a person with these recorded place values.

        The controller's and every recorded place's; without any recorded place all that are configured.
        """
        found = {place for value in values if (place := self.place(value)) is not None}
        return self.controller | found if found else self.configured


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """``destinations/*.yaml``: who may receive data."""

    name: str
    title: str
    type: str
    role: Literal["processor", "joint", "third_party", "controller"]
    country: str
    region: str
    contract: str
    contract_expires: str | None
    transfer_tool: str
    purposes: frozenset[str]
    minimum_audience: int
    enabled: bool


class Transform(msgspec.Struct, frozen=True):
    """What happens to a released field; ``argument`` is the level of ``generalise``."""

    kind: TransformKind
    argument: str = ""


class Require(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the person that a rule needs; an absent requirement is no condition."""

    consent: str | None = None
    max_age_days: int | None = None
    notice_current: bool | None = None
    not_minor: bool | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """``rules/*.yaml``: one permit, forbid or limit."""

    id: str
    effect: Literal["permit", "forbid", "limit"]
    purpose: str
    legal_basis: str = ""
    channels: tuple[str, ...] = ()
    destination_types: frozenset[str] = frozenset()
    destination_regions: frozenset[str] = frozenset()
    destination_names: frozenset[str] = frozenset()
    jurisdictions: frozenset[str] = frozenset()
    inputs: tuple[str, ...] = ()
    require: Require = Require()
    fields: dict[str, Transform] = {}


class SourceSignals(msgspec.Struct, frozen=True, kw_only=True):
    """How consent categories of sources map to purposes (``purposes.yaml``, ``signals``)."""

    segment: dict[str, tuple[str, ...]]


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """Everything under ``policies/`` at one version.

    :param sha256: hex digest over all files, by path and content.
    """

    sha256: str
    categories: dict[str, Category]
    fields: FieldCatalogue
    identity: IdentityRules
    purposes: dict[str, Purpose]
    signals: SourceSignals
    jurisdictions: Jurisdictions
    destinations: dict[str, Destination]
    rules: tuple[Rule, ...]

    def basis(self, purpose: str, jurisdiction: str) -> Basis | None:
        """Return the legal basis of a purpose in a jurisdiction, None where there is none."""
        found = self.purposes.get(purpose)
        return None if found is None else found.basis_in(jurisdiction)

    def is_sensitive(self, category: str) -> bool:
        """True for a sensitive category; an unknown one counts as sensitive."""
        found = self.categories.get(category)
        return found is None or found.sensitive
