"""Who may ask for which field, and how much one query may ask for.

Invariants:

1. Default deny, as for routes: every object type declares its access (``@declared(...)``) and a field
   may declare its own; a field without any is refused to everybody.
2. All of it is decided on the query *before* anything is executed: a query that names one forbidden
   field reads nothing at all, and the refusal is audited.
3. What no stage records as a use (``Access.query``) is recorded here, before the answer is given.
4. Depth and cost are bounded. A field costs 1; what lies below ``edges`` costs as often as the
   connection's ``first`` says. Fragments are counted where they are spread.
5. Of several operations the one that runs is named; no text holds NUL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import strawberry
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    ValidationContext,
    ValidationRule,
    VariableNode,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema import Schema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryObjectDefinition
from strawberry.types.field import StrawberryField

from cdp.api.auth import Access, Caller, Denials, require
from cdp.api.errors import classify
from cdp.api.paging import DEFAULT_LIMIT, MAX_LIMIT
from cdp.api.services import Services
from cdp.errors import CdpError, NotPermittedError

T = TypeVar("T")
MAX_DEPTH = 12
MAX_COST = 20_000
_MAX_DIGITS = 10  # of a 32-bit integer
_ATTRIBUTE = "__cdp_access__"
_METADATA = "access"
AccessTable = Mapping[tuple[str, str], Access | None]
"""(type, field) → what it declares."""


@dataclass(frozen=True)
class Context:
    """What every resolver is given."""

    services: Services
    caller: Caller
    denials: Denials
    sec_gpc: bool = False
    address: str = ""


def declared(access: Access) -> Callable[[type[T]], type[T]]:
    """Declare the access of all fields of an object type that do not declare their own."""

    def mark(cls: type[T]) -> type[T]:
        setattr(cls, _ATTRIBUTE, access)
        return cls

    return mark


def only(access: Access) -> dict[str, Any]:
    """Return the ``metadata=`` of a field that declares its own access."""
    return {_METADATA: access}


def guarded(access: Access) -> Callable[[Callable[..., Any]], StrawberryField]:
    """Make a resolver a field that declares its own access."""
    made: Callable[[Callable[..., Any]], StrawberryField] = strawberry.field(metadata=only(access))
    return made


def access_table(schema: Schema) -> AccessTable:
    """Return what every field of every object type declares; None where nothing does."""
    table: dict[tuple[str, str], Access | None] = {}
    for name, held in schema.schema_converter.type_map.items():
        definition = held.definition
        if not isinstance(definition, StrawberryObjectDefinition) or definition.is_input:
            continue
        whole = getattr(definition.origin, _ATTRIBUTE, None)
        made_type = held.implementation
        assert isinstance(made_type, GraphQLObjectType)  # noqa: S101  # what an object definition becomes
        for field_name, made in made_type.fields.items():
            field = made.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
            said = field.metadata.get(_METADATA, whole)
            table[name, field_name] = said if isinstance(said, Access) else None
    return table


class Guarded(SchemaExtension):
    """Adds the rules below to the validation of each query."""

    def on_operation(self) -> Iterator[None]:
        """Add them."""
        context = self.execution_context.context
        queries = dict[str, str]()
        table = context_table(self.execution_context.schema)
        variables = self.execution_context.variables or {}
        named = self.execution_context._provided_operation_name is not None  # noqa: SLF001  # the public one falls back to the first
        self.execution_context.validation_rules = (
            *self.execution_context.validation_rules,
            _access_rule(context, table, queries),
            _cost_rule(variables),
            _text_rule(named=named),
        )
        yield
        if getattr(self.execution_context.result, "data", None) is None:
            return
        for action, where in queries.items():
            context.denials.query(context.caller.actor, action, where)


def context_table(schema: Any) -> AccessTable:
    """Return the schema's access table, made once."""
    table: AccessTable | None = getattr(schema, "cdp_access_table", None)
    if table is None:
        table = access_table(schema)
        schema.cdp_access_table = table
    return table


def _access_rule(context: Context, table: AccessTable, queries: dict[str, str]) -> type[ValidationRule]:
    class AccessRule(ValidationRule):
        """Refuses fields that the caller may not ask for."""

        def __init__(self, validation: ValidationContext) -> None:
            super().__init__(validation)
            self.refused: set[tuple[str, str]] = set()

        def enter_field(self, node: FieldNode, *_: object) -> None:
            """Check one field of the query."""
            parent = self.context.get_parent_type()
            name = node.name.value
            if parent is None or name.startswith("__") or parent.name.startswith("__"):
                return  # the schema itself is open to every caller that came this far
            place = parent.name, name
            if place in self.refused or self.context.get_field_def() is None:
                return
            access = table.get(place)
            try:
                if access is None:
                    raise NotPermittedError(f"{'.'.join(place)} declares no role, so nobody may ask for it")
                require(context.caller, access)
                if access.query:
                    queries[access.query] = f"graphql {'.'.join(place)}"
            except CdpError as error:
                first = not self.refused
                self.refused.add(place)
                if first and isinstance(error, NotPermittedError):
                    where = f"graphql {'.'.join(place)}"
                    context.denials.record(context.caller.actor, "access.denied", where)
                self.report_error(_as_graphql(error, node))

    return AccessRule


def _as_graphql(error: CdpError, node: FieldNode) -> GraphQLError:
    return GraphQLError(
        f"{node.name.value}: {error.message}", [node], extensions={"code": classify(error)[1]}
    )


def _cost_rule(variables: Mapping[str, Any]) -> type[ValidationRule]:
    class CostRule(ValidationRule):
        """Refuses queries that are too deep or ask for too much."""

        def enter_operation_definition(self, node: OperationDefinitionNode, *_: object) -> None:
            """Check one operation."""
            fragments = {
                definition.name.value: definition
                for definition in self.context.document.definitions
                if isinstance(definition, FragmentDefinitionNode)
            }
            cost, depth = _Measure(fragments, variables).of(node.selection_set)
            if depth > MAX_DEPTH or cost > MAX_COST:
                self.report_error(
                    GraphQLError(
                        f"the query is too large: depth {depth} of {MAX_DEPTH}, cost {cost} of {MAX_COST}",
                        [node],
                        extensions={"code": "too-large"},
                    )
                )

    return CostRule


def _text_rule(*, named: bool) -> type[ValidationRule]:
    class TextRule(ValidationRule):
        """Refuses several operations of which none is named (GraphQL 6.1), and NUL, as every body does."""

        def enter_document(self, node: DocumentNode, *_: object) -> None:
            """Count the operations."""
            operations = [found for found in node.definitions if isinstance(found, OperationDefinitionNode)]
            if len(operations) > 1 and not named:
                message = "the query has several operations; name one of them as operationName"
                self.report_error(GraphQLError(message, operations, extensions={"code": "invalid-query"}))

        def enter_string_value(self, node: StringValueNode, *_: object) -> None:
            """Check one text."""
            if "\x00" in node.value:
                message = "a text in the query holds a NUL character"
                self.report_error(GraphQLError(message, [node], extensions={"code": "invalid-input"}))

    return TextRule


class _Measure:
    """Cost and depth of selections; a fragment is measured once and counted wherever it is spread."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], variables: Mapping[str, Any]) -> None:
        self._fragments = fragments
        self._variables = variables
        self._known: dict[tuple[str, int], tuple[int, int]] = {}

    def of(self, selection: SelectionSetNode | None, times: int = 1) -> tuple[int, int]:
        """Return (cost, depth); what lies below ``edges`` costs ``times`` as much."""
        cost = depth = 0
        for node in selection.selections if selection is not None else ():
            if isinstance(node, FieldNode):
                found = self._field(node, times)
            elif isinstance(node, InlineFragmentNode):
                found = self.of(node.selection_set, times)
            elif isinstance(node, FragmentSpreadNode):
                found = self._spread(node.name.value, times)
            else:
                continue
            cost, depth = min(cost + found[0], MAX_COST * 10), max(depth, found[1])
        return cost, depth

    def _field(self, node: FieldNode, times: int) -> tuple[int, int]:
        if node.name.value.startswith("__"):
            return 1, 1  # introspection: bounded by the schema, and by the limit on tokens
        cost, depth = self.of(node.selection_set, self._first(node))
        return 1 + cost * (times if node.name.value == "edges" else 1), depth + 1

    def _spread(self, name: str, times: int) -> tuple[int, int]:
        fragment = self._fragments.get(name)
        if fragment is None:
            return 0, 0
        if (name, times) not in self._known:
            self._known[name, times] = (0, 0)  # a cycle, which another rule refuses, ends here
            self._known[name, times] = self.of(fragment.selection_set, times)
        return self._known[name, times]

    def _first(self, node: FieldNode) -> int:
        for argument in node.arguments or ():
            if argument.name.value != "first":
                continue
            value: Any = None
            if isinstance(argument.value, IntValueNode):
                value = int(argument.value.value[: _MAX_DIGITS + 1])  # longer ones another rule refuses
            elif isinstance(argument.value, VariableNode):
                value = self._variables.get(argument.value.name.value)
            return max(1, min(value, MAX_LIMIT)) if isinstance(value, int) else DEFAULT_LIMIT
        return DEFAULT_LIMIT
