"""What was put out of use after the backup is not back after the restore, and who was erased is recalled."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
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
)

from cdp import recovery
from cdp.clock import SECOND, FixedClock
from cdp.recovery import Asked
from cdp.settings import Settings
from cdp.store import Store

URL = "https://mailer.example/recalls"


def refused(caller: Caller, key: str) -> bool:
    answer = caller.http.get("/api/v1/key", headers={"Authorization": f"Bearer {key}"})
    return answer.status_code == 401


def takes(caller: Caller, write_key: str) -> bool:
    body = {"type": "identify", "userId": "zoe", "messageId": write_key[:8]}
    return caller.http.post("/v1/batch", json={"batch": [body]}, auth=(write_key, "")).status_code == 200


def enabled(caller: Caller) -> set[str]:
    found = caller.api("GET", "/policies")["destinations"]
    return {one["name"] for one in found if one["enabled"]}


def blocked_people(caller: Caller) -> set[int]:
    with caller.services.store.reading() as connection:
        return set(caller.services.segments.blocked(connection))


def listed(caller: Caller, *names: str, kind: str = "black") -> None:
    members = [{"type": "user_id", "value": name} for name in names]
    caller.api("PUT", "/lists/robinson", {"kind": kind, "members": members}, purpose="segmentation")


def test_what_was_put_out_of_use_stays_so(settings: Settings, clock: FixedClock, tmp_path: Path) -> None:
    with running(settings, clock) as caller:
        api = caller.api
        leaked, kept = caller.officer("leaked"), caller.officer("kept")
        keys = {
            name: api("POST", "/sources", {"name": name, "kind": kind})["write_key"]
            for name, kind in {"gone": "server", "turned": "server", "shop": "browser"}.items()
        }
        old_secret = api("POST", "/sources/shop/secret")["secret"]
        mailer, crm = caller.destination_key("mailer"), caller.destination_key("crm")
        for key, name in ((mailer, "mailer"), (crm, "crm")):
            api("PUT", f"/destinations/{name}/webhook", {"url": URL}, key=key)
        off = {"enabled": False, "reason": "suspected_breach"}
        on = {"enabled": True, "reason": "all_clear"}
        before = enabled(caller)
        assert {"mailer", "adnet", "crm"} <= before
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        api("DELETE", "/keys/leaked")
        api("POST", "/sources/gone/disable")
        new = api("POST", "/sources/turned/rotate")["write_key"]
        new_secret = api("POST", "/sources/shop/secret")["secret"]
        api("DELETE", "/destinations/mailer/webhook", key=mailer)
        api("DELETE", "/destinations/crm/webhook", key=crm)
        clock.advance(SECOND)
        api("PUT", "/destinations/crm/webhook", {"url": URL}, key=crm)
        for name, steps in {"mailer": [off], "adnet": [off, on]}.items():
            for step in steps:
                clock.advance(SECOND)
                api("POST", f"/destinations/{name}/switch", step)
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert refused(after, leaked)
        assert not refused(after, kept)
        assert [takes(after, key) for key in (keys["gone"], keys["turned"], new)] == [False] * 3
        assert takes(after, after.api("POST", "/sources/turned/rotate")["write_key"])
        assert takes(after, keys["shop"])
        shop = after.services.access.cached_source(keys["shop"])
        assert shop is not None
        assert shop.secret_version is not None
        again = after.services.signatures.secret(shop.source_id, shop.secret_version)
        assert again == new_secret != old_secret
        after.api("GET", "/destinations/mailer/webhook", key=mailer, expect=404)
        after.api("GET", "/destinations/crm/webhook", key=crm)
        assert enabled(after) == before - {"mailer"}
        assert after.services.recovery.done.ended == 6


def test_who_was_put_on_a_black_list_stays_on_it(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        for name in ("ann", "ben", "cleo"):
            identify(caller, name)
        listed(caller, "cleo")
        backed_up(caller, tmp_path / "backup")
        identify(caller, "dora")
        clock.advance(SECOND)
        listed(caller, "ann", "ben", "cleo", "dora")
        clock.advance(SECOND)
        listed(caller, "ann", "dora")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        # cleo was taken off since: an officer does so again
        assert blocked_people(after) == {number_of(after, "ann"), number_of(after, "cleo")}
        identify(after, "dora", 2)
        identify(after, "emil", 2)
        assert number_of(after, "dora") in blocked_people(after)
        assert number_of(after, "emil") not in blocked_people(after)
        (held,) = after.services.segments.lists.every()
        assert (held.name, held.entries) == ("robinson", 3)


def test_a_black_list_that_the_backup_does_not_know_binds_all_the_same(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    with running(settings, clock) as caller:
        identify(caller, "ann")
        listed(caller, "ann", kind="white")
        backed_up(caller, tmp_path / "backup")
        clock.advance(SECOND)
        listed(caller, "ann")
    lost(settings)
    restored(settings, tmp_path / "backup")
    with running(settings, clock, caller) as after:
        assert blocked_people(after) == {number_of(after, "ann")}


def test_without_the_policies_that_were_in_force_every_destination_is_off(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    """Nobody knows what the lost ones forbade."""
    with running(settings, clock) as caller:
        backed_up(caller, tmp_path / "before")
        clock.advance(SECOND)
        files = _files(settings)
        files["destinations/mailer.yaml"] += "# stricter in some way\n"
        first, second = caller.officer("first"), caller.officer("second")
        proposed = caller.api("POST", "/policies/activate", {"files": files}, key=first)
        sha256 = proposed["proposal"]["sha256"]
        caller.api("POST", "/policies/activate", {"approve": sha256}, key=second)
        on = enabled(caller)
        backed_up(caller, tmp_path / "later")
    lost(settings)
    restored(settings, tmp_path / "later")
    with running(settings, clock, caller) as after:
        assert enabled(after) == on
    lost(settings)
    restored(settings, tmp_path / "before")
    with running(settings, clock, caller) as after:
        assert enabled(after) == {"controller"}
        reasons = {held["reason"] for held in after.api("GET", "/policies")["switches"]}
        assert reasons == {"policies_lost"}


def _files(settings: Settings) -> dict[str, str]:
    folder = settings.policies_dir
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.yaml"))
        if "tests" not in path.parts
    }


def test_a_key_is_revoked_even_where_the_journal_cannot_be_written(
    settings: Settings, clock: FixedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk must not keep a leaked key alive."""
    with running(settings, clock) as caller:
        leaked = caller.officer("leaked")
        caller.services.journal.close()
        settings.journal_dir.rename(settings.data_dir / "away")
        settings.journal_dir.touch()
        caller.api("DELETE", "/keys/leaked")
        assert refused(caller, leaked)
        assert "not in the journal" in "".join(capsys.readouterr())


def test_destinations_are_told_again_of_who_is_erased_again(
    settings: Settings, clock: FixedClock, tmp_path: Path
) -> None:
    """With an old copy of the key database the references can be made again; the message was lost."""
    with running(settings, clock) as caller:
        key = _delivered(caller, "ann", "ben")
        asked = msgspec.convert(caller.api("POST", "/recovery/backups", {"keys": True}), Asked)
        with closing(Store(settings.database)) as store, closing(Store(settings.keys_database)) as keys:
            recovery.back_up(store, tmp_path / "main", asked, nothing, workspace=settings.workspace)
            recovery.back_up_keys(keys, tmp_path / "keys", asked, nothing, workspace=settings.workspace)
        clock.advance(SECOND)
        erase(caller, "ann")
        erase(caller, "ann@people.example", "email")
    for url in (settings.database, settings.keys_database):
        lost(msgspec.structs.replace(settings, database_url=url))
    with closing(Store(settings.keys_database)) as keys:
        held = recovery.read_manifest(tmp_path / "keys", settings.workspace)
        recovery.restore_keys(keys, tmp_path / "keys", held, nothing)
    restored(settings, tmp_path / "main")
    with running(settings, clock, caller) as after:
        assert after.services.recovery.done.erased == 2
        (message,) = after.api("GET", "/destinations/mailer/recalls", key=key)["items"]
        assert message["type"] == "recall.remove"
        assert [one["reason"] for one in message["data"]["removals"]] == ["erase"]


def _delivered(caller: Caller, *names: str) -> str:
    for name in names:
        traits: dict[str, Any] = {"email": f"{name}@people.example", "country": "Germany"}
        caller.send({"type": "identify", "userId": name, "traits": traits}, wait=True)
        say(caller, name, True, 1)
    where = {"all": [{"trait": "country", "op": "eq", "value": "Germany"}]}
    caller.api("PUT", "/segments/germans", {"name": "germans", "where": where})
    asked = {"segment": "germans", "destination": "mailer", "purpose": EMAIL}
    export = caller.api("POST", "/exports", asked)
    key = caller.destination_key("mailer", EMAIL)
    headers = {"Authorization": f"Bearer {key}"}
    rows = caller.http.get(f"/api/v1/exports/{export['id']}/data", headers=headers).content.splitlines()
    assert len(rows) == len(names)
    return key
