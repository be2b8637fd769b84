"""Parts that settings name: refused where they are not there, rather than another taken in their place."""

from __future__ import annotations

from cdp.audit import WitnessAt, open_witness
from cdp.clock import Clock
from cdp.crypto import Keyring
from cdp.errors import ConfigurationError
from cdp.intake import Address, Direct, Envelopes, Intake, Sorter, StreamIntake, open_stream, read_address
from cdp.policy import Bundle
from cdp.settings import Settings
from cdp.store import Store
from cdp.worker import Writer

DIRECT = "direct"


def witness_at(settings: Settings) -> WitnessAt | None:
    """Return the audit log's witness, where the settings name one."""
    return open_witness(settings.witness_url, settings.witness_key, settings.witness_ca)


def stream_at(settings: Settings) -> Address | None:
    """Return where the stream is through which deliveries come in, where the settings name one."""
    if settings.intake == DIRECT:
        return None
    return read_address(
        settings.intake,
        ca=settings.intake_ca,
        certificate=settings.intake_certificate,
        key=settings.intake_key,
    )


def open_intake(
    settings: Settings, store: Store, keyring: Keyring, bundle: Bundle, writer: Writer, clock: Clock
) -> Intake:
    """Return the intake that the settings name.

    :raises MissingExtraError: its library is not installed.
    :raises ConfigurationError: it does not go with the database.
    """
    check_writers(settings, store)
    address = stream_at(settings)
    if address is None:
        return Direct(writer)
    sorter = Sorter(bundle, keyring.secret("event-key"))
    return StreamIntake(open_stream(address), Envelopes(keyring, clock), sorter, clock)


def check_parts(settings: Settings) -> None:
    """Refuse a part that is named and not there, rather than quietly take another."""
    witness_at(settings)
    if settings.keys_database == settings.database:
        raise ConfigurationError("CDP_KEYS_DATABASE_URL: the key database is one of its own")
    stream_at(settings)


def check_writers(settings: Settings, store: Store) -> None:
    """Refuse a stream, which workers of their own consume, where one process alone may write.

    :raises ConfigurationError: the database is such a one.
    """
    if store.single_writer and settings.intake != DIRECT:
        raise ConfigurationError(
            "CDP_INTAKE: a stream is consumed by workers beside the server, and SQLite has one writing "
            "process; set CDP_DATABASE_URL=postgresql://…, or CDP_INTAKE=direct"
        )
