"""The policies in force, read only: what data may be used for, by whom, under which rule."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get

from cdp.api.auth import allow
from cdp.api.injected import InjectedServices
from cdp.policy import Bundle, Destination, Purpose


@get("/policies", opt=allow("officer"), sync_to_thread=True)
def policies(services: InjectedServices) -> dict[str, Any]:
    """Show the bundle in force: its version, purposes, destinations and rules."""
    return bundle(services.bundle)


def bundle(held: Bundle) -> dict[str, Any]:
    """Return a bundle as REST shows it."""
    return {
        "version": held.sha256[:12],
        "sha256": held.sha256,
        "purposes": [_purpose(found) for _, found in sorted(held.purposes.items())],
        "destinations": [_destination(found) for _, found in sorted(held.destinations.items())],
        "rules": [msgspec.to_builtins(rule, builtin_types=()) for rule in held.rules],
    }


def _purpose(found: Purpose) -> dict[str, Any]:
    return {
        "key": found.key,
        "name": found.name,
        "description": found.description,
        "basis": found.basis,
        "channels": found.channels,
        "validity_days": found.validity_days,
        "internal": found.internal,
        "notices": [{"id": notice.id, "version": notice.version} for notice in found.notices],
    }


def _destination(found: Destination) -> dict[str, Any]:
    return {
        "name": found.name,
        "title": found.title,
        "type": found.type,
        "role": found.role,
        "country": found.country,
        "purposes": sorted(found.purposes),
        "minimum_audience": found.minimum_audience,
        "contract_expires": found.contract_expires,
        "enabled": found.enabled,
    }


HANDLERS = [policies]
