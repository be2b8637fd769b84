"""A row of an imported file → messages: what it tells of traits, its events, what it says of consent.

A row comes as JSON: ``[number, {column: value}]``, or as ``number reason: its bytes`` when it could not be
read. Steps: is it left out → whom it names → its message id → consents → traits → events. Where one of the
last three cannot be read the row is a reject as a whole, and what it says to restrain somebody counts all
the same.

Message ids, of one row the same whenever it comes: the first event's is the row's own (the mapped one, else
``import-<SHA-256 of the file>-<number>``), and the rest have it with what they are. A consent is a message
of its own whose statement stands beside it, dated and graded as ``cdp consent import`` does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from cdp.clock import DAY, Micros, parse_rfc3339, rfc3339
from cdp.consent import RESTRAINING, Statement
from cdp.ingest.imports.check import STATES
from cdp.ingest.imports.mapping import MappedConsent, RowMapping
from cdp.ingest.imports.values import BadRowError, Reader, Row, bad, text_of
from cdp.ingest.model import Delivery, Message, Reject

_CONSENT = "Consent Imported"
_CAUSES = {
    "malformed": "the row is not what its format says",
    "encoding": "the row is not text of the file's encoding",
    "columns": "the row has more or fewer columns than the header",
    "too_large": "the row is too large; only its beginning is kept",
}
UNREADABLE = frozenset(_CAUSES)
"""Why a row may not be readable at all."""
_MOST = 1000  # characters of an identifier


def row_message(number: int, row: bytes) -> bytes:
    """Return a row as the message that it is.

    :param row: JSON.
    """
    return b"[%d,%s]" % (number, row)


def unreadable_message(number: int, reason: str, raw: bytes) -> bytes:
    """Return a row that could not be read as the message that it is.

    :param reason: one of ``UNREADABLE``.
    """
    return b"%d %s: %s" % (number, reason.encode(), raw)


def row_number(raw: bytes) -> int:
    """Return which row a message was."""
    digits = raw.lstrip(b"[")[:20]
    return int(digits[: next(n for n, byte in enumerate(digits) if not 0x30 <= byte <= 0x39)])


def from_row(mapping: RowMapping, message: Message) -> list[Message | Reject]:
    """Return what a row becomes; nothing when the mapping leaves it out."""
    number = row_number(message.raw)
    try:
        row = _row(message.raw)
        if mapping.plain:
            return [_made(message, _delivery(message), _plain(mapping, row, number))]
        if mapping.leave_out is not None and mapping.leave_out(row):
            return []
        person = _identifiers(mapping, row, number)
        base = _base(mapping, row, number)
    except BadRowError as found:
        return [Reject(message, "adapter_failure", str(found))]
    told = _Told(mapping, message, row, number, person, base)
    made, failed = told.consents()
    try:
        if failed is None:
            made += told.facts()
    except BadRowError as found:
        failed = found
    if failed is not None:
        heard = [one for one in made if _restrains(one)]
        return [*heard, Reject(message, "adapter_failure", str(failed))]
    return [*made]


def _row(raw: bytes) -> Row:
    if not raw.startswith(b"["):
        reason = raw.partition(b" ")[2].partition(b":")[0].decode("ascii", "replace")
        bad(_CAUSES.get(reason, _CAUSES["malformed"]))
    try:
        _, row = msgspec.json.decode(raw, type=tuple[int, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        bad(_CAUSES["malformed"])
    if not isinstance(row, dict):
        bad("the row is not a JSON object")
    return row


def _plain(mapping: RowMapping, row: Row, number: int) -> Row:
    """Return a message as it stands, known by the file and its place where it has no id of its own."""
    return row if row.get("messageId") else {**row, "messageId": f"import-{mapping.file}-{number}"}


def _identifiers(mapping: RowMapping, row: Row, number: int) -> tuple[tuple[str, str], ...]:
    found = []
    for name, read in mapping.identifiers:
        value = read(row, number)
        if value is None:
            continue
        text = text_of(value, f"identifiers.{name}")
        if len(text) > _MOST:
            bad(f"identifiers.{name} has more than {_MOST} characters")
        if not text.isprintable():
            bad(f"identifiers.{name} has control characters")
        found.append((name, text))
    return tuple(found) or bad("none of its identifiers has a value")


def _base(mapping: RowMapping, row: Row, number: int) -> str:
    if mapping.message_id is None:
        return f"import-{mapping.file}-{number}"
    value = mapping.message_id(row, number)
    return bad("message_id has no value") if value is None else text_of(value, "message_id")


def _delivery(message: Message, **more: Any) -> Delivery:
    return msgspec.structs.replace(message.delivery, form="", messages=(), **more)


def _made(message: Message, delivery: Delivery, body: dict[str, Any]) -> Message:
    return Message(delivery, msgspec.json.encode(body), message.nonce, message)


def _restrains(message: Message) -> bool:
    said = message.delivery.statements
    return bool(said) and all(one.state in RESTRAINING for one in said)


class _Told(NamedTuple):
    """What one row tells of one person."""

    mapping: RowMapping
    message: Message
    row: Row
    number: int
    person: tuple[tuple[str, str], ...]
    base: str

    def facts(self) -> list[Message]:
        """Return what the row tells of traits and events.

        :raises BadRowError: one of them cannot be read.
        """
        made: list[Message] = []
        delivery = _delivery(self.message, identifiers=self.person)
        if traits := self._values(self.mapping.traits):
            body = {"type": "identify", "messageId": f"{self.base}:traits", "traits": traits}
            made.append(_made(self.message, delivery, body | self._stamp(self.mapping.time, "time")))
        for place, event in enumerate(self.mapping.events):
            if not event.holds(self.row):
                continue
            where = f"events[{place}]"
            name = event.name(self.row, self.number)
            body = {
                "type": event.shape.type,
                "event" if event.shape.type == "track" else "name": (
                    bad(f"{where}.name has no value") if name is None else text_of(name, f"{where}.name")
                ),
                "messageId": f"{self.base}:{place}" if place else self.base,
                "properties": self._values(event.properties),
            }
            stamp = self._stamp(event.time or self.mapping.time, f"{where}.time")
            made.append(_made(self.message, delivery, body | stamp))
        return made

    def consents(self) -> tuple[list[Message], BadRowError | None]:
        """Return what the row says of consent, and the first thing in it that cannot be read."""
        made: list[Message] = []
        failed: BadRowError | None = None
        for place, consent in enumerate(self.mapping.consents):
            try:
                made += self._consent(consent, f"consents[{place}]")
            except BadRowError as found:
                failed = failed or found
        return made, failed

    def _consent(self, consent: MappedConsent, where: str) -> list[Message]:
        state = consent.state(self.row, self.number) if consent.holds(self.row) else None
        if state is None:
            return []
        if state not in STATES:
            bad(f"{where}.state is none of: {', '.join(STATES)}")
        shape, received_at = consent.shape, self.message.delivery.received_at
        restrains = state in RESTRAINING
        said_at = self._instant(consent.time or self.mapping.time, f"{where}.time", restrains=restrains)
        if not restrains:
            if said_at is None:
                bad(f"{where}.time has no value, and a grant has to be dated")
            if said_at > received_at + DAY:
                bad(f"{where}.time lies more than a day ahead")
        statement = Statement(
            purpose=shape.purpose,
            state=state,
            act=True,
            event_time=received_at if said_at is None else said_at,
            event_type=shape.event_type,
            expires_at=self._instant(consent.expires_at, f"{where}.expires_at", restrains=restrains),
            notice_id=shape.notice_id,
            notice_version=shape.notice_version,
            language=shape.language,
            method=shape.method,
            jurisdiction=shape.jurisdiction,
            recipients=shape.recipients,
            evidence=msgspec.json.encode(
                {"file": self.mapping.file, "row": self.number, "provenance": shape.provenance}
            ),
        )
        delivery = _delivery(self.message, identifiers=self.person, statements=(statement,))
        body = {"type": "track", "event": _CONSENT, "messageId": f"{self.base}:consent:{shape.purpose}"}
        stamp = {} if said_at is None else {"timestamp": rfc3339(said_at)}
        return [_made(self.message, delivery, body | stamp)]

    def _instant(self, read: Reader | None, where: str, *, restrains: bool) -> Micros | None:
        """Return an instant, None where none is told. What restrains counts without."""
        try:
            found = None if read is None else read(self.row, self.number)
        except BadRowError:
            return None if restrains else bad(f"{where} is not the time that the mapping says")
        return None if found is None else parse_rfc3339(found)

    def _stamp(self, read: Reader | None, where: str) -> dict[str, str]:
        """Return the timestamp of a message; none where the mapping knows no time."""
        if read is None:
            return {}
        found = read(self.row, self.number)
        return bad(f"{where} has no value") if found is None else {"timestamp": found}

    def _values(self, wanted: tuple[tuple[str, Reader], ...]) -> dict[str, Any]:
        given = ((name, read(self.row, self.number)) for name, read in wanted)
        return {name: value for name, value in given if value is not None}
