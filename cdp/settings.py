"""Settings: the environment, read once.

Invariants: every setting is a ``CDP_*`` variable documented in ``docs/settings.md`` (a test
compares the two); an unknown ``CDP_*`` variable is refused, because a misspelt one would silently
leave its default in force. ``CDP_API_KEY`` and ``CDP_SHARED`` belong to the command line and the
tests and are let through.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from cdp.errors import ConfigurationError

_NOT_SETTINGS = frozenset({"CDP_API_KEY", "CDP_SHARED", "CDP_TEST_POSTGRES_URL"})


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the environment decides; field ``x_y`` is the variable ``CDP_X_Y``."""

    data_dir: Path = Path("var")
    database_url: str = ""
    policies_dir: Path = Path("policies")
    keys: str = ""
    keys_database_url: str = ""
    key_backup_days: int = 30
    journal: Path | None = None
    four_eyes: bool = True
    warehouse: str = "duckdb"
    intake: str = "direct"
    intake_ca: Path | None = None
    intake_certificate: Path | None = None
    intake_key: Path | None = None
    public_url: str = "http://127.0.0.1:8000"
    controller_name: str = ""
    controller_contact: str = ""
    workspace: str = "default"
    audit_origin: str = "cdp.local/audit"
    checkpoint_file: Path | None = None
    witness_url: str = ""
    witness_key: str = ""
    witness_ca: Path | None = None
    log_level: str = "info"
    batch_events: int = 4000
    queue_events: int = 20_000
    queue_bytes: int = 192 * 1024 * 1024
    preparers: int = 1
    max_connections: int = 1024
    header_timeout_s: int = 10
    body_timeout_s: int = 20
    drain_timeout_s: int = 30
    max_event_bytes: int = 32 * 1024
    max_body_bytes: int = 500 * 1024
    max_batch_events: int = 2500
    mirror_interval_ms: int = 1000
    checkpoint_interval_s: int = 60
    webhook_loopback: bool = False
    opendsr_certificate: Path | None = None
    opendsr_key: Path | None = None
    opendsr_authorities: Path | None = None
    opendsr_tokens: Path | None = None

    @property
    def database(self) -> str:
        """The main database's URL; SQLite in the data directory unless set."""
        return self.database_url or f"sqlite:///{self.data_dir / 'cdp.sqlite'}"

    @property
    def keys_database(self) -> str:
        """The key table's URL: a database of its own, never the main one."""
        return self.keys_database_url or f"sqlite:///{self.data_dir / 'keys.sqlite'}"

    @property
    def key_provider(self) -> str:
        """Where the root key lives, as ``kind:place``."""
        return self.keys or f"file:{self.data_dir / 'root.key'}"

    @property
    def journal_dir(self) -> Path:
        """Where the journal lies: best on another disk than the database."""
        return self.journal or self.data_dir / "journal"

    @property
    def mirror_dir(self) -> Path:
        """Where the Parquet mirror lies."""
        return self.data_dir / "warehouse"


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment.

    :param environment: variables by name; the process's own when None.
    :raises ConfigurationError: an unknown ``CDP_*`` variable, or a value of the wrong kind.
    """
    source = os.environ if environment is None else environment
    given = {
        name.removeprefix("CDP_").lower(): value
        for name, value in source.items()
        if name.startswith("CDP_") and name not in _NOT_SETTINGS
    }
    known = set(Settings.__struct_fields__)
    for name in sorted(set(given) - known):
        raise ConfigurationError(
            f"unknown setting CDP_{name.upper()}; docs/settings.md lists those that exist"
        )
    try:
        return msgspec.convert(given, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"a CDP_* setting has a wrong value: {error}") from error


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)
