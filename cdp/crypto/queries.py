"""The statements of the key database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import and_, func, insert, inspect, or_, select, tuple_, update

from cdp.clock import Micros
from cdp.crypto.tables import bucket_keys, deks, keks, secrets
from cdp.store import (
    Connection,
    Row,
    among,
    chunks,
    insert_ignoring,
    insert_new,
    read_rows,
    share_rows,
    update_many,
    upsert,
)

DEK_COLUMNS = ("identity_no", "domain", "dek_id", "kek_version", "wrapped", "commitment")
BUCKET_COLUMNS = ("bucket", "dek_id", "kek_version", "wrapped", "commitment")
WRAPPED = ("kek_version", "wrapped")
DEK_KEY = ("identity_no", "domain", "dek_id")
BUCKET_KEY = ("bucket", "dek_id")


# -- KEKs -------------------------------------------------------------------------------------------


def has_kek(connection: Connection) -> bool:
    """True when there is a KEK, destroyed or not; also before the schema was made."""
    if not inspect(connection).has_table(keks.name):
        return False
    return connection.execute(select(keks.c.version).limit(1)).first() is not None


def has_dek(connection: Connection) -> bool:
    """True when anybody has a key, destroyed or not; also before the schema was made."""
    if not inspect(connection).has_table(deks.name):
        return False
    return connection.execute(select(deks.c.identity_no).limit(1)).first() is not None


def all_keks(connection: Connection) -> Sequence[Row[Any]]:
    """Return every KEK version, destroyed ones included, oldest first."""
    return connection.execute(select(keks).order_by(keks.c.version)).all()


def add_kek(connection: Connection, version: int, wrapped: bytes, commitment: bytes, now: Micros) -> None:
    """Insert a KEK version."""
    row = {"version": version, "wrapped": wrapped, "commitment": commitment, "created_at": now}
    connection.execute(insert(keks).values(row))


def hold_kek(connection: Connection, version: int) -> bool:
    """Keep ``version`` the newest until the transaction ends; False when a newer one took over."""
    query = select(keks.c.version).where(keks.c.version == version, keks.c.retired_at.is_(None))
    return connection.execute(share_rows(query)).first() is not None


def retire_kek(connection: Connection, version: int, wrapped: bytes, now: Micros) -> bool:
    """Let ``version`` wrap nothing more, once every transaction that holds it has ended.

    :param wrapped: what it was read as; False when it lies under another root now.
    """
    same = keks.c.version == version, keks.c.wrapped == wrapped, keks.c.retired_at.is_(None)
    return connection.execute(update(keks).where(*same).values(retired_at=now)).rowcount == 1


def move_kek(connection: Connection, version: int, held: bytes, wrapped: bytes) -> bool:
    """Put a KEK under another root; False when its row is not what was read."""
    statement = update(keks).where(keks.c.version == version, keks.c.wrapped == held)
    return connection.execute(statement.values(wrapped=wrapped)).rowcount == 1


def claim_kek(connection: Connection, version: int, worker: int, now: Micros, stalled: Micros) -> bool:
    """Take or keep the work of re-wrapping what lies under ``version``.

    :param stalled: who did not work since then has ended; so has who worked as far ahead of now.
    """
    known = keks.c.worked_at.between(stalled + 1, 2 * now - stalled)
    free = or_(keks.c.worker.is_(None), keks.c.worker == worker, ~known)
    statement = update(keks).where(keks.c.version == version, keks.c.rewrapped_at.is_(None), free)
    return connection.execute(statement.values(worker=worker, worked_at=now)).rowcount == 1


def end_rewrap(connection: Connection, version: int, now: Micros) -> None:
    """Note that nothing lies under ``version`` any more."""
    statement = update(keks).where(keks.c.version == version, keks.c.rewrapped_at.is_(None))
    connection.execute(statement.values(rewrapped_at=now))


def destroy_kek(connection: Connection, version: int, now: Micros) -> None:
    """Overwrite a KEK; its row stays as a marker."""
    statement = update(keks).where(keks.c.version == version)
    connection.execute(statement.values(wrapped=b"", destroyed_at=now))


def commit_kek(connection: Connection, version: int, commitment: bytes) -> None:
    """Write the commitment of a KEK that has none."""
    statement = update(keks).where(keks.c.version == version, keks.c.commitment.is_(None))
    connection.execute(statement.values(commitment=commitment))


# -- named secrets ----------------------------------------------------------------------------------


def secret(connection: Connection, name: str) -> Row[Any] | None:
    """Return a named secret."""
    return connection.execute(select(secrets).where(secrets.c.name == name)).first()


def all_secrets(connection: Connection) -> Sequence[Row[Any]]:
    """Return every named secret, by name."""
    return connection.execute(select(secrets).order_by(secrets.c.name)).all()


def move_secret(connection: Connection, name: str, held: bytes, wrapped: bytes) -> bool:
    """Put a named secret under another root; False when its row is not what was read."""
    statement = update(secrets).where(secrets.c.name == name, secrets.c.wrapped == held)
    return connection.execute(statement.values(wrapped=wrapped)).rowcount == 1


def secret_names(connection: Connection) -> set[str]:
    """Return the names of every secret that has a row."""
    return set(connection.execute(select(secrets.c.name)).scalars())


def empty_secrets(connection: Connection) -> list[str]:
    """Return the names of the secrets that were never made."""
    empty = secrets.c.wrapped == b"", secrets.c.commitment.is_(None)
    return list(connection.execute(select(secrets.c.name).where(*empty).order_by(secrets.c.name)).scalars())


def fill_secret(connection: Connection, name: str, wrapped: bytes, commitment: bytes) -> None:
    """Write a secret that was never made, unless another process was first."""
    empty = secrets.c.name == name, secrets.c.wrapped == b"", secrets.c.commitment.is_(None)
    connection.execute(update(secrets).where(*empty).values(wrapped=wrapped, commitment=commitment))


def commit_secret(connection: Connection, name: str, commitment: bytes) -> None:
    """Write the commitment of a secret that has none."""
    statement = update(secrets).where(secrets.c.name == name, secrets.c.commitment.is_(None))
    connection.execute(statement.values(commitment=commitment))


# -- DEKs and bucket keys ---------------------------------------------------------------------------


def add_deks(connection: Connection, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Insert the DEKs that do not exist, given sorted, and return which (identity_no, domain) they are."""
    return insert_new(connection, deks, DEK_COLUMNS, rows, ("identity_no", "domain"))


def find_deks(connection: Connection, identity_nos: Collection[int], domain: str) -> Sequence[Row[Any]]:
    """Return the live DEKs of these identities."""
    query = select(deks).where(among(deks.c.identity_no, identity_nos), deks.c.domain == domain)
    return connection.execute(query.where(deks.c.wrapped.is_not(None))).all()


def destroyed_deks(connection: Connection, identity_nos: Collection[int], domain: str) -> list[int]:
    """Return those of these identities whose DEK is marked as destroyed."""
    query = select(deks.c.identity_no).where(
        among(deks.c.identity_no, identity_nos), deks.c.domain == domain, deks.c.wrapped.is_(None)
    )
    return list(connection.execute(query).scalars())


def highest_identity(connection: Connection) -> int:
    """Return the highest identity number that has a row, destroyed ones included; 0 when none has."""
    return int(connection.execute(select(func.max(deks.c.identity_no))).scalar() or 0)


def destroy_deks(connection: Connection, identity_nos: Sequence[int], domain: str) -> None:
    """Overwrite these DEKs, and mark those never made, so that none can be made again."""
    rows = [
        {
            "identity_no": number,
            "domain": domain,
            "dek_id": b"",
            "kek_version": 0,
            "wrapped": None,
            "commitment": b"",
        }
        for number in sorted(identity_nos)
    ]
    upsert(connection, deks, rows, ("identity_no", "domain"))


def bucket(connection: Connection, name: str) -> Row[Any] | None:
    """Return a bucket's key, live or destroyed."""
    return connection.execute(select(bucket_keys).where(bucket_keys.c.bucket == name)).first()


def add_bucket(connection: Connection, rows: Sequence[Sequence[Any]]) -> Row[Any]:
    """Insert a bucket's key, unless another process was first, and return the one that is there."""
    insert_ignoring(connection, bucket_keys, BUCKET_COLUMNS, rows)
    return connection.execute(select(bucket_keys).where(bucket_keys.c.bucket == rows[0][0])).one()


def buckets_before(connection: Connection, kind: str, name: str) -> list[str]:
    """Return the live buckets of a kind whose name sorts before ``name``."""
    query = select(bucket_keys.c.bucket).where(
        bucket_keys.c.bucket > f"{kind}/", bucket_keys.c.bucket < name, bucket_keys.c.wrapped.is_not(None)
    )
    return list(connection.execute(query.order_by(bucket_keys.c.bucket)).scalars())


def destroyed_buckets(connection: Connection, names: Iterable[str]) -> set[str]:
    """Return those of these buckets whose key is marked as destroyed."""
    b = bucket_keys.c
    found: set[str] = set()
    for chunk in chunks(names):
        query = select(b.bucket).where(b.bucket.in_(chunk), b.wrapped.is_(None))
        found.update(connection.execute(query).scalars())
    return found


def destroy_buckets(connection: Connection, names: Collection[str]) -> None:
    """Overwrite these bucket keys, and mark those never made, so that none can be made again."""
    rows = [
        {"bucket": name, "dek_id": b"", "kek_version": 0, "wrapped": None, "commitment": b""}
        for name in sorted(names)
    ]
    upsert(connection, bucket_keys, rows, ("bucket",))


# -- rotation ---------------------------------------------------------------------------------------


def deks_below(
    connection: Connection, current: int, after: tuple[int, str], most: int
) -> list[tuple[Any, ...]]:
    """Return live DEKs under a KEK older than ``current``, behind the key ``after``, in key order.

    :returns: ``DEK_COLUMNS`` of each.
    """
    key = tuple_(deks.c.identity_no, deks.c.domain)
    query = select(*(deks.c[name] for name in DEK_COLUMNS))
    query = query.where(key > after, deks.c.kek_version < current, deks.c.wrapped.is_not(None))
    return read_rows(connection, query.order_by(deks.c.identity_no, deks.c.domain).limit(most))


def buckets_below(connection: Connection, current: int, after: str, most: int) -> list[tuple[Any, ...]]:
    """Return live bucket keys under a KEK older than ``current``, behind the name ``after``.

    :returns: ``BUCKET_COLUMNS`` of each.
    """
    query = select(*(bucket_keys.c[name] for name in BUCKET_COLUMNS)).where(
        bucket_keys.c.bucket > after, bucket_keys.c.kek_version < current, bucket_keys.c.wrapped.is_not(None)
    )
    return read_rows(connection, query.order_by(bucket_keys.c.bucket).limit(most))


def rewrap_deks(connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
    """Write rows (identity_no, domain, dek_id, kek_version, wrapped); a key destroyed meanwhile stays so."""
    return update_many(connection, deks, DEK_KEY, WRAPPED, rows)


def rewrap_buckets(connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
    """Write rows (bucket, dek_id, kek_version, wrapped), likewise."""
    return update_many(connection, bucket_keys, BUCKET_KEY, WRAPPED, rows)


def is_used(connection: Connection, version: int) -> bool:
    """True when a live key lies under this KEK version."""
    found = (
        connection.execute(
            select(table.c.kek_version)
            .where(and_(table.c.kek_version == version, table.c.wrapped.is_not(None)))
            .limit(1)
        ).first()
        for table in (deks, bucket_keys)
    )
    return any(row is not None for row in found)


def any_under(connection: Connection, version: int) -> Row[Any] | None:
    """Return some live DEK under this KEK version."""
    query = select(deks).where(deks.c.kek_version == version, deks.c.wrapped.is_not(None))
    return connection.execute(query.limit(1)).first()


def dek_counts(connection: Connection) -> list[tuple[int, str, int]]:
    """Return (KEK version, domain, live DEKs)."""
    query = (
        select(deks.c.kek_version, deks.c.domain, func.count())
        .where(deks.c.wrapped.is_not(None))
        .group_by(deks.c.kek_version, deks.c.domain)
    )
    return [(int(version), str(domain), int(count)) for version, domain, count in connection.execute(query)]


def bucket_counts(connection: Connection) -> dict[int, int]:
    """Return the live bucket keys by KEK version."""
    query = (
        select(bucket_keys.c.kek_version, func.count())
        .where(bucket_keys.c.wrapped.is_not(None))
        .group_by(bucket_keys.c.kek_version)
    )
    return {int(version): int(count) for version, count in connection.execute(query)}
