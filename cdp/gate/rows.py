"""Reading, opening and transforming the values of a chunk of people, column by column.

Whatever is the same for many rows is made once: keys for all rows of a chunk, additional-data prefixes
for a column, and for each field plan a recipe that names for each column where its value comes from.
A value whose key is destroyed, lost or altered is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

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


class Row(NamedTuple):
    """A person about to leave."""

    profile_no: int
    anchor_secret: bytes
    plan: FieldPlan


class Linking(NamedTuple):
    """What gives each row the link with which its person withdraws.

    :param kinds: types of identifiers that messages of the purpose go to: the link is of that identity, so
        that it reaches the address even where a profile is split later; of the person where they have none.
    :param mint: returns the link of an identity.
    """

    kinds: tuple[str, ...]
    mint: Callable[[int], str]


Reading = Callable[[Connection, Sequence[Row]], list[tuple[Value, ...]]]
"""Reads, opens and transforms the values of some rows."""


class _Step(NamedTuple):
    """How one column of a plan gets its value: from the field's own, or as a pseudonym from the anchor."""

    place: int
    name: str
    identifier: bool
    prefix: bytes
    apply: Apply | None
    pseudonym: Callable[[bytes], str] | None


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
        recipes: dict[FieldPlan, list[_Step]] = {}

        def read(connection: Connection, rows: Sequence[Row]) -> list[tuple[Value, ...]]:
            for row in rows:
                if row.plan not in recipes:
                    recipes[row.plan] = self._recipe(terms, fields, kept, row.plan, destination_key, now)
            # in the order in which they lie in the store, which is not that of the references
            held = self._held(connection, sorted(row.profile_no for row in rows), recipes.values())
            values = [self._render(row, recipes[row.plan], held, len(kept)) for row in rows]
            if linking is None:
                return values
            people = [row.profile_no for row in rows]
            addressed = {no: no for no in people}
            for kind in linking.kinds:
                found = self._profiles.identifiers(connection, people, kind)
                addressed |= {no: number for no, (number, _) in found.items()}
            return [(*of_row, linking.mint(addressed[no])) for of_row, no in zip(values, people, strict=True)]

        return (columns if linking is None else (*columns, Column(UNSUBSCRIBE_URL))), read

    def _recipe(
        self,
        terms: Terms,
        fields: FieldCatalogue,
        kept: Sequence[int],
        plan: FieldPlan,
        destination_key: bytes,
        now: Micros,
    ) -> list[_Step]:
        steps = []
        for column, place in enumerate(kept):
            transform, name, category = plan[place], terms.fields[place], terms.categories[place]
            apply = applier(transform, name, category, now)
            named = transform.kind == "pseudonymise"
            if apply is None and not named:
                continue
            identifier = name not in fields.traits
            prefix = self._opener.prefix("identities" if identifier else "trait_observations", name)
            pseudonym = pseudonymiser(destination_key, category) if named else None
            steps.append(_Step(column, name, identifier, prefix, apply, pseudonym))
        return steps

    def _held(
        self, connection: Connection, profile_nos: Sequence[int], recipes: Iterable[Sequence[_Step]]
    ) -> _Held:
        steps = [step for recipe in recipes for step in recipe]
        names = {step.name for step in steps if not step.identifier}
        kinds = {step.name for step in steps if step.identifier}
        traits = self._profiles.observations(connection, profile_nos, names) if names else {}
        identifiers = {kind: self._profiles.identifiers(connection, profile_nos, kind) for kind in kinds}
        sealed_for = {
            one.identity_no for held in traits.values() for one in held.values() if one.sealed is not None
        }
        sealed_for.update(number for held in identifiers.values() for number, _ in held.values())
        return _Held(traits, identifiers, self._keyring.openable(sealed_for))

    @staticmethod
    def _render(row: Row, recipe: Sequence[_Step], held: _Held, width: int) -> tuple[Value, ...]:
        values: list[Value] = [None] * width
        traits = held.traits.get(row.profile_no, {})
        for step in recipe:
            value = held.identifier(row.profile_no, step) if step.identifier else held.trait(traits, step)
            if value is None:
                continue
            if step.pseudonym is not None:
                values[step.place] = step.pseudonym(row.anchor_secret)
            elif step.apply is not None:
                values[step.place] = step.apply(value)
        return tuple(values)


class _Held(NamedTuple):
    """What one chunk was read into: still sealed, with the keys at hand."""

    traits: Mapping[int, Mapping[str, Observation]]
    identifiers: Mapping[str, Mapping[int, tuple[int, bytes]]]
    keys: Mapping[int, Dek]

    def trait(self, traits: Mapping[str, Observation], step: _Step) -> Json:
        one = traits.get(step.name)
        if one is None:
            return None
        if one.sealed is None:
            return None if one.value is None else _decode(one.value)
        key = self.keys.get(one.identity_no)
        if key is None:
            return None
        return _decode(open_sealed(key, step.prefix, one.event_id, one.identity_no, one.sealed))  # type: ignore[no-any-return]  # any JSON

    def identifier(self, profile_no: int, step: _Step) -> str | None:
        held = self.identifiers[step.name].get(profile_no)
        if held is None:
            return None
        number, sealed = held
        key = self.keys.get(number)
        if key is None:
            return None
        return open_sealed(key, step.prefix, number.to_bytes(8), number, sealed).decode()


def _column(fields: FieldCatalogue, name: str, transforms: Collection[Transform]) -> Column:
    rule = fields.output(name)
    changed = any(transform.kind not in {"clear", "drop"} for transform in transforms)
    if rule is None or changed or rule.type not in {"number", "boolean"}:
        return Column(name)
    return Column(name, "number" if rule.type == "number" else "boolean")
