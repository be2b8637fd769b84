"""What a definition refers to: the other segments it uses, and the data it reads. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cdp.errors import DefinitionError
from cdp.policy import FieldCatalogue, FieldRule, covers
from cdp.segments.definition import Definition, Event, Leaf, ListOf, SegmentOf, Trait, leaves

Resolve = Callable[[str], Definition | None]
"""Segment name → its newest definition, None when there is none."""

LIST_CATEGORY = "user.unique_id"
_NAMING = ("user.unique_id", "user.contact", "user.name", "user.account.username")
MAX_SEGMENTS = 50
_CONTEXT = "context."


def closure(definition: Definition, resolve: Resolve) -> dict[str, Definition]:
    """Return every segment that ``definition`` uses, at any depth, by name, without itself.

    :raises DefinitionError: one does not exist, there is a cycle, or there are more than 50.
    """
    found: dict[str, Definition] = {}
    _visit(definition, resolve, found, (definition.name,))
    return found


def _visit(
    definition: Definition, resolve: Resolve, found: dict[str, Definition], above: tuple[str, ...]
) -> None:
    for name in sorted({leaf.name for leaf in leaves(definition.where) if isinstance(leaf, SegmentOf)}):
        if name in above:
            circle = " → ".join([*above[above.index(name) :], name])
            raise DefinitionError(f"the segments refer to each other in a circle: {circle}")
        if name in found:
            continue
        used = resolve(name)
        if used is None:
            raise DefinitionError(f"where: there is no segment {name}; apply it first")
        if len(found) == MAX_SEGMENTS:
            raise DefinitionError(f"where: more than {MAX_SEGMENTS} segments are used")
        _visit(used, resolve, found, (*above, name))
        found[name] = used


def categories(
    definition: Definition,
    resolve: Resolve,
    fields: FieldCatalogue,
    lists: Mapping[str, str] | None = None,
) -> frozenset[str]:
    """Return every data category that deciding membership reads, through nested segments and negations.

    An event condition reads the category of its event besides those of its properties: that somebody
    did something tells as much as what the event says.

    :param lists: list name → its category; ``user.unique_id`` for one that is not named.
    """
    found: set[str] = set()
    for part in (definition, *closure(definition, resolve).values()):
        for leaf in leaves(part.where):
            if isinstance(leaf, ListOf):
                found.add((lists or {}).get(leaf.name, LIST_CATEGORY))
            else:
                found |= _read(leaf, fields)
    return frozenset(found)


def identifies(leaf: Leaf, fields: FieldCatalogue) -> bool:
    """True for a condition on what names a person: contact data, names, and the categories of identifiers."""
    naming = {*_NAMING, *(rule.category for rule in fields.identifiers.values())}
    return any(covers(above, read) for above in naming for read in _read(leaf, fields))


def _read(leaf: Leaf, fields: FieldCatalogue) -> set[str]:
    """Return the categories that a condition on a trait or an event reads."""
    if isinstance(leaf, Trait):
        return {fields.traits[leaf.name].category}
    if not isinstance(leaf, Event):
        return set()
    found = {fields.event_category(leaf.name if leaf.type == "track" else leaf.type)}
    found |= {_property(fields, item.property).category for item in leaf.where}
    if leaf.aggregate is not None and leaf.aggregate.property:
        found.add(_property(fields, leaf.aggregate.property).category)
    return found


def check_readable(refused: frozenset[str]) -> None:
    """Refuse a definition that reads categories which the policies keep from segments.

    :raises DefinitionError: there is one.
    """
    if refused:
        raise DefinitionError(
            f"the definition reads {', '.join(sorted(refused))}, by itself or through the segments that it "
            "uses; no rule for the purpose segmentation lists that under inputs, where a sensitive category "
            "must be named"
        )


def _property(fields: FieldCatalogue, name: str) -> FieldRule:
    if name.startswith(_CONTEXT):
        return fields.context[name.removeprefix(_CONTEXT)]
    return fields.properties[name]
