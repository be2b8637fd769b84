"""Several processes' worth of writers on one PostgreSQL database: nothing lost, nothing doubled."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import msgspec
import pytest

from cdp import app
from cdp.access import Source
from cdp.app import Platform
from cdp.ingest import Delivery
from cdp.settings import Settings

USERS, DEVICES, EVENTS = 12, 5, 240


@pytest.fixture
def writers(settings: Settings, tmp_path: Path) -> list[Platform]:
    """Three platforms that share nothing but the databases."""
    if settings.database_url.startswith("sqlite"):
        return [app.build(settings)]  # one process writes SQLite; three threads of it here
    return [
        app.build(msgspec.structs.replace(settings, data_dir=_beside(settings, tmp_path / str(number))))
        for number in range(3)
    ]


def _beside(settings: Settings, folder: Path) -> Path:
    folder.mkdir()
    (folder / "root.key").write_bytes((settings.data_dir / "root.key").read_bytes())
    return folder


def _messages() -> list[bytes]:
    chance = random.Random(5)  # noqa: S311  # repeatable data
    made = []
    for number in range(EVENTS):
        user = chance.randrange(USERS)
        message = {
            "type": "identify",
            "messageId": f"m{number}",
            "timestamp": f"2026-01-{chance.randrange(1, 29):02d}T00:00:00Z",
            "userId": f"u{user}",
            "anonymousId": f"kiosk-{chance.randrange(DEVICES)}",
            "traits": {"email": f"user-{user}@mail.example"},
        }
        made.append(msgspec.json.encode(message))
    return made


def test_hot_identifiers_under_several_writers(writers: list[Platform]) -> None:
    source = Source(source_id=1, name="shop", kind="server", enabled=True)
    messages = _messages()
    stored: list[int] = []
    failures: list[BaseException] = []

    def work(number: int) -> None:
        platform = writers[number % len(writers)]
        chance = random.Random(number)  # noqa: S311  # repeatable order
        mine = messages[:]  # every writer sends every message: two of three are duplicates
        chance.shuffle(mine)
        try:
            for start in range(0, EVENTS, 8):
                delivery = Delivery(
                    source=source,
                    messages=tuple(mine[start : start + 8]),
                    received_at=platform.services.clock.now(),
                )
                stored.append(platform.writer.write([delivery]).stored)
        except BaseException as error:  # noqa: BLE001  # shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert failures == []
    assert sum(stored) == EVENTS

    services = writers[0].services
    with services.store.reading() as connection:
        profiles = set()
        for user in range(USERS):
            found = services.identity.find(connection, "user_id", f"u{user}")
            mail = services.identity.find(connection, "email", f"user-{user}@mail.example")
            assert found is not None
            assert mail is not None
            profile_no = services.identity.profile_of(connection, found)
            assert services.identity.profile_of(connection, mail) == profile_no
            profiles.add(profile_no)
        assert len(profiles) == USERS
        assert services.audit.verify(connection).problems == ()
    for platform in writers:
        platform.close()
