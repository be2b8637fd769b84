"""Internal uses: what the controller itself is shown of people, and what is revealed to it.

They name the built-in destination ``controller``, which has no minimum audience, and an internal purpose, and
are decided by the core that decides exports, over the facts of now: so the explanation of that destination
and purpose says what happens here.

Invariants:

1. Nothing is shown while the destination is barred for the purpose (switched off, its contract over).
2. Of whom no row may leave nothing is shown at all.
3. A ``View`` asks for each data category by itself, so a forbid on one takes that one away. What the plan
   drops is left out, name included, since the name may tell as much as the value. It opens nothing: of an
   identifier a mask is the most that is made (``mask.py``). That somebody is in a segment tells what its
   definition reads: those categories are its inputs.
4. ``Insider.reveal`` asks for its fields together, as an export does, and reads with the exports' reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, reduce

import msgspec
from pyroaring import BitMap

from cdp.clock import Clock, Micros
from cdp.crypto import Keyring
from cdp.errors import InvalidInputError, NotPermittedError
from cdp.gate.admit import Refusal, barred, unread_inputs
from cdp.gate.bind import bind_categories
from cdp.gate.decide import PERMITTED, decide, meet
from cdp.gate.judge import Judge
from cdp.gate.manifest import word
from cdp.gate.model import CLEAR, DROP, RESTRAINTS, Column, Facts, Terms, Value
from cdp.gate.rows import RowReader
from cdp.gate.transform import REF, Json, applier, pseudonymiser
from cdp.policy import Bundle, Destination, FieldCatalogue, FieldRule, Purpose, Transform
from cdp.store import Connection, read_head

CONTROLLER = "controller"
"""The built-in destination of internal uses."""
Admitted = tuple[Bundle, Destination, Purpose]
Ask = Callable[..., Terms]
"""(categories read, category …) → the terms under which what is of those categories may be shown."""
Show = Callable[[Json], Json]
"""Makes of a value what may be shown of it; None for nothing."""


_MASK = Transform("mask")
_NOTHING_READ: frozenset[str] = frozenset()


class View:
    """What may be shown of one person for one purpose.

    :ivar reason: ``permitted``, or the reason code why nothing may.
    """

    def __init__(self, fields: FieldCatalogue, facts: Facts, ask: Ask, now: Micros) -> None:
        self.reason = decide(ask(_NOTHING_READ), facts).reason
        self._fields = fields
        self._chosen = cache(lambda inputs: decide(ask(inputs), facts).reason)
        self._transform = cache(lambda category: _word(ask(_NOTHING_READ, category), facts))
        self._now = now

    def chosen_by(self, inputs: frozenset[str]) -> bool:
        """Return whether it may be seen that the person is in a segment that reads these categories."""
        return self._chosen(inputs) == PERMITTED

    def refused(self, inputs: frozenset[str]) -> Refusal | None:
        """Return the refusal to show whether the person is in a segment that reads these categories."""
        reason = self._chosen(inputs)
        return None if reason == PERMITTED else refusal(reason)

    def trait(self, name: str) -> Show | None:
        """Return how a trait is shown; None when it is not, not even its name."""
        rule = self._fields.traits.get(name)
        return self._show(name, self._fields.inference_category(name) if rule is None else rule.category)

    def mask(self, kind: str) -> Show | None:
        """Return how the value of an identifier is masked; None where the policies do not let it be.

        :param kind: its type. Where they drop it, not even that is shown (``names``).
        """
        category = self._identifier(kind)
        transform = meet(self._transform(category), _MASK)
        return None if transform == DROP else applier(transform, kind, category, self._now)

    def identifier(self, kind: str) -> Show | None:
        """Return how the value of an identifier is shown to its own person; None when it is not.

        :param kind: its type.
        """
        return self._show(kind, self._identifier(kind))

    def tells(self, category: str) -> bool:
        """Return whether it may be seen that something of this category is known."""
        return self._transform(category) != DROP

    def names(self, kind: str) -> bool:
        """Return whether it may be seen that the person has an identifier of this type."""
        return self._transform(self._identifier(kind)) != DROP

    def event(self, kind: str, name: str) -> Callable[[str], Show | None] | None:
        """Return how the clear properties of an event are shown, by name; None when the event tells too much.

        :param kind: its type; only what somebody did (``track``, ``page``, ``screen``) tells something.
        """
        did = self._fields.event_category(name if kind == "track" else kind)
        told = (did,) if kind in {"track", "page", "screen"} else ()
        if any(self._transform(category) != CLEAR for category in told):
            return None

        def shown(key: str) -> Show | None:
            rule = self._property(key)
            return self._show(key, self._fields.inference_category(key) if rule is None else rule.category)

        return shown

    def _identifier(self, kind: str) -> str:
        rule = self._fields.identifiers.get("external" if kind.startswith("external:") else kind)
        return self._fields.inference_category(kind) if rule is None else rule.category

    def _property(self, key: str) -> FieldRule | None:
        inner = key.removeprefix("context.")
        return self._fields.properties.get(key) if inner == key else self._fields.context.get(inner)

    def _show(self, name: str, category: str) -> Show | None:
        transform = self._transform(category)
        if transform == DROP:
            return None
        return _as_it_is if transform == CLEAR else applier(transform, name, category, self._now) or _nothing


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What was read for a reveal.

    :param plan: field → transform, of each field asked for.
    """

    profile_ref: str
    columns: tuple[Column, ...]
    values: tuple[Value, ...]
    plan: dict[str, str]
    bundle: str

    def __repr__(self) -> str:
        return "<opened>"


class Insider:
    """Decides internal uses."""

    def __init__(self, judge: Judge, rows: RowReader, keyring: Keyring, clock: Clock) -> None:
        self._judge = judge
        self._rows = rows
        self._keyring = keyring
        self._clock = clock

    def admit(self, connection: Connection, purpose: str, *, shows: bool = True) -> Admitted | Refusal:
        """Return the bundle in force and what it says of the controller and the purpose.

        :param shows: False for a use that answers about somebody without showing a field: it is not barred.
        """
        admitted = admit_inside(self._judge.policy(connection), purpose)
        if isinstance(admitted, Refusal) or not shows:
            return admitted
        return barred(admitted[1], admitted[2], self._clock.now()) or admitted

    def views(
        self, connection: Connection, admitted: Admitted, members: Mapping[int, Sequence[int]]
    ) -> dict[int, View]:
        """Return what may be shown of each profile; those of whom the same facts are known share a view.

        :param members: profile_no → its identity numbers.
        :raises UnavailableError: consent is being derived under other policies.
        """
        bundle, target, stated = admitted
        self._judge.facts.check_derived(connection)
        now = self._clock.now()

        @cache
        def ask(inputs: frozenset[str], *categories: str) -> Terms:
            return bind_categories(bundle, target, stated, inputs, categories)

        whole = ask(frozenset(bundle.categories), *bundle.categories)  # needs every fact that a part needs
        facts = self._judge.facts.read(connection, members, BitMap(), whole, bundle, target, stated, now)
        found: dict[int, View] = {}
        alike: dict[object, View] = {}
        for no in members:
            known = facts.of(no)
            key = known.places, known.restraints, frozenset(known.known.items()), known.stale
            if key not in alike:
                alike[key] = View(bundle.fields, known, ask, now)
            found[no] = alike[key]
        return found

    @staticmethod
    def unlisted(admitted: Admitted, inputs: frozenset[str]) -> Refusal | None:
        """Return the refusal of a segment that reads what no rule lists, whoever is in it."""
        missing = bind_categories(*admitted, inputs, ()).unlisted()
        return unread_inputs(missing) if missing else None

    def reveal(
        self,
        connection: Connection,
        admitted: Admitted,
        profile_no: int,
        numbers: Sequence[int],
        fields: Sequence[str],
    ) -> Opened | Refusal:
        """Read fields of one profile under the policies.

        :param numbers: its identities.
        :raises InvalidInputError: a field is not declared.
        :raises UnavailableError: consent is being derived under other policies.
        """
        question = self._judge.bind(admitted, frozenset(), fields)
        self._keyring.observe_epoch(read_head(connection)[1])
        partition = self._judge.decide(connection, question, {profile_no: numbers}, BitMap())
        if partition.withheld:
            return refusal(next(iter(partition.withheld)))
        secrets = self._keyring.pseudonym_secrets([profile_no])
        if not secrets:
            return refusal("key_unavailable")
        ((people, plan),) = partition.classes
        terms, bundle = question.terms, question.bundle
        key = self._keyring.destination_key(CONTROLLER)
        reference = pseudonymiser(key, REF)(secrets[profile_no])
        columns, read = self._rows.reader(terms, bundle.fields, [plan], key, self._clock.now())
        rows = read(connection, [(reference, profile_no, secrets[profile_no])], {plan: people})
        return Opened(
            profile_ref=reference,
            columns=columns,
            values=rows[profile_no],
            plan=dict(zip(terms.fields, map(word, plan), strict=True)),
            bundle=bundle.sha256,
        )


def admit_inside(bundle: Bundle, purpose: str) -> Refusal | Admitted:
    """Return what a bundle says of the controller and an internal purpose."""
    stated, target = bundle.purposes.get(purpose), bundle.destinations.get(CONTROLLER)
    if stated is None:
        return Refusal(
            "unknown_purpose",
            InvalidInputError("there is no such purpose; policies/purposes.yaml lists those that exist"),
        )
    if not stated.internal or target is None:
        known = ", ".join(sorted(key for key, held in bundle.purposes.items() if held.internal))
        message = f"people are read for an internal purpose only: {known}"
        return Refusal("purpose_not_internal", NotPermittedError(message))
    return bundle, target, stated


def check_inside(bundle: Bundle, purpose: str, now: Micros) -> None:
    """Refuse an internal use of many people while the controller is barred for it.

    :raises CdpError: the refusal.
    """
    admitted = admit_inside(bundle, purpose)
    found = admitted if isinstance(admitted, Refusal) else barred(admitted[1], admitted[2], now)
    if found is not None:
        raise found.error


def refusal(reason: str) -> Refusal:
    """Return the refusal of one person, by reason code."""
    said = "the policies do not permit this use of this person's data"
    if reason in RESTRAINTS:
        said = "the use of this person's data is restrained for this purpose"
    return Refusal(reason, NotPermittedError(f"{said} ({reason})"))


def _word(terms: Terms, facts: Facts) -> Transform:
    """Return what is decided of the one category of ``terms``."""
    decision = decide(terms, facts)
    return reduce(meet, decision.plan, CLEAR) if decision.reason == PERMITTED else DROP


def _as_it_is(value: Json) -> Json:
    return value


def _nothing(_value: Json) -> Json:
    return None
