"""The keys that wrap keys: their state, and their rotation.

``POST /keyring/rotate`` answers 202: the new version wraps from then on, and the worker re-wraps what lies
under the old one; ``GET /keyring`` shows how far it is.
"""

from __future__ import annotations

from typing import Any

from litestar import get, post

from cdp.api.auth import allow
from cdp.api.injected import InjectedCaller, InjectedServices
from cdp.clock import Micros, rfc3339
from cdp.crypto import KekStatus, KeyringStatus


@get("/keyring", opt=allow("admin", "officer"), sync_to_thread=True)
def keyring_status(services: InjectedServices) -> dict[str, Any]:
    """Show every version of the workspace's key-encryption key, and whether the root answers."""
    return _status(services.rotation.status())


@post("/keyring/rotate", opt=allow("admin"), sync_to_thread=True, status_code=202)
def rotate(services: InjectedServices, caller: InjectedCaller) -> dict[str, Any]:
    """Make the next version of the key-encryption key and begin to re-wrap what lies under the last one."""
    services.rotation.begin(caller.actor)
    return _status(services.rotation.status())


def _status(found: KeyringStatus) -> dict[str, Any]:
    return {
        "provider": found.provider,
        "answers": not found.problem,
        "problem": found.problem or None,
        "current": found.current,
        "versions": [_version(version) for version in found.versions],
        "lost": [{"version": version, "keys": keys} for version, keys in found.lost.items()],
    }


def _version(found: KekStatus) -> dict[str, Any]:
    return {
        "version": found.version,
        "state": found.state,
        "created_at": rfc3339(found.created_at),
        "retired_at": _time(found.retired_at),
        "rewrapped_at": _time(found.rewrapped_at),
        "destroy_at": _time(found.destroy_at),
        "destroyed_at": _time(found.destroyed_at),
        "deks": found.deks,
        "buckets": found.buckets,
    }


def _time(at: Micros | None) -> str | None:
    return None if at is None else rfc3339(at)


HANDLERS = [keyring_status, rotate]
