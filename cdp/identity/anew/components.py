"""Whole components as they stand and as rules make them: what the dry run and the pass both look at.

Invariants:

1. What is told of a component is ``resolve`` of what is stored, so a dry run and a pass decide alike.
2. A value that the rules block identifies nobody: every pair with it is set aside, by ``RULES`` and not by a
   steward, so that rules which block it no longer admit those pairs again and leave a steward's word alone.
3. Values are sealed; whether one is blocked is found by opening it in memory, for which it takes its key. One
   that does not open keeps what was decided about it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from cdp.crypto import Keyring, Place, open_sealed
from cdp.errors import SealError
from cdp.identity import queries as stored
from cdp.identity.anew import queries
from cdp.identity.anew.queries import Held, Sealed
from cdp.identity.identifiers import Normaliser
from cdp.identity.model import RULES, Candidate, Decision, Pair, Resolution
from cdp.identity.resolve import resolve
from cdp.policy import IdentityRules
from cdp.store import Connection

BLOCKED = "blocked"
_DIGITS = 12
_ASIDE = frozenset({"version", "source_trust", "growth_alarm", "component_cap", "matching"})
"""What decides nothing about candidates that are stored."""

T = TypeVar("T")


class Blocking:
    """Which identifiers are blocked under some rules, found by opening their values in memory."""

    def __init__(self, keyring: Keyring, rules: IdentityRules) -> None:
        self._keyring = keyring
        self._blocks = Normaliser(rules).blocks

    def __call__(self, found: Iterable[Sealed]) -> dict[int, bool]:
        """Return identity_no → whether it is blocked, of those that open."""
        return {number: self._blocks(kind, value) for number, kind, value in opened(self._keyring, found)}


def opened(keyring: Keyring, found: Iterable[Sealed]) -> Iterator[tuple[int, str, str]]:
    """Yield (identity_no, type, normalised value) of those whose key is there."""
    rows = list(found)
    keys = keyring.openable(number for number, _, _ in rows)
    for number, kind, sealed in rows:
        if number in keys:
            prefix = Place(keyring.workspace, "identities", kind).prefix()
            try:
                value = open_sealed(keys[number], prefix, number.to_bytes(8), number, sealed)
            except SealError:
                continue
            yield number, kind, value.decode()


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One component: what is stored of it, and what rules make of it.

    :param home: identity_no → profile_no as it stands.
    :param types: identity_no → identifier type.
    :param held: pair → what was last decided about it; a pair with a blocked value is ``BLOCKED``.
    :param blocked: pairs with a value that the rules block.
    :param revoked: those of them that are not set aside yet.
    :param admitted: pairs that were set aside because of a value that is blocked no longer.
    """

    home: dict[int, int]
    types: dict[int, str]
    held: dict[Pair, Held]
    outcome: Resolution
    blocked: frozenset[Pair]
    revoked: frozenset[Pair]
    admitted: frozenset[Pair]

    @property
    def differs(self) -> bool:
        """True when anything would be decided otherwise than it was."""
        return (
            bool(self.revoked or self.admitted)
            or self.outcome.profile_of != self.home
            or any(
                self.before(one)[::2] != (one.accepted, one.candidate.event_id)
                for one in self.outcome.decisions
            )
        )

    def before(self, decision: Decision) -> Held:
        """Return what was last decided about a pair; nothing was accepted of one that is not decided yet."""
        return self.held.get(decision.candidate.pair, (False, "", b""))

    def reason(self, decision: Decision) -> str:
        """Return what is decided about a pair: ``accepted``, or why it is not."""
        return BLOCKED if decision.candidate.pair in self.blocked else decision.reason


def read(
    connection: Connection, clusters: Iterable[int], rules: IdentityRules, blocking: Blocking | None
) -> list[Component]:
    """Return components as they are and as rules make them.

    :param blocking: None where the same values are blocked as when they were last decided.
    """
    homes = queries.homes(connection, clusters)
    cluster_of = {number: cluster for cluster, home in homes.items() for number in home}
    types = stored.identity_types(connection, cluster_of)
    held = _by(cluster_of, queries.decided(connection, cluster_of))
    by_whom = _by(cluster_of, stored.suppressed_by(connection, cluster_of))
    seen: dict[int, list[Candidate]] = {}
    for candidate in stored.candidates_among(connection, cluster_of):
        seen.setdefault(cluster_of[candidate.low], []).append(candidate)
    blocked = None if blocking is None else blocking(queries.values(connection, cluster_of))
    return [
        _decided(
            {number: types[number] for number in home},
            home,
            seen.get(cluster, []),
            held.get(cluster, {}),
            by_whom.get(cluster, {}),
            rules,
            blocked,
        )
        for cluster, home in homes.items()
    ]


def _decided(
    types: dict[int, str],
    home: dict[int, int],
    seen: list[Candidate],
    held: dict[Pair, Held],
    by_whom: Mapping[Pair, str],
    rules: IdentityRules,
    blocked: Mapping[int, bool] | None,
) -> Component:
    aside = frozenset(pair for pair, actor in by_whom.items() if actor == RULES)
    unwanted = aside
    if blocked is not None:
        unwanted = frozenset(one.pair for one in seen if any(blocked.get(number) for number in one.pair))
        unwanted |= {pair for pair in aside if any(number not in blocked for number in pair)}
    suppressed = (by_whom.keys() - aside) | unwanted
    return Component(
        home=home,
        types=types,
        held={
            pair: (ok, BLOCKED if pair in aside else reason, event_id)
            for pair, (ok, reason, event_id) in held.items()
        },
        outcome=resolve(types, seen, suppressed, rules),
        blocked=unwanted,
        revoked=frozenset(unwanted - by_whom.keys()),
        admitted=aside - unwanted,
    )


def _by(cluster_of: Mapping[int, int], found: Mapping[Pair, T]) -> dict[int, dict[Pair, T]]:
    """Return cluster_no → what was found of its pairs."""
    sorted_: dict[int, dict[Pair, T]] = {}
    for pair, one in found.items():
        sorted_.setdefault(cluster_of[pair[0]], {})[pair] = one
    return sorted_


def target(rules: IdentityRules) -> str:
    """Return what names rules by what they decide about what is stored: all of it, then blocked values."""
    blocked = {name: rule.blocked for name, rule in {**rules.types, "external": rules.external}.items()}
    linking = {name: held for name, held in msgspec.structs.asdict(rules).items() if name not in _ASIDE}
    return f"{_digest(linking)}-{_digest((sorted(blocked.items()), rules.blocked))}"


def blocks_alike(one: str, other: str) -> bool:
    """Return whether two targets block the same values."""
    return one.rpartition("-")[2] == other.rpartition("-")[2]


def _digest(value: object) -> str:
    raw = msgspec.json.encode(value, order="deterministic")
    return hashlib.sha256(raw).hexdigest()[:_DIGITS]
