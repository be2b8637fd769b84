"""Probabilistic matching of records that lie in memory: who is probably the same, and on what evidence.

Steps: 1. derive what is compared (``records``). 2. Choose the pairs to compare (``block``). 3. Learn how
much each agreement says, without labels, unless a model is given (``train``). 4. Score the pairs with Splink
on DuckDB (``score``). 5. Score also what was not blocked between records that may end up together. 6. Grow
clusters that agree as a whole (``cluster``). 7. What is between the thresholds, or was refused by a conflict
or by its cluster, goes to review; the rest is forgotten.

Invariants: values are read from the table and lie in the memory of this process only, dropped at the end;
neither what is returned nor an error nor a log holds one. The same input, in any order, gives the same
output. Records known to be one are never taken apart, nor are two of them joined or reviewed again.
"""

# ruff: noqa: S608  # the names in these statements are our own; values never stand in one

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cdp.errors import InvalidInputError
from cdp.matching.block import PAIRS, block
from cdp.matching.cluster import Clusters, Edges, cluster, components
from cdp.matching.compare import Agreement, agreements
from cdp.matching.conflict import Own, shared_fields
from cdp.matching.memory import in_memory, run
from cdp.matching.model import Level, Matched, MatchField, MatchSettings, Model, Pair, Step
from cdp.matching.records import derive, plan
from cdp.matching.score import Scorer
from cdp.matching.train import VERSION, train

_SEED = 20_240_229
_WHOLE = 60  # records that may end up together and are then all compared


def match(
    table: pa.Table,
    fields: Sequence[MatchField],
    settings: MatchSettings,
    *,
    model: Model | None = None,
    clusters: Mapping[int, int] | None = None,
    fresh: Collection[int] | None = None,
) -> Matched:
    """Return the pairs of records to join and to review.

    ``table`` has ``record_no`` (int64, each once) and one nullable string column for each of ``fields``.
    ``model`` is what an earlier run returned; without one, or when it was learned of other fields, one is
    learned of these records. ``clusters`` says of records which cluster they are known to belong to (any
    number; a record that is not named is by itself). ``fresh`` are the records that are new: with it, only
    pairs with one of them are looked at.

    Raises InvalidInputError for a table without the columns named, with a record twice, or without fields,
    and MissingExtraError when Splink is not installed.
    """
    _check(table, fields)
    table = table.take(pc.sort_indices(table["record_no"]))
    numbers = table["record_no"].to_numpy()
    written, fields = fields, plan(fields)
    levels, names = agreements(fields), [field.name for field in fields]
    if model is not None and not _fits(model, levels, names):
        model = None
    if table.num_rows < 2 or (fresh is not None and not fresh):
        return Matched((), (), model or _held(levels, names), table.num_rows, 0)
    derived = derive(table, written)
    news = np.ones(len(numbers), dtype=bool) if fresh is None else np.isin(numbers, list(fresh))
    with in_memory(settings) as connection:
        _load(connection, derived.append_column("fresh", pa.array(news)))
        del derived
        if model is None:
            found = block(connection, fields, settings, len(numbers), every=True)
            model = _train(connection, fields, levels, settings, len(numbers), found)
            if fresh is not None:
                found = _only_fresh(connection)
        else:
            found = block(connection, fields, settings, len(numbers), every=False)
        run = _Run(
            connection,
            Scorer(connection, levels, fields, model, shared_fields(fields)),
            fields,
            levels,
            settings,
        )
        start = _start(numbers, clusters or {})
        scored = run.scored(start)
        edges = run.edges(scored)
        joined, made = cluster(
            start.tolist(), edges, accept=_weight(settings.accept), linkage=settings.linkage
        )
        review = run.review(edges, made)
        pairs = [
            tuple(_pair(scored, place, numbers, fields, levels, model, why) for place, why in chosen)
            for chosen in ([(place, "probability") for place in joined], review)
        ]
    return Matched(pairs[0], pairs[1], model, len(numbers), found)


class _Run:
    """Scoring of one run: its connection, its model, its rules."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        scorer: Scorer,
        fields: Sequence[MatchField],
        levels: Sequence[Sequence[Agreement]],
        settings: MatchSettings,
    ) -> None:
        self._connection = connection
        self._scorer = scorer
        self._fields = fields
        self._levels = levels
        self._settings = settings

    def scored(self, start: npt.NDArray[np.int64]) -> pa.Table:
        """Return the pairs worth looking at, and all pairs between records that may end up together."""
        least = _weight(self._settings.review)
        strong = self._scorer.score(PAIRS, least=least)
        low, high = strong["low"].to_numpy(), strong["high"].to_numpy()
        known = np.flatnonzero(start != np.arange(len(start)))
        label = components(len(start), np.append(low, known), np.append(high, start[known]))
        more = _missing(label, start, low, high)
        if not len(more):
            return strong
        self._connection.register("missing_rows", pa.table({
            "join_key_l": more[:, 0], "join_key_r": more[:, 1], "match_key": pa.array(["0"] * len(more))
        }))  # fmt: skip
        run(self._connection, "CREATE OR REPLACE TABLE missing AS SELECT * FROM missing_rows")
        self._connection.unregister("missing_rows")
        return pa.concat_tables([strong, self._scorer.score("missing")])

    def edges(self, scored: pa.Table) -> Edges:
        """Return scored pairs as what clusters are made of."""
        own = Own(_places(scored, len(self._fields)), self._fields, self._levels)
        return Edges(
            scored["low"].to_numpy(), scored["high"].to_numpy(), scored["weight"].to_numpy(), own.conflicts()
        )

    def review(self, edges: Edges, made: Clusters) -> list[tuple[int, str]]:
        """Return the best pair of each two clusters between the thresholds or above, with why, best first."""
        places = np.flatnonzero(edges.weight >= _weight(self._settings.review))
        order = places[np.lexsort((edges.high[places], edges.low[places], -edges.weight[places]))]
        accept = _weight(self._settings.accept)
        seen: set[tuple[int, int]] = set()
        found = []
        for place in order.tolist():
            two = sorted((made.of(int(edges.low[place])), made.of(int(edges.high[place]))))
            if two[0] == two[1] or (two[0], two[1]) in seen:
                continue
            seen.add((two[0], two[1]))
            why = "conflict" if edges.conflict[place] else "cluster"
            found.append((place, why if edges.weight[place] >= accept else "probability"))
        return found


def _places(scored: pa.Table, fields: int) -> npt.NDArray[np.int64]:
    """Return the level of each field (columns) of each pair (rows)."""
    return np.column_stack([scored[f"g{n}"].to_numpy() for n in range(fields)]).astype(np.int64)


def _check(table: pa.Table, fields: Sequence[MatchField]) -> None:
    names = [field.name for field in fields]
    if not names or len(set(names)) < len(names) or {"record_no", *names} - set(table.column_names):
        raise InvalidInputError("matching needs record_no and one column for each field, each named once")
    numbers = table["record_no"]
    if numbers.null_count or len(numbers.unique()) < len(numbers):
        raise InvalidInputError("matching needs each record_no once")


def _load(connection: duckdb.DuckDBPyConnection, derived: pa.Table) -> None:
    connection.register("derived", derived)
    run(connection, "CREATE TABLE records AS SELECT * FROM derived")
    connection.unregister("derived")


def _fits(model: Model, levels: Sequence[Sequence[Agreement]], names: Sequence[str]) -> bool:
    expected = {name: [level.name for level in one] for name, one in zip(names, levels, strict=True)}
    return model.version == VERSION and expected == {
        name: [level.name for level in one] for name, one in model.fields.items()
    }


def _held(levels: Sequence[Sequence[Agreement]], names: Sequence[str]) -> Model:
    """Return the model of what is held before anything is learned."""
    return Model(
        version=VERSION,
        prior=0.001,
        fields={
            name: [Level(level.name, level.m, level.u) for level in one]
            for name, one in zip(names, levels, strict=True)
        },
    )


def _train(
    connection: duckdb.DuckDBPyConnection,
    fields: Sequence[MatchField],
    levels: Sequence[Sequence[Agreement]],
    settings: MatchSettings,
    records: int,
    found: int,
) -> Model:
    names = [field.name for field in fields]
    scorer = Scorer(connection, levels, fields, _held(levels, names), [])
    step = max(1, found // settings.sample)
    run(
        connection,
        f"CREATE TABLE sampled AS SELECT * FROM {PAIRS} WHERE hash(join_key_l, join_key_r) % {step} = 0",
    )
    blocked = scorer.count("sampled")
    if blocked.counts.sum():
        blocked.counts *= found / blocked.counts.sum()
    connection.register("by_chance", _chance(records, settings.sample))
    run(connection, "CREATE TABLE chance AS SELECT *, '0' AS match_key FROM by_chance")
    connection.unregister("by_chance")
    chance = scorer.count("chance")
    run(connection, "DROP TABLE sampled; DROP TABLE chance")
    return train(levels, fields, blocked, chance, records=records, shared=shared_fields(fields))


def _chance(records: int, most: int) -> pa.Table:
    """Return random pairs of rows, each once: all of them where they are few."""
    if records * (records - 1) // 2 <= most:
        low, high = np.triu_indices(records, 1)
    else:
        drawn = np.random.default_rng(_SEED).integers(0, records, (most, 2))
        drawn = np.unique(np.sort(drawn[drawn[:, 0] != drawn[:, 1]], axis=1), axis=0)
        low, high = drawn[:, 0], drawn[:, 1]
    return pa.table({"join_key_l": low, "join_key_r": high})


def _only_fresh(connection: duckdb.DuckDBPyConnection) -> int:
    run(
        connection,
        f"CREATE TABLE kept AS SELECT p.* FROM {PAIRS} p JOIN records l ON l.rid = join_key_l "
        "JOIN records r ON r.rid = join_key_r WHERE l.fresh OR r.fresh",
    )
    run(connection, f"DROP TABLE {PAIRS}; ALTER TABLE kept RENAME TO {PAIRS}")
    return int(run(connection, f"SELECT count(*) FROM {PAIRS}")[0][0])


def _start(numbers: npt.NDArray[np.int64], clusters: Mapping[int, int]) -> npt.NDArray[np.int64]:
    """Return the smallest row of the cluster of each row."""
    start = np.arange(len(numbers), dtype=np.int64)
    first: dict[int, int] = {}
    for row, number in enumerate(numbers.tolist() if clusters else ()):
        known = clusters.get(number)
        if known is not None:
            start[row] = first.setdefault(known, row)
    return start


def _missing(
    label: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Return the pairs within small components that were not scored and are not known to be one."""
    order = np.argsort(label, kind="stable")
    sizes = np.bincount(label, minlength=len(label))
    made = []
    place = 0
    while place < len(order):
        size = int(sizes[label[order[place]]])
        if 2 < size <= _WHOLE:
            rows = order[place : place + size]
            one, other = np.triu_indices(size, 1)
            made.append(np.column_stack((rows[one], rows[other])))
        place += size
    if not made:
        return np.empty((0, 2), dtype=np.int64)
    pairs = np.concatenate(made)
    pairs = pairs[start[pairs[:, 0]] != start[pairs[:, 1]]]
    known = low.astype(np.int64) * len(label) + high
    result: npt.NDArray[np.int64] = pairs[~np.isin(pairs[:, 0] * len(label) + pairs[:, 1], known)]
    return result


def _weight(probability: float) -> float:
    """Return log2 of the odds."""
    return float(np.log2(probability / (1 - probability)))


def _pair(
    scored: pa.Table,
    place: int,
    numbers: npt.NDArray[np.int64],
    fields: Sequence[MatchField],
    levels: Sequence[Sequence[Agreement]],
    model: Model,
    why: str,
) -> Pair:
    row: dict[str, Any] = scored.slice(place, 1).to_pylist()[0]
    weight = row["weight"]
    steps = [Step("prior", "", round(_weight(model.prior), 3))]
    steps += [
        Step(
            field.name,
            "unknown" if row[f"g{n}"] < 0 else levels[n][row[f"g{n}"]].name,
            round(row[f"w{n}"], 3),
        )
        for n, field in enumerate(fields)
    ]
    if row["moved"] > 0:
        steps.append(Step("address", "moved", round(row["moved"], 3)))
    if row["excess"] > 0:
        steps.append(Step("household", "shared", -round(row["excess"], 3)))
    return Pair(
        int(numbers[row["low"]]), int(numbers[row["high"]]), round(weight, 3),
        float(1 / (1 + 2.0 ** -np.clip(weight, -500, 500))), tuple(steps), why,
    )  # fmt: skip
