"""A main database gone beside its keys or its journal is lost, not new: nothing takes its place unasked."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from caller import Caller
from platform_fixtures import Shell
from recovery_world import EMAIL, erase, identify, lost, number_of, running, say, state
from sqlalchemy import create_engine, inspect, text

from cdp import app, recovery
from cdp.clock import FixedClock
from cdp.errors import CdpError, PolicyError
from cdp.settings import Settings
from cdp.store import Store

INTERRUPTED = 130
COMMANDS = ("init", "migrate", "serve", "worker", "restore", "source list")


def tables(url: str) -> list[str]:
    engine = create_engine(url)
    names = inspect(engine).get_table_names()
    engine.dispose()
    return names


def keys_of(settings: Settings) -> Settings:
    """Return settings whose main database is the key database, to lose it."""
    return msgspec.structs.replace(settings, database_url=settings.keys_database_url)


@pytest.fixture
def lived(settings: Settings, clock: FixedClock) -> Settings:
    """A platform that knew a refusal and an erasure, and has lost its main database."""
    with running(settings, clock) as caller:
        say(caller, "ann", False, 1)
        identify(caller, "ben")
        erase(caller, "ben")
    lost(settings)
    return settings


@pytest.mark.parametrize("left", ["journal and keys", "journal", "keys"])
def test_nothing_is_made_in_the_place_of_what_was_lost(lived: Settings, shell: Shell, left: str) -> None:
    if left == "keys":
        shutil.rmtree(lived.journal_dir)
    if left == "journal":
        lost(keys_of(lived))
        (lived.data_dir / "root.key").unlink()
    for command in COMMANDS:
        line = shell(*command.split(), expect=1)
        assert "it was lost" in line, command
        assert "`cdp restore FOLDER`" in line
        assert "docs/recovery.md" in line
    assert "not in order: " in shell("doctor", expect=1)
    assert tables(lived.database) == []
    if left == "journal":
        assert tables(lived.keys_database) == []
        assert not (lived.data_dir / "root.key").exists()


def test_where_nothing_ever_was_the_word_is_init(settings: Settings, shell: Shell) -> None:
    shutil.rmtree(settings.data_dir)
    lost(settings)
    lost(keys_of(settings))
    for command in COMMANDS[1:]:
        line = shell(*command.split(), expect=1)
        assert "`cdp init`" in line, command
        assert "lost" not in line, command
    assert tables(settings.database) == []
    assert "is ready" in shell("init")
    assert "was ready already" in shell("init")


@pytest.mark.parametrize("at", ["Keyring.complete", "migrate.upgrade", "establish", "build"])
def test_a_first_init_that_was_interrupted_is_repeated(
    settings: Settings, shell: Shell, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """The keys are made before the main database: keys of nobody are no sign of a lost one."""
    shutil.rmtree(settings.data_dir)
    lost(settings)
    lost(keys_of(settings))

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"cdp.app.setup.{at}", killed)
        shell("init", expect=INTERRUPTED)
    assert "is ready" in shell("init")
    assert "[]" in shell("source", "list", "--json")


def grants(caller: Caller, name: str, when: str) -> None:
    """Record a grant over the consent API, as a server does."""
    said = {
        "identifiers": [{"type": "user_id", "value": name}],
        "purpose": EMAIL,
        "state": "granted",
        "event_time": when,
    }
    answer = caller.http.post("/api/v1/consents", json=said, auth=(caller.write_key(), ""))
    assert answer.status_code == 201, answer.text


def known_as_before(caller: Caller, highest: int) -> None:
    """Check that the refusal and the erasure stand, and that no number is handed out again."""
    for name in ("ann", "ben", "cem"):
        identify(caller, name)
    assert number_of(caller, "ben") is None
    grants(caller, "ann", "2020-01-01T00:00:00Z")
    assert [state(caller, name) for name in ("ann", "cem")] == ["withdrawn", "missing"]
    assert min(number_of(caller, name) or 0 for name in ("ann", "cem")) > highest


def highest_number(settings: Settings) -> int:
    with closing(Store(settings.keys_database)) as keys, keys.reading() as connection:
        return int(connection.execute(text("SELECT max(identity_no) FROM deks")).scalar_one())


def test_without_a_backup_the_journal_is_replayed_into_an_empty_database(
    lived: Settings, shell: Shell, clock: FixedClock
) -> None:
    highest = highest_number(lived)
    replayed = msgspec.json.decode(shell("restore", "--without-backup", "--json"))
    assert (replayed["pending"], replayed["tombstones"], replayed["without_journal"]) == (1, 1, False)
    with running(lived, clock) as caller:
        known_as_before(caller, highest)
        [entry] = caller.api("GET", "/audit?action=recovery.replay")["items"]
        assert entry["object"]["backup"] == "none"
    assert "in order" in shell("restore", "--without-backup", expect=1)


@pytest.mark.parametrize("at", ["establish", "replay", "initialise"])
@pytest.mark.parametrize("then", [("restore", "--without-backup"), ("init",)])
def test_beginning_anew_that_was_interrupted_serves_nobody_and_goes_on(
    lived: Settings,
    shell: Shell,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
    then: tuple[str, ...],
) -> None:
    highest = highest_number(lived)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"cdp.app.setup.{at}", killed)
        shell("restore", "--without-backup", expect=INTERRUPTED)
    if at != "initialise":
        with closing(Store(lived.database)) as store:
            assert not recovery.in_order(store)
    if (at, then[0]) != ("initialise", "restore"):
        shell(*then)
    shell("init")
    with running(lived, clock) as caller:
        known_as_before(caller, highest)


@pytest.mark.parametrize("folder", ["as it was in force", "older"])
def test_policies_that_were_not_last_in_force_leave_every_destination_off(
    settings: Settings, clock: FixedClock, tmp_path: Path, folder: str
) -> None:
    """Nobody knows what the lost ones forbade."""
    newer = tmp_path / "policies"
    shutil.copytree(settings.policies_dir, newer)
    with (newer / "destinations" / "mailer.yaml").open("a") as file:
        file.write("# stricter in some way\n")
    texts = [path for path in newer.rglob("*.yaml") if "tests" not in path.parts]
    files = {str(path.relative_to(newer)): path.read_text() for path in texts}
    with running(settings, clock) as caller:
        first, second = caller.officer("first"), caller.officer("second")
        proposed = caller.api("POST", "/policies/activate", {"files": files}, key=first)["proposal"]
        caller.api("POST", "/policies/activate", {"approve": proposed["sha256"]}, key=second)
        on = enabled(caller)
    lost(settings)
    if folder != "older":
        settings = msgspec.structs.replace(settings, policies_dir=newer)
    app.begin_anew(settings, clock)
    with running(settings, clock) as caller:
        assert enabled(caller) == ({"controller"} if folder == "older" else on)


def enabled(caller: Caller) -> set[str]:
    bundle = caller.services.bundle
    return {name for name, destination in bundle.destinations.items() if destination.enabled}


def test_wrong_policies_are_righted_and_it_goes_on(
    lived: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with pytest.raises(PolicyError):
        app.begin_anew(msgspec.structs.replace(lived, policies_dir=tmp_path), clock)
    with pytest.raises(CdpError, match="cdp migrate"):
        app.build(lived, clock)
    state, replayed = app.begin_anew(lived, clock)
    assert (state.ready, replayed.tombstones) == (True, 1)


def test_without_keys_nothing_is_begun_anew(lived: Settings, shell: Shell) -> None:
    lost(keys_of(lived))
    assert "cannot be read" in shell("restore", "--without-backup", expect=1)
    assert tables(lived.database) == []


def test_without_the_journal_too_it_takes_an_officers_word(
    lived: Settings, shell: Shell, clock: FixedClock
) -> None:
    highest = highest_number(lived)
    shutil.rmtree(lived.journal_dir)
    assert "`cdp restore --without-journal`" in shell("restore", "--without-backup", expect=1)
    assert "is missing" in shell("source", "list", expect=1)  # nothing is served
    shell("restore", "--without-journal")
    with running(lived, clock) as caller:
        identify(caller, "cem")
        assert (number_of(caller, "cem") or 0) > highest


def test_where_nothing_was_lost_nothing_is_begun_anew(settings: Settings, shell: Shell) -> None:
    assert "in order" in shell("restore", "--without-backup", expect=1)
    lost(settings)
    shutil.rmtree(settings.journal_dir)
    assert "run `cdp init`" in shell("restore", "--without-backup", expect=1)
    shell("restore", "backup", "--without-backup", expect=1)
