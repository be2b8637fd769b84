"""Reading, opening and transforming the values of a chunk of people, column by column.

Whatever is the same for many rows is made once: keys for all rows of a chunk, additional-data prefixes
for a column, and for each field plan a recipe that names for each column where its value comes from.
A value whose key is destroyed, lost or altered is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import repeat
from typing import NamedTuple

import msgspec
from pyroaring import BitMap

from cdp.clock import Micros
from cdp.crypto import Dek, Keyring, open_sealed
from cdp.gate.model import DROP, Column, FieldPlan, Terms, Value
from cdp.gate.opening import Opener
from cdp.gate.transform import Apply, Json, applier, pseudonymiser
from cdp.policy import FieldCatalogue, Transform
from cdp.profiles import Observation, ProfileService
from cdp.store import Connection

UNSUBSCRIBE_URL = "unsubscribe_url"
"""The column of the links: another token each time, and no field of the person."""
_decode = msgspec.json.Decoder().decode

Row = tuple[str, int, bytes]
"""A person about to leave: profile_ref, profile_no, the anchor's secret."""


class Linking(NamedTuple):
    """What gives each row the link with which its person withdraws.

    :param kinds: types of identifiers that messages of the purpose go to: the link is of that identity, so
        that it reaches the address even where a profile is split later; of the person where they have none.
    :param mint: returns the link of an identity.
    """

    kinds: tuple[str, ...]
    mint: Callable[[int], str]


Reading = Callable[[Connection, Sequence[Row], Mapping[FieldPlan, BitMap]], dict[int, tuple[Value, ...]]]
"""Reads, opens and transforms: (rows, plan → people) → profile_no → values, of everybody in a plan."""


class _Step(NamedTuple):
    """How one column of a plan gets its value: from the field's own, or as a pseudonym from the anchor."""

    name: str
    identifier: bool
    prefix: bytes
    apply: Apply | None
    pseudonym: Callable[[bytes], str] | None


_Recipe = Sequence[_Step | None]
"""The step of each column; None for one that the plan leaves empty."""


class RowReader:
    """Renders rows for one destination."""

    def __init__(self, keyring: Keyring, profiles: ProfileService, opener: Opener) -> None:
        self._keyring = keyring
        self._profiles = profiles
        self._opener = opener

    def reader(
        self,
        terms: Terms,
        fields: FieldCatalogue,
        plans: Iterable[FieldPlan],
        destination_key: bytes,
        now: Micros,
        linking: Linking | None = None,
    ) -> tuple[tuple[Column, ...], Reading]:
        """Return the columns that ``plans`` leave, and the function that reads rows under such plans.

        :param plans: those that rows may have; a lower one may come later, never another column.
        :param linking: makes one more column, the last one.
        """
        plans = list(plans)
        kept = [place for place in range(len(terms.fields)) if any(plan[place] != DROP for plan in plans)]
        columns = tuple(
            _column(fields, terms.fields[place], {plan[place] for plan in plans}) for place in kept
        )
        recipes: dict[FieldPlan, _Recipe] = {}

        def read(
            connection: Connection, rows: Sequence[Row], plans: Mapping[FieldPlan, BitMap]
        ) -> dict[int, tuple[Value, ...]]:
            secrets = {profile_no: secret for _, profile_no, secret in rows}
            # in the order in which they lie in the store, which is not that of the references
            people = BitMap(secrets)
            groups = {plan: both for plan, held in plans.items() if (both := held & people)}
            for plan in groups.keys() - recipes.keys():
                recipes[plan] = self._recipe(terms, fields, kept, plan, destination_key, now)
            held = self._held(connection, people, [recipes[plan] for plan in groups])
            found: dict[int, tuple[Value, ...]] = {}
            for plan, group in groups.items():
                made = [held.column(step, group, secrets) for step in recipes[plan]]
                found |= zip(group, zip(*made, strict=True) if made else repeat(()), strict=False)
            if linking is None:
                return found
            addressed = {no: no for no in found}
            for kind in linking.kinds:
                own = self._profiles.identifiers(connection, people, kind)
                addressed |= {no: number for no, (number, _) in own.items()}
            return {no: (*values, linking.mint(addressed[no])) for no, values in found.items()}

        return (columns if linking is None else (*columns, Column(UNSUBSCRIBE_URL))), read

    def _recipe(
        self,
        terms: Terms,
        fields: FieldCatalogue,
        kept: Sequence[int],
        plan: FieldPlan,
        destination_key: bytes,
        now: Micros,
    ) -> _Recipe:
        steps: list[_Step | None] = []
        for place in kept:
            transform, name, category = plan[place], terms.fields[place], terms.categories[place]
            apply = applier(transform, name, category, now)
            named = transform.kind == "pseudonymise"
            if apply is None and not named:
                steps.append(None)
                continue
            identifier = name not in fields.traits
            prefix = self._opener.prefix("identities" if identifier else "trait_observations", name)
            pseudonym = pseudonymiser(destination_key, category) if named else None
            steps.append(_Step(name, identifier, prefix, apply, pseudonym))
        return steps

    def _held(self, connection: Connection, people: BitMap, recipes: Iterable[_Recipe]) -> _Held:
        steps = [step for recipe in recipes for step in recipe if step is not None]
        names = {step.name for step in steps if not step.identifier}
        kinds = {step.name for step in steps if step.identifier}
        traits = self._profiles.observations(connection, people, names) if names else {}
        identifiers = {kind: self._profiles.identifiers(connection, people, kind) for kind in kinds}
        sealed_for = {
            one.identity_no for held in traits.values() for one in held.values() if one.sealed is not None
        }
        sealed_for.update(number for held in identifiers.values() for number, _ in held.values())
        return _Held(traits, identifiers, self._keyring.openable(sealed_for))


class _Held(NamedTuple):
    """What one chunk was read into, by field and person: still sealed, with the keys at hand."""

    traits: Mapping[str, Mapping[int, Observation]]
    identifiers: Mapping[str, Mapping[int, tuple[int, bytes]]]
    keys: Mapping[int, Dek]

    def column(self, step: _Step | None, people: BitMap, secrets: Mapping[int, bytes]) -> Iterable[Value]:
        """Return the values of one column for ``people``, ascending."""
        if step is None:
            return repeat(None, len(people))
        opened = self._identifiers(step, people) if step.identifier else self._traits(step, people)
        if (pseudonym := step.pseudonym) is not None:
            return [
                None if value is None else pseudonym(secrets[no])
                for no, value in zip(people, opened, strict=True)
            ]
        apply = step.apply
        return [None if value is None or apply is None else apply(value) for value in opened]

    def _traits(self, step: _Step, people: BitMap) -> list[Json]:
        keys, prefix, found = self.keys, step.prefix, list[Json]()
        for one in map(self.traits.get(step.name, {}).get, people):
            value: Json = None
            if one is None:
                pass
            elif one.sealed is None:
                value = None if one.value is None else _decode(one.value)
            elif (key := keys.get(one.identity_no)) is not None:
                value = _decode(open_sealed(key, prefix, one.event_id, one.identity_no, one.sealed))
            found.append(value)
        return found

    def _identifiers(self, step: _Step, people: BitMap) -> list[Json]:
        found = list[Json]()
        for held in map(self.identifiers[step.name].get, people):
            value: Json = None
            if held is not None and (key := self.keys.get(held[0])) is not None:
                number, sealed = held
                value = open_sealed(key, step.prefix, number.to_bytes(8), number, sealed).decode()
            found.append(value)
        return found


def _column(fields: FieldCatalogue, name: str, transforms: Collection[Transform]) -> Column:
    rule = fields.output(name)
    changed = any(transform.kind not in {"clear", "drop"} for transform in transforms)
    if rule is None or changed or rule.type not in {"number", "boolean"}:
        return Column(name)
    return Column(name, "number" if rule.type == "number" else "boolean")
