"""Reads and writes of runs, models and pairs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, bindparam, delete, func, insert, or_, select, tuple_, update

from cdp.clock import Micros
from cdp.identity import Pair
from cdp.matching.model import Model
from cdp.matching.runs import Evidence, PairState, Proposal, Run
from cdp.matching.tables import match_models, match_pairs, match_runs
from cdp.store import Batch, among, chunks, forget_rows, read_rows, upsert

_evidence = msgspec.json.Decoder(Evidence).decode
_model = msgspec.json.Decoder(Model).decode


# -- runs -------------------------------------------------------------------------------------------


def next_run(connection: Connection) -> int:
    """Return the number of the next run; the caller holds the head."""
    return int(connection.execute(select(func.max(match_runs.c.run_no))).scalar() or 0) + 1


def add_run(connection: Connection, run: Run, batch: int) -> None:
    """Insert a run that begins."""
    connection.execute(insert(match_runs).values(**_shape(run), batch=batch))


def change_run(connection: Connection, run: Run) -> None:
    """Write how a run goes, or went."""
    changed = {key: value for key, value in _shape(run).items() if key != "run_no"}
    connection.execute(update(match_runs).where(match_runs.c.run_no == run.run_no).values(changed))


def run(connection: Connection, run_no: int) -> Run | None:
    """Return one run."""
    return next(iter(_runs(connection, _select_runs().where(match_runs.c.run_no == run_no))), None)


def runs(connection: Connection, limit: int, before: int | None) -> list[Run]:
    """Return runs, the newest first.

    :param before: continue behind this one.
    """
    query = _select_runs().order_by(match_runs.c.run_no.desc()).limit(limit)
    return _runs(connection, query if before is None else query.where(match_runs.c.run_no < before))


def running(connection: Connection) -> list[Run]:
    """Return the runs that did not end."""
    return _runs(connection, _select_runs().where(match_runs.c.state == "running"))


def last_done(connection: Connection) -> Run | None:
    """Return the newest run that did all that it was to do."""
    query = _select_runs().where(match_runs.c.state == "done").order_by(match_runs.c.run_no.desc())
    return next(iter(_runs(connection, query.limit(1))), None)


def _select_runs() -> Select[Any]:
    return select(*(match_runs.c[name] for name in Run.__struct_fields__))


def _runs(connection: Connection, query: Select[Any]) -> list[Run]:
    return [Run(*row) for row in connection.execute(query)]


def _shape(run: Run) -> dict[str, Any]:
    return msgspec.structs.asdict(run)


# -- models -----------------------------------------------------------------------------------------


def add_model(connection: Connection, model: Model, records: int, now: Micros, batch: int) -> int:
    """Store a model; returns its number."""
    number = int(connection.execute(select(func.max(match_models.c.model_no))).scalar() or 0) + 1
    row = {"model_no": number, "trained_at": now, "records": records, "batch": batch}
    connection.execute(insert(match_models).values(**row, model=msgspec.json.encode(model).decode()))
    return number


def model(connection: Connection, model_no: int) -> Model | None:
    """Return a model."""
    query = select(match_models.c.model).where(match_models.c.model_no == model_no)
    found = connection.execute(query).scalar()
    return None if found is None else _model(found)


# -- pairs ------------------------------------------------------------------------------------------


def put_pairs(connection: Connection, pairs: Iterable[Proposal], batch: int) -> None:
    """Store pairs, each over what was known of it; what a steward decided is left as it is."""
    rows = [
        {
            "low": pair.low,
            "high": pair.high,
            "run_no": pair.run_no,
            "state": pair.state,
            "weight": pair.weight,
            "waterfall": msgspec.json.encode(pair.evidence).decode(),
            "actor": pair.actor,
            "decided_at": pair.decided_at,
            "batch": batch,
        }
        for pair in pairs
    ]
    if rows:
        state = match_pairs.c.state
        upsert(connection, match_pairs, rows, ("low", "high"), (state != "accepted") & (state != "rejected"))


def settle(
    connection: Connection, pair: Pair, state: PairState, actor: str, decided_at: Micros, batch: int
) -> bool:
    """Write what a steward decided of a pair; False where it no longer waits for that."""
    p = match_pairs.c
    waits = update(match_pairs).where(p.low == pair[0], p.high == pair[1], p.state == "open")
    decided = {"state": state, "actor": actor, "decided_at": decided_at, "batch": batch}
    return connection.execute(waits.values(decided)).rowcount == 1


def pair(connection: Connection, low: int, high: int) -> Proposal | None:
    """Return one pair."""
    query = _select_pairs().where(match_pairs.c.low == low, match_pairs.c.high == high)
    return next(iter(_pairs(connection, query)), None)


def open_pairs(connection: Connection, limit: int, after: tuple[int, int, int] | None) -> list[Proposal]:
    """Return pairs that wait for a steward, the likeliest first.

    :param after: continue behind (weight, low, high).
    """
    p = match_pairs.c
    query = _select_pairs().where(p.state == "open").order_by(p.weight.desc(), p.low, p.high).limit(limit)
    if after is not None:
        weight, low, high = after
        behind = (p.weight == weight) & (tuple_(p.low, p.high) > tuple_(low, high))
        query = query.where(p.weight <= weight, or_(p.weight < weight, behind))  # the first seeks
    return _pairs(connection, query)


def forget(batch: Batch, identity_nos: Sequence[int]) -> int:
    """Delete the pairs of identities, whatever was decided; returns how many."""
    ends = match_pairs.c.low, match_pairs.c.high
    return sum(forget_rows(batch.connection, end, identity_nos) for end in ends)


def rejected_among(connection: Connection, identity_nos: Iterable[int]) -> set[Pair]:
    """Return the pairs with an end among these identities that a steward rejected.

    Without a condition on the state: SQLite, which keeps no statistics, would read all that were rejected.
    """
    p = match_pairs.c
    found = set[Pair]()
    for chunk in chunks(identity_nos):
        for end in (p.low, p.high):
            query = select(p.low, p.high, p.state).where(among(end, chunk))
            found.update((a, b) for a, b, state in read_rows(connection, query) if state == "rejected")
    return found


def drop_open(connection: Connection, pairs: Collection[Pair]) -> None:
    """Delete pairs that wait for a steward no longer."""
    if pairs:
        p = match_pairs.c
        one = p.low == bindparam("one"), p.high == bindparam("other"), p.state == "open"
        connection.execute(delete(match_pairs).where(*one), [{"one": a, "other": b} for a, b in pairs])


def _select_pairs() -> Select[Any]:
    p = match_pairs.c
    return select(p.low, p.high, p.run_no, p.state, p.weight, p.waterfall, p.actor, p.decided_at)


def _pairs(connection: Connection, query: Select[Any]) -> list[Proposal]:
    return [
        Proposal(
            low=row.low,
            high=row.high,
            run_no=row.run_no,
            state=row.state,
            weight=row.weight,
            evidence=_evidence(row.waterfall),
            actor=row.actor,
            decided_at=row.decided_at,
        )
        for row in connection.execute(query)
    ]
