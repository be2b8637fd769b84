"""What ``taxonomy.yaml`` and ``fields.yaml`` may say, and the numbers that shapes count with.

Every struct refuses keys that it does not name. A list may be written as one bare value.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from cdp.policy.declared import PlaceKind, Protection, Survivorship, ValueType

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of these shapes."""


class CategoryShape(_Shape, frozen=True):
    """A data category; everything below a sensitive one is sensitive."""

    name: str
    sensitive: bool = False


class TaxonomyFile(_Shape, frozen=True):
    """``taxonomy.yaml``: category key → category."""

    categories: dict[str, CategoryShape]


class GeneraliseShape(_Shape, frozen=True):
    """What of a sealed trait may stay clear: ``by`` a level, kept as the clear trait ``into``."""

    into: str
    by: str


class _Folded(_Shape, frozen=True, kw_only=True):
    """Which observation of a trait holds, and for how long it counts: ``365d``."""

    survivorship: Survivorship = "most_recent"
    trust: dict[str, Count] = {}
    expires: str | None = None
    validated_by: str | None = None


class FieldShape(_Folded, frozen=True, kw_only=True):
    """One declared field; sealed unless it says otherwise."""

    category: str
    protection: Protection = "sealed"
    type: ValueType = "string"
    place: PlaceKind | None = None
    items: tuple[str, ...] = ()
    generalise: GeneraliseShape | None = None


class InferenceShape(_Folded, frozen=True, kw_only=True):
    """A computed trait or tag: what was concluded about a person, not said or done by them.

    Without a category it counts as sensitive. ``basis``: from what and why it is concluded.
    """

    basis: str
    category: str | None = None
    protection: Protection = "sealed"
    type: ValueType = "string"


class FieldsFile(_Shape, frozen=True):
    """``fields.yaml``: name → field, by where it stands in an event.

    ``events`` maps a category to the names of the events that tell it; ``inferences`` are traits, too.
    """

    events: dict[str, tuple[str, ...]]
    traits: dict[str, FieldShape]
    properties: dict[str, FieldShape]
    context: dict[str, FieldShape]
    identifiers: dict[str, FieldShape]
    inferences: dict[str, InferenceShape] = {}
