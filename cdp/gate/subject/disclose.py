"""Everything that is kept of one person, opened for that person (GDPR Art. 15 and 20).

It is an internal use like a portrait: decided by the same core, for the destination ``controller`` and a
purpose that nothing restrains. What a rule drops is left out; what it leaves is opened, sealed or not.

Invariants:

1. A value leaves as the policies let it: each by its own data category (``View``). Where only a generalised
   or masked form may leave, that is what leaves.
2. Who was erased is not among the identities asked for; a key that is lost, or a value that was altered,
   takes away what lies under it and nothing else. Then the answer says so (``unreadable``).
3. Nothing is opened but what was asked for, and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import msgspec

from cdp.crypto import Keyring, Place, open_sealed
from cdp.errors import SealError
from cdp.gate.inside import Show, View
from cdp.gate.model import Released, Value
from cdp.gate.opening import UNREADABLE, Opener

_CONTEXT = "context."
_decode = msgspec.json.Decoder().decode


class HeldTrait(NamedTuple):
    """An observation: JSON text in clear, or an envelope."""

    identity_no: int
    name: str
    value: str | None
    sealed: bytes | None
    event_id: bytes

    def __repr__(self) -> str:
        return f"<observation of {self.name}>"


class HeldEvent(NamedTuple):
    """An event: the JSON text of its clear part, and an envelope over the rest."""

    identity_no: int
    event_id: bytes
    type: str
    name: str
    properties: str | None
    sealed: bytes | None

    def __repr__(self) -> str:
        return f"<event {self.type}>"


class Answer(NamedTuple):
    """What may be told of one thing.

    :param row: what leaves; without values where nothing of it may.
    :param unreadable: part of it could not be opened: its key is lost, or it was altered.
    """

    row: Released
    unreadable: bool = False

    @property
    def values(self) -> tuple[Value, ...]:
        """What leaves."""
        return self.row.values

    def __repr__(self) -> str:
        return "<answer>"


class Subject:
    """One person, decided about.

    :param views: identity_no → what may be shown of it.
    :param release: makes what leaves; the gate's, and nobody else's.
    """

    def __init__(
        self,
        keyring: Keyring,
        opener: Opener,
        views: Mapping[int, View],
        release: Callable[[tuple[Value, ...]], Released],
    ) -> None:
        self._release = release
        self._keyring = keyring
        self._opener = opener
        self._views = views
        self._event_prefix = opener.prefix("events", "sealed")
        self._proof_prefix = Place(keyring.workspace, "consent_records", "sealed").prefix()
        self._shown: dict[tuple[int, str, str], Callable[[str], Show | None] | None] = {}

    def identifiers(self, held: Iterable[tuple[int, str, bytes]]) -> list[Answer]:
        """Return (type, value) of each (identity_no, type, envelope); nothing where its type is dropped."""
        rows = list(held)
        opened = self._opener.identifiers(rows)
        return [self._identifier(number, kind, opened[number]) for number, kind, _ in rows]

    def _identifier(self, number: int, kind: str, value: Any) -> Answer:
        show = self._views[number].identifier(kind)
        if show is None:
            return self._answer()
        if value is UNREADABLE:
            return self._answer(kind, None, unreadable=True)
        return self._answer(kind, _scalar(show(value)))

    def traits(self, held: Iterable[HeldTrait]) -> list[Answer]:
        """Return (JSON text,) of each observation; nothing where its trait is dropped."""
        rows = list(held)
        sealed = [(one.identity_no, one.name, one.sealed, one.event_id) for one in rows if one.sealed]
        opened = self._opener.traits(sealed) if sealed else {}
        return [self._trait(one, opened) for one in rows]

    def _trait(self, one: HeldTrait, opened: Mapping[tuple[int, str, bytes], Any]) -> Answer:
        show = self._views[one.identity_no].trait(one.name)
        if show is None:
            return self._answer()
        value: Any = opened.get((one.identity_no, one.name, one.event_id)) if one.sealed else None
        if value is UNREADABLE:
            return self._answer(None, unreadable=True)
        if one.value is not None:
            value = _decode(one.value)
        return self._answer(_json(show(value)))

    def events(self, held: Iterable[HeldEvent]) -> list[Answer]:
        """Return (name, JSON text) of each event: ``properties``, ``context``, ``traits`` and ``other``."""
        rows = list(held)
        keys = self._keyring.openable({one.identity_no for one in rows if one.sealed is not None})
        answers = []
        for one in rows:
            rest: dict[str, Any] = {}
            unreadable = one.sealed is not None
            if one.sealed is not None and (key := keys.get(one.identity_no)) is not None:
                with suppress(SealError):
                    rest = _decode(
                        open_sealed(key, self._event_prefix, one.event_id, one.identity_no, one.sealed)
                    )
                    unreadable = False
            answers.append(self._event(one, rest, unreadable=unreadable))
        return answers

    def _event(self, one: HeldEvent, sealed: dict[str, Any], *, unreadable: bool) -> Answer:
        view = self._views[one.identity_no]
        place = one.identity_no, one.type, one.name
        if place not in self._shown:
            self._shown[place] = view.event(one.type, one.name)
        show = self._shown[place]
        if show is None:
            return self._answer(unreadable=unreadable)
        clear: dict[str, Any] = _decode(one.properties) if one.properties else {}
        properties, context = _parted(clear)
        merged = {
            "properties": _seen(_merged(properties, sealed.pop("properties", {})), show),
            "context": _inside(_merged(context, sealed.pop("context", {})), show),
            "traits": _seen(sealed.pop("traits", {}), view.trait),
            "other": _seen(sealed, show),
        }
        return self._answer(one.name, msgspec.json.encode(merged).decode(), unreadable=unreadable)

    def proofs(self, held: Sequence[tuple[int, int, bytes]]) -> list[Answer]:
        """Return (text,) of the evidence of each consent: (record id, identity_no, envelope)."""
        keys = self._keyring.openable({number for _, number, _ in held}, "proof")
        answers = []
        for record_id, number, sealed in held:
            answer = self._answer(unreadable=True)
            if (key := keys.get(number)) is not None:
                with suppress(SealError):
                    raw = open_sealed(key, self._proof_prefix, record_id.to_bytes(8), number, sealed)
                    answer = self._answer(raw.decode(errors="replace"))
            answers.append(answer)
        return answers

    def messages(self, number: int, raw: Iterable[bytes]) -> list[Answer]:
        """Return (text,) of messages that never became events: nobody knows what is in them."""
        show = self._views[number].trait("")
        texts = (one.decode(errors="replace") for one in raw)
        return [self._answer() if show is None else self._answer(_scalar(show(text))) for text in texts]

    def _answer(self, *values: Value, unreadable: bool = False) -> Answer:
        return Answer(self._release(values), unreadable)

    def listed(self, number: int, category: str) -> bool:
        """Return whether it may be told that an identity stands on a list of a data category."""
        return self._views[number].tells(category)

    def concluded(self, number: int, name: str, value: Any, inputs: frozenset[str]) -> Answer:
        """Return (JSON text,) of a conclusion computed from these categories; nothing if it is kept back."""
        view = self._views[number]
        show = view.trait(name) if view.chosen_by(inputs) else None
        return self._answer() if show is None else self._answer(_json(show(value)))

    def chosen(self, number: int, inputs: frozenset[str]) -> bool:
        """Return whether it may be told that somebody is in a segment that reads these categories."""
        return self._views[number].chosen_by(inputs)


def _parted(clear: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the properties, and the context in its own shape, of the clear part of an event."""
    properties: dict[str, Any] = {}
    context: dict[str, Any] = {}
    for key, value in clear.items():
        if not key.startswith(_CONTEXT):
            properties[key] = value
            continue
        top, _, below = key.removeprefix(_CONTEXT).partition(".")
        if below:
            context.setdefault(top, {})[below] = value
        else:
            context[top] = value
    return properties, context


def _merged(clear: Any, sealed: Any) -> Any:
    """Return both parts of what was cut in two (``cdp/ingest/classify.py``) as one again."""
    if isinstance(clear, dict) and isinstance(sealed, dict):
        both = {key: _merged(clear[key], sealed[key]) for key in clear.keys() & sealed.keys()}
        return {**clear, **sealed, **both}
    if isinstance(clear, list) and isinstance(sealed, list) and len(clear) == len(sealed):
        return list(map(_merged, clear, sealed))
    return sealed


def _seen(held: Mapping[str, Any], show: Callable[[str], Show | None]) -> dict[str, Any]:
    found = {}
    for name, value in held.items():
        how = show(name)
        if how is not None and (left := how(value)) is not None:
            found[name] = left
    return found


def _inside(held: Mapping[str, Any], show: Callable[[str], Show | None]) -> dict[str, Any]:
    """Return the context as it is shown: what lies one level below has categories of its own."""
    found: dict[str, Any] = {}
    for top, value in held.items():
        if isinstance(value, dict):
            if left := _seen(value, partial(_below, show, f"{_CONTEXT}{top}.")):
                found[top] = left
        elif (how := show(_CONTEXT + top)) is not None and (one := how(value)) is not None:
            found[top] = one
    return found


def _below(show: Callable[[str], Show | None], front: str, name: str) -> Show | None:
    return show(front + name)


def _json(value: Any) -> Value:
    return None if value is None else msgspec.json.encode(value).decode()


def _scalar(value: Any) -> Value:
    return value if isinstance(value, str | int | float | bool) else None
