"""Reads and writes of sources and API keys."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from cdp.access.model import Limits, Principal, Source
from cdp.access.tables import api_keys, sources
from cdp.clock import Micros


def source_by_hash(connection: Connection, key_hash: bytes) -> Source | None:
    """Return the source that holds the write key with this hash."""
    row = connection.execute(select(sources).where(sources.c.key_hash == key_hash)).first()
    return None if row is None else _source(row)


def source_by_name(connection: Connection, name: str) -> Source | None:
    """Return a source by its name."""
    row = connection.execute(select(sources).where(sources.c.name == name)).first()
    return None if row is None else _source(row)


def list_sources(connection: Connection) -> list[Source]:
    """Return every source, by name."""
    return [_source(row) for row in connection.execute(select(sources).order_by(sources.c.name))]


def regions(connection: Connection) -> list[str]:
    """Return the default regions of sources, ascending."""
    region = sources.c.default_region
    query = select(region).where(region.is_not(None)).distinct().order_by(region)
    return list(connection.execute(query).scalars())


def add_source(connection: Connection, source: Source, key_hash: bytes, now: Micros) -> None:
    """Store a new source."""
    connection.execute(
        insert(sources).values(
            source_id=source.source_id,
            name=source.name,
            kind=source.kind,
            key_hash=key_hash,
            enabled=source.enabled,
            links=source.links,
            default_region=source.default_region,
            created_at=now,
            **msgspec.structs.asdict(source.limits),
        )
    )


def change_limits(connection: Connection, source_id: int, limits: Limits) -> None:
    """Say how much a source may send."""
    values = msgspec.structs.asdict(limits)
    connection.execute(update(sources).where(sources.c.source_id == source_id).values(**values))


def change_source(
    connection: Connection,
    source_id: int,
    *,
    enabled: bool | None = None,
    key_hash: bytes | None = None,
    secret_version: int | None = None,
    links: bool | None = None,
) -> None:
    """Switch a source or its permission on or off, or give it another write key or signing secret."""
    given = {"enabled": enabled, "key_hash": key_hash, "secret_version": secret_version, "links": links}
    values = {name: value for name, value in given.items() if value is not None}
    connection.execute(update(sources).where(sources.c.source_id == source_id).values(**values))


def principal_by_hash(connection: Connection, key_hash: bytes) -> Principal | None:
    """Return the live API key with this hash."""
    query = select(api_keys).where(api_keys.c.key_hash == key_hash, api_keys.c.revoked_at.is_(None))
    row = connection.execute(query).first()
    return None if row is None else _principal(row)


def list_keys(connection: Connection) -> list[Principal]:
    """Return every live API key, by name."""
    query = select(api_keys).where(api_keys.c.revoked_at.is_(None)).order_by(api_keys.c.name)
    return [_principal(row) for row in connection.execute(query)]


def name_taken(connection: Connection, name: str) -> bool:
    """True when an API key, live or revoked, has this name."""
    query = select(api_keys.c.key_id).where(api_keys.c.name == name)
    return connection.execute(query).first() is not None


def lineage(connection: Connection, key_id: int) -> dict[int, str]:
    """Return number → name of a key, live or revoked, its maker, the maker of that…, as far as is known."""
    found: dict[int, str] = {}
    maker: int | None = key_id
    while maker is not None:
        query = select(api_keys.c.name, api_keys.c.made_by).where(api_keys.c.key_id == maker)
        row = connection.execute(query).first()
        if row is None:
            break
        found[maker], maker = row.name, row.made_by
    return found


def add_key(
    connection: Connection, key: Principal, key_hash: bytes, now: Micros, made_by: int | None
) -> None:
    """Store a new API key.

    :param made_by: the key that made it; None for the operator's.
    """
    connection.execute(
        insert(api_keys).values(
            key_id=key.key_id,
            name=key.name,
            key_hash=key_hash,
            roles=msgspec.json.encode(sorted(key.roles)).decode(),
            purposes=msgspec.json.encode(sorted(key.purposes)).decode(),
            destination=key.destination,
            expires_at=key.expires_at,
            created_at=now,
            made_by=made_by,
        )
    )


def is_live(connection: Connection, key_id: int) -> bool:
    """Return whether there is such a key, and it is not revoked."""
    query = select(api_keys.c.key_id).where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
    return connection.execute(query).first() is not None


def write_key(connection: Connection, source_id: int) -> bytes:
    """Return the hash of a source's write key."""
    query = select(sources.c.key_hash).where(sources.c.source_id == source_id)
    return bytes(connection.execute(query).scalar_one())


def revoke_key(connection: Connection, name: str, now: Micros) -> int | None:
    """Revoke a live key by name and return its number; None when there is none."""
    statement = (
        update(api_keys)
        .where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(api_keys.c.key_id)
    )
    return connection.execute(statement).scalar()


def _source(row: Row[tuple[object, ...]]) -> Source:
    return msgspec.convert(
        {
            "source_id": row.source_id,
            "name": row.name,
            "kind": row.kind,
            "enabled": row.enabled,
            "secret_version": row.secret_version,
            "links": bool(row.links),
            "default_region": row.default_region,
            "limits": {name: getattr(row, name) for name in Limits.__struct_fields__},
        },
        Source,
    )


def _principal(row: Row[tuple[object, ...]]) -> Principal:
    return msgspec.convert(
        {
            "key_id": row.key_id,
            "name": row.name,
            "roles": msgspec.json.decode(row.roles),
            "purposes": msgspec.json.decode(row.purposes),
            "destination": row.destination,
            "expires_at": row.expires_at,
        },
        Principal,
    )
