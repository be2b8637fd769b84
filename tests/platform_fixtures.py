"""Fixtures of a whole platform per test, on both stores, spoken to as its callers do: over HTTP."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from caller import Caller
from litestar.testing import TestClient
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from cdp import app
from cdp.clock import FixedClock, parse_rfc3339
from cdp.settings import Settings

POLICIES = Path(__file__).parents[1] / "policies"
NOW = parse_rfc3339("2026-03-01T12:00:00Z")


@pytest.fixture
def clock() -> FixedClock:
    """A clock that the test moves."""
    return FixedClock(NOW)


@pytest.fixture
def keys_url(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    """URL of the key database, of the same kind as the main one."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        yield database_url.replace("cdp.sqlite", "keys.sqlite")
        return
    server = make_url(request.getfixturevalue("postgres_server")).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    name = f"cdp_keys_{secrets.token_hex(6)}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield url.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def settings(database_url: str, keys_url: str, tmp_path: Path) -> Settings:
    """Settings of an initialised platform."""
    chosen = Settings(
        data_dir=tmp_path / "var",
        database_url=database_url,
        keys_database_url=keys_url,
        policies_dir=POLICIES,
        mirror_interval_ms=50,
    )
    app.initialise(chosen)
    return chosen


@pytest.fixture
def caller(settings: Settings, clock: FixedClock) -> Iterator[Caller]:
    """A started application and its operator."""
    key = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    platform = app.build(settings, clock)
    with TestClient(app.application(platform)) as http:
        yield Caller(http, key, platform.services)
