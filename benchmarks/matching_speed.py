"""``python -m benchmarks.matching_speed``: a million made-up records in one batch, then new ones.

People are made, in memory, from syllables: names and towns as unevenly spread as real ones, a third of them
in households that share family name, address and telephone. Three in ten are there twice, the second time
with typos, gaps, swapped names or a new address. Then so many new records, of which half are of somebody
known, are matched against all the others under the model learned before. Each part in a process of its own,
so that peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import time
from typing import Any

import pyarrow as pa

from benchmarks.matching import quality, united
from cdp.matching import MatchSettings, fields_of, match

_FIELDS = ["given_name", "family_name", "birth_date", "email", "phone", "street", "postal_code", "city"]
_SYLLABLES = [a + b for a in [*"bcdfghjklmnprstvwz", "br", "st", "tr", "kl"] for b in "aeiou"]
_MISSING = (0.02, 0.01, 0.1, 0.4, 0.3, 0.1, 0.1, 0.05)


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matching_speed", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=10_000)
    arguments = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        whole, model = pool.apply(_batch, (arguments.records, arguments.new))
        added = pool.apply(_added, (arguments.records, arguments.new, model))
    print(json.dumps({"batch": whole, "incremental": added}, indent=2))


def _batch(records: int, new: int) -> tuple[dict[str, Any], Any]:
    table, entity = made(records, new)
    table, entity = table.slice(0, records), entity[:records]
    figures, matched = _timed(table, entity)
    return figures, matched.model


def _added(records: int, new: int, model: Any) -> dict[str, Any]:
    table, entity = made(records, new)
    first: dict[int, int] = {}
    known = {row: first.setdefault(one, row) for row, one in enumerate(entity[:records])}
    fresh = list(range(records, records + new))
    return _timed(table, entity, model=model, clusters=known, fresh=fresh)[0]


def _timed(table: pa.Table, entity: list[int], **more: Any) -> tuple[dict[str, Any], Any]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    matched = match(table, fields_of(_FIELDS), MatchSettings(), **more)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pairs = [(pair.low, pair.high) for pair in matched.joined]
    pairs += [(first, row) for row, first in more.get("clusters", {}).items() if row != first]
    figures = {
        "records": table.num_rows,
        "pairs_compared": matched.pairs,
        "joined": len(matched.joined),
        "review": len(matched.review),
        "seconds": round(wall),
        "cpu_seconds": round(cpu),
        "peak_mib": peak // 1024,
        "input_mib": before // 1024,
        **quality(united(range(table.num_rows), pairs), entity),
    }
    return figures, matched


def made(records: int, new: int) -> tuple[pa.Table, list[int]]:
    """Return ``records + new`` records and the person of each."""
    chance = random.Random(4)
    people = int((records + new) / 1.3)
    given, family = _words(chance, 4_000, 2), _words(chance, 60_000, 3)
    towns, streets = _words(chance, 3_000, 3), _words(chance, 20_000, 3)
    rows: list[list[str | None]] = []
    for person in range(people):
        home = rows[person - 1] if person and chance.random() < 0.33 else None
        rows.append(_person(chance, home, given, family, towns, streets))
    entity = list(range(people))
    while len(rows) < records + new:
        entity.append(chance.randrange(people))
        rows.append(_again(chance, rows[entity[-1]], towns, streets))
    order = list(range(len(rows)))
    chance.shuffle(order)
    columns = zip(*(_thinned(chance, rows[place]) for place in order), strict=True)
    named = {name: pa.array(column, pa.string()) for name, column in zip(_FIELDS, columns, strict=True)}
    return pa.table({"record_no": pa.array(range(len(rows))), **named}), [entity[place] for place in order]


def _words(chance: random.Random, number: int, syllables: int) -> list[str]:
    return ["".join(chance.choices(_SYLLABLES, k=syllables)) + chance.choice("nrslt") for _ in range(number)]


def _uneven(chance: random.Random, words: list[str]) -> str:
    return words[int(len(words) * chance.random() ** 3)]


def _person(
    chance: random.Random,
    home: list[str | None] | None,
    given: list[str],
    family: list[str],
    towns: list[str],
    streets: list[str],
) -> list[str | None]:
    name = _uneven(chance, given)
    surname = home[1] if home else _uneven(chance, family)
    born = f"{chance.randrange(1930, 2010)}-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}"
    mail = f"{name}.{surname}{chance.randrange(1000)}@{chance.choice('abcdef')}.example"
    there = home[4:] if home else [_phone(chance), *_place(chance, towns, streets)]
    return [name, surname, born, mail, *there]


def _phone(chance: random.Random) -> str:
    return f"0{chance.randrange(10**8, 10**9)}"


def _place(chance: random.Random, towns: list[str], streets: list[str]) -> list[str]:
    town = int(len(towns) * chance.random() ** 3)
    address = f"{chance.randrange(1, 200)} {_uneven(chance, streets)} street"
    return [address, f"{town:04}{chance.randrange(10)}", towns[town]]


def _again(
    chance: random.Random, row: list[str | None], towns: list[str], streets: list[str]
) -> list[str | None]:
    copy = [_typo(chance, value) if value and chance.random() < 0.12 else value for value in row]
    if chance.random() < 0.03:
        copy[0], copy[1] = copy[1], copy[0]
    if chance.random() < 0.1:
        copy[5:] = _place(chance, towns, streets)
    if chance.random() < 0.2:
        copy[4] = _phone(chance)
    return copy


def _typo(chance: random.Random, value: str) -> str:
    place = chance.randrange(len(value))
    kind = chance.randrange(3)
    if kind == 0:
        return value[:place] + value[place + 1 :]
    if kind == 1 and place:
        return value[: place - 1] + value[place] + value[place - 1] + value[place + 1 :]
    return value[:place] + chance.choice("aeinrst123") + value[place + 1 :]


def _thinned(chance: random.Random, row: list[str | None]) -> list[str | None]:
    return [None if chance.random() < gap else value for value, gap in zip(row, _MISSING, strict=True)]


if __name__ == "__main__":
    main()
