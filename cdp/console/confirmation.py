"""Double opt-in: the second half of a consent that so far lies in its link alone.

Invariants: looking records nothing; a link is good for one record, however often it is used, because the
message that records it always has the same id; a no that came after the question settles it, also where a
restore has forgotten that id; what is recorded says when each half was said, and what is answered is what
the ledger holds.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from cdp.access import Source
from cdp.clock import Clock
from cdp.consent import RESTRAINING, ConsentLedger, Statement
from cdp.console import words
from cdp.console.model import Named
from cdp.identity import IdentityService
from cdp.policy import Bundle, covers
from cdp.rights import Links, Pending
from cdp.store import Connection, Store
from cdp.told import ConsentIntake, Word

_EVENT = "Consent Confirmed"


class Confirmations:
    """Confirms what confirm links hold.

    :param bundle: returns the policies in force.
    """

    def __init__(
        self,
        store: Store,
        links: Links,
        identity: IdentityService,
        ledger: ConsentLedger,
        intake: ConsentIntake,
        bundle: Callable[[], Bundle],
        clock: Clock,
    ) -> None:
        self._store = store
        self._links = links
        self._identity = identity
        self._ledger = ledger
        self._intake = intake
        self._bundle = bundle
        self._clock = clock

    def about(self, token: str, language: str) -> Named | None:
        """Return what a confirm link is about; nothing is read of anybody."""
        found = self._pending(token)
        return None if found is None else self._named(found[0], language)

    def language(self, token: str) -> str:
        """Return the language that was asked in; empty when the link says nothing."""
        found = self._pending(token)
        return "" if found is None else found[0].language

    def confirm(self, token: str, language: str) -> Named | None:
        """Record the consent that a confirm link holds, once: a repeat has the same message id.

        Nothing is recorded where its person has said no since they were asked.

        :returns: what it is about, and whether it holds; None for a link that is none, and once its person
            was erased.
        """
        found = self._pending(token)
        if found is None:
            return None
        pending, message_id = found
        word = Word(
            source=_source(pending),
            event=_EVENT,
            message_id=message_id,
            identifiers=pending.identifiers,
            statement=self._confirmed(pending),
            received_at=self._clock.now(),
            stamped_at=pending.asked_at,  # de-duplication looks for a repeat on the day of its message
        )
        with self._store.reading() as connection:
            refused = self._refused(connection, pending)
        if not refused and self._intake.take(word).unheard == "suppressed":
            return None
        with self._store.reading() as connection:
            stands = self._stands(connection, pending)
        return msgspec.structs.replace(self._named(pending, language), stands=stands)

    def _people(self, connection: Connection, pending: Pending) -> set[int]:
        source = _source(pending)
        found = (self._identity.find(connection, *identifier, source) for identifier in pending.identifiers)
        return {number for number in found if number is not None}

    def _refused(self, connection: Connection, pending: Pending) -> bool:
        """True when somebody whom it names was restrained for its purpose after the question."""
        return any(
            record.state in RESTRAINING
            and record.received_at >= pending.asked_at
            and covers(record.purpose, pending.purpose)
            for record in self._ledger.records_of(connection, self._people(connection, pending))
        )

    def _stands(self, connection: Connection, pending: Pending) -> bool:
        """True when the consent holds for those whom the link names; nobody else's records are looked at."""
        people = self._people(connection, pending)
        profiles = set(self._identity.profiles_of(connection, people).values())
        named = [
            [member for member in profile if member.identity_no in people]
            for profile in self._identity.consent_members(connection, profiles).values()
        ]
        states = [self._ledger.states_of(connection, some)[pending.purpose].state for some in named]
        return bool(states) and all(state == "granted" for state in states)

    def _pending(self, token: str) -> tuple[Pending, str] | None:
        """Return what a confirm link holds; None for a purpose that policies have since given up, too."""
        found = self._links.open_pending(token)
        return found if found is not None and found[0].purpose in self._bundle().purposes else None

    def _confirmed(self, pending: Pending) -> Statement:
        now = self._clock.now()
        proof = {"method": "double_opt_in", "asked_at": pending.asked_at, "confirmed_at": now}
        return Statement(
            purpose=pending.purpose,
            state="granted",
            act=True,
            event_time=now,
            event_type=pending.event_type,
            expires_at=pending.expires_at,
            notice_id=pending.notice_id,
            notice_version=pending.notice_version,
            language=pending.language,
            method="double_opt_in",
            jurisdiction=pending.jurisdiction,
            recipients=pending.recipients,
            evidence=msgspec.json.encode(proof),
        )

    def _named(self, pending: Pending, language: str) -> Named:
        """Return what is agreed to: the notice that was asked on, not the one that came after it."""
        purpose = self._bundle().purposes[pending.purpose]
        asked_on = purpose.notice_named(pending.notice_id, pending.notice_version, pending.asked_at)
        told = words.of_purpose(purpose, language)
        notice = "" if asked_on is None else asked_on.shown(language)
        return Named(purposes=((told["name"], told["description"], notice),), language=language)


def _source(pending: Pending) -> Source:
    """Return whose word it was; its numbers were read by its region when it asked."""
    return Source(source_id=pending.source_id, name="", kind=pending.source_kind, enabled=True)
