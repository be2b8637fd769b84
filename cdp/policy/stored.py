"""Bundles as the database holds them, read back: each text once in a process.

Invariant: a bundle is its hash. Whatever the database holds under a hash that is not the files of that hash
is refused, so nothing comes in force but what was proposed and approved.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from cdp.errors import ConfigurationError, ConflictError, IntegrityError, NotFoundError, PolicyError
from cdp.policy import queries
from cdp.policy.linking import deciding
from cdp.policy.load import admit, build, digest
from cdp.policy.model import Bundle
from cdp.store import Connection

_KNOWN = 16
_IDENTITY = "identity.yaml"
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


def admitted(files: Mapping[str, bytes]) -> Bundle:
    """Return the bundle of files that somebody asks for now.

    :raises PolicyError: they are wrong, or hold what only an older bundle may.
    """
    bundle = built(files)
    admit(files)
    return bundle


def check_version(connection: Connection, files: Mapping[str, bytes]) -> None:
    """Refuse identity rules under the version of others that were in force: links name theirs by it.

    Those of before may come back under their own.

    :raises ConflictError: they bear it.
    """
    version, rules = deciding(files[_IDENTITY])
    for sha256 in queries.activated(connection):
        with suppress(PolicyError):
            known, before = deciding((queries.find_bundle(connection, sha256) or {})[_IDENTITY])
            if known == version and before != rules:
                raise ConflictError(
                    f"identity.yaml is not the one that was in force as version {version}; links name their "
                    "rules by it, so give it the next number"
                )


def held(connection: Connection, sha256: str) -> Bundle:
    """Return a stored bundle, which is the one of its hash.

    :raises NotFoundError: none of this hash is stored.
    :raises IntegrityError: its files are not those that were stored under this hash.
    :raises PolicyError: this version cannot read it.
    """
    try:
        files = queries.find_bundle(connection, sha256)
    except (zlib.error, msgspec.DecodeError):
        files = {}
    if files is None:
        raise NotFoundError("no bundle with this hash was ever stored")
    if digest(files) != sha256:
        raise IntegrityError(_altered(sha256))
    return built(files)


def proposed(connection: Connection, named: str) -> list[Bundle]:
    """Return the bundles of open proposals, oldest first, that this version can read.

    :param named: only those named so (``Proposal.is_named``); all when empty.
    :raises IntegrityError: one of them is not what was proposed.
    """
    newest = queries.in_force(connection)
    found = []
    for one in queries.open_proposals(connection, "" if newest is None else newest.sha256):
        if not named or one.is_named(named):
            with suppress(PolicyError):
                found.append(held(connection, one.sha256))
    return found


def effective(connection: Connection) -> Bundle:
    """Return the newest activation's bundle, destinations that are switched off being off.

    :raises ConfigurationError: nothing was ever activated, or this version cannot read it.
    :raises IntegrityError: what is stored is not what was activated.
    """
    newest = queries.in_force(connection)
    if newest is None:
        raise ConfigurationError("no policies are in force; run `cdp init` or `cdp migrate`")
    try:
        bundle = held(connection, newest.sha256)
    except NotFoundError:
        raise IntegrityError(_altered(newest.sha256)) from None
    except PolicyError as error:
        raise ConfigurationError(
            f"the policies in force cannot be read by this version ({error.message}); start the version "
            "before, have two officers activate policies that both versions read, then start this one"
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


def _altered(sha256: str) -> str:
    return (
        f"the policies {sha256[:12]} in the database are not those that were stored under this hash: the "
        "database was changed behind the platform; restore it from a backup (`cdp restore`), or reject them "
        "where they are only proposed"
    )
