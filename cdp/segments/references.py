"""What a definition refers to: the other segments it uses, and the data it reads. Pure.

What is read has two forms: names (``reads``), which stay what they are, and the categories that the policies
of the moment give them (``classified``). Names are ``trait:…``, ``event:…``, ``property:…`` and ``list:…``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from cdp.errors import DefinitionError
from cdp.policy import FieldCatalogue, FieldRule, covers
from cdp.segments.definition import (
    Definition,
    Event,
    Leaf,
    ListOf,
    Ratio,
    Sequence,
    TagOf,
    Trait,
    Used,
    leaves,
)
from cdp.segments.reader import OF_EVENT

Resolve = Callable[[Used], Definition]
"""Leaf → the definition that it stands for; raises ``DefinitionError`` where there is none."""

LIST_CATEGORY = "user.unique_id"
_NAMING = ("user.unique_id", "user.contact", "user.name", "user.account.username")
MAX_USED = 200
_CONTEXT = "context."


def closure(definition: Definition, resolve: Resolve) -> dict[Used, Definition]:
    """Return what every segment and tag that ``definition`` uses stands for, at any depth, without itself.

    :raises DefinitionError: one does not exist, there is a cycle, or there are more than 200.
    """
    found: dict[Used, Definition] = {}
    _visit(definition, resolve, found, (definition.name,))
    return found


def _visit(
    definition: Definition, resolve: Resolve, found: dict[Used, Definition], above: tuple[str, ...]
) -> None:
    for leaf in dict.fromkeys(leaf for leaf in leaves(definition.where) if isinstance(leaf, Used)):
        name = f"tag {leaf.name}" if isinstance(leaf, TagOf) else leaf.name
        if name in above:
            circle = " → ".join([*above[above.index(name) :], name])
            raise DefinitionError(f"the segments refer to each other in a circle: {circle}")
        if leaf in found:
            continue
        used = resolve(leaf)
        if len(found) == MAX_USED:
            raise DefinitionError(f"where: more than {MAX_USED} segments and tags are used")
        _visit(used, resolve, found, (*above, name))
        found[leaf] = used


def reads(parts: Iterable[Definition]) -> frozenset[str]:
    """Return the name of everything that definitions read, negations and the tags they name included.

    :param parts: a definition and its ``closure``.
    """
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
    elif isinstance(leaf, TagOf):
        yield f"tag:{leaf.name}"
    elif isinstance(leaf, Ratio):
        yield from (*_named(leaf.of), *_named(leaf.to))
    elif isinstance(leaf, Event | Sequence):
        for happening in leaf.steps if isinstance(leaf, Sequence) else (leaf,):
            yield f"event:{happening.name if happening.type == 'track' else happening.type}"
            yield from _properties(item.property for item in happening.where)
        if isinstance(leaf, Event) and leaf.aggregate is not None and leaf.aggregate.property:
            yield from _properties([leaf.aggregate.property])


def _properties(names: Iterable[str]) -> Iterator[str]:
    """Yield the names of properties; what every event has is told by the event."""
    return (f"property:{name}" for name in names if name not in OF_EVENT)


def _category(read: str, fields: FieldCatalogue, lists: Mapping[str, str]) -> str:
    kind, _, name = read.partition(":")
    if kind == "list":
        return lists.get(name, LIST_CATEGORY)
    if kind == "event":
        return fields.event_category(name)
    if kind == "tag":
        return fields.inference_category(name)
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
