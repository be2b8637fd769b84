"""Links that matching proposes: guesses, decided under the rules beside all that was told.

Invariants:

1. The caller holds the locks of the components and has asked whether their links may be changed.
2. What a steward took apart stays apart: no link is proposed between two profiles of which any pair stands
   revoked, nor by way of a third.
3. A guess vouches for nobody (``verified`` is false), is considered after all that was told, and what the
   rules refuse is not stored: no later rule joins people by an old guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from cdp.clock import Micros
from cdp.identity import queries
from cdp.identity.linker import Linker
from cdp.identity.model import Candidate, Pair
from cdp.store import Batch, Connection


class Proposed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of proposed pairs.

    :param refused: reason → how many the rules, or a steward's earlier word, stand against.
    """

    linked: tuple[Pair, ...]
    refused: dict[str, int]


def held_apart(connection: Connection, profile_of: Mapping[int, int]) -> set[Pair]:
    """Return the pairs of profiles, the smaller first, between which some pair of identities stands revoked.

    :param profile_of: identity_no → profile_no, for whole profiles.
    """
    revoked = queries.suppressed_among(connection, profile_of)
    return homes(profile_of, (pair for pair in revoked if pair[1] in profile_of))


def homes(profile_of: Mapping[int, int], pairs: Iterable[Pair]) -> set[Pair]:
    """Return the pairs of profiles that pairs of identities run between."""
    ends = ((profile_of[low], profile_of[high]) for low, high in pairs)
    return {(min(a, b), max(a, b)) for a, b in ends if a != b}


def propose(
    linker: Linker,
    batch: Batch,
    held: Mapping[int, tuple[int, int]],
    pairs: Sequence[Pair],
    evidence: Callable[[Pair], bytes],
    now: Micros,
    *,
    apart: Collection[Pair] = (),
    dry_run: bool,
) -> Proposed:
    """Propose links, the best first, and store those that the rules accept.

    :param held: identity_no → (profile_no, cluster_no), of whole components that are locked.
    :param pairs: identities among ``held``.
    :param evidence: returns what stands for the event that told a pair, 16 bytes.
    :param apart: further pairs of profiles, the smaller first, that guesses may not bring together.
    """
    connection = batch.connection
    profile_of = {number: profile_no for number, (profile_no, _) in held.items()}
    free = _free(pairs, profile_of, held_apart(connection, profile_of).union(apart))
    refused = Counter({"suppressed": len(pairs) - len(free)})
    known = linker.evidence(connection, held)
    first = max((candidate.occurred_at + 1 for candidate in known.candidates), default=now)
    extra = tuple(
        Candidate(
            occurred_at=max(now, first) + place,  # in their order
            event_id=evidence((low, high)),
            position=0,
            low=low,
            high=high,
            received_at=now,
            verified=False,
            origin="match",
        )
        for place, (low, high) in enumerate(free)
        if profile_of[low] != profile_of[high]
    )
    told = {candidate.pair for candidate in extra}
    linked = set[Pair]()
    for decision in known.resolution(known.suppressed, extra).decisions:
        if decision.candidate.pair in told:
            if decision.accepted:
                linked.add(decision.candidate.pair)
            else:
                refused[decision.reason] += 1
    fresh = [candidate for candidate in extra if candidate.pair in linked]
    if fresh and not dry_run:
        queries.add_candidates(connection, fresh, batch.id)
        _decide(linker, batch, held, fresh)
    return Proposed(linked=tuple(c.pair for c in fresh), refused=dict(+refused))


def _free(pairs: Iterable[Pair], profile_of: Mapping[int, int], apart: Collection[Pair]) -> list[Pair]:
    """Return the pairs that bring no profiles together that are held apart, nor by way of a third."""
    root = {profile_no: profile_no for profile_no in profile_of.values()}
    free = []
    for low, high in pairs:
        a, b = root[profile_of[low]], root[profile_of[high]]
        if any({root[one], root[other]} == {a, b} for one, other in apart):
            continue
        root = {profile_no: a if held == b else held for profile_no, held in root.items()}
        free.append((low, high))
    return free


def _decide(
    linker: Linker, batch: Batch, held: Mapping[int, tuple[int, int]], fresh: Collection[Candidate]
) -> None:
    touched = {number for candidate in fresh for number in candidate.pair}
    relinked, gone, *_ = linker.decide(batch, held, touched, fresh)
    linker.refresh_consent(batch, relinked, gone)
