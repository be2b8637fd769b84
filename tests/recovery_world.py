"""A platform that is backed up, loses its database, and gets it back: for the tests of recovery."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from caller import Caller
from litestar.testing import TestClient
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from cdp import app, recovery
from cdp.clock import FixedClock
from cdp.journal import Erasure, Fact
from cdp.recovery import Asked, Manifest
from cdp.settings import Settings
from cdp.store import Store

EMAIL = "marketing.communications.email"


def nothing(_done: int, _total: int) -> None:
    """Show no progress."""


@contextmanager
def running(settings: Settings, clock: FixedClock, before: Caller | None = None) -> Iterator[Caller]:
    """Start the platform, as `cdp serve` does, for callers with the keys that they had ``before``."""
    key = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    platform = app.build(settings, clock)
    with TestClient(app.application(platform)) as http:
        caller = Caller(http, key, platform.services)
        if before is None:
            caller.write_key()
        else:
            caller._write_keys = before._write_keys
        yield caller


def backed_up(caller: Caller, folder: Path) -> Manifest:
    """Make a backup of the main database beside the running platform."""
    asked = msgspec.convert(caller.api("POST", "/recovery/backups", {}), Asked)
    settings = caller.services.settings
    with closing(Store(settings.database)) as store:
        return recovery.back_up(store, folder, asked, nothing, workspace=settings.workspace)


def lost(settings: Settings) -> None:
    """Empty the main database."""
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite":
        for suffix in ("", "-wal", "-shm"):
            Path(f"{url.database}{suffix}").unlink(missing_ok=True)
        return
    _recreate(settings.database)


def _recreate(database: str) -> None:
    url = make_url(database)
    engine = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {url.database} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {url.database}"))
    engine.dispose()


def anew(settings: Settings, folder: Path) -> Settings:
    """Return settings of a platform that nothing happened to yet, on the same kind of database."""
    fresh = msgspec.structs.replace(settings, data_dir=folder / "var")
    if make_url(settings.database).get_backend_name() == "sqlite":
        fresh = msgspec.structs.replace(fresh, database_url="", keys_database_url="")
    else:
        for url in (settings.database, settings.keys_database):
            _recreate(url)
    app.initialise(fresh)
    return fresh


def restored(settings: Settings, folder: Path) -> None:
    """Fill the empty main database from a backup; the next start replays the journal."""
    manifest = recovery.read_manifest(folder, settings.workspace)
    with closing(Store(settings.database)) as store:
        recovery.restore(store, folder, manifest, nothing)
    recovery.drop_derived(settings.mirror_dir)


def identify(caller: Caller, name: str, number: int = 0) -> None:
    """Send who somebody is."""
    traits = {"plan": "basic"}
    caller.send({"type": "identify", "messageId": f"{name}-{number}", "userId": name, "traits": traits})


def say(caller: Caller, name: str, granted: bool, number: int) -> None:  # noqa: FBT001  # what is said
    """Send an act of consent."""
    preference = {"Email": granted}
    message: dict[str, Any] = {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": f"act-{name}-{number}",
        "userId": name,
        "context": {"consent": {"categoryPreferences": preference}},
    }
    caller.send(message)


def state(caller: Caller, name: str, purpose: str = EMAIL) -> str:
    """Return the state of somebody's consent; empty when the platform does not know them."""
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "user_id", name)
        if number is None:
            return ""
        profile_no = services.identity.profile_of(connection, number)
        found = services.ledger.states(connection, purpose, [profile_no]).get(profile_no)
        return "missing" if found is None else found.state


def number_of(caller: Caller, name: str, kind: str = "user_id") -> int | None:
    """Return the identity of an identifier."""
    with caller.services.store.reading() as connection:
        return caller.services.identity.find(connection, kind, name)


def erase(caller: Caller, name: str, kind: str = "user_id") -> int:
    """Erase one identity, without the others of its profile."""
    services = caller.services
    number = number_of(caller, name, kind)
    assert number is not None
    with services.committer.batch() as batch:
        batch.facts.append(Fact(identity_no=number, line=Erasure()))
    eraser = services.recovery.eraser
    eraser.advance(eraser.bind_again(f"test/{number}", [number]).erasure_id)
    services.identity.observe_epoch(-1)
    return number
