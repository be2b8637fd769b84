"""Fixtures that every test shares; above all: each database test runs on SQLite *and* PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from databases import fresh_postgres
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

pytest_plugins = ["platform_fixtures", "reattached", "frugal", "spark_cluster", "nats_cluster", "canary"]

# A busy machine is no reason for a test to fail: examples are bounded in number, not in time.
hypothesis_settings.register_profile("cdp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("cdp")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--no-skips``, with which CI says that nothing is missing on its machine."""
    parser.addoption(
        "--no-skips", action="store_true", help="fail when a test was skipped or expected to fail"
    )
    parser.addoption(
        "--golden", action="store_true", help="write the golden files of tests/clients anew; then read them"
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run under ``--no-skips`` that skipped anything (``-rs`` names what and why)."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter is not None:
        left_out = [*reporter.stats.get("skipped", []), *reporter.stats.get("xfailed", [])]
        if left_out:
            reporter.ensure_newline()
            reporter.write_line(f"--no-skips: {len(left_out)} tests did not run in full", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _plain_logging() -> Iterator[None]:
    """Undo what a command configured: the standard error it logs to is gone with its test."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test data and vectors."""
    folder = Path(os.environ.get("CDP_SHARED", "../shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared test data at {folder}; set CDP_SHARED to its folder")
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """URL of a PostgreSQL server on which test databases may be made."""
    url = os.environ.get("CDP_TEST_POSTGRES_URL", "")
    if not url:
        pytest.skip("set CDP_TEST_POSTGRES_URL to a PostgreSQL >= 15 server (.ci/run starts one)")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database, once of each kind: empty, or filled by ``settings`` or ``tables_url``."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'cdp.sqlite'}"
        return
    with fresh_postgres(request, "cdp_test") as url:
        yield url
