"""What is kept of one person, read from the stages at one snapshot, as it goes into their archive.

Invariants:

1. Whose data it is was decided before (``Scope``); no row of anybody else is read.
2. Every value goes through the gate (``Subject``): what its rules drop is not here. That a name exists goes
   with its value.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import neg
from typing import Any

import msgspec

from cdp.clock import Micros, rfc3339
from cdp.consent import Record
from cdp.gate import Answer, HeldEvent, HeldTrait
from cdp.ingest import event_times, events_between
from cdp.profiles import Observation
from cdp.rights.archive import model
from cdp.rights.archive.context import Context

_AT_ONCE = 1000


class Facts:
    """What is known of the person, what happened, what they said about its use."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._met: set[object] = set()

    # -- who ------------------------------------------------------------------------------------

    def identifiers(self) -> list[model.Identifier]:
        """Return by what the person is known."""
        held = self._context.stages.identity.identifiers_of(
            self._context.connection, self._context.scope.numbers
        )
        answers = self._context.subject.identifiers((one.identity_no, one.type, one.value) for one in held)
        found = []
        for one, answer in zip(held, answers, strict=True):
            if not answer.values:
                continue
            _, value = answer.values
            self._context.note("identifier", one.type, None)
            self._context.unreadable += answer.unreadable
            if isinstance(value, str):
                self._context.named.add((one.type, value))
            found.append(
                model.Identifier(
                    id=self._context.ids[one.identity_no],
                    type=one.type,
                    value=value,
                    device=one.device,
                    proved=one.identity_no in self._context.scope.proved,
                    known_since=rfc3339(one.created_at),
                    unreadable=answer.unreadable,
                )
            )
        return found

    def traits(self) -> tuple[list[model.Trait], list[model.Observation]]:
        """Return what holds of the person, and everything that was said of them."""
        observed = self._context.stages.profiles.observed(
            self._context.connection, self._context.scope.numbers
        )
        said = [model.Observation(**held) for held in self._told(observed)]
        survivors = self._context.stages.profiles.survivors_among(self._context.connection, observed)
        rules = {name: one.rule for name, one in survivors.items()}
        holding = self._told([one.observation for one in survivors.values()])
        return [model.Trait(**held, rule=rules[held["name"]]) for held in holding], said

    def _told(self, observed: Sequence[Observation]) -> Iterator[dict[str, Any]]:
        answers = self._context.subject.traits(
            HeldTrait(one.identity_no, one.name, one.value, one.sealed, one.event_id) for one in observed
        )
        for one, answer in zip(observed, answers, strict=True):
            if not answer.values:
                continue
            (text,) = answer.values
            source = self._context.source(one.source_id)
            rule = self._context.bundle.fields.traits.get(one.name)
            self._context.note("trait", one.name, source)
            self._context.unreadable += answer.unreadable
            yield {
                "name": one.name,
                "value": msgspec.json.decode(text) if isinstance(text, str) else None,
                "source": source,
                "observed_at": rfc3339(one.observed_at),
                "identifier": self._context.ids[one.identity_no],
                "inferred": rule is not None and rule.inferred,
                "unreadable": answer.unreadable,
            }

    # -- what happened --------------------------------------------------------------------------

    def pages(self) -> tuple[int, list[tuple[Micros, Micros]]]:
        """Return how many events there are, and from when to when each page goes, the newest first."""
        times = event_times(self._context.connection, self._context.scope.numbers)
        bounds, start = list[tuple[Micros, Micros]](), 0
        while start < len(times):
            earliest = times[min(start + _AT_ONCE, len(times)) - 1]
            bounds.append((earliest, times[start]))
            start = bisect_right(times, -earliest, start, key=neg)  # events of one instant stay together
        return len(times), bounds

    def events(self, earliest: Micros, latest: Micros) -> list[model.Event]:
        """Return the events from one instant to another, the newest first."""
        rows = events_between(self._context.connection, self._context.scope.numbers, earliest, latest)
        answers = self._context.subject.events(
            HeldEvent(row.identity_no, row.event_id, row.type, row.name, row.properties, row.sealed)
            for row in rows
        )
        found = []
        for row, answer in zip(rows, answers, strict=True):
            name, text = answer.values or ("", None)
            held: dict[str, Any] = msgspec.json.decode(text) if isinstance(text, str) else {}
            source = self._context.sources.get(row.source_id) if answer.values else None
            if answer.values:
                self._meet(row.type, str(name), held, None if source is None else source.name)
            self._context.unreadable += answer.unreadable
            found.append(
                model.Event(
                    id=row.event_id.hex(),
                    type=row.type,
                    name=str(name),
                    occurred_at=rfc3339(row.occurred_at),
                    received_at=rfc3339(row.received_at),
                    source=None if source is None else source.name,
                    source_kind=None if source is None else source.kind,
                    identifier=self._context.ids[row.identity_no],
                    unreadable=answer.unreadable,
                    **held,
                )
            )
        return found

    def _meet(self, kind: str, name: str, held: dict[str, Any], source: str | None) -> None:
        """Note the fields of an event; most have the same as one before."""
        context = held.get("context", {})
        fields = tuple(held.get("properties", ()))
        inner = tuple(
            (top, tuple(value) if isinstance(value, dict) else ()) for top, value in context.items()
        )
        shape = kind, name, source, fields, inner
        if shape in self._met:
            return
        self._met.add(shape)
        self._context.note("event", name if kind == "track" else kind, source)
        for key in fields:
            self._context.note("property", key, source)
        for top, below in inner:
            for path in [f"{top}.{key}" for key in below] or [top]:
                self._context.note("context", path, source)

    # -- consent --------------------------------------------------------------------------------

    def consents(self) -> tuple[model.Consents, Iterator[bytes]]:
        """Return how the person stands on each purpose with every record, and the receipts of these."""
        records = self._context.stages.ledger.records_of(
            self._context.connection, self._context.scope.numbers
        )
        sealed = [(one.record_id, one.identity_no, one.sealed) for one in records if one.sealed is not None]
        proofs = dict(
            zip((one[0] for one in sealed), self._context.subject.proofs(sealed), strict=True)  # by record
        )
        states = []
        members = self._context.stages.identity.consent_members(
            self._context.connection, self._context.scope.members
        )
        for profile_no, profile in members.items():
            own = [one for one in profile if one.identity_no in self._context.scope.members[profile_no]]
            for key, standing in self._context.stages.ledger.states_of(self._context.connection, own).items():
                states.append(
                    model.ConsentState(
                        purpose=key,
                        name=self._context.purpose(key),
                        state=standing.state,
                        reason=standing.reason,
                        since=rfc3339(standing.since) if standing.since else None,
                        expires_at=None if standing.expires_at is None else rfc3339(standing.expires_at),
                    )
                )
        kept = tuple(self._record(place, one, proofs) for place, one in enumerate(records, 1))
        receipts = (
            self._context.stages.receipts.made(self._context.connection, one.record_id) for one in records
        )
        return model.Consents(states=tuple(states), records=kept), receipts

    def _record(self, place: int, one: Record, proofs: dict[int, Answer]) -> model.ConsentRecord:
        proof = proofs.get(one.record_id)
        text = proof.values[0] if proof is not None and proof.values else None
        self._context.unreadable += proof is not None and proof.unreadable
        return model.ConsentRecord(
            record_id=str(one.record_id),
            identifier=self._context.ids[one.identity_no],
            purpose=one.purpose,
            state=one.state,
            said_at=rfc3339(one.event_time),
            received_at=rfc3339(one.received_at),
            legal_basis=one.legal_basis,
            event_type=one.event_type,
            method=one.method,
            language=one.language,
            jurisdiction=one.jurisdiction,
            notice=one.notice_id,
            notice_version=one.notice_version,
            notice_sha256=one.notice_sha256,
            recipients=one.recipients,
            source=self._context.source(one.source_id),
            signal=one.signal,
            evidence=text if isinstance(text, str) else None,
            receipt=receipt_name(place),
            unreadable=proof is not None and proof.unreadable,
        )


def receipt_name(place: int) -> str:
    """Return the name of the file of a receipt."""
    return f"receipts/{place:06d}.json"
