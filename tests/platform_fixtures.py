"""Fixtures of a whole platform per test, on both stores, spoken to as its callers do: over HTTP."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import pytest
from caller import Caller
from databases import fresh_postgres, make_database, postgres_database
from litestar.testing import TestClient
from recycled import Recycled
from sqlalchemy.engine import make_url

from cdp import app
from cdp.cli import main
from cdp.clock import FixedClock, parse_rfc3339
from cdp.settings import Settings
from cdp.store import Store, metadata

pytest_plugins = ["signatures"]
POLICIES = Path(__file__).parents[1] / "policies"
NOW = parse_rfc3339("2026-03-01T12:00:00Z")
Shell = Callable[..., str]


@pytest.fixture
def clock() -> FixedClock:
    """A clock that the test moves."""
    return FixedClock(NOW)


@pytest.fixture
def keys_url(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    """URL of the key database, of the same kind as the main one."""
    if make_url(database_url).get_backend_name() == "sqlite":
        yield database_url.replace("cdp.sqlite", "keys.sqlite")
        return
    with fresh_postgres(request, "cdp_keys") as url:
        yield url


class Template(NamedTuple):
    """What ``cdp init`` made: a data folder and two databases that nobody has open."""

    folder: Path
    database: str
    keys: str


@pytest.fixture(scope="session")
def templates(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Template]]:
    """Return a function that gives the template of a kind of database, made once: each test has a copy."""
    made: dict[str, Template] = {}
    with ExitStack() as opened:

        def template(kind: str) -> Template:
            if kind not in made:
                folder = tmp_path_factory.mktemp(f"template-{kind}")
                names = ("cdp", "keys")
                urls = [f"sqlite:///{folder / name}.sqlite" for name in names]
                if kind != "sqlite":
                    server = request.getfixturevalue("postgres_server")
                    urls = [opened.enter_context(postgres_database(server, f"cdp_{name}")) for name in names]
                made[kind] = Template(folder / "var", *urls)
                app.initialise(settings_of(*made[kind]))
            return made[kind]

        yield template


@pytest.fixture(scope="session")
def tables(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], str]]:
    """Return a function that gives a database of a kind with every table and nothing in them, made once."""
    made: dict[str, str] = {}
    with ExitStack() as opened:

        def template(kind: str) -> str:
            if kind not in made:
                made[kind] = f"sqlite:///{tmp_path_factory.mktemp('tables') / 'cdp.sqlite'}"
                if kind != "sqlite":
                    server = request.getfixturevalue("postgres_server")
                    made[kind] = opened.enter_context(postgres_database(server, "cdp_tables"))
                with closing(Store(made[kind])) as store, store.writing() as connection, connection.begin():
                    metadata.create_all(connection)
            return made[kind]

        yield template


@pytest.fixture(scope="session")
def recycled() -> Iterator[Recycled]:
    """The PostgreSQL databases that one test after another uses."""
    databases = Recycled()
    yield databases
    databases.drop()


@pytest.fixture
def tables_url(database_url: str, tables: Callable[[str], str], request: pytest.FixtureRequest) -> str:
    """URL of a database with every table and nothing in them."""
    fill(request, tables(make_url(database_url).get_backend_name()), database_url)
    return database_url


def fill(request: pytest.FixtureRequest, template: str, target: str) -> None:
    """Have the database of a test be as a template, where none is yet or another test used it."""
    if make_url(target).get_backend_name() == "sqlite":
        copy_database(template, target)
    else:
        request.getfixturevalue("recycled").fill(make_url(template).database, target)


def copy_database(source: str, target: str) -> None:
    """Make the database at ``target``, which does not exist yet, a copy of the one at ``source``."""
    given, wanted = make_url(source), make_url(target)
    if given.get_backend_name() == "sqlite":
        shutil.copyfile(given.database or "", wanted.database or "")
        return
    make_database(target, given.database or "")


def settings_of(folder: Path, main: str, keys: str) -> Settings:
    """Return the settings of a platform of the tests."""
    return Settings(
        data_dir=folder,
        database_url=main,
        keys_database_url=keys,
        policies_dir=POLICIES,
        mirror_interval_ms=50,
    )


@pytest.fixture
def settings(
    request: pytest.FixtureRequest,
    database_url: str,
    keys_url: str,
    tmp_path: Path,
    templates: Callable[[str], Template],
) -> Settings:
    """Settings of an initialised platform."""
    template = templates(make_url(database_url).get_backend_name())
    folder = tmp_path / "var"
    shutil.copytree(template.folder, folder)
    fill(request, template.database, database_url)
    fill(request, template.keys, keys_url)
    return settings_of(folder, database_url, keys_url)


@pytest.fixture
def caller(settings: Settings, clock: FixedClock) -> Iterator[Caller]:
    """A started application and its operator."""
    key = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    platform = app.build(settings, clock)
    with TestClient(app.application(platform)) as http:
        yield Caller(http, key, platform.services)


@pytest.fixture
def shell(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Run a command in this process; returns what it printed, or on failure its one line."""
    monkeypatch.setenv("CDP_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("CDP_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CDP_KEYS_DATABASE_URL", settings.keys_database_url)
    monkeypatch.setenv("CDP_POLICIES_DIR", str(settings.policies_dir))
    monkeypatch.delenv("CDP_API_KEY", raising=False)

    def run(*arguments: str | Path, expect: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["cdp", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert (ended.value.code or 0) == expect, printed
        failure = [line for line in printed.err.splitlines() if line.startswith("cdp: ")]
        assert expect != 1 or all(printed.err.splitlines()), printed
        assert len(failure) == (expect == 1), printed
        return "".join(failure) if expect else printed.out

    return run
