"""The parts that the settings name: looked for at the start, before anything is opened."""

from __future__ import annotations

from cdp.audit import WitnessAt, open_witness
from cdp.errors import ConfigurationError
from cdp.settings import Settings


def witness_at(settings: Settings) -> WitnessAt | None:
    """Return the audit log's witness, where the settings name one."""
    return open_witness(settings.witness_url, settings.witness_key, settings.witness_ca)


def check_parts(settings: Settings) -> None:
    """Refuse a part that is named and not there, rather than quietly take another."""
    witness_at(settings)
    if settings.keys_database == settings.database:
        raise ConfigurationError("CDP_KEYS_DATABASE_URL: the key database is one of its own")
    if settings.intake != "direct":
        raise ConfigurationError("CDP_INTAKE: direct is the only intake of this version")
