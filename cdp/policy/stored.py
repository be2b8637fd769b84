"""Bundles as the database holds them, read back: each text once in a process."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cdp.errors import ConfigurationError, PolicyError
from cdp.policy import queries
from cdp.policy.load import build, digest
from cdp.policy.model import Bundle
from cdp.store import Connection

_KNOWN = 16
_known: dict[str, Bundle] = {}


def built(files: Mapping[str, bytes]) -> Bundle:
    """Return the bundle of files; the few that a process meets are read once, as reading takes a while."""
    sha256 = digest(files)
    found = _known.get(sha256)
    if found is None:
        found = build(files)
        if len(_known) == _KNOWN:
            _known.clear()
        _known[sha256] = found
    return found


def readable(connection: Connection, sha256: str) -> bool:
    """Return whether this version can read a stored bundle."""
    try:
        built(queries.find_bundle(connection, sha256) or {})
    except PolicyError:
        return False
    return True


def effective(connection: Connection) -> Bundle:
    """Return the newest activation's bundle, destinations that are switched off being off."""
    held = queries.in_force(connection)
    files = None if held is None else queries.find_bundle(connection, held.sha256)
    if held is None or files is None:
        raise ConfigurationError("no policies are in force; run `cdp init` or `cdp migrate`")
    try:
        bundle = built(files)
    except PolicyError as error:
        raise ConfigurationError(
            f"the policies in force cannot be read by this version ({error.message}); mend CDP_POLICIES_DIR, "
            "then run `cdp migrate`, which activates it"
        ) from None
    return switched(connection, bundle)


def switched(connection: Connection, bundle: Bundle) -> Bundle:
    """Return a bundle with the destinations off that officers switched off."""
    off = {switch.destination for switch in queries.switches(connection) if not switch.enabled}
    if not off & bundle.destinations.keys():
        return bundle
    destinations = {
        name: msgspec.structs.replace(found, enabled=found.enabled and name not in off)
        for name, found in bundle.destinations.items()
    }
    return msgspec.structs.replace(bundle, destinations=destinations)
