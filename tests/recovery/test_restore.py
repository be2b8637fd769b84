"""Backup, loss, restore, replay: nobody who withdrew or was erased is back, and no number is used twice."""

from __future__ import annotations

import shutil
import threading
from contextlib import closing
from pathlib import Path

import pytest
from caller import Caller
from recovery_world import (
    EMAIL,
    backed_up,
    erase,
    identify,
    lost,
    nothing,
    number_of,
    restored,
    running,
    say,
    state,
)
from sqlalchemy import select

from cdp.audit import AuditFilter
from cdp.clock import SECOND, FixedClock
from cdp.errors import ConfigurationError, ConflictError, IntegrityError
from cdp.recovery import read_manifest
from cdp.settings import Settings
from cdp.store import Store, erased, metadata
from cdp.store import restore as fill


def logged(caller: Caller, action: str) -> list[dict[str, object]]:
    """Return the audit entries of an action."""
    services = caller.services
    with services.store.reading() as connection:
        found = services.audit.search(connection, AuditFilter(action=action))
    return [{**entry.object, **entry.counts, **entry.people} for entry in found]


def test_a_withdrawal_after_the_backup_survives_it(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        say(caller, "ann", True, 1)
        say(caller, "ben", True, 1)
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        say(caller, "ann", False, 2)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert state(after, "ann") == "withdrawn"
        assert state(after, "ben") == "granted"
        assert after.http.get("/health/ready").status_code == 200
        (entry,) = logged(after, "recovery.replay")
        assert (entry["appended"], entry["without_journal"]) == (1, 0)
        assert after.api("GET", "/audit/verify")["verified"]


def test_what_was_lifted_after_the_backup_stays_lifted(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        say(caller, "ann", True, 1)
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        say(caller, "ann", False, 2)
        clock.advance(SECOND)
        say(caller, "ann", True, 3)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert state(after, "ann") == "granted"


def test_an_act_that_lifted_a_gpc_opt_out_lifts_it_after_a_restore(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    purpose = "marketing.advertising.third_party"
    with running(settings, clock) as caller:
        opted_out = {"type": "page", "messageId": "p1", "userId": "ann", "context": {"gpc": True}}
        caller.send(opted_out)
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        act = {
            "identifiers": [{"type": "user_id", "value": "ann"}],
            "purpose": purpose,
            "state": "granted",
            "event_type": "explicit",
            "jurisdiction": "US-CA",
        }
        caller.api("POST", "/consents", act)
        assert state(caller, "ann", purpose) == "granted"
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert state(after, "ann", purpose) == "granted"


def test_a_confirmation_after_the_backup_survives_it(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        identify(caller, "ann")
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        asked = {
            "identifiers": [{"type": "user_id", "value": "ann"}],
            "purpose": EMAIL,
            "state": "granted",
            "event_type": "explicit",
            "confirm": "double_opt_in",
        }
        path = caller.api("POST", "/consents", asked)["confirmation"]["url"].partition("/preferences")[2]
        assert caller.http.post("/preferences" + path).status_code == 200
        assert _confirmed(caller) == {number_of(caller, "ann")}
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert state(after, "ann") == "granted"
        assert _confirmed(after) == {number_of(after, "ann")}


def test_a_grant_narrowed_after_the_backup_is_not_wide_again(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    def narrow(caller: Caller, name: str) -> None:
        asked = {
            "identifiers": [{"type": "user_id", "value": name}],
            "purpose": EMAIL,
            "state": "granted",
            "event_type": "explicit",
            "recipients": ["adnet"],
        }
        clock.advance(SECOND)
        caller.api("POST", "/consents", asked)

    with running(settings, clock) as caller:
        for name in ("ann", "ben", "cleo"):
            say(caller, name, True, 1)
        narrow(caller, "ben")  # the backup has it
        backed_up(caller, tmp_path / "backup")
        narrow(caller, "ann")
        narrow(caller, "cleo")
        clock.advance(SECOND)
        say(caller, "cleo", True, 2)  # whomever, again
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert [state(after, name) for name in ("ann", "ben", "cleo")] == ["withdrawn", "granted", "granted"]


def _confirmed(caller: Caller) -> set[int]:
    services = caller.services
    purpose = services.bundle.purposes[EMAIL]
    with services.store.reading() as connection:
        return set(services.ledger.confirmed(connection, purpose, "mailer")[:, 0].tolist())


def test_who_is_unknown_to_the_backup_comes_back_restrained(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        backed_up(caller, tmp_path / "backup")
        say(caller, "cleo", False, 1)
        number = number_of(caller, "cleo")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert state(after, "cleo") == ""
        identify(after, "dora")
        identify(after, "cleo")
        assert state(after, "cleo") == "withdrawn"
        assert state(after, "dora") == "missing"
        clock.advance(SECOND)
        say(after, "cleo", True, 2)  # an act lifts it, as it would have
        assert state(after, "cleo") == "granted"
        again = number_of(after, "dora")
        assert number is not None
        assert again is not None
        assert again > number + 100_000 - 1  # above every number that was reserved


def test_an_erased_person_is_erased_again_and_stays_away(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        say(caller, "ann", True, 1)
        backed_up(caller, tmp_path / "backup")
        number = erase(caller, "ann")
        identify(caller, "ben")
        erase(caller, "ben")  # the backup never knew him
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        services = after.services
        assert number_of(after, "ann") is None
        assert services.keyring.deks([number]) == {}
        with services.store.reading() as connection:
            assert set(erased(connection)) == {number}
            assert services.identity.profiles_of(connection, [number]) == {}, "nobody to use for any purpose"
            for table in metadata.tables.values():
                if "identity_no" in table.c and table.name not in {"erased_identities", "consent_proofs"}:
                    kept = connection.execute(select(table.c.identity_no)).scalars().all()
                    assert number not in kept, table.name
        for name in ("ann", "ben"):
            identify(after, name, 2)
            assert number_of(after, name) is None
        assert [entry["suppressed"] for entry in logged(after, "ingest.batch")][:2] == [1, 1]
        identify(after, "cleo")
        assert number_of(after, "cleo") is not None


def test_a_restore_without_its_journal_serves_nothing_until_an_officer_says_so(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        say(caller, "ann", True, 1)
        backed_up(caller, tmp_path / "backup")
        say(caller, "ann", False, 2)
    lost(settings)
    restored(settings, tmp_path / "backup")
    shutil.rmtree(settings.journal_dir)
    with running(settings, clock, caller) as after:
        ready = after.http.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["journal"]) == (503, False)
        assert after.http.get("/health/live").status_code == 200
        refused = after.api("GET", "/segments", expect=503)
        assert refused["type"].endswith("/not-recovered")
        assert "is missing" in refused["detail"]
        sent = after.http.post("/v1/track", json={}, auth=(after.write_key(), ""))
        assert (sent.status_code, sent.json()["code"]) == (503, "not_recovered")
        graphql = after.http.post("/graphql", json={"query": "{__typename}"})
        assert graphql.status_code == 503
        assert not after.api("GET", "/recovery")["ready"]
        after.api("POST", "/recovery/replay", {"without_journal": True}, expect=400)
        body = {"without_journal": True, "reason": "journal_lost"}
        assert after.api("POST", "/recovery/replay", body)["without_journal"]
        assert after.http.get("/health/ready").status_code == 200
        assert state(after, "ann") == "granted"  # that is the price, and it is on record
        (entry,) = logged(after, "recovery.replay")
        assert (entry["without_journal"], entry["reason"]) == (1, "journal_lost")
        identify(after, "ben")


def test_an_altered_journal_is_not_replayed(settings: Settings, clock: FixedClock, tmp_path: Path) -> None:
    with running(settings, clock) as caller:
        say(caller, "ann", True, 1)
        backed_up(caller, tmp_path / "backup")
        say(caller, "ann", False, 2)
    lost(settings)
    restored(settings, tmp_path / "backup")
    file = max(settings.journal_dir.glob("*.journal"))
    sound = file.read_bytes()
    file.write_bytes(sound.replace(b'"withdrawn"', b'"restrictd"'))
    with running(settings, clock, caller) as after:
        assert "altered" in after.api("GET", "/recovery")["reason"]
        after.api("GET", "/segments", expect=503)
        after.api("POST", "/recovery/replay", {}, expect=500)
        file.write_bytes(sound)
        assert after.api("POST", "/recovery/replay", {})["appended"] == 1
        assert state(after, "ann") == "withdrawn"


def test_a_copy_put_back_by_hand_is_known_as_one(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    """The row that says "in order" is in no backup, so nothing depends on how it was restored."""
    with running(settings, clock) as caller:
        say(caller, "ann", True, 1)
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        say(caller, "ann", False, 2)
    lost(settings)
    with closing(Store(settings.database)) as store:
        fill(store, tmp_path / "backup" / "main.backup", nothing)
    with running(settings, clock, caller) as after:
        assert state(after, "ann") == "withdrawn"
        assert [entry["backup"] for entry in logged(after, "recovery.replay")] == [""]


def test_a_replay_that_was_interrupted_goes_on(
    settings: Settings, clock: FixedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(settings, clock) as caller:
        for name in ("ann", "ben"):
            say(caller, name, True, 1)
        backed_up(caller, tmp_path / "backup")
        for name in ("ann", "ben"):
            say(caller, name, False, 2)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with monkeypatch.context() as patch:
        patch.setattr("cdp.recovery.service._PAGE", 1)
        patch.setattr("cdp.recovery.queries.write_state", _fails)
        with pytest.raises(_KilledError), running(settings, clock, caller):
            pass
    with running(settings, clock, caller) as after:
        assert [state(after, name) for name in ("ann", "ben")] == ["withdrawn", "withdrawn"]
        assert [entry["appended"] for entry in logged(after, "recovery.replay")] == [0]


class _KilledError(Exception):
    """The process ended here."""


def _fails(*_: object, **__: object) -> None:
    raise _KilledError


def test_a_restore_twice_and_over_a_database_is_refused(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        backed_up(caller, tmp_path / "backup")
        with pytest.raises(ConflictError, match="is there already"):
            backed_up(caller, tmp_path / "backup")
    with pytest.raises(ConflictError, match="not empty"):
        restored(settings, tmp_path / "backup")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with pytest.raises(ConflictError, match="not empty"):
        restored(settings, tmp_path / "backup")


def test_a_backup_that_was_altered_cut_or_never_finished_is_refused(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        manifest = backed_up(caller, tmp_path / "backup")
    assert manifest.log_size > 0
    assert list(tmp_path.glob(".*partial")) == []
    (file,) = (tmp_path / "backup").glob("*.backup")
    sound = file.read_bytes()
    for changed in (sound[:-1], sound[:100] + bytes([sound[100] ^ 1]) + sound[101:], b""):
        file.write_bytes(changed)
        with pytest.raises(IntegrityError, match="not the file"):
            read_manifest(tmp_path / "backup", settings.workspace)
    (tmp_path / "backup" / "manifest.json").unlink()
    with pytest.raises(ConfigurationError, match="no whole backup"):
        read_manifest(tmp_path / "backup", settings.workspace)


def test_a_backup_under_load_is_one_moment(settings: Settings, clock: FixedClock, tmp_path: Path) -> None:
    with running(settings, clock) as caller:
        caller.write_key()
        done = threading.Event()
        sent = 0

        def load() -> None:
            nonlocal sent
            while not done.is_set():
                identify(caller, f"user-{sent}")
                sent += 1

        thread = threading.Thread(target=load)
        thread.start()
        try:
            while sent < 20:
                done.wait(0.01)
            manifest = backed_up(caller, tmp_path / "backup")
        finally:
            done.set()
            thread.join(timeout=30)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after, after.services.store.reading() as connection:
        report = after.services.audit.verify(connection)
        assert report.ok
        assert sum(state(after, f"user-{number}") == "missing" for number in range(sent)) >= 20
        assert manifest.commit_no > 0
