"""A server that is told to end under load: what it answered is stored, all else its clients send again."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import msgspec
from served import served
from sqlalchemy import text

from cdp.settings import Settings
from cdp.store import Store

_CLIENTS, _EVENTS = 6, 5
_SECONDS = 30.0


class Load:
    """Clients that each send one batch after another until it is answered 200, or they are told to stop."""

    def __init__(self, url: str, write_key: str) -> None:
        self._url = url
        self._key = write_key
        self.stored: set[str] = set()
        self.open: set[str] = set()
        self.statuses: set[int] = set()
        self._lock = threading.Lock()
        self.stopping = threading.Event()

    def client(self, number: int) -> None:
        with httpx.Client(timeout=_SECONDS) as http:
            for call in range(10_000):
                if self.stopping.is_set() or not self._sent(http, f"{number}-{call}"):
                    return

    def _sent(self, http: httpx.Client, name: str) -> bool:
        """Send a batch; True when it is answered 200."""
        with self._lock:
            self.open.add(name)
        events = [
            {"type": "track", "event": "Seen", "userId": f"u{name}", "messageId": f"{name}/{number}"}
            for number in range(_EVENTS)
        ]
        try:
            answer = http.post(
                f"{self._url}/v1/batch", content=msgspec.json.encode({"batch": events}), auth=(self._key, "")
            )
        except httpx.TransportError:
            return False
        with self._lock:
            self.statuses.add(answer.status_code)
            if answer.status_code == 200:
                self.open.remove(name)
                self.stored.add(name)
            else:
                assert int(answer.headers["Retry-After"]) >= 1
        return answer.status_code == 200

    def again(self, url: str) -> Iterator[bool]:
        """Send what was not answered 200 again, as its clients would."""
        self._url = url
        with httpx.Client(timeout=_SECONDS) as http:
            for name in sorted(self.open):
                yield self._sent(http, name)


def _events(settings: Settings) -> int:
    with closing(Store(settings.database)) as store, store.reading() as connection:
        return int(connection.execute(text("SELECT count(*) FROM events")).scalar_one())


def test_nothing_that_was_answered_is_lost_and_nothing_counts_twice(settings: Settings) -> None:
    with served(settings) as (url, process):
        key = (settings.data_dir / "operator.key").read_text(encoding="ascii").strip()
        bearer = {"Authorization": f"Bearer {key}"}
        made = httpx.post(f"{url}/api/v1/sources", json={"name": "shop"}, headers=bearer).json()
        load = Load(url, made["write_key"])
        with ThreadPoolExecutor(_CLIENTS) as threads:
            clients = [threads.submit(load.client, number) for number in range(_CLIENTS)]
            until = time.monotonic() + _SECONDS
            while len(load.stored) < 10 * _CLIENTS and time.monotonic() < until:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert process.wait(_SECONDS) == 0
            load.stopping.set()
            for client in clients:
                client.result(_SECONDS)
    assert load.statuses <= {200, 503}
    assert len(load.stored) >= 10 * _CLIENTS
    assert load.open, "somebody was sending"
    kept = _events(settings)
    assert len(load.stored) * _EVENTS <= kept <= (len(load.stored) + len(load.open)) * _EVENTS
    everything = len(load.stored | load.open)
    with served(settings) as (url, _):
        assert all(load.again(url))
    assert _events(settings) == everything * _EVENTS
