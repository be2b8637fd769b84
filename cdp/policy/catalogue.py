"""taxonomy.yaml and fields.yaml: what is known of people."""

from __future__ import annotations

from cdp.policy import field_shapes
from cdp.policy.declared import (
    UNDECLARED_INFERENCE,
    Category,
    FieldCatalogue,
    FieldRule,
    Generalise,
)
from cdp.policy.document import Document
from cdp.policy.names import DOTTED, SENSITIVE, levels_of, lineage
from cdp.policy.survivorship import check_part, check_rule, check_validated, days_of

_RESERVED = ("profile_ref", "unsubscribe_url")  # columns of every export, or of one with links


def read_categories(document: Document) -> dict[str, Category]:
    """Return the data categories by key.

    :raises PolicyError: a key is no dotted name, or lacks the one above it.
    """
    given = document.read(field_shapes.TaxonomyFile).categories
    categories = {}
    for key, shape in given.items():
        if not DOTTED.fullmatch(key):
            raise document.error(f"{key!r} is not a dotted name in snake_case", "categories", key)
        for above in lineage(key)[1:]:
            document.check(above, given, "the category above,", "categories", key)
        sensitive = any(given[name].sensitive for name in lineage(key))
        categories[key] = Category(key, shape.name, sensitive)
    if UNDECLARED_INFERENCE not in categories or not categories[UNDECLARED_INFERENCE].sensitive:
        message = (
            f"{UNDECLARED_INFERENCE!r} must be there and sensitive: what nobody classified counts as that"
        )
        raise document.error(message, "categories")
    if SENSITIVE in categories:
        raise document.error(f"{SENSITIVE!r} stands for every sensitive category", "categories", SENSITIVE)
    return categories


def read_fields(document: Document, categories: dict[str, Category]) -> FieldCatalogue:
    """Return what is declared.

    :raises PolicyError: a category is not declared, or a field contradicts itself.
    """
    file = document.read(field_shapes.FieldsFile)
    parts = {
        part: {name: _field(document, part, name, shape, categories) for name, shape in given.items()}
        for part, given in (
            ("traits", file.traits),
            ("properties", file.properties),
            ("context", file.context),
            ("identifiers", file.identifiers),
        )
    }
    events: dict[str, str] = {}
    for category, names in file.events.items():
        document.check(category, categories, "the category", "events", category)
        for name in names:
            if name in events:
                raise document.error(f"the event {name!r} stands under two categories", "events", category)
            events[name] = category
    inferences = {
        name: _inference(document, name, shape, categories) for name, shape in file.inferences.items()
    }
    for name in inferences:
        if name in parts["traits"]:
            raise document.error("an inference is a trait already; take it out of traits", "inferences", name)
    paths = {name: ("traits", name) for name in parts["traits"]}
    paths |= {name: ("inferences", name) for name in inferences}
    parts["traits"] |= inferences
    _check_generalised(document, parts["traits"])
    check_validated(document, paths, parts["traits"])
    return FieldCatalogue(
        events=events, inferences={name: rule.category for name, rule in inferences.items()}, **parts
    )


def _inference(
    document: Document, name: str, shape: field_shapes.InferenceShape, categories: dict[str, Category]
) -> FieldRule:
    path = ("inferences", name)
    _check_name(document, name, path)
    if shape.category is not None:
        document.check(shape.category, categories, "the category", *path, "category")
    category = shape.category or UNDECLARED_INFERENCE
    if shape.protection == "sealed+index":
        raise document.error("only an identifier has an index", *path, "protection")
    if shape.protection == "clear" and categories[category].sensitive:
        message = "a sensitive inference (one without a category is) cannot be clear; seal it"
        raise document.error(message, *path, "protection")
    rule = FieldRule(
        name=name,
        category=category,
        protection=shape.protection,
        type=shape.type,
        survivorship=shape.survivorship,
        trust=shape.trust,
        expires=days_of(document, shape.expires, *path, "expires"),
        validated_by=shape.validated_by or "",
        inferred=True,
        basis=shape.basis,
    )
    check_rule(document, path, rule)
    return rule


def _check_name(document: Document, name: str, path: tuple[str, str]) -> None:
    if not DOTTED.fullmatch(name):
        raise document.error(f"{name!r} is not a dotted name in snake_case", *path)
    if name in _RESERVED:
        raise document.error(f"{name!r} is a column that exports have anyway; name it otherwise", *path)


def _check_generalised(document: Document, traits: dict[str, FieldRule]) -> None:
    """Refuse a generalisation into what is no clear trait, or by a level that makes no sense there."""
    for name, rule in traits.items():
        if rule.generalise is None:
            continue
        path = ("traits", name, "generalise")
        document.check(rule.generalise.into, traits, "the trait", *path, "into")
        document.check(
            rule.generalise.by, levels_of(rule.category), "for this category the level", *path, "by"
        )
        if rule.clear or not traits[rule.generalise.into].clear:
            raise document.error("a generalisation is what stays clear of a sealed trait", *path, "into")


def _field(
    document: Document, part: str, name: str, shape: field_shapes.FieldShape, categories: dict[str, Category]
) -> FieldRule:
    path = (part, name)
    _check_name(document, name, path)
    document.check(shape.category, categories, "the category", *path, "category")
    clear = shape.protection == "clear"
    if (part == "identifiers") != (shape.protection == "sealed+index"):
        message = "an identifier is always sealed+index, and nothing else has an index"
        raise document.error(message, *path, "protection")
    if clear and categories[shape.category].sensitive:
        raise document.error("a field of a sensitive category cannot be clear; seal it", *path, "protection")
    if shape.place and not clear:
        raise document.error("a place decides the jurisdiction, so it must be clear", *path, "place")
    if part != "traits" and (shape.place or shape.generalise):
        raise document.error("only traits are places or generalised", *path)
    if shape.items and shape.type != "list":
        raise document.error("items belong to type: list", *path, "items")
    check_part(document, part, name, shape)
    rule = FieldRule(
        name=name,
        category=shape.category,
        protection=shape.protection,
        type=shape.type,
        place=shape.place,
        items=frozenset(shape.items),
        survivorship=shape.survivorship,
        trust=shape.trust,
        expires=days_of(document, shape.expires, *path, "expires"),
        validated_by=shape.validated_by or "",
        generalise=None
        if shape.generalise is None
        else Generalise(shape.generalise.into, shape.generalise.by),
    )
    if part == "traits":
        check_rule(document, path, rule)
    return rule
