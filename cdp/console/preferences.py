"""What the preference page knows and does, for one verified identity.

Invariants:

1. Scope is the identity that the link was made for: its own records, its own recipients, its own
   requests. What is recorded of other identities in the same profile is never shown. What the person
   *says* follows the rules of the ledger: a no binds everybody then in the profile, and is recorded each
   time that it is said: it outranks what was said before it, here or elsewhere, and arrives later.
2. Showing is a use for the purpose ``rights``: recorded with the person as its subject before anything is
   shown. What is shown is read before that, beside all writers, who wait for each other. It opens nothing
   sealed.
3. Only acts change something. A yes, or the lifting of an objection, counts for what was on the page: the
   text, and what held, so that a page from before a no, or one sent again, does not undo it; and under no
   restriction. It is dated from before that is read, so that a no which comes in meanwhile outranks it. A no
   always counts.
4. A link that is forged, old, of another kind, made for nobody or for somebody erased is the same None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import msgspec

from cdp.audit import Entry
from cdp.clock import Clock, Micros
from cdp.consent import (
    ConsentLedger,
    EventType,
    Member,
    ReceiptIssuer,
    RecordState,
    Standing,
    Statement,
    Track,
)
from cdp.console import words
from cdp.console.model import Named, Recipient, Result, View
from cdp.crypto import Keyring
from cdp.errors import NotFoundError
from cdp.gate import Gate
from cdp.identity import IdentityService
from cdp.policy import Bundle, lineage
from cdp.rights import KINDS, Acts, Archives, Download, Link, Links, RequestKind, RightsService
from cdp.store import Committer, Connection, retrying

ACTOR = "person"
CONTROLLER = "controller"
_RIGHTS = "rights"
_METHOD = "preference_page"
_HISTORY = 50


class PreferencePage:
    """One person's own choices.

    :param bundle: returns the policies in force.
    """

    def __init__(
        self,
        committer: Committer,
        keyring: Keyring,
        links: Links,
        identity: IdentityService,
        ledger: ConsentLedger,
        gate: Gate,
        rights: RightsService,
        receipts: ReceiptIssuer,
        acts: Acts,
        archives: Archives,
        bundle: Callable[[], Bundle],
        clock: Clock,
    ) -> None:
        self._committer = committer
        self._keyring = keyring
        self._links = links
        self._identity = identity
        self._ledger = ledger
        self._gate = gate
        self._rights = rights
        self._receipts = receipts
        self._acts = acts
        self._archives = archives
        self._bundle = bundle
        self._clock = clock

    # -- the page -------------------------------------------------------------------------------

    def show(self, token: str, language: str) -> View | None:
        """Return the page of a manage link, in the words of ``language`` where policies have them."""
        link = self._links.open("manage", token)
        return None if link is None else self._read(link, language)

    def language(self, token: str) -> str:
        """Return the language that a link was made for; empty when it says nothing."""
        link = self._links.open("manage", token) or self._links.open("withdraw", token)
        return "" if link is None else link.language

    def change(self, token: str, answers: Mapping[str, str], texts: str, language: str) -> Result | None:
        """Record the answers that differ from what holds.

        :param answers: purpose → ``yes`` or ``no``.
        :param texts: ``View.texts`` of the page that was answered.
        :returns: None when the link is none.
        """
        at = self._clock.now()
        link = self._links.open("manage", token)
        view = None if link is None else self._read(link, language)
        if link is None or view is None:
            return None
        before = {choice.purpose: choice.answer for choice in view.choices}
        free = [choice.purpose for choice in view.choices if not choice.fixed]
        yes = [key for key in free if answers.get(key) == "yes" != before[key]]
        no = [key for key in before if answers.get(key) == "no"]
        lost = bool(yes) and texts != view.texts
        agreed = [] if lost else [self._yes(key, at, link, language) for key in yes]
        refused = [self._no(key, at, link, language) for key in no]
        self._record(link, [*agreed, *refused])
        if lost:
            return "texts_changed"
        if self._unmet(link, yes):
            return "saved_partly"
        return "saved" if yes or any(before[key] != "no" for key in no) else "nothing"

    def _unmet(self, link: Link, wanted: Sequence[str]) -> bool:
        """True when a yes does not hold after all: a browser's signal that no act lifts, say."""
        if not wanted:
            return False
        with self._committer.store.reading() as connection:
            if not self._is_alive(connection, link):
                return True
            standings = self._standings(connection, link.identity_no)
        return any(standings[key].state != "granted" for key in wanted)

    def refuse_all(self, token: str, language: str) -> Result | None:
        """Say no to everything that a person is asked about, what will come to be below it included."""
        link = self._links.open("manage", token)
        view = None if link is None else self._read(link, language)
        if link is None or view is None:
            return None
        tops = dict.fromkeys(lineage(choice.purpose)[-1] for choice in view.choices)
        said = [self._no(key, self._clock.now(), link, language) for key in tops]
        self._record(link, said)
        return "nothing" if all(choice.answer == "no" for choice in view.choices) else "saved"

    def act(self, token: str, act: str, key: str, texts: str, language: str) -> Result | None:
        """Object to a purpose that nobody is asked about, or lift the objection to it.

        :param act: what its ``Always.act`` offers; another one changes nothing.
        :param texts: as for ``change``.
        """
        at = self._clock.now()
        link = self._links.open("manage", token)
        view = None if link is None else self._read(link, language)
        if link is None or view is None:
            return None
        if not any(one.purpose == key and act and one.act == act for one in view.always):
            return "nothing"
        if act == "lift" and texts != view.texts:
            return "texts_changed"
        said = self._said(key, "granted" if act == "lift" else "objected", at, link, language)
        self._record(link, [msgspec.structs.replace(said, event_type="explicit")])
        return "saved_partly" if act == "lift" and self._unmet(link, [key]) else "saved"

    def request(self, token: str, kind: str, language: str) -> Result | None:
        """Open a request; a restriction or an objection acts at once, before it is even received."""
        link = self._links.open("manage", token)
        view = None if link is None else self._read(link, language)
        if link is None or view is None:
            return None
        chosen = next((known for known in KINDS if known == kind), None)
        if chosen is None:
            return "choose"
        return "requested" if self._opened(link, chosen, language) else None

    def receipt(self, token: str, record_id: int) -> bytes | None:
        """Return the signed receipt of a record of the link's own identity; None for any other."""
        link = self._links.open("manage", token)
        if link is None:
            return None
        with self._committer.store.reading() as connection:
            if not self._is_alive(connection, link):
                return None
            own = {record.record_id for record in self._ledger.records_of(connection, [link.identity_no])}
        return self._receipts.issue(ACTOR, record_id) if record_id in own else None

    def archive(self, token: str, request_id: str) -> Download | None:
        """Hand over the archive of a request of the link's own identity; None for any other."""
        link = self._links.open("manage", token)
        if link is None:
            return None
        with self._committer.store.reading() as connection:
            own = self._is_alive(connection, link) and self._fetchable(connection, link.identity_no)
        return self._archives.handed(request_id) if own and request_id in own else None

    def _fetchable(self, connection: Connection, number: int) -> dict[str, Micros]:
        """Return request → until when, of the archives for which this identity was all that was proved."""
        own = (one for one in self._rights.of_identity(connection, number) if one.identity_nos == (number,))
        ready = ((one.request_id, self._archives.until(connection, one.request_id)) for one in own)
        return {request_id: until for request_id, until in ready if until is not None}

    def _opened(self, link: Link, kind: RequestKind, language: str) -> bool:
        try:
            self._rights.open(
                ACTOR,
                link.identity_no,
                kind,
                "preference_page",
                language=language,
                evidence=_proof(link),
            )
        except NotFoundError:  # erased meanwhile
            return False
        return True

    # -- one click (RFC 8058) --------------------------------------------------------------------

    def about_withdrawal(self, token: str, language: str) -> Named | None:
        """Return what a withdraw link is about; nothing is read of anybody."""
        link = self._links.open("withdraw", token)
        return (
            None
            if link is None
            else words.named(self._bundle(), link.purposes, language or link.language, self._clock.now())
        )

    def withdraw(self, token: str, language: str) -> Named | None:
        """Withdraw from the purposes of a link, those that policies no longer declare included.

        Somebody erased, or nobody, gets the same answer: it is true of them as well.
        """
        link = self._links.open("withdraw", token)
        if link is None:
            return None
        said = [
            msgspec.structs.replace(self._no(key, self._clock.now(), link, ""), method="one_click")
            for key in link.purposes
        ]
        self._record(link, said)
        return words.named(self._bundle(), link.purposes, language or link.language, self._clock.now())

    # -- reading --------------------------------------------------------------------------------

    def _read(self, link: Link, language: str) -> View | None:
        def run() -> View | None:
            bundle = self._bundle()
            with self._committer.store.reading() as connection:
                if not self._is_alive(connection, link):
                    return None
                view = self._view(connection, bundle, link, language)
            with self._committer.batch() as batch:
                self._keyring.observe_epoch(batch.epoch)
                if not self._is_alive(batch.connection, link):  # erased in between
                    return None
                batch.record(
                    Entry(
                        action="preferences.show",
                        actor=ACTOR,
                        purpose=_RIGHTS,
                        destination=CONTROLLER,
                        subjects=(link.identity_no,),
                    )
                )
            return view

        return retrying(run)

    def _is_alive(self, connection: Connection, link: Link) -> bool:
        """True until an erasure, which removes the identity and marks its key as destroyed.

        A key that is lost or altered is no erasure: nothing here needs it, and a no must not wait for it.
        """
        number = link.identity_no
        there = bool(self._identity.profiles_of(connection, [number]))
        return there and not self._keyring.destroyed([number])

    def _view(self, connection: Connection, bundle: Bundle, link: Link, language: str) -> View:
        number = link.identity_no
        standings, own = self._standings(connection, number), self._standings(connection, number, "consent")
        said = {key: own[key] if one.state == "restricted" else one for key, one in standings.items()}
        asked, now = words.asked(bundle), self._clock.now()
        records = [r for r in self._ledger.records_of(connection, [number]) if r.purpose in bundle.purposes]
        choices = tuple(words.choice(bundle, key, standings[key], said[key], language, now) for key in asked)
        always = tuple(
            words.always(purpose, standings[purpose.key], said[purpose.key], language)
            for purpose in bundle.purposes.values()
            if not words.ASKED & set(purpose.basis.values())
        )
        return View(
            address=self._address(connection, number),
            expires_at=link.expires_at,
            choices=choices,
            always=always,
            recipients=tuple(self._recipients(connection, bundle, number, language)),
            requests=tuple(self._rights.of_identity(connection, number)),
            archives=self._fetchable(connection, number),
            history=tuple(words.past(bundle, record, language) for record in reversed(records[-_HISTORY:])),
            texts=words.texts(bundle, asked, (*choices, *always), language, now),
        )

    def _standings(
        self, connection: Connection, number: int, track: Track | None = None
    ) -> dict[str, Standing]:
        """Return purpose → state of this identity as if it were alone: links and history say nothing then."""
        alone = Member(identity_no=number, device=False, linked_at={})
        return self._ledger.states_of(connection, [alone], track)

    def _address(self, connection: Connection, number: int) -> str:
        profile_no = self._identity.profile_of(connection, number)
        held = self._identity.identifiers(connection, profile_no)
        kind = next((item.type for item in held if item.identity_no == number), "")
        return kind if kind in {"email", "phone", "user_id"} else "other"

    def _recipients(
        self, connection: Connection, bundle: Bundle, number: int, language: str
    ) -> Sequence[Recipient]:
        found = []
        for destination, purpose, last in self._gate.received(connection, number):
            known, used = bundle.destinations.get(destination), bundle.purposes.get(purpose)
            if destination == CONTROLLER:
                continue
            found.append(
                Recipient(
                    name=known.title if known else destination,
                    country=known.country if known else "",
                    role=known.role if known else "third_party",
                    purpose=used.words(language).name if used else purpose,
                    last=last,
                )
            )
        return found

    # -- recording ------------------------------------------------------------------------------

    def _yes(self, key: str, at: Micros, link: Link, language: str) -> Statement:
        purpose = self._bundle().purposes[key]
        notice = purpose.notice_at(at)
        kind: EventType = "separate" if purpose.separate_consent else "explicit"  # asked on its own, always
        return msgspec.structs.replace(
            self._said(key, "granted", at, link, language),
            event_type=kind,
            notice_id=notice.id if notice else "",
            notice_version=notice.version if notice else None,
        )

    def _no(self, key: str, at: Micros, link: Link, language: str) -> Statement:
        purpose = self._bundle().purposes.get(key)
        return self._said(key, words.refusal(purpose), at, link, language)

    def _said(self, key: str, state: RecordState, at: Micros, link: Link, language: str) -> Statement:
        """Return what was said.

        :param at: from before anything was read of what held (invariant 3).
        """
        return Statement(
            purpose=key,
            state=state,
            act=True,
            event_time=at,
            language=language,
            method=_METHOD,
            evidence=_proof(link),
        )

    def _record(self, link: Link, said: Sequence[Statement]) -> None:
        """Record what a link's holder says; whoever is gone has nothing left to say."""
        with self._committer.store.reading() as connection:
            if not said or not self._is_alive(connection, link):
                return
        with suppress(NotFoundError):
            self._acts.record(link.identity_no, said, actor=ACTOR)


def _proof(link: Link) -> bytes:
    return msgspec.json.encode({"link_issued_at": link.issued_at, "destination": link.destination})
