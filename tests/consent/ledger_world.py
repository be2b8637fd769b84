"""A consent ledger over one profile map that a test may relink, with short words for what is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from cdp.clock import DAY, FixedClock, Micros
from cdp.consent import ConsentLedger, Draft, Member, Record, RecordState, Statement
from cdp.consent.tables import consent_records
from cdp.crypto import FileKeyProvider, Keyring
from cdp.policy import load
from cdp.store import Committer, Store, initialise

BUNDLE = load(Path(__file__).parents[2] / "policies")
EMAIL = "marketing.communications.email"
SMS = "marketing.communications.sms"
USER, MAIL, DEVICE = 11, 12, 13
START = 20_000 * DAY


class World:
    """A ledger with one profile map that a test may relink; every state in it is derived.

    :param url: of a database with every table and nothing in them.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.clock = FixedClock(START)
        self.store, self.key_store = Store(url), Store(f"sqlite:///{folder / 'keys.sqlite'}")
        with self.store.writing() as connection, connection.begin():
            initialise(connection)
        provider = FileKeyProvider.create(folder / "root.key")
        Keyring.initialise(self.key_store, provider, "test", self.clock)
        self.keyring = Keyring(self.key_store, provider, "test", self.clock)
        self.keyring.create([USER, MAIL, DEVICE])
        self.committer = Committer(self.store, lambda *_: [], self.clock)
        self.ledger = ConsentLedger(self.keyring, BUNDLE, self.clock)
        with self.committer.batch() as batch:
            self.ledger.mark_derived(batch)
        self.profiles: dict[int, tuple[int, ...]] = {USER: (USER, MAIL, DEVICE)}
        self.linked_at = 0

    def members(self, profile_no: int) -> list[Member]:
        numbers = self.profiles[profile_no]
        return [
            Member(
                identity_no=number,
                device=number == DEVICE,
                linked_at={other: self.linked_at for other in numbers if other != number},
                vouched_at={other: self.linked_at for other in numbers if other != number},
            )
            for number in numbers
        ]

    def say(self, *drafts: Draft) -> int:
        """Append and refresh in one batch; returns the records written."""
        members = {no: self.members(no) for no in self.profiles}
        profile_of = {number: no for no, numbers in self.profiles.items() for number in numbers}
        with self.committer.batch() as batch:
            before = self._count(batch.connection)
            taken = self.ledger.append(batch, drafts, members, profile_of)
            self.ledger.refresh(batch, {no: members[no] for no in taken.profiles}, ())
            return self._count(batch.connection) - before

    @staticmethod
    def _count(connection: Connection) -> int:
        return connection.execute(select(func.count()).select_from(consent_records)).scalar_one()

    def relink(self, profiles: dict[int, tuple[int, ...]]) -> None:
        gone = self.profiles.keys() - profiles.keys()
        self.profiles = profiles
        with self.committer.batch() as batch:
            self.ledger.refresh(batch, {no: self.members(no) for no in profiles}, gone)

    def adopt(self, **changes: Any) -> None:
        """Work under other policies, and have everybody's states derived under them."""
        self.ledger.adopt(msgspec.structs.replace(BUNDLE, **changes))
        self.relink(self.profiles)
        with self.committer.batch() as batch:
            self.ledger.mark_derived(batch)

    def state(self, profile_no: int = USER, purpose: str = EMAIL) -> str:
        with self.store.reading() as connection:
            live = self.ledger.states_of(connection, self.members(profile_no))[purpose]
            stored = self.ledger.states(connection, purpose).get(profile_no)
        assert stored == live or (stored is None and live.reason == "no_record")
        return live.state

    def records(self) -> list[Record]:
        with self.store.reading() as connection:
            return self.ledger.records_of(connection, [USER, MAIL, DEVICE])

    def close(self) -> None:
        self.store.close()
        self.key_store.close()


def statement(state: RecordState, at: Micros = START, *, act: bool = True, **more: Any) -> Statement:
    return Statement(**{"purpose": EMAIL, "state": state, "act": act, "event_time": at, **more})


def draft(*statements: Statement, named: Sequence[int] = (USER,), **more: Any) -> Draft:
    given: dict[str, Any] = {
        "authenticated": named[0],
        "received_at": START,
        "source_id": 1,
        "source_kind": "server",
        "verified": True,
    }
    return Draft(statements=statements, named=tuple(named), **{**given, **more})


BROWSER: dict[str, Any] = {"source_kind": "browser", "verified": False}
