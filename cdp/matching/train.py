"""Learns, without labels, how often each level of agreement is met among matches (m) and others (u).

Expectation maximisation of the model of Fellegi and Sunter (1969; after Winkler 1988) over counts of
patterns of agreement. Two samples: the blocked pairs, in which the matches are, and random pairs, which show
what agrees by chance. Each round: 1. of every pattern the probability that it is a match, under the present
parameters; 2. m from the blocked pairs, each by its probability; u from the random pairs, each by the rest,
so that duplicates among them do not count as chance; 3. the prior from the expected matches among all pairs.

Invariants: every probability is strictly between 0 and 1, whatever the data; nothing learned comes from fewer
than some observations without what was held before weighing in (``_HELD`` pairs), so that few records, a
constant or an absent column, or no duplicates at all give sensible weights; "different" never speaks for a
match and "exact" never against one. The same counts give the same model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cdp.matching.compare import Agreement
from cdp.matching.conflict import HOUSEHOLD, Own, place_fields
from cdp.matching.model import Level, MatchField, Model

VERSION = 2
_ROUNDS = 60
_HELD = 25.0  # pairs for which what is held before any data stands
_LEAST = 1e-7
_Array = npt.NDArray[np.float64]


class Counts:
    """Patterns of agreement and how often each was met: ``patterns`` is (patterns × fields), -1 is null."""

    def __init__(self, patterns: npt.NDArray[np.int64], counts: _Array) -> None:
        self.patterns = patterns
        self.counts = counts


def train(
    levels: Sequence[Sequence[Agreement]],
    fields: Sequence[MatchField],
    blocked: Counts,
    chance: Counts,
    *,
    records: int,
    shared: Sequence[int],
) -> Model:
    """Return what is learned; ``blocked.counts`` is of all blocked pairs (scaled up if a sample).

    ``shared`` are the fields of households, which together say no more than that it is one (``conflict``).
    """
    held_m = [_normal(np.array([level.m for level in one])) for one in levels]
    held_u = [_normal(np.array([level.u for level in one])) for one in levels]
    m, u = list(held_m), list(held_u)
    place = place_fields(fields)
    apart = [Own(one.patterns, fields, levels).conflicts() for one in (blocked, chance)]
    every = max(records * (records - 1) / 2, 1.0)
    prior = _bounded_prior(0.1 * records / every, records)
    u = _parameters(chance, chance.counts, held_u)
    for _ in range(_ROUNDS):
        match = np.where(apart[0], 0.0, _posterior(blocked, m, u, prior, shared, place))
        by_chance = 1 - np.where(apart[1], 0.0, _posterior(chance, m, u, prior, shared, place))
        m = _parameters(blocked, blocked.counts * match, held_m)
        u = _parameters(chance, chance.counts * by_chance, held_u)
        m = [_ordered(one, other, held[-1]) for one, other, held in zip(m, u, held_m, strict=True)]
        before, prior = prior, _bounded_prior(float(blocked.counts @ match) / every, records)
        if abs(np.log(prior / before)) < 1e-6:
            break
    return Model(
        version=VERSION,
        prior=prior,
        fields={
            field.name: [Level(level.name, round(float(a), 12), round(float(b), 12))
                   for level, a, b in zip(one, m[i], u[i], strict=True)]
            for i, (field, one) in enumerate(zip(fields, levels, strict=True))
        },
    )  # fmt: skip


def _bounded_prior(prior: float, records: int) -> float:
    """Keep the prior between one match in all pairs, and every record having as many as it may."""
    every = max(records * (records - 1) / 2, 1.0)
    return float(min(max(prior, min(0.5 / every, 0.25)), 0.5))


def _posterior(
    counts: Counts, m: Sequence[_Array], u: Sequence[_Array], prior: float,
    shared: Sequence[int], place: Sequence[int],
) -> _Array:  # fmt: skip
    common = np.full(len(counts.patterns), np.log2(prior / (1 - prior)))
    own = np.zeros(len(counts.patterns))
    there, most = np.zeros(len(counts.patterns)), np.zeros(len(counts.patterns))
    for field, (one, other) in enumerate(zip(m, u, strict=True)):
        ratio = np.append(np.log2(one / other), 0.0)  # index -1, null: says nothing
        said = ratio[counts.patterns[:, field]]
        if field in place:
            there += said
            most = np.minimum(most, said)
        elif field in shared:
            common += said
        else:
            own += said
    common += np.maximum(there, most)
    weight = own + (np.minimum(common, HOUSEHOLD) if shared else common)
    result: _Array = 1 / (1 + np.exp2(-np.clip(weight, -1000, 1000)))
    if shared:
        result[own <= 0] = 0.0
    return result


def _parameters(counts: Counts, weights: _Array, held: Sequence[_Array]) -> list[_Array]:
    made = []
    for field, before in enumerate(held):
        level = counts.patterns[:, field]
        known = level >= 0
        seen = np.bincount(level[known], weights[known], len(before))
        made.append(_normal(seen + _HELD * before))
    return made


def _normal(values: _Array) -> _Array:
    kept: _Array = np.maximum(values / values.sum(), _LEAST)
    result: _Array = kept / kept.sum()
    return result


def _ordered(m: _Array, u: _Array, apart: float) -> _Array:
    made = m.copy()
    made[0] = max(made[0], u[0])
    made[-1] = min(max(made[-1], apart), u[-1])
    return _normal(made)


def counted(rows: Sequence[Sequence[Any]], fields: int) -> Counts:
    """Return counts of rows (one level of each field, then how often)."""
    table = np.array(rows, dtype=np.float64).reshape(len(rows), fields + 1)
    return Counts(table[:, :fields].astype(np.int64), table[:, fields].copy())
