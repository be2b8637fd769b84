"""The schema, its limits, and ``POST /graphql``.

Invariants: a query runs in a worker thread, as REST handlers do; errors carry a stable ``code`` and never
a value that was sent; one that nobody foresaw is an incident id and nothing else. A query or a variable that
does not fit is never one: it says so, and nothing of it is executed.
"""

from __future__ import annotations

from typing import Any

import msgspec
import strawberry
from graphql import GraphQLError, VariableDefinitionNode, print_ast
from litestar import Request, Response, get, post
from litestar.params import JSONBody
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import MaxTokensLimiter
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError
from strawberry.types.execution import ExecutionContext

from cdp.access import Role
from cdp.api.auth import OPEN, address_of, allow, record_refusal
from cdp.api.errors import classify, log_incident
from cdp.api.graphql.audit import AuditQuery
from cdp.api.graphql.exports import ExportMutation, ExportQuery
from cdp.api.graphql.guard import Context, Guarded
from cdp.api.graphql.ingest import IngestMutation
from cdp.api.graphql.policies import PolicyMutation, PolicyQuery
from cdp.api.graphql.profiles import ProfileQuery
from cdp.api.graphql.relink import RelinkMutation
from cdp.api.graphql.rights import RightsMutation, RightsQuery
from cdp.api.graphql.segments import SegmentMutation, SegmentQuery
from cdp.api.injected import InjectedCaller, InjectedDenials, InjectedServices
from cdp.api.request import carries_gpc
from cdp.errors import CdpError, UnavailableError

MAX_TOKENS = 2_000
_ROLES: tuple[Role, ...] = ("source", "marketer", "destination", "steward", "officer", "admin")
_SAYABLE = ("Cannot query field", "Unknown argument", "Unknown type", "Unknown fragment")


@strawberry.type
class Query(ProfileQuery, SegmentQuery, ExportQuery, AuditQuery, PolicyQuery, RightsQuery):
    """What can be asked."""


@strawberry.type
class Mutation(
    IngestMutation, SegmentMutation, ExportMutation, RelinkMutation, RightsMutation, PolicyMutation
):
    """What can be done."""


class _Schema(strawberry.Schema):
    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Log nothing here: the library would log the query, and with it values."""


SCHEMA = _Schema(
    query=Query,
    mutation=Mutation,
    extensions=[Guarded, lambda: MaxTokensLimiter(max_token_count=MAX_TOKENS)],
    config=StrawberryConfig(auto_camel_case=True),
)


class GraphQLBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A GraphQL request (GraphQL over HTTP)."""

    query: str
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None

    def __repr__(self) -> str:
        return "<graphql request>"


@post("/graphql", opt=allow(*_ROLES), sync_to_thread=True, status_code=200)
def graphql(
    request: Request[Any, Any, Any],
    services: InjectedServices,
    caller: InjectedCaller,
    denials: InjectedDenials,
    data: JSONBody[GraphQLBody],
) -> dict[str, Any]:
    """Answer a GraphQL query; every field has roles of its own."""
    try:
        result = SCHEMA.execute_sync(
            data.query,
            variable_values=data.variables,
            operation_name=data.operation_name,
            context_value=Context(services, caller, denials, carries_gpc(request), address_of(request)),
        )
    except (MissingQueryError, CannotGetOperationTypeError):
        message = "the query has no operation, or none of the name that operationName says"
        return {"data": None, "errors": [{"message": message, "extensions": {"code": "invalid-query"}}]}
    answer: dict[str, Any] = {"data": result.data}
    for found in result.errors or ():
        if found.path and found.original_error is not None:
            record_refusal(found.original_error, request.scope, denials)
    if result.errors:
        answer["errors"] = [_error(error) for error in result.errors]
    return answer


@get("/graphql", opt=allow(OPEN), sync_to_thread=False)
def schema_document() -> Response[str]:
    """Show the schema in the GraphQL schema language."""
    return Response(SCHEMA.as_str(), media_type="text/plain")


def _error(error: GraphQLError) -> dict[str, Any]:
    """Return an error as answered: its place, a stable code, and words without values."""
    shown: dict[str, Any] = {}
    if error.locations:
        shown["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    if error.path:
        shown["path"] = error.path
    original = error.original_error
    if original is None or (error.path is None and error.nodes):  # it stands in the query, not in a resolver
        message, code = _mistake(error)
        return {"message": message, **shown, "extensions": {"code": code}}
    status, code = classify(original)
    if isinstance(original, CdpError) and code != "internal":
        extensions = {"code": code, "status": status}
        if isinstance(original, UnavailableError):
            extensions["retryAfter"] = original.retry_after  # seconds; Retry-After of the other routes
        return {"message": original.message, **shown, "extensions": extensions}
    incident = log_incident(original)
    message = f"an unforeseen error; the server's log has it as incident {incident}"
    return {"message": message, **shown, "extensions": {"code": "internal", "incident": incident}}


def _mistake(error: GraphQLError) -> tuple[str, str]:
    """Return what a request's own error says, and its code."""
    if code := (error.extensions or {}).get("code"):
        return error.message, str(code)
    for node in error.nodes or ():
        if isinstance(node, VariableDefinitionNode) and isinstance(error.original_error, GraphQLError):
            name, type_ = node.variable.name.value, print_ast(node.type)
            return f"the variable ${name} does not fit its type {type_}", "invalid-input"
    sayable = error.message.startswith(_SAYABLE)
    return error.message if sayable else "the query does not fit the schema here", "invalid-query"


HANDLERS = [graphql, schema_document]
