"""What a source sends and what it is to send: the data catalogue, tracking plans. Shapes, never values."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import delete, get, put
from litestar.params import FromPath, JSONBody

from cdp.access import Role, Source
from cdp.api.auth import allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.api.services import Services
from cdp.clock import rfc3339
from cdp.errors import NotFoundError
from cdp.ingest import EventShape, FieldShape, Held, SeenViolation, infer_plan, snake_case
from cdp.policy import FieldRule

_READ: tuple[Role, ...] = ("admin", "steward", "officer")
_CHANGE: tuple[Role, ...] = ("admin", "steward")


@get("/sources/{name:str}/catalogue", opt=allow(*_READ, query="source.catalogue"), sync_to_thread=True)
def read_catalogue(services: InjectedServices, name: FromPath[str]) -> dict[str, Any]:
    """Show which fields a source sends: how often, of what type, since when, and what is declared of them.

    A `share` is of the events that were looked at: of each event the first 1,000 a minute, then every 16th.
    """
    source = _source(services, name)
    shapes = services.catalogue.of(source.source_id)
    told = _Told(services, source)
    return {
        "source": source.name,
        "kind": source.kind,
        "trust": told.trust(None),
        "events": [told.event(shape) for shape in shapes],
    }


@get("/sources/{name:str}/plan", opt=allow(*_READ, query="plan.read"), sync_to_thread=True)
def read_plan(services: InjectedServices, name: FromPath[str]) -> dict[str, Any]:
    """Show the tracking plan of a source, and what did not fit it since it was stored."""
    source = _source(services, name)
    seen = services.plans.violations(source)
    return {**_plan(source, services.plans.of(source)), "violations": [_violation(one) for one in seen]}


@put("/sources/{name:str}/plan", opt=allow(*_CHANGE), sync_to_thread=True)
def put_plan(
    services: InjectedServices,
    caller: InjectedCaller,
    name: FromPath[str],
    data: JSONBody[dict[str, Any]],
) -> dict[str, Any]:
    """Store a tracking plan as the newest version; every process holds events to it within a second."""
    source = _source(services, name)
    return _plan(source, services.plans.apply(caller.actor, source, data))


@delete("/sources/{name:str}/plan", opt=allow(*_CHANGE), sync_to_thread=True)
def remove_plan(services: InjectedServices, caller: InjectedCaller, name: FromPath[str]) -> None:
    """Let a source have no tracking plan from now on; its versions stay on record."""
    services.plans.remove(caller.actor, _source(services, name))


@get("/sources/{name:str}/plan/inferred", opt=allow(*_READ, query="plan.infer"), sync_to_thread=True)
def inferred(services: InjectedServices, name: FromPath[str]) -> dict[str, Any]:
    """Give a plan to begin with, of the names and types that the source was seen to send. Stores nothing."""
    return infer_plan(services.catalogue.of(_source(services, name).source_id))


class _Told:
    """What the policies say of the fields of a source."""

    def __init__(self, services: Services, source: Source) -> None:
        bundle = services.bundle
        self._fields = bundle.fields
        self._common = bundle.identity.source_trust
        self._source = source

    def event(self, shape: EventShape) -> dict[str, Any]:
        """Return an event with its fields; without a type, all events of the source together."""
        return {
            "type": shape.type or None,
            "name": shape.name or None,
            "seen": shape.seen,
            "looked_at": shape.looked_at,
            "first_seen": rfc3339(shape.first_seen_at),
            "last_seen": rfc3339(shape.last_seen_at),
            "fields": [self._field(shape, field) for field in shape.fields],
        }

    def _field(self, shape: EventShape, field: FieldShape) -> dict[str, Any]:
        # A group's traits are nobody's, so that nothing declares them.
        declared: dict[str, FieldRule] = {} if shape.type == "group" else getattr(self._fields, field.part)
        rule = declared.get(snake_case(field.name) if field.part == "traits" else field.name)
        trusted = field.part == "traits" and rule is not None and rule.survivorship == "most_trusted"
        return {
            "part": field.part,
            "name": field.name,
            "share": round(shape.share(field), 4),
            "present": field.present,
            "types": field.types,
            "first_seen": rfc3339(field.first_seen_at),
            "last_seen": rfc3339(field.last_seen_at),
            "category": None if rule is None else rule.category,
            "protection": None if rule is None else rule.protection,
            "trust": self.trust(rule) if trusted else None,
        }

    def trust(self, rule: FieldRule | None) -> int:
        """Return how far the source is trusted about a trait, or in general (``source_trust``)."""
        ranks = self._common if rule is None else {**self._common, **rule.trust}
        return ranks.get(self._source.name, ranks.get(self._source.kind, 0))


def _source(services: Services, name: str) -> Source:
    for source in services.access.list_sources():
        if source.name == name:
            return source
    raise NotFoundError("there is no source with this name")


def _plan(source: Source, held: Held) -> dict[str, Any]:
    return {
        "source": source.name,
        "version": held.version,
        "created_at": rfc3339(held.created_at),
        "created_by": held.created_by,
        "plan": held.source,
    }


def _violation(seen: SeenViolation) -> dict[str, Any]:
    times = {"first_seen": rfc3339(seen.first_seen_at), "last_seen": rfc3339(seen.last_seen_at)}
    told = msgspec.structs.asdict(seen)
    return {name: told[name] for name in ("event", "place", "kind", "seen")} | times


HANDLERS = [read_catalogue, read_plan, put_plan, remove_plan, inferred]
