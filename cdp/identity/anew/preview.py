"""What other rules would make of everybody's links: who would come together, who would come apart. A dry run.

Invariants:

1. Nothing is written. Whoever asks puts it on record, and shows of it whom it may (``cdp.portrait.preview``):
   each cluster and sample says whose profiles it is made of, and more are found than are shown.
2. What is told is what a pass under these rules would do next (``components.py``), page after page, each from
   a snapshot of its own: what changes meanwhile may be told as before or as after. Memory holds one page.
3. No value is told: samples name profiles by number, identifiers by type, evidence by event id. Values are
   opened in memory only where the candidate blocks others than the rules in force, or a pass is not done; how
   many is told. Everybody is counted, so everybody's are.

What cannot be told: who an identifier that is no longer blocked would link. Events that named it while it was
blocked were stored without it, so it links from the next event on.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import msgspec

from cdp.crypto import Keyring
from cdp.identity.anew import queries
from cdp.identity.anew.apply import relinks
from cdp.identity.anew.components import Blocking, Component, blocks_alike, opened, read, target
from cdp.identity.anew.queries import Sealed
from cdp.identity.identifiers import Normaliser
from cdp.identity.model import Pair
from cdp.identity.service import IdentityService
from cdp.policy import IdentityRules
from cdp.store import Store

_PAGE = 5_000  # identities
FOUND = 100
"""Largest profiles, and samples of each kind, that are found, for those few of them that may be shown."""
_SHOWN = 5  # of the parts and links of a sample
ACCEPTED = "accepted"


class LinkChange(msgspec.Struct, frozen=True, kw_only=True):
    """A link that would appear or vanish.

    :param types: identifier types of both ends; None where it may not be seen.
    :param event_id: the evidence.
    :param before: what was decided about it: ``accepted``, why not, or empty where it never was.
    :param after: what would be.
    """

    types: tuple[str | None, str | None]
    event_id: bytes
    before: str
    after: str


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A profile of before that would come apart, or one of after out of several that would come together.

    :param before: profile_no → how many identifiers of each type; ``after`` likewise: one profile, and the
        first few of its parts.
    :param people: all profiles of before that it is about.
    :param parts: of how many it consists.
    :param links: the first few links that make it or would no longer hold it together.
    """

    before: dict[int, dict[str, int]]
    after: dict[int, dict[str, int]]
    people: frozenset[int]
    parts: int
    links: tuple[LinkChange, ...]


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """One of the largest profiles.

    :param people: the profiles of before that it is made of.
    :param types: identifier type → how many it has.
    :param devices: how many of all are devices.
    """

    profile_no: int
    people: frozenset[int]
    size: int
    devices: int
    types: dict[str, int]


class RulesPreview(msgspec.Struct, frozen=True, kw_only=True):
    """What a candidate would change.

    :param base: what names the rules in force, ``candidate``: the candidate's (``components.target``).
    :param components: how many people or groups of people were looked at who have several identifiers.
    :param profiles: how many there are ``before`` and would be ``after``.
    :param merged: profiles of before that would come together with others; ``parted``: come apart.
    :param set_aside: reason → pairs that are set aside, ``before`` and ``after``.
    :param blocked: type → identifiers newly ``blocked`` and ``unblocked``; only where the candidate blocks
        others.
    :param largest: ``before`` and ``after``, the largest first.
    :param opened: identifiers whose values were opened, to see whether they are blocked.
    :param unreadable: identifiers whose keys are lost, so that nobody can say whether they are blocked.
    :param hidden: of the ``largest``, ``merging`` and ``parting`` that were found, those not shown.
    """

    base: str
    candidate: str
    components: int
    profiles: dict[str, int]
    merged: int
    parted: int
    set_aside: dict[str, dict[str, int]]
    blocked: dict[str, dict[str, int]]
    opened: int
    unreadable: int
    hidden: int = 0
    largest: dict[str, tuple[Cluster, ...]]
    merging: tuple[Sample, ...]
    parting: tuple[Sample, ...]


class _Largest:
    """The largest profiles seen."""

    def __init__(self, rules: IdentityRules) -> None:
        self._rules = rules
        self._heap: list[tuple[int, int, Cluster]] = []

    def add(self, profile_no: int, types: Mapping[str, int], people: Iterable[int]) -> None:
        size = sum(types.values())
        if size > 1 and (len(self._heap) < FOUND or size > self._heap[0][0]):
            found = Cluster(
                profile_no=profile_no,
                people=frozenset(people),
                size=size,
                devices=sum(count for kind, count in types.items() if self._rules.is_device(kind)),
                types=dict(types),
            )
            (heapq.heappush if len(self._heap) < FOUND else heapq.heapreplace)(
                self._heap, (size, -profile_no, found)
            )

    def all(self) -> tuple[Cluster, ...]:
        return tuple(cluster for _, _, cluster in sorted(self._heap, reverse=True))


class _Tally:
    """What the pages come to."""

    def __init__(self, rules: IdentityRules, candidate: IdentityRules) -> None:
        self.components = self.merged = self.parted = self.more = 0
        self.set_aside: dict[str, Counter[str]] = {"before": Counter(), "after": Counter()}
        self.largest = {"before": _Largest(rules), "after": _Largest(candidate)}
        self.merging: list[Sample] = []
        self.parting: list[Sample] = []

    def add(self, one: Component) -> None:
        self.components += 1
        self.set_aside["before"].update(reason for ok, reason, _ in one.held.values() if not ok)
        self.set_aside["after"].update(one.reason(d) for d in one.outcome.decisions if not d.accepted)
        before, after = one.home, one.outcome.profile_of
        made = {"before": _make_up(before, one.types), "after": _make_up(after, one.types)}
        for when, home in (("before", before), ("after", after)):
            for profile_no, types in made[when].items():
                people = (before[number] for number, no in home.items() if no == profile_no)
                self.largest[when].add(profile_no, types, people)
        if before == after:
            return
        self.more += len(made["after"]) - len(made["before"])
        merged, parted = relinks(before, after)
        self.merged += merged
        self.parted += parted
        for together, some in ((True, self.merging), (False, self.parting)):
            some.extend(islice(_samples(one, made, together=together), FOUND - len(some)))


class _Opening(Blocking):
    """Finds blocked values, and counts those that it opened."""

    count = 0

    def __call__(self, found: Iterable[Sealed]) -> dict[int, bool]:
        """Return identity_no → whether it is blocked, of those that open."""
        told = super().__call__(found)
        self.count += len(told)
        return told


class Preview:
    """The dry run."""

    def __init__(self, store: Store, identity: IdentityService, keyring: Keyring) -> None:
        self._store = store
        self._identity = identity
        self._keyring = keyring

    def __call__(self, candidate: IdentityRules) -> RulesPreview:
        """Return what a candidate would change, with more clusters and samples than are shown."""
        rules, store = self._identity.rules, self._store
        with store.reading() as connection:
            newest = queries.passes(connection, 1, "rules")
            profiles = queries.profile_count(connection)
            _, upto = queries.extent(connection)
        settled = bool(newest) and newest[0].state == "done"
        opens = not blocks_alike(target(rules), target(candidate))
        blocking = _Opening(self._keyring, candidate) if opens or not settled else None
        tally, after = _Tally(rules, candidate), 0
        while True:
            with store.reading() as connection:
                clusters = queries.component_page(connection, after, upto, _PAGE)
                for one in read(connection, clusters, candidate, blocking):
                    tally.add(one)
            if not clusters:
                break
            after = clusters[-1]
        blocked, everybody, unreadable = self._blocked(rules, candidate) if opens else ({}, 0, 0)
        return RulesPreview(
            base=target(rules),
            candidate=target(candidate),
            components=tally.components,
            profiles={"before": profiles, "after": profiles + tally.more},
            merged=tally.merged,
            parted=tally.parted,
            set_aside={when: dict(sorted(found.items())) for when, found in tally.set_aside.items()},
            blocked=blocked,
            opened=max(everybody, 0 if blocking is None else blocking.count),
            unreadable=unreadable,
            largest={when: found.all() for when, found in tally.largest.items()},
            merging=tuple(tally.merging),
            parting=tuple(tally.parting),
        )

    def _blocked(
        self, rules: IdentityRules, candidate: IdentityRules
    ) -> tuple[dict[str, dict[str, int]], int, int]:
        """Return type → how many would be blocked newly and no longer; how many open, how many do not."""
        before, after = Normaliser(rules).blocks, Normaliser(candidate).blocks
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        last = everybody = readable = 0
        while True:
            with self._store.reading() as connection:
                page = queries.value_page(connection, last, _PAGE)
            if not page:
                found = {kind: dict(held) for kind, held in sorted(counts.items())}
                return found, readable, everybody - readable
            last = page[-1][0]
            everybody += len(page)
            for _, kind, value in opened(self._keyring, page):
                readable += 1
                was, would = before(kind, value), after(kind, value)
                if was != would:
                    counts[kind]["blocked" if would else "unblocked"] += 1


def _make_up(profile_of: Mapping[int, int], types: Mapping[int, str]) -> dict[int, dict[str, int]]:
    """Return profile_no → how many identifiers of each type it has."""
    found: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for number, profile_no in profile_of.items():
        found[profile_no][types[number]] += 1
    return {profile_no: dict(sorted(held.items())) for profile_no, held in found.items()}


def _samples(
    one: Component, made: Mapping[str, Mapping[int, dict[str, int]]], *, together: bool
) -> Iterator[Sample]:
    """Yield each profile that several would come together in, or that would come apart.

    :param made: ``before`` and ``after``: profile_no → how many identifiers of each type it has.
    """
    before, after = one.home, one.outcome.profile_of
    whole, parts = (after, before) if together else (before, after)
    parts_of: defaultdict[int, set[int]] = defaultdict(set)
    for number, profile_no in whole.items():
        parts_of[profile_no].add(parts[number])
    changes = [(pair, link) for pair, link in _changes(one) if (link.after == ACCEPTED) == together]
    for profile_no, several in sorted(parts_of.items()):
        if len(several) > 1:
            few = sorted(several)[:_SHOWN]
            inside = (link for (low, high), link in changes if whole[low] == profile_no == whole[high])
            yield Sample(
                people=frozenset(several if together else [profile_no]),
                before={no: made["before"][no] for no in (few if together else [profile_no])},
                after={no: made["after"][no] for no in ([profile_no] if together else few)},
                parts=len(several),
                links=tuple(islice(inside, _SHOWN)),
            )


def _changes(one: Component) -> Iterator[tuple[Pair, LinkChange]]:
    """Yield the links that would appear or vanish."""
    for decision in one.outcome.decisions:
        was, reason, event_id = one.before(decision)
        if was != decision.accepted:
            low, high = decision.candidate.pair
            yield (
                (low, high),
                LinkChange(
                    types=(one.types[low], one.types[high]),
                    event_id=decision.candidate.event_id if decision.accepted else event_id,
                    before=reason,
                    after=one.reason(decision),
                ),
            )
