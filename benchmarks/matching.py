"""``python -m benchmarks.matching``: how well records of known truth are matched, next to two baselines.

For each set of ``CDP_SHARED/data``: 1. the columns that give the truth away are hidden, every other one gets
its kind from its name, by the platform's own rule. 2. The matcher runs with its defaults; plain Splink with
the comparisons that its library has for such columns, its defaults, and connected components at the same
threshold; and records that agree exactly. 3. Of each: pairwise, cluster and B-cubed precision, recall and F1.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from benchmarks import matching_baselines as baselines
from cdp.matching import MatchField, MatchSettings, fields_of, match

_HIDDEN = {"rec_id", "cluster", "unique_id", "id", "label", "source"}


class Truth(NamedTuple):
    """A set: its records, and the true entity of each."""

    table: pa.Table
    fields: list[MatchField]
    entity: list[Any]


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matching", description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("CDP_SHARED", "../shared")))
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--only", action="store_true", help="without the baselines")
    parser.add_argument("--out", type=Path, help="also write the figures into this file")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.sets:
        results[name] = _measure(SETS[name](arguments.shared / "data"), only=arguments.only)
        for method, figures in results[name].items():
            print(f"{name:20} {method:8}", " ".join(f"{key} {value:<7}" for key, value in figures.items()))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _measure(truth: Truth, *, only: bool) -> dict[str, dict[str, Any]]:
    methods = {"matcher": matcher} | ({} if only else {"splink": baselines.splink, "exact": baselines.exact})
    figures = {}
    for name, method in methods.items():
        started = time.process_time()
        joined = method(truth.table, truth.fields)
        clusters = united(truth.table["record_no"].to_pylist(), joined)
        figures[name] = quality(clusters, truth.entity) | {"cpu_s": round(time.process_time() - started, 1)}
    return figures


def matcher(table: pa.Table, fields: Sequence[MatchField]) -> list[tuple[int, int]]:
    """Return the pairs that the matcher joins with its defaults."""
    return [(pair.low, pair.high) for pair in match(table, fields, MatchSettings()).joined]


def united(records: Sequence[int], pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Return the cluster of each record."""
    parent = {record: record for record in records}

    def root(record: int) -> int:
        while parent[record] != record:
            parent[record] = parent[parent[record]]
            record = parent[record]
        return record

    for low, high in pairs:
        parent[root(high)] = root(low)
    return [root(record) for record in records]


def quality(found: Sequence[Any], true: Sequence[Any]) -> dict[str, float]:
    """Return precision, recall and F1: of pairs (p), of whole clusters of two and more (c), B-cubed (b)."""
    both = Counter(zip(found, true, strict=True))
    ours, theirs = Counter(found), Counter(true)
    pairs = [sum(n * (n - 1) // 2 for n in one.values()) for one in (both, ours, theirs)]
    same = sum(1 for (a, b), n in both.items() if n > 1 and n == ours[a] == theirs[b])
    whole = [sum(1 for n in one.values() if n > 1) for one in (ours, theirs)]
    number = len(found)
    b_precision = sum(n * n / ours[a] for (a, _), n in both.items()) / number
    b_recall = sum(n * n / theirs[b] for (_, b), n in both.items()) / number
    return {
        **_named("p", pairs[0] / max(1, pairs[1]), pairs[0] / max(1, pairs[2])),
        **_named("c", same / max(1, whole[0]), same / max(1, whole[1])),
        **_named("b", b_precision, b_recall),
    }


def _named(prefix: str, precision: float, recall: float) -> dict[str, float]:
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {f"{prefix}P": round(precision, 4), f"{prefix}R": round(recall, 4), f"{prefix}F": round(f1, 4)}


def _rows(file: Path, delimiter: str = ",", *, quoting: int = csv.QUOTE_MINIMAL) -> list[dict[str, str]]:
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    lines = data.decode("utf-8").splitlines()
    reader = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True, quoting=quoting)  # type: ignore[call-overload]  # 0 and 3 are constants of csv
    return [{key.strip(): (value or "").strip() for key, value in row.items() if key} for row in reader]


def _truth(rows: list[dict[str, str]], entity: list[Any]) -> Truth:
    names = [name for name in rows[0] if name not in _HIDDEN]
    columns = {name: pa.array([row[name] or None for row in rows], pa.string()) for name in names}
    table = pa.table({"record_no": pa.array(range(len(rows)), pa.int64()), **columns})
    return Truth(table, fields_of(names), entity)


def _febrl(number: int) -> Any:
    def load(data: Path) -> Truth:
        rows = _rows(data / f"febrl/dataset{number}.csv.gz")
        return _truth(rows, [row["rec_id"].split("-")[1] for row in rows])

    return load


def _clustered(file: str) -> Any:
    def load(data: Path) -> Truth:
        rows = _rows(data / file)
        return _truth(rows, [row["cluster"] for row in rows])

    return load


def _restaurants(data: Path) -> Truth:
    rows = _rows(data / "restaurants/restaurantProfiles.csv", "|")
    place = {row["id"]: n for n, row in enumerate(rows)}
    with (data / "restaurants/duplicates.csv").open(encoding="utf-8") as lines:
        pairs = [tuple(place[one] for one in line.strip().split("|")) for line in lines if line.strip()]
    return _truth(rows, united(range(len(rows)), pairs))  # type: ignore[arg-type]  # each line has two


def _dblp_acm(data: Path) -> Truth:
    dblp = _rows(data / "dblp_acm/dblp.csv.gz", "%", quoting=csv.QUOTE_NONE)
    acm = _rows(data / "dblp_acm/acm.csv.gz", "%", quoting=csv.QUOTE_NONE)
    first, second = ({row["id"]: n for n, row in enumerate(one)} for one in (dblp, acm))
    links = [
        (first[row["D1"]], len(dblp) + second[row["D2"]]) for row in _rows(data / "dblp_acm/gt.csv", "%")
    ]
    return _truth([*dblp, *acm], united(range(len(dblp) + len(acm)), links))


SETS = {
    "febrl1": _febrl(1),
    "febrl2": _febrl(2),
    "febrl3": _febrl(3),
    "historical_figures": _clustered("historical_figures/historical_figures.csv.gz"),
    "fake_1000": _clustered("fake_1000/fake_1000.csv"),
    "restaurants": _restaurants,
    "dblp_acm": _dblp_acm,
}

if __name__ == "__main__":
    main()
