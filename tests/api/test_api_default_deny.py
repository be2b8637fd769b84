"""Default deny: every route and every GraphQL field declares who may call it, and it is enforced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import strawberry
from litestar import Litestar, get
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.testing import TestClient
from litestar.types import ControllerRouterHandler

import cdp.access.tables
import cdp.audit
from cdp.access import OPERATOR_ROLES, AccessService, Principal, Role
from cdp.api import attach, create_app
from cdp.api.auth import Access, Caller, Denials, declared, roles
from cdp.api.graphql.guard import Context, Guarded, access_table
from cdp.api.graphql.schema import SCHEMA
from cdp.api.services import Services
from cdp.audit import AuditFilter, AuditLog
from cdp.clock import SystemClock
from cdp.crypto import FileKeyProvider, Keyring
from cdp.settings import Settings
from cdp.store import Committer, Store, initialise, metadata
from cdp.worker import Room

ROLES: tuple[Role, ...] = ("source", "marketer", "destination", "steward", "officer", "admin")
PURPOSE = "compliance_review"


class Small:
    """The few real parts that the guard needs, over an SQLite file."""

    def __init__(self, folder: Path, extra: Sequence[ControllerRouterHandler] = ()) -> None:
        clock = SystemClock()
        self.store = Store(f"sqlite:///{folder / 'cdp.sqlite'}")
        self.key_store = Store(f"sqlite:///{folder / 'keys.sqlite'}")
        with self.store.writing() as connection, connection.begin():
            metadata.create_all(connection)
            initialise(connection)
            cdp.audit.initialise(connection)
        provider = FileKeyProvider.create(folder / "root.key")
        Keyring.initialise(self.key_store, provider, "test", clock)
        keyring = Keyring(self.key_store, provider, "test", clock)
        self.audit = AuditLog(keyring, "example.org/audit", clock)
        self.committer = Committer(self.store, self.audit.append, clock)
        self.access = AccessService(self.store, self.committer, clock)
        services = SimpleNamespace(
            settings=Settings(),
            access=self.access,
            committer=self.committer,
            bundle=SimpleNamespace(purposes={PURPOSE: object(), "a.b": object()}),
            recovery=SimpleNamespace(check=lambda: None, state=SimpleNamespace(ready=True)),
            writer=SimpleNamespace(room=Room(1, 1 << 20)),
        )
        self.app = create_app("http://127.0.0.1", extra=extra)
        attach(self.app, cast("Services", services))
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def key(self, *names: Role, purposes: Sequence[str] = ()) -> str:
        """Make a key of these roles."""
        destination = "mail" if "destination" in names else ""
        name = "-".join((*names, *purposes))
        return self.access.create_key(None, name, names, purposes=purposes, destination=destination)[1]

    def call(self, method: str, path: str, key: str = "", **headers: str) -> int:
        """Call a route and return the status."""
        if key:
            headers["Authorization"] = f"Bearer {key}"
        return self.client.request(method, path, headers=headers).status_code

    def recorded(self, action: str) -> int:
        """Return how many audit entries there are of an action."""
        with self.store.reading() as connection:
            return self.audit.count(connection, AuditFilter(action=action))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    made = Small(tmp_path)
    with made.client:
        yield made
    made.store.close()
    made.key_store.close()


@get("/api/v1/forgotten", sync_to_thread=False)
def forgotten() -> str:
    return "never"


def routes(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Yield (method, path, handler) of every route; OPTIONS is the framework's own, it names methods."""
    for route in app.routes:
        assert isinstance(route, HTTPRoute), "a route of another kind has no guard"
        for handler in route.route_handlers:
            for method in sorted(handler.http_methods - {"OPTIONS"}):
                yield method, route.path, handler


def undeclared(app: Litestar) -> list[str]:
    return [f"{method} {path}" for method, path, handler in routes(app) if declared(handler) is None]


def test_every_route_declares_its_roles(small: Small) -> None:
    assert len(list(routes(small.app))) > 30
    assert undeclared(small.app) == []


def test_the_walk_finds_a_route_without_a_declaration_and_nobody_may_call_it(tmp_path: Path) -> None:
    made = Small(tmp_path, [forgotten])
    with made.client:
        assert undeclared(made.app) == ["GET /api/v1/forgotten"]
        assert made.call("GET", "/api/v1/forgotten") == 403
        assert made.call("GET", "/api/v1/forgotten", made.key(*OPERATOR_ROLES)) == 403
    made.store.close()
    made.key_store.close()


OPEN_ROUTES = {
    "/health/live",
    "/health/ready",
    "/metrics",
    "/schema",
    "/graphql",
    "/.well-known/gpc.json",
    "/consents/receipts/key",
    "/v2/discovery",
    "/v2/certificate.pem",
}
OPEN_POSTS = {"/v2/callbacks/{child_id:str}", "/v1/m", "/rsaMetrics", "/rsaRequest"}
"""Whoever calls these has no key: a signature is checked, or what an SDK says of itself is let go."""


def test_only_the_known_routes_are_open(small: Small) -> None:
    opened = {
        (method, path.removeprefix("/api/v1"))
        for method, path, handler in routes(small.app)
        if cast("Access", declared(handler)).open and not path.startswith("/schema/")
    }
    assert opened == {("GET", path) for path in OPEN_ROUTES} | {("POST", path) for path in OPEN_POSTS}


def test_every_other_route_refuses_without_a_key_and_with_the_wrong_role(small: Small) -> None:
    keys = {role: small.key(role, purposes=[PURPOSE]) for role in ROLES if role != "source"}
    for method, path, handler in routes(small.app):
        access = cast("Access", declared(handler))
        if access.open or access.write_key:
            continue
        url = path.replace(":str}", "}").replace("{", "").replace("}", "")
        assert small.call(method, url) == 401, f"{method} {path}"
        for role, key in keys.items():
            if role not in access.roles:
                assert small.call(method, url, key) == 403, f"{method} {path} as {role}"


def test_per_person_routes_need_a_purpose_that_the_key_carries(small: Small) -> None:
    several = small.key("officer", purposes=[PURPOSE, "a.b"])
    none = small.key("officer")
    personal = 0
    for method, path, handler in routes(small.app):
        access = cast("Access", declared(handler))
        if not access.purpose:
            in_body = path.endswith("/reveal")  # tests/api/test_internal_uses.py
            assert not path.startswith("/api/v1/profiles/") or access.roles == {"steward"} or in_body, path
            continue
        personal += 1
        url = path.replace(":str}", "}").replace("{", "").replace("}", "")
        assert small.call(method, url, several) == 400
        assert small.call(method, url, none) == 400
        assert small.call(method, url, several, **{"CDP-Purpose": "unheard.of"}) == 400
        assert small.call(method, url, none, **{"CDP-Purpose": PURPOSE}) == 403
    assert personal >= 7


def test_marketers_have_no_per_person_route(small: Small) -> None:
    for method, path, handler in routes(small.app):
        if path.startswith("/api/v1/profiles") or "consents" in path:
            assert "marketer" not in cast("Access", declared(handler)).roles, f"{method} {path}"


def test_refusals_are_audited(small: Small) -> None:
    key = small.key("marketer")
    assert small.call("GET", "/api/v1/keys", key) == 403
    assert small.call("GET", "/api/v1/keys", "cdp_wrong") == 401
    assert small.recorded("access.denied") == 1
    assert small.recorded("access.unknown_key") == 1


def test_what_is_audited_of_refusals_is_bounded(small: Small) -> None:
    key = small.key("marketer")
    for _ in range(60):
        small.call("GET", "/api/v1/keys", key)
    assert 20 <= small.recorded("access.denied") <= 45


def test_failed_log_ins_are_one_entry_for_each_address_and_minute(small: Small) -> None:
    at = [0.0]
    denials = Denials(small.committer, now=lambda: at[0])
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.1"):
        denials.record("anonymous", "access.unknown_key", "GET /api/v1/keys", address=address)
    at[0] = 61
    denials.record("anonymous", "access.unknown_key", "GET /api/v1/keys", address="192.0.2.1")
    with small.store.reading() as connection:
        found = small.audit.search(connection, AuditFilter(action="access.unknown_key"))
    later, other, first = found  # newest first
    assert first.object["from"] == later.object["from"] != other.object["from"]
    assert [entry.counts for entry in (first, other, later)] == [{}, {}, {"unsaid": 2}]
    assert "192.0.2" not in str(found)


def test_failed_attempts_are_limited_by_key_and_a_good_key_still_works(small: Small) -> None:
    statuses = [small.call("GET", "/api/v1/keys", "cdp_wrong") for _ in range(15)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert small.call("GET", "/api/v1/keys", small.key("admin")) == 200


def test_a_write_key_that_stands_in_a_page_cannot_be_used_up_by_others(small: Small) -> None:
    _, write_key = small.access.create_source("system", "shop", "browser")
    statuses = {small.call("GET", "/api/v1/keys", write_key) for _ in range(15)}
    assert statuses == {403}, "it is known, and may not"
    for _ in range(15):
        last = small.call("GET", "/api/v1/keys", "cdp_wrong")
    assert last == 429

    async def from_elsewhere() -> int:
        transport = httpx.ASGITransport(cast("Any", small.app), client=("198.51.100.7", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            headers = {"Authorization": "Bearer cdp_wrong"}
            return (await client.get("/api/v1/keys", headers=headers)).status_code

    assert asyncio.run(from_elsewhere()) == 401, "what was tried from one address counts at no other"


def test_a_revoked_key_stops_working(small: Small) -> None:
    key = small.key("admin")
    assert small.call("GET", "/api/v1/keys", key) == 200
    small.access.revoke_key("system", "admin")
    assert small.call("GET", "/api/v1/keys", key) == 401


def test_an_admin_grants_only_what_it_has(small: Small) -> None:
    admin = small.key("admin", purposes=[PURPOSE])

    def grant(**body: object) -> int:
        headers = {"Authorization": f"Bearer {admin}"}
        return small.client.post("/api/v1/keys", json=body, headers=headers).status_code

    assert grant(name="o", roles=["officer"]) == 403
    assert grant(name="d", roles=["destination"], destination="mail", purposes=["a.b"]) == 403
    assert grant(name="d", roles=["destination"], destination="mail", purposes=[PURPOSE]) == 201
    assert grant(name="a", roles=["admin"]) == 201


# -- GraphQL --------------------------------------------------------------------------------------


def test_every_graphql_field_declares_its_roles() -> None:
    table = access_table(SCHEMA)
    assert len(table) > 60
    assert [place for place, access in table.items() if access is None] == []
    assert {access.open for access in table.values() if access is not None} == {False}


def test_the_graphql_table_is_complete() -> None:
    printed = SCHEMA._schema
    names = {
        (name, field)
        for name, held in printed.type_map.items()
        if not name.startswith("__") and type(held).__name__ == "GraphQLObjectType"
        for field in cast("Any", held).fields
    }
    assert names == set(access_table(SCHEMA))


@strawberry.type
class Forgetful:
    """A query type with a field that declares nothing."""

    @strawberry.field
    def secret(self) -> str:
        """Return what nobody may see."""
        return "never"


class Kept(Denials):
    """Denials kept in a list."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def record(self, actor: str, action: str, where: str, *, purpose: str = "", address: str = "") -> None:
        del actor, action, purpose, address
        self.kept.append(where)


def ask(
    schema: strawberry.Schema, query: str, *names: Role, purpose: str = "", **variables: object
) -> tuple[Any, list[str], list[str]]:
    """Run a query; returns (data, error messages, refusals recorded)."""
    denials = Kept()
    held = frozenset({PURPOSE})
    key = Principal(key_id=1, name="k", roles=frozenset(names), purposes=held)
    context = Context(cast("Services", None), Caller(key=key, purpose=purpose), denials)
    result = schema.execute_sync(query, variable_values=variables, context_value=context)
    return result.data, [error.message for error in result.errors or ()], denials.kept


def test_a_graphql_field_without_a_declaration_is_refused_to_everybody() -> None:
    schema = strawberry.Schema(Forgetful, extensions=[Guarded])
    data, messages, refused = ask(schema, "{secret}", *ROLES, purpose=PURPOSE)
    assert data is None
    assert "declares no role" in messages[0]
    assert refused == ["graphql Forgetful.secret"]


def test_nothing_is_executed_when_one_field_is_refused() -> None:
    query = '{auditEntries{totalCount} profile(id: "p_x"){id}}'
    data, messages, refused = ask(SCHEMA, query, "marketer", purpose=PURPOSE)
    assert data is None
    assert len(messages) == 3
    assert refused == ["graphql Query.auditEntries"]  # one entry a query


def test_graphql_person_fields_need_a_purpose() -> None:
    data, messages, refused = ask(SCHEMA, '{profile(id: "p_x"){id}}', "officer")
    assert data is None
    assert "purpose" in messages[0]
    assert refused == []


def test_fields_in_fragments_are_checked_too() -> None:
    query = 'query {...F} fragment F on Query {profile(id: "p_x") {...G}} fragment G on Profile {traits}'
    data, messages, _ = ask(SCHEMA, query, "marketer", purpose=PURPOSE)
    assert data is None
    assert [message.partition(":")[0] for message in messages] == ["profile", "traits"]


@pytest.mark.parametrize(
    "query",
    [
        "{profiles(first: 500) {edges {node {events(first: 500) {edges {node {id}}}}}}}",
        "query($n: Int) {profiles(first: $n) {edges {node {events(first: $n) {edges {node {id}}}}}}}",
        """{profiles(first: 500) {edges {node {...F}}}}
        fragment F on Profile {events(first: 500) {edges {node {id}}}}""",
        "{" + "".join(f"a{n}: profiles(first: 500) {{edges {{node {{id}}}}}} " for n in range(40)) + "}",
    ],
)
def test_a_query_that_asks_for_too_much_is_refused(query: str) -> None:
    data, messages, _ = ask(SCHEMA, query, "officer", purpose=PURPOSE, n=500)
    assert data is None
    assert any("too large" in message for message in messages)


def test_doubling_fragments_are_measured_without_walking_them() -> None:
    spreads = " ".join(f"fragment F{n} on Query {{...F{n + 1} ...F{n + 1}}}" for n in range(60))
    query = f'query {{...F0}} {spreads} fragment F60 on Query {{profile(id: "p_x") {{id}}}}'
    data, messages, _ = ask(SCHEMA, query, "officer", purpose=PURPOSE)
    assert data is None
    assert any("too large" in message for message in messages)


def test_fragments_in_a_circle_are_refused() -> None:
    query = "query {...F} fragment F on Query {...G} fragment G on Query {...F}"
    data, messages, _ = ask(SCHEMA, query, "officer", purpose=PURPOSE)
    assert data is None
    assert messages


def test_the_schema_can_be_read_by_any_role() -> None:
    data, messages, _ = ask(SCHEMA, "{__schema {types {name}} __typename}", "marketer")
    assert messages == []
    assert data is not None


def test_a_graphql_error_repeats_no_value(small: Small) -> None:
    secret = "ada.nobody@example.org"
    headers = {"Authorization": f"Bearer {small.key('officer', purposes=[PURPOSE])}"}
    for query in (
        f'{{auditEntries(first: "{secret}") {{totalCount}}}}',
        f'{{auditEntries(after: "{secret}") {{totalCount}}}}',
        f'{{"{secret}"}}',
        f'{{profile(identifier: {{type: "{secret}"}}) {{id}}}}',
    ):
        answer = small.client.post("/graphql", json={"query": query}, headers=headers)
        assert answer.json()["errors"]
        assert secret not in answer.text


def test_roles_reads_as_a_declaration() -> None:
    assert roles("officer", purpose=True) == Access(roles=frozenset({"officer"}), purpose=True)
