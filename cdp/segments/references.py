"""What a definition refers to: the other segments it uses, and the data it reads. Pure.

What is read has two forms: names (``reads``), which stay what they are, and the categories that the policies
of the moment give them (``classified``). Names are ``trait:…``, ``event:…``, ``property:…`` and ``list:…``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from cdp.errors import DefinitionError
from cdp.policy import FieldCatalogue, FieldRule, covers
from cdp.segments.definition import Definition, Event, Leaf, ListOf, SegmentOf, Sequence, Trait, leaves

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


def reads(definition: Definition, resolve: Resolve) -> frozenset[str]:
    """Return the name of everything that deciding membership reads, through nested segments and negations."""
    parts = (definition, *closure(definition, resolve).values())
    return frozenset(name for part in parts for leaf in leaves(part.where) for name in _named(leaf))


def classified(read: Iterable[str], fields: FieldCatalogue, lists: Mapping[str, str]) -> frozenset[str]:
    """Return every data category that names belong to.

    An event condition reads the category of its event besides those of its properties: that somebody
    did something tells as much as what the event says.

    :param read: what ``reads`` returned, now or under other policies.
    :param lists: list name → its category; ``user.unique_id`` for one that is not named.
    :raises DefinitionError: no definition may read one of them any more: it is not declared, or sealed.
    """
    return frozenset(_category(name, fields, lists) for name in read)


def identifies(leaf: Leaf, fields: FieldCatalogue) -> bool:
    """True for a condition on what names a person: contact data, names, and the categories of identifiers."""
    naming = {*_NAMING, *(rule.category for rule in fields.identifiers.values())}
    read = classified(_named(leaf), fields, {})
    return any(covers(above, category) for above in naming for category in read)


def _named(leaf: Leaf) -> Iterator[str]:
    """Yield the names of what one condition reads."""
    if isinstance(leaf, Trait):
        yield f"trait:{leaf.name}"
        if leaf.validated_by:
            yield f"trait:{leaf.validated_by}"
    elif isinstance(leaf, ListOf):
        yield f"list:{leaf.name}"
    elif isinstance(leaf, Event | Sequence):
        for happening in leaf.steps if isinstance(leaf, Sequence) else (leaf,):
            yield f"event:{happening.name if happening.type == 'track' else happening.type}"
            yield from (f"property:{item.property}" for item in happening.where)
        if isinstance(leaf, Event) and leaf.aggregate is not None and leaf.aggregate.property:
            yield f"property:{leaf.aggregate.property}"


def _category(read: str, fields: FieldCatalogue, lists: Mapping[str, str]) -> str:
    kind, _, name = read.partition(":")
    if kind == "list":
        return lists.get(name, LIST_CATEGORY)
    if kind == "event":
        return fields.event_category(name)
    rule: FieldRule | None = None
    if kind == "trait":
        rule = fields.traits.get(name)
    elif kind == "property" and name.startswith(_CONTEXT):
        rule = fields.context.get(name.removeprefix(_CONTEXT))
    elif kind == "property":
        rule = fields.properties.get(name)
    if rule is None or not rule.clear:
        raise DefinitionError("what the definition reads is sealed or not declared any more")
    return rule.category


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
