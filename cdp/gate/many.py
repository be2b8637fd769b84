"""An internal use of many people at once: of whom what may be read, and reading it, a page at a time.

Invariants:

1. It is decided as ``Insider.views`` decides: each data category is asked for by itself, so a forbid on one
   takes that one away, and of whom no row may leave nothing is read at all.
2. Only what is decided as ``clear`` is read: what may be seen in part is no use for comparing.
3. A page is decided and read in one snapshot, whatever was decided before, so nobody is read who objected
   since.
4. Values are of the identities that they were observed of, not of their profile; an identifier is the newest
   of its type in the profile. What cannot be opened is absent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec
from pyroaring import BitMap

from cdp.clock import Clock
from cdp.crypto import Dek, Keyring, open_sealed
from cdp.errors import SealError
from cdp.gate.bind import bind_categories
from cdp.gate.compile import compile_sets
from cdp.gate.inside import Admitted
from cdp.gate.judge import Judge
from cdp.gate.model import CLEAR, Value
from cdp.gate.opening import Opener
from cdp.gate.transform import as_it_is
from cdp.policy import Bundle, FieldRule
from cdp.profiles import Observation, ProfileService
from cdp.store import Connection, read_head

_decode = msgspec.json.Decoder().decode


class Wanted(NamedTuple):
    """A field asked for: a declared trait, or an identifier type."""

    name: str
    identifier: bool = False


class Readable(msgspec.Struct, frozen=True, kw_only=True):
    """Of whom what may be read.

    :param people: profiles of whom something may be.
    :param withheld: reason code → the others.
    :param fields: field → the profiles of whom it may be read in clear.
    :param bundle: SHA-256 of the policies that decided.
    """

    people: BitMap
    withheld: dict[str, BitMap]
    fields: dict[Wanted, BitMap]
    bundle: str


Row = tuple[int, tuple[Value, ...]]
"""(identity_no, value of each field)."""


class ManyReader:
    """Decides about many people and reads their fields for the controller."""

    def __init__(
        self, judge: Judge, profiles: ProfileService, keyring: Keyring, opener: Opener, clock: Clock
    ) -> None:
        self._judge = judge
        self._profiles = profiles
        self._keyring = keyring
        self._opener = opener
        self._clock = clock

    def decide(
        self,
        connection: Connection,
        admitted: Admitted,
        members: Mapping[int, Sequence[int]],
        fields: Collection[Wanted] = (),
    ) -> Readable:
        """Decide about profiles at the snapshot of ``connection``.

        :param members: profile_no → its identity numbers.
        :param fields: what is to be read; one that is not declared may not be.
        :raises UnavailableError: consent is being derived under other policies.
        """
        bundle, target, stated = admitted
        self._judge.facts.check_derived(connection)
        categories = {one: rule.category for one in fields if (rule := _rule(bundle, one)) is not None}
        every = tuple(sorted(set(categories.values())))
        whole = bind_categories(bundle, target, stated, frozenset(), every)  # needs all that a part needs
        now = self._clock.now()
        facts = self._judge.facts.read(connection, members, BitMap(), whole, bundle, target, stated, now)
        nothing = compile_sets(bind_categories(bundle, target, stated, frozenset(), ()), facts)
        clear = {}
        for category in every:
            terms = bind_categories(bundle, target, stated, frozenset(), (category,))
            classes = compile_sets(terms, facts).classes
            clear[category] = BitMap.union(BitMap(), *(held for held, plan in classes if plan == (CLEAR,)))
        return Readable(
            people=nothing.permitted(),
            withheld=dict(nothing.withheld),
            fields={one: clear[category] & nothing.permitted() for one, category in categories.items()},
            bundle=bundle.sha256,
        )

    def read(
        self,
        connection: Connection,
        admitted: Admitted,
        members: Mapping[int, Sequence[int]],
        fields: Sequence[Wanted],
    ) -> list[Row]:
        """Read a page of people: one row for each identity of which a field was observed.

        Parameters and errors are those of ``decide``, which this does first.
        """
        self._keyring.observe_epoch(read_head(connection)[1])
        may = self.decide(connection, admitted, members, fields)
        home = {number: no for no in may.people for number in members[no]}
        traits = {one.name: people for one, people in may.fields.items() if not one.identifier}
        observed = self._profiles.by_identity(connection, home, traits)
        keys = self._keyring.openable(number for held in observed.values() for number in held)
        values = {
            Wanted(name): self._values(name, observed.get(name, {}), home, people, keys)
            for name, people in traits.items()
        }
        carrying = sorted({number for held in values.values() for number in held})
        carriers = BitMap(home[number] for number in carrying)
        for one, people in may.fields.items():
            if one.identifier:
                own = self._identifiers(connection, one.name, people & carriers)
                values[one] = {number: own[home[number]] for number in carrying if home[number] in own}
        return [(number, tuple(values.get(one, {}).get(number) for one in fields)) for number in carrying]

    def _values(
        self,
        name: str,
        observed: Mapping[int, Observation],
        home: Mapping[int, int],
        people: BitMap,
        keys: Mapping[int, Dek],
    ) -> dict[int, Value]:
        """Return identity_no → what was observed of it, of those people."""
        prefix, found = self._opener.prefix("trait_observations", name), dict[int, Value]()
        for number, one in observed.items():
            if home[number] not in people:
                continue
            raw: str | bytes | None = one.value
            if one.sealed is not None and (key := keys.get(number)) is not None:
                with suppress(SealError):
                    raw = open_sealed(key, prefix, one.event_id, number, one.sealed)
            if raw is not None and (value := as_it_is(_decode(raw))) is not None:
                found[number] = value
        return found

    def _identifiers(self, connection: Connection, kind: str, people: BitMap) -> dict[int, str]:
        """Return profile_no → its newest identifier of one type."""
        held = self._profiles.identifiers(connection, people, kind)
        opened = self._opener.identifiers((number, kind, sealed) for number, sealed in held.values())
        values = {profile_no: opened[number] for profile_no, (number, _) in held.items()}
        return {profile_no: value for profile_no, value in values.items() if isinstance(value, str)}


def _rule(bundle: Bundle, one: Wanted) -> FieldRule | None:
    return (bundle.fields.identifiers if one.identifier else bundle.fields.traits).get(one.name)
