"""What a failing journal, a crash and a full disk do to the platform: nothing that restrains is ever lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from recovery_world import backed_up, identify, lost, nothing, number_of, restored, running, say, state

from cdp import recovery
from cdp.audit import AuditFilter
from cdp.clock import SECOND, FixedClock
from cdp.errors import ConfigurationError, JournalError, StoreError
from cdp.journal import Consent, Journal, Numbers
from cdp.recovery import Asked
from cdp.settings import Settings
from cdp.store import Committer, Store


def blocked(folder: Path) -> Path:
    """Put a file where the journal's folder was: no segment can be begun; returns where the folder went."""
    away = folder.with_name("away")
    folder.rename(away)
    folder.touch()
    return away


def test_a_restraint_without_its_journal_is_refused_and_everything_else_goes_on(
    settings: Settings, clock: FixedClock
) -> None:
    with running(settings, clock) as caller:
        say(caller, "ann", True, 1)
        caller.services.journal.close()
        away = blocked(settings.journal_dir)
        clock.advance(SECOND)
        act = {
            "type": "track",
            "event": "Segment Consent Preference Updated",
            "messageId": "refused",
            "userId": "ann",
            "context": {"consent": {"categoryPreferences": {"Email": False}}},
        }
        body = msgspec.json.encode({"batch": [act]})
        answer = caller.http.post("/v1/batch", content=body, auth=(caller.write_key(), ""))
        assert (answer.status_code, answer.json()["code"]) == (503, "journal_unavailable")
        assert "Retry-After" in answer.headers
        assert state(caller, "ann") == "granted"  # nothing was acknowledged, nothing is stored
        identify(caller, "ben")  # new people too: their numbers were journalled ahead
        say(caller, "ben", True, 2)
        assert state(caller, "ben") == "granted"
        settings.journal_dir.unlink()
        away.rename(settings.journal_dir)
        answer = caller.http.post("/v1/batch", content=body, auth=(caller.write_key(), ""))
        assert answer.status_code == 200  # the client's retry
        assert state(caller, "ann") == "withdrawn"


def test_numbers_that_the_journal_does_not_know_are_not_handed_out(
    settings: Settings, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp.store.commit._AHEAD", 0)
    with running(settings, clock) as caller:
        identify(caller, "ann")
        caller.services.journal.close()
        blocked(settings.journal_dir)
        with pytest.raises(JournalError):
            caller.services.committer.reserve("identity_no", 1)
        assert caller.services.committer.reserve("identity_no", 0).start > 0


def test_killed_between_the_journal_and_the_commit(
    settings: Settings, clock: FixedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is there, the record is not: after a restore the person is restrained, as they wished."""
    with running(settings, clock) as caller:
        say(caller, "ann", True, 1)
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        with monkeypatch.context() as patch:
            patch.setattr(Committer, "_finish", _dies)
            with pytest.raises(AssertionError, match="store_unavailable"):
                say(caller, "ann", False, 2)
        assert state(caller, "ann") == "granted"
        lines = [line for line in caller.services.journal.lines() if isinstance(line, Consent)]
        assert "withdrawn" in {line.state for line in lines}
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert state(after, "ann") == "withdrawn"


def test_a_grant_whose_commit_failed_lifts_nothing_after_a_restore(
    settings: Settings, clock: FixedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(settings, clock) as caller:
        say(caller, "ann", False, 1)
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        with monkeypatch.context() as patch:
            patch.setattr(Committer, "_finish", _dies)
            with pytest.raises(AssertionError, match="store_unavailable"):
                say(caller, "ann", True, 2)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert state(after, "ann") == "withdrawn"


def _dies(*_: object) -> None:
    raise StoreError("the disk went away")


def test_ingest_without_restraints_never_touches_the_journal(
    settings: Settings, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(settings, clock) as caller:
        identify(caller, "ann")
        written: list[object] = []
        monkeypatch.setattr(Journal, "_append", lambda *given, **_: written.append(given))
        for number in range(5):
            identify(caller, f"ben-{number}", number)
        assert written == []


def test_a_torn_last_line_stops_nobody(settings: Settings, clock: FixedClock, tmp_path: Path) -> None:
    with running(settings, clock) as caller:
        say(caller, "ann", True, 1)
        backed_up(caller, tmp_path / "backup")
        say(caller, "ann", False, 2)
    file = max(settings.journal_dir.glob("*.journal"))
    with file.open("ab") as torn:
        torn.write(b'{"kind":"consent","tag":"00')
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert state(after, "ann") == "withdrawn"
        assert number_of(after, "ann") is not None


def test_an_interrupted_backup_leaves_no_half(
    settings: Settings, clock: FixedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(settings, clock) as caller:
        asked = msgspec.convert(caller.api("POST", "/recovery/backups", {}), Asked)
        store = Store(settings.database)

        def interrupted(*_: object) -> str:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("cdp.recovery.backup.sha256_of", interrupted)
            with pytest.raises(KeyboardInterrupt):
                recovery.back_up(store, tmp_path / "backup", asked, nothing, workspace=settings.workspace)
        store.close()
        assert not (tmp_path / "backup").exists()
        assert list(tmp_path.glob(".backup*")) == []


def test_a_missing_client_program_is_named(
    settings: Settings, clock: FixedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings.database.startswith("sqlite"):
        return  # the driver itself copies the file: nothing can be missing
    with running(settings, clock) as caller, monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda _name: None)
        with pytest.raises(ConfigurationError, match="pg_dump is not installed"):
            backed_up(caller, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_journal_that_is_lost_is_begun_anew_and_said(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        identify(caller, "ann")
        backed_up(caller, tmp_path / "before")
    shutil.rmtree(settings.journal_dir)
    with running(settings, clock, caller) as found:
        with found.services.store.reading() as connection:
            wanted = AuditFilter(action="recovery.journal_begun_anew")
            assert found.services.audit.count(connection, wanted) == 1
        below = found.services.committer.journalled("identity_no")
        assert [line.below for line in found.services.journal.lines() if isinstance(line, Numbers)] == [below]
    lost(settings)
    restored(settings, tmp_path / "before")
    with running(settings, clock, caller) as after:
        assert "segments are missing" in after.api("GET", "/recovery")["reason"]
