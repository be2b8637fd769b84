"""The identity stage on a database of its own: what events say of whom, and what becomes of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cdp.access import Source
from cdp.audit import AuditLog
from cdp.audit import initialise as initialise_audit
from cdp.clock import FixedClock, Micros
from cdp.consent import ConsentLedger
from cdp.crypto import BlindIndex, FileKeyProvider, Keyring
from cdp.identity import IdentityService, Resolved
from cdp.identity.queries import find
from cdp.ingest import Classified, Delivery, Event, Indexed, Message
from cdp.policy import IdentityRules, load
from cdp.store import Committer, Store, initialise

START: Micros = 1_767_225_600_000_000  # 2026-01-01
POLICIES = Path(__file__).parents[1] / "policies"
BUNDLE = load(POLICIES)
SERVER = Source(source_id=1, name="shop", kind="server", enabled=True)
BROWSER = Source(source_id=2, name="site", kind="browser", enabled=True)
Named = tuple[str, str]


class LinkingWorld:
    """A store and the identity stage, which is told of events already read and normalised.

    :param url: of a database with every table and nothing in them.
    """

    def __init__(self, url: str, folder: Path, rules: IdentityRules | None = None) -> None:
        self.clock = FixedClock(START)
        self.names: dict[bytes, Named] = {}
        self.store = Store(url)
        self.keys = Store(f"sqlite:///{folder / 'keys.sqlite'}")
        provider = FileKeyProvider.create(folder / "root.key")
        Keyring.initialise(self.keys, provider, "test", self.clock)
        keyring = Keyring(self.keys, provider, "test", self.clock)
        self.audit = AuditLog(keyring, "test.example/audit", self.clock)
        with self.store.writing() as connection, connection.begin():
            initialise(connection)
            initialise_audit(connection)
        self.committer = Committer(self.store, self.audit.append, self.clock)
        ledger = ConsentLedger(keyring, BUNDLE, self.clock)
        with self.committer.batch() as batch:
            ledger.mark_derived(batch)
        self.identity = IdentityService(
            self.committer,
            keyring,
            BlindIndex(keyring.secret("index"), "test"),
            ledger,
            rules or BUNDLE.identity,
            self.clock,
        )

    def close(self) -> None:
        """Let go of the databases."""
        self.store.close()
        self.keys.close()

    def event(self, at: Micros, *named: Named, source: Source = SERVER, kind: str = "track") -> Indexed:
        """Return an event that names these, highest priority first, ``at`` microseconds after the start."""
        delivery = Delivery(source=source, messages=(b"{}",), received_at=START + at)
        said = repr((at, named, source.name, kind)).encode()
        event = Event(
            message=Message(delivery, b"{}", 0),
            event_id=hashlib.sha256(said).digest()[:16],
            day=0,
            type=kind,  # type: ignore[arg-type]  # one of the six
            name=kind,
            identifiers=named,
            occurred_at=START + at,
            stamped_at=START + at,
            properties={},
            traits={},
            context={},
            rest={},
            statements=(),
        )
        self.names |= dict(zip(self.identity.indexes(tuple(named)), named, strict=True))
        return self.identity.index(Classified(event, None, None, ()))

    def store_batch(self, *events: Indexed) -> Resolved:
        """Run the stage over a batch and commit it."""
        self.identity.reserve(sum(len(item.indexes) for item in events))
        with self.committer.batch() as batch:
            return self.identity.resolve(batch, events)

    def say(self, at: Micros, *named: Named, source: Source = SERVER, kind: str = "track") -> Resolved:
        """Store one event in a batch of its own."""
        return self.store_batch(self.event(at, *named, source=source, kind=kind))

    def number(self, named: Named) -> int:
        """Return the identity of an identifier."""
        (index,) = self.identity.indexes((named,))
        with self.store.reading() as connection:
            return find(connection, [index])[index]

    def profiles(self) -> set[frozenset[Named]]:
        """Return the profiles, each as the identifiers that it holds."""
        with self.store.reading() as connection:
            numbers = {number: self.names[index] for index, number in find(connection, self.names).items()}
            everybody = self.identity.everybody(connection).values()
        return {frozenset(numbers[number] for number in members) for members in everybody}

    def together(self, *named: Named) -> bool:
        """Tell whether these identifiers are of one profile."""
        return any(profile.issuperset(named) for profile in self.profiles())
