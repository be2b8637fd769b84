"""Who may call what: one declaration on every route and field, one guard that reads it.

Invariants:

1. Default deny. A route says ``opt=allow(...)``, a GraphQL field through ``guarded(...)`` or its type;
   the guard refuses a handler that says nothing, also to an admin.
2. ``OPEN`` (pages with a link of their own), ``ALWAYS`` (health, schema) and ``WRITE_KEY`` (ingest, whose
   write key may stand in the body, so that the handler itself authenticates) are said explicitly.
3. A route that reads single people says ``purpose=True``: the caller states a purpose in the header
   ``CDP-Purpose``, else its key's only purpose counts, else the answer is 400; the key must carry it.
4. Refusals are audited. An attempt with an unknown key counts against that key from that address, and
   against the address: nobody uses up somebody else's attempts, not with a key that stands in a page either.
5. While a restored database is not in order only what says ``always`` answers.

Steps of the guard: (1) declaration, (2) credential, (3) role, (4) purpose.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import time
from collections.abc import Callable, Container
from threading import Lock
from typing import Any

import msgspec
from litestar.connection import ASGIConnection, Request
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope

from cdp.access import AccessService, Principal, Role, Source, hash_key
from cdp.api.request import check_address
from cdp.audit import Entry
from cdp.buckets import Buckets
from cdp.errors import (
    CdpError,
    InvalidInputError,
    NotAuthenticatedError,
    NotPermittedError,
    OverloadedError,
    noted,
)
from cdp.store import Committer

Connection = ASGIConnection[Any, Any, Any, Any]
PURPOSE_HEADER = "cdp-purpose"
_FAILURES_PER_KEY = 10
_FAILURES_PER_ADDRESS = 100
_DENIALS_PER_MINUTE = 30
_MOST_UNSAID = 10_000  # actors and addresses, as memory is not the caller's to fill
_FLUSHED = 1_000
UNKNOWN_KEY, DENIED = "access.unknown_key", "access.denied"
_OPTION = "access"
_STATE = "caller"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What a route or field declares.

    :param roles: any one of them suffices.
    :param purpose: a purpose must be stated.
    :param open: nobody is asked.
    :param write_key: the handler authenticates a source itself.
    :param query: the action under which the guard records each call: it reads, and no stage records that.
    :param always: answers also while a restored database is not in order: it reads no data.
    """

    roles: frozenset[Role] = frozenset()
    purpose: bool = False
    open: bool = False
    write_key: bool = False
    query: str = ""
    always: bool = False


OPEN = Access(open=True)
ALWAYS = Access(open=True, always=True)
WRITE_KEY = Access(roles=frozenset({"source"}), write_key=True)


def roles(*names: Role, purpose: bool = False, query: str = "") -> Access:
    """Return the declaration that any of these roles may call."""
    return Access(roles=frozenset(names), purpose=purpose, query=query)


def allow(
    *names: Role | Access, purpose: bool = False, query: str = "", always: bool = False
) -> dict[str, Any]:
    """Return the ``opt=`` of a route: ``allow("officer", purpose=True)`` or ``allow(OPEN)``."""
    if len(names) == 1 and isinstance(names[0], Access):
        return {_OPTION: names[0]}
    held = frozenset(name for name in names if not isinstance(name, Access))
    return {_OPTION: Access(roles=held, purpose=purpose, query=query, always=always)}


def declared(handler: BaseRouteHandler) -> Access | None:
    """Return what a route declares; None means nobody may call it."""
    found = handler.opt.get(_OPTION)
    return found if isinstance(found, Access) else None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling, and for what.

    :param key: an API key, or None for a source's write key.
    :param source: the source, or None for an API key.
    :param purpose: the purpose that is in force; empty when none is stated.
    """

    key: Principal | None = None
    source: Source | None = None
    purpose: str = ""

    @property
    def roles(self) -> frozenset[Role]:
        """The roles it has."""
        return self.key.roles if self.key is not None else frozenset({"source"})

    @property
    def actor(self) -> str:
        """How it appears in the audit log."""
        if self.key is not None:
            return self.key.actor
        return f"source:{self.source.source_id}" if self.source is not None else "anonymous"

    def has(self, *names: Role) -> bool:
        """True when it has one of these roles."""
        return not self.roles.isdisjoint(names)

    @property
    def principal(self) -> Principal:
        """The API key.

        :raises NotPermittedError: the caller is a source.
        """
        if self.key is None:
            raise NotPermittedError("this needs an API key, not a write key")
        return self.key

    def state(self, purpose: str) -> str:
        """Return ``purpose`` when this key carries it (for verbs that name it in their body).

        :raises InvalidInputError: none is named.
        :raises NotPermittedError: the key does not carry it.
        """
        if not purpose:
            raise InvalidInputError("state a purpose in the header CDP-Purpose: this key has not just one")
        if not self.principal.may_state(purpose):
            raise NotPermittedError("this key does not carry the stated purpose")
        return purpose


class Denials:
    """Records refusals in the audit log: a bounded number a minute for each actor, and one for each address.

    What goes over a bound is counted; the next entry of that actor, or address, carries the count, or
    ``flush``, which is called each minute and at the end, writes it. It also records the queries that no
    stage does.

    :param now: seconds on a monotonic clock.
    """

    def __init__(self, committer: Committer, now: Callable[[], float] = time.monotonic) -> None:
        self._committer = committer
        self._buckets = Buckets(_DENIALS_PER_MINUTE, _DENIALS_PER_MINUTE / 60, now=now)
        self._addresses = Buckets(1, 1 / 60, now=now)
        # Of this process alone: the log forgets nothing, and the few addresses there are could be tried out.
        self._address_key = secrets.token_bytes(32)
        self._unsaid: dict[tuple[str, str], tuple[str, int]] = {}  # (actor, origin) → (action, how often)
        self._lock = Lock()

    def record(self, actor: str, action: str, where: str, *, purpose: str = "", address: str = "") -> None:
        """Record that ``actor`` was refused at ``where`` (a route's template or a field's name).

        :param address: where a call came from whose actor nobody knows; the log gets a keyed digest of it.
        """
        origin = self._origin(address)
        who = actor, origin
        if (address and not self._addresses.take(" ".join(who))) or not self._buckets.take(actor):
            self._count(who, action)
            return
        with self._lock:
            _, unsaid = self._unsaid.pop(who, (action, 0))
        counts = {"unsaid": unsaid} if unsaid else {}
        with self._committer.batch() as batch:
            batch.record(
                Entry(
                    action=action,
                    actor=actor,
                    outcome="denied",
                    purpose=purpose,
                    object={"at": where, "from": origin} if address else {"at": where},
                    counts=counts,
                )
            )

    def note(self, action: str, address: str) -> None:
        """Count a refusal of somebody unknown without writing; ``flush`` writes it."""
        self._count(("anonymous", self._origin(address)), action)

    def query(self, actor: str, action: str, where: str) -> None:
        """Record that something is asked which no stage puts on record; before it is answered."""
        with self._committer.batch() as batch:
            batch.record(Entry(action=action, actor=actor, object={"at": where}))

    def flush(self) -> None:
        """Write what is counted and not said yet: an entry for each actor or address, the rest as one."""
        with self._lock:
            unsaid, self._unsaid = self._unsaid, {}
        if not unsaid:
            return
        said = list(unsaid.items())
        with self._committer.batch() as batch:
            for (actor, origin), (action, times) in said[:_FLUSHED]:
                batch.record(
                    Entry(
                        action=action,
                        actor=actor,
                        outcome="denied",
                        object={"from": origin} if origin else {},
                        counts={"unsaid": times},
                    )
                )
            if rest := said[_FLUSHED:]:
                counts = {"unsaid": sum(times for _, (_, times) in rest), "origins": len(rest)}
                batch.record(Entry(action=DENIED, actor="anonymous", outcome="denied", counts=counts))

    def _origin(self, address: str) -> str:
        digest = hashlib.blake2b(address.encode(), key=self._address_key, digest_size=8)
        return digest.hexdigest() if address else ""

    def _count(self, who: tuple[str, str], action: str) -> None:
        with self._lock:
            if who in self._unsaid or len(self._unsaid) < _MOST_UNSAID:
                self._unsaid[who] = action, self._unsaid.get(who, (action, 0))[1] + 1


class Guard:
    """The app's one guard; it is asked before the handler.

    :param purposes: returns the purposes that the policies declare; no other can be stated.
    :param is_ready: whether anything may be served, as is known without looking; ``check_ready`` looks.
    """

    def __init__(
        self,
        access: AccessService,
        denials: Denials,
        purposes: Callable[[], Container[str]],
        is_ready: Callable[[], bool],
        check_ready: Callable[[], None],
    ) -> None:
        self._access = access
        self._denials = denials
        self._purposes = purposes
        self._is_ready = is_ready
        self._check_ready = check_ready
        self._by_key = Buckets(_FAILURES_PER_KEY, _FAILURES_PER_KEY / 60)
        self._by_address = Buckets(_FAILURES_PER_ADDRESS, _FAILURES_PER_ADDRESS / 60)

    def lets_pass(self, connection: Connection, handler: BaseRouteHandler) -> bool:
        """Return whether a call passes by its declaration alone, without waiting; else ask the guard."""
        if connection.scope.get("method") == "OPTIONS":
            return True  # names methods only; no handler of ours runs
        check_address(connection)
        access = declared(handler) or Access()
        return (access.open or access.write_key) and (access.always or self._is_ready())

    def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Let the call pass or raise."""
        where = f"{connection.scope.get('method', '')} {connection.scope.get('path_template', '')}"
        # (1) declaration
        access = declared(handler)
        if access is None:
            raise NotPermittedError("this route declares no role, so nobody may call it")
        if not access.always:
            self._check_ready()
        if access.open or access.write_key:
            return
        # (2) credential
        try:
            caller = self._authenticate(connection)
        except (NotAuthenticatedError, OverloadedError) as error:
            self._denials.record("anonymous", UNKNOWN_KEY, where, address=address_of(connection))
            noted(error)
            raise
        # (3) role, (4) purpose
        try:
            require(caller, access)
        except NotPermittedError as error:
            self._denials.record(caller.actor, DENIED, where)
            noted(error)
            raise
        if access.query:
            self._denials.query(caller.actor, access.query, where)
        connection.scope["state"][_STATE] = caller

    def _authenticate(self, connection: Connection) -> Caller:
        credential = credential_of(connection.headers.get("authorization", ""))
        if not credential:
            raise NotAuthenticatedError("send an API key as `Authorization: Bearer KEY`")
        address = address_of(connection)
        attempt = hash_key(credential), address
        if wait := self._by_key.wait(attempt):
            raise OverloadedError("too many failed attempts with this key", retry_after=wait)
        try:
            return self._caller(credential, connection.headers.get(PURPOSE_HEADER))
        except NotAuthenticatedError:
            # A valid key is never held back by its neighbours behind one address, so the address
            # is charged after the look-up: 256 random bits are not found by trying.
            self._by_key.take(attempt)
            if not self._by_address.take(address):
                wait = self._by_address.wait(address)
                raise OverloadedError("too many failed attempts from here", retry_after=wait) from None
            raise

    def _caller(self, credential: str, purpose: str | None) -> Caller:
        try:
            key = self._access.principal(credential)
        except NotAuthenticatedError as error:
            try:
                return Caller(source=self._access.source(credential))
            except NotAuthenticatedError:
                raise error from None
        return Caller(key=key, purpose=self._purpose(key, purpose))

    def _purpose(self, key: Principal, stated: str | None) -> str:
        """Return the purpose in force, not yet checked against the key."""
        declared_now = self._purposes()  # at every call: it then runs under the policies in force
        if stated and stated not in declared_now:
            raise InvalidInputError("the stated purpose is not declared in policies/purposes.yaml")
        only = key.purposes - {"*"}
        return stated or (next(iter(only)) if len(only) == 1 == len(key.purposes) else "")


def require(caller: Caller, access: Access) -> None:
    """Check steps 3 and 4 of a declaration.

    :raises NotPermittedError: the role is lacking, or the key does not carry the purpose.
    :raises InvalidInputError: no purpose is stated and the key has not just one.
    """
    if caller.roles.isdisjoint(access.roles):
        wanted = " or ".join(sorted(access.roles))
        raise NotPermittedError(f"this needs the role {wanted}")
    if access.purpose:
        caller.state(caller.purpose)


def address_of(connection: Connection) -> str:
    """Return where a call comes from; empty where the server does not say."""
    return connection.client.host if connection.client else ""


def credential_of(header: str) -> str:
    """Return the key in an ``Authorization`` header: ``Bearer KEY``, or ``Basic`` with it as user."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def record_refusal(error: Exception, scope: Scope, denials: Denials) -> None:
    """Put a refusal on record that nobody has yet: one that a handler, or a stage below it, raised."""
    if not isinstance(error, NotAuthenticatedError | NotPermittedError) or error.on_record:
        return
    where = f"{scope.get('method', '')} {scope.get('path_template', '')}"
    caller = scope["state"].get(_STATE)
    if isinstance(caller, Caller):
        denials.record(caller.actor, DENIED, where)
        return
    client = scope.get("client")
    action = UNKNOWN_KEY if isinstance(error, NotAuthenticatedError) else DENIED
    denials.record("anonymous", action, where, address=client[0] if client else "")


def provide_caller(request: Request[Any, Any, Any]) -> Caller:
    """Give a handler its caller (the guard has put it there).

    :raises CdpError: the route is open and has none, which is a mistake in the code.
    """
    caller = caller_of(request)
    if caller is None:
        raise CdpError("an open route asked for its caller")
    return caller


def caller_of(request: Request[Any, Any, Any]) -> Caller | None:
    """Return who the guard let pass; None for whoever was refused, or not asked."""
    caller = request.scope["state"].get(_STATE)
    return caller if isinstance(caller, Caller) else None
