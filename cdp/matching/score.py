"""Compares and scores pairs with Splink."""

# ruff: noqa: S608  # the names in these statements are our own; values never stand in one

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import duckdb
import pyarrow as pa

from cdp.errors import MissingExtraError
from cdp.matching.compare import APART, Agreement, comparisons, weights
from cdp.matching.conflict import HOUSEHOLD, place_fields
from cdp.matching.memory import run
from cdp.matching.model import Level, MatchField, Model
from cdp.matching.train import Counts, counted


class Scorer:
    """Scores pairs of the table ``records`` of a connection under a model."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        levels: Sequence[Sequence[Agreement]],
        fields: Sequence[MatchField],
        model: Model,
        shared: Sequence[int],
    ) -> None:
        try:
            from splink import DuckDBAPI, Linker, SettingsCreator  # noqa: PLC0415  # an extra, and slow to import
        except ImportError as error:
            raise MissingExtraError("match", "matching") from error
        self._connection = connection
        self._levels = levels
        self._prior = model.prior
        self._shared = shared
        self._place = place_fields(fields)
        against = [-min(0.0, *weights(model.fields[fields[number].name])) for number in self._place]
        self._most_moved = sum(against) - max(against, default=0.0)
        self._api = DuckDBAPI(connection=connection)
        made = SettingsCreator(
            link_type="dedupe_only",
            unique_id_column_name="rid",
            comparisons=list(comparisons(levels, model, fields)),
            blocking_rules_to_generate_predictions=[],
            probability_two_random_records_match=model.prior,
            retain_matching_columns=False,
            retain_intermediate_calculation_columns=True,
        )
        self._told = [_told(number, model.fields[field.name]) for number, field in enumerate(fields)]
        self._linker = Linker(self._api.register("records"), made, validate_settings=False, log_level=None)

    def score(self, pairs: str, *, least: float | None = None) -> pa.Table:
        """Return the scored pairs of the table ``pairs``, those of a weight of at least ``least``.

        Columns: ``low``, ``high`` (rows), ``weight``, and for each field ``g{i}`` (level, 0 is the strongest,
        -1 unknown) and ``w{i}`` (what it adds); ``moved`` is what is given back of an address that differs in
        several fields, ``excess`` what shared fields say beyond a household.
        """
        made = self._predict(pairs, None if least is None else least - self._most_moved)
        parts = [
            f"mw_f{number}" + (f" + mw_tf_adj_f{number}" if any(level.rare for level in levels) else "")
            for number, levels in enumerate(self._levels)
        ]
        place = [parts[n] for n in self._place]
        moved = f"greatest(0.0, least(0.0, {', '.join(place)}) - ({' + '.join(place)}))" if place else "0.0"
        excess, kept = "0.0", f"weight >= {-1e9 if least is None else least}"
        if self._shared:
            common = [repr(log2(self._prior / (1 - self._prior))), "moved", *(parts[n] for n in self._shared)]
            excess = f"greatest(0.0, {' + '.join(common)} - {HOUSEHOLD})"
        own = [part for n, part in enumerate(parts) if n not in self._shared]
        if self._shared and least is not None:
            kept += f" AND {' + '.join(own)} > 0"
        columns = [
            "rid_l AS low",
            "rid_r AS high",
            "match_weight + moved - excess AS weight",
            "moved",
            "excess",
        ]
        columns += [*self._told, *(f"{part} AS w{number}" for number, part in enumerate(parts))]
        found = self._connection.sql(
            f"SELECT {', '.join(columns)} FROM (SELECT *, CAST({moved} AS DOUBLE) AS moved, "
            f"CAST({excess} AS DOUBLE) AS excess FROM {made}) "
            f"WHERE {kept} ORDER BY low, high"
        )
        table = found.to_arrow_table()
        run(self._connection, f"DROP TABLE {made}")
        return table

    def count(self, pairs: str) -> Counts:
        """Return how often each pattern of agreement is met among ``pairs``."""
        made = self._predict(pairs, None)
        rows = run(
            self._connection,
            f"SELECT {', '.join(self._told)}, count(*) FROM {made} GROUP BY ALL ORDER BY ALL",
        )
        run(self._connection, f"DROP TABLE {made}")
        return counted(rows, len(self._levels))

    def _predict(self, pairs: str, least: float | None) -> str:
        self._linker.table_management.register_blocked_pairs_for_predict(self._api.register(pairs))
        found = self._linker.inference.predict(threshold_match_weight=least, warning_mode="never")
        return str(found.physical_name)


def _told(number: int, learned: Sequence[Level]) -> str:
    """Return the level of a field by its weight: Splink gives the level only along with the clear values."""
    cases = " ".join(
        f"WHEN abs(mw_f{number} - {weight!r}) < {APART / 4} THEN {level}"
        for level, weight in enumerate(weights(learned))
    )
    return f"CAST(CASE {cases} ELSE -1 END AS TINYINT) AS g{number}"
