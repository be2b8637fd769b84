"""What each policy file may say, word for word; ``load.py`` turns it into the records of ``model.py``.

Every struct refuses keys that it does not name. A list may be written as one bare value.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cdp.policy.model import Basis, Protection, Require, ValueType

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of all shapes."""


# -- taxonomy.yaml and fields.yaml ------------------------------------------------------------------


class CategoryShape(_Shape, frozen=True):
    """A data category; everything below a sensitive one is sensitive."""

    name: str
    sensitive: bool = False


class TaxonomyFile(_Shape, frozen=True):
    """``taxonomy.yaml``: category key → category."""

    categories: dict[str, CategoryShape]


class FieldShape(_Shape, frozen=True):
    """One declared field; sealed unless it says otherwise."""

    category: str
    protection: Protection = "sealed"
    type: ValueType = "string"
    place: bool = False
    items: tuple[str, ...] = ()
    survivorship: Literal["most_recent", "most_trusted"] = "most_recent"


class FieldsFile(_Shape, frozen=True):
    """``fields.yaml``: name → field, by where it stands in an event.

    ``events`` maps a category to the names of the events that tell it.
    """

    events: dict[str, tuple[str, ...]]
    traits: dict[str, FieldShape]
    properties: dict[str, FieldShape]
    context: dict[str, FieldShape]
    identifiers: dict[str, FieldShape]


# -- identity.yaml ----------------------------------------------------------------------------------


class LimitShape(_Shape, frozen=True):
    """At most so many values of a type on one profile."""

    count: Positive
    period: Literal["ever"] = "ever"


class BlockedShape(_Shape, frozen=True):
    """Values that identify nobody; a ``pattern`` is a regular expression for the whole value."""

    exact: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    pattern: tuple[str, ...] = ()


class TypeShape(_Shape, frozen=True):
    """How an identifier type links."""

    class_: Literal["person", "device"] = msgspec.field(name="class")
    priority: Positive
    limit: LimitShape | None = None
    unique: bool = False
    blocked: BlockedShape = BlockedShape()


class IdentityFile(_Shape, frozen=True):
    """``identity.yaml``."""

    version: Positive
    profile_cap: Positive
    source_trust: dict[str, Count]
    types: dict[str, TypeShape]
    external: TypeShape
    blocked: BlockedShape


# -- purposes.yaml ----------------------------------------------------------------------------------


class NoticeShape(_Shape, frozen=True):
    """One version of a notice; a date is YYYY-MM-DD, from 00:00 UTC."""

    id: str
    version: Positive
    in_force_from: str
    material: bool
    text: str


class PurposeShape(_Shape, frozen=True):
    """What data may be used for."""

    name: str
    description: str
    basis: dict[str, Basis]
    channels: tuple[str, ...] = ()
    validity_days: Positive | None = None
    separate_consent: tuple[str, ...] = ()
    notices: tuple[NoticeShape, ...] = ()
    internal: bool = False
    restrainable: bool = True


class SignalsShape(_Shape, frozen=True):
    """Consent categories of sources → purposes."""

    segment: dict[str, tuple[str, ...]]


class PurposesFile(_Shape, frozen=True):
    """``purposes.yaml``."""

    purposes: dict[str, PurposeShape]
    signals: SignalsShape


# -- jurisdictions.yaml and destinations/*.yaml -----------------------------------------------------


class JurisdictionShape(_Shape, frozen=True):
    """A law, the region that destinations in it belong to, and its countries: code → names."""

    name: str
    region: str
    countries: dict[str, tuple[str, ...]] = {}


class JurisdictionsFile(_Shape, frozen=True):
    """``jurisdictions.yaml``."""

    controller: tuple[str, ...]
    other: str
    nowhere: tuple[str, ...]
    jurisdictions: dict[str, JurisdictionShape]


class DestinationFile(_Shape, frozen=True):
    """``destinations/NAME.yaml``: who may receive data."""

    name: str
    title: str
    type: str
    role: Literal["processor", "joint", "third_party", "controller"]
    country: str
    contract: str
    contract_expires: str | None
    transfer_tool: str
    purposes: tuple[str, ...]
    minimum_audience: Count
    enabled: bool


# -- rules/*.yaml -----------------------------------------------------------------------------------


class TargetShape(_Shape, frozen=True):
    """Which destinations a rule is about; what is not said is not asked."""

    type: tuple[str, ...] = ()
    country_in: tuple[str, ...] = ()
    name: tuple[str, ...] = ()


class RuleShape(_Shape, frozen=True):
    """One permit, forbid or limit; ``fields`` maps a category to ``clear`` or ``{generalise: country}``."""

    id: str
    effect: Literal["permit", "forbid", "limit"]
    purpose: str
    legal_basis: Basis | None = None
    channels: tuple[str, ...] = ()
    destinations: TargetShape = TargetShape()
    jurisdictions: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    require: Require = Require()
    fields: dict[str, str | dict[str, str]] = {}
