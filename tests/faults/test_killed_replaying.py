"""A process that is killed while it replays failed messages: the next one goes on, nothing counts twice."""

from __future__ import annotations

import os
import signal

import msgspec
import pytest
from forked import CONTEXT
from sqlalchemy import func, select

import cdp.pipeline
from cdp import app
from cdp.access import Source
from cdp.clock import FixedClock, Micros
from cdp.ingest import Classifier, Delivery, Replay, Tally, Wanted
from cdp.ingest.tables import events
from cdp.settings import Settings
from cdp.store import Committer

_SOURCE = Source(source_id=1, name="shop", kind="server", enabled=True)
_MESSAGES = 4


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _replay(settings: Settings, at: Micros, dies: str) -> None:
    """Replay all, two a transaction, and be killed right before or right after the first one commits."""
    monkey = pytest.MonkeyPatch()  # in a process of its own: nothing is undone
    monkey.setattr(cdp.pipeline, "_REPLAY_PAGE", 2)
    built = app.build(settings, FixedClock(at))
    if dies == "after":
        monkey.setattr(Tally, "publish", _die)
    elif dies == "before":
        monkey.setattr(Committer, "_finish", _die)
    built.services.pipeline.replay(Replay("key:1"), {1: _SOURCE}, Wanted())
    built.close()


def _waiting(settings: Settings, clock: FixedClock) -> int:
    built = app.build(settings, clock)
    found = sum(one.messages for one in built.services.quarantine.waiting(Wanted()))
    built.close()
    return found


def test_killed_around_commits(
    settings: Settings, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With message ids and without."""
    built = app.build(settings, clock)
    messages = []
    for number in range(_MESSAGES):
        body = {"type": "page", "name": "Home", "userId": f"u{number}", "anonymousId": "kiosk"}
        messages.append(msgspec.json.encode(body | ({"messageId": f"m{number}"} if number % 2 else {})))
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "__call__", lambda *_: 1 / 0)
        delivery = Delivery(source=_SOURCE, messages=tuple(messages), received_at=clock.now())
        assert built.writer.write([delivery]).quarantined == _MESSAGES
    built.close()
    for dies, waiting in (("before", _MESSAGES), ("after", _MESSAGES - 2), ("", 0)):
        process = CONTEXT.Process(target=_replay, args=(settings, clock.now(), dies))
        process.start()
        process.join(timeout=120)
        assert process.exitcode == (-signal.SIGKILL if dies else 0)
        assert _waiting(settings, clock) == waiting
    built = app.build(settings, clock)
    with built.services.store.reading() as connection:
        assert connection.execute(select(func.count()).select_from(events)).scalar() == _MESSAGES
    (counted,) = built.services.counts.of()
    assert counted.balanced
    assert (counted.received, counted.stored, counted.replayed) == (_MESSAGES, _MESSAGES, _MESSAGES)
    assert counted.duplicates == 0
    built.close()
