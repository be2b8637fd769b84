"""What is matched, how strictly, and what comes out: fields with kinds, thresholds, pairs, a trained model.

None of what comes out (``Matched``, ``Model``) holds a value of anybody: record numbers, field names,
names of levels of agreement, weights and probabilities only.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class FieldKind(StrEnum):
    """What a field says of somebody, from which follows how it is compared; any domain has ``text``."""

    given_name = "given_name"
    family_name = "family_name"
    full_name = "full_name"
    other_names = "other_names"  # those between the first and the last
    birth_date = "birth_date"
    birth_year = "birth_year"  # where a date is written in parts: compared as one date
    birth_month = "birth_month"
    birth_day = "birth_day"
    email = "email"
    phone = "phone"
    street = "street"
    postal_code = "postal_code"
    city = "city"
    region = "region"
    id_number = "id_number"  # one that a person keeps and shares with nobody
    number = "number"
    text = "text"


class MatchField(msgspec.Struct, frozen=True):
    """One column of the input."""

    name: str
    kind: FieldKind


class MatchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How strictly to match; the defaults are general (docs/matching.md says how they were chosen).

    ``accept`` and ``review`` are probabilities: a pair at or above ``accept`` may be joined, one between
    them goes to a steward, one below ``review`` is forgotten. ``linkage`` is the least average weight
    (log2 of the odds) between all records of two clusters that may become one. ``block`` is the largest
    number of records that share a blocking key and are still all compared. ``sample`` is the number of
    pairs, random and blocked each, from which a model is learned. ``memory`` is DuckDB's limit in MiB.
    """

    accept: float = 0.99
    review: float = 0.5
    linkage: float = 0.0
    block: int = 1000
    sample: int = 500_000
    memory: int = 12_288
    threads: int = 2


class Level(msgspec.Struct, frozen=True):
    """How often a level of agreement of one field is met among pairs of one person (m) and of two (u)."""

    name: str
    m: float
    u: float


class Model(msgspec.Struct, frozen=True):
    """What was learned: ``prior`` is the probability that two random records are one person's."""

    version: int
    prior: float
    fields: dict[str, list[Level]]  # by name of the field, the strongest agreement first


class Step(msgspec.Struct, frozen=True):
    """One step of a waterfall: what one field adds to (or takes from) the log2 odds."""

    field: str
    level: str
    weight: float


class Pair(msgspec.Struct, frozen=True):
    """Two records; ``weight`` is log2 of the odds that they are one, the sum of ``steps``.

    ``why`` of a pair under review: ``probability`` (between the thresholds), ``conflict`` (what both say
    contradicts: another birth date, another number), ``cluster`` (others of their clusters do not agree).
    """

    low: int
    high: int
    weight: float
    probability: float
    steps: tuple[Step, ...]
    why: str = "probability"


class Matched(msgspec.Struct, frozen=True):
    """What a run found.

    ``joined``: one pair for each union of two clusters, each at or above the accept threshold, in the
    order of the unions; ``review``: the best pair of each two clusters that a steward should look at;
    ``records`` and ``pairs``: how many were compared.
    """

    joined: tuple[Pair, ...]
    review: tuple[Pair, ...]
    model: Model
    records: int
    pairs: int
