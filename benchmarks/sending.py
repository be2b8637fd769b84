"""A client that loses nothing: it sends a plan of events, and each call again until it is answered 200.

``python -m benchmarks.sending FILE WRITE_KEY PAUSE PORT…`` sends to servers on loopback, from several
threads, until standing input ends; then it sends what is not acknowledged yet, and ends. The calls go to the
ports in turn, and every fifth once more to another. Of each try it appends one line to ``FILE``, after its
answer: ``number status begun seconds retry_after``. The status is 0 where no answer came.

What the events are follows from their number alone (``message``): people who share devices and addresses and
say yes and no, each event at an instant of its own, so that the outcome does not hang on the order.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

SIZE = 10  # events of a call
_PEOPLE, _KIOSKS = 60, 3
_THREADS = 8
_AGAIN_SECONDS = 0.05
_TIMEOUT = 60.0
_ROOT = Path(__file__).parents[1]
EMAIL = "marketing.communications.email"


class Try(NamedTuple):
    """One call, and what was answered to it; times in seconds.

    :param status: 0 where no answer came.
    :param retry_after: of the header ``Retry-After``; -1 where there was none.
    """

    number: int
    status: int
    begun: float
    seconds: float
    retry_after: int


def message(number: int) -> dict[str, Any]:
    """Return an event of the plan."""
    chance = random.Random(number)  # repeatable data
    person = chance.randrange(_PEOPLE)
    day, second = divmod(number, 86_400)
    made: dict[str, Any] = {
        "type": "track",
        "event": "Product Added",
        "messageId": f"m{number}",
        "timestamp": f"2026-01-{day + 1:02d}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z",
        "userId": f"u{person}",
        "properties": {"price": number % 97, "product_id": f"p{number % 13}"},
    }
    if chance.random() < 0.5:
        kiosk = chance.random() < 0.5
        made["anonymousId"] = (
            f"kiosk-{chance.randrange(_KIOSKS)}" if kiosk else f"phone-{person}-{number // 400}"
        )
    if number % 5 == 0:
        home = person // 2 if person < _PEOPLE // 3 else person  # a third share their address with another
        traits = {"email": f"home-{home}@mail.example", "first_name": f"Heron {number}", "country": "GB"}
        made |= {"type": "identify", "traits": traits}
    elif number % 25 == 3:
        said = {"Email": person % 4 != 0 and number % 2 == 0}  # every fourth person only ever refuses
        made |= {"event": "Segment Consent Preference Updated"}
        made.pop("anonymousId", None)  # what is refused at a shared device stays with whoever had it by then
        made["context"] = {"consent": {"categoryPreferences": said}}
    return made


def messages(calls: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Yield the events of calls of the plan."""
    for call in calls:
        yield from map(message, range(call * SIZE, (call + 1) * SIZE))


def refusing(number: int) -> str | None:
    """Return who says no in an event, and never says yes in any."""
    made = message(number)
    person = str(made["userId"])
    return person if "context" in made and int(person[1:]) % 4 == 0 else None


class Sending:
    """A client at work, in a process of its own.

    :param pause: seconds that each of its threads waits after a call.
    """

    def __init__(self, file: Path, write_key: str, ports: Sequence[int], pause: float) -> None:
        self._file = file
        given = [str(file), write_key, str(pause), *map(str, ports)]
        command = [sys.executable, "-m", "benchmarks.sending", *given]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=_ROOT)  # ours

    def tries(self) -> list[Try]:
        """Return what it has tried so far."""
        if not self._file.exists():
            return []
        lines = (line.split() for line in self._file.read_text(encoding="ascii").splitlines())
        return [Try(int(a), int(b), float(c), float(d), int(e)) for a, b, c, d, e in lines]

    def acknowledged(self) -> set[int]:
        """Return the calls that were answered 200 so far."""
        return {one.number for one in self.tries() if one.status == 200}

    def finish(self, seconds: float = 60) -> list[Try]:
        """Have it send what is not acknowledged, and nothing new; returns all that it tried."""
        self._process.communicate(timeout=seconds)
        return self.tries()

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def sending(file: Path, write_key: str, ports: Sequence[int], pause: float = 0.02) -> Iterator[Sending]:
    """Yield a client at work; it ends with the block."""
    client = Sending(file, write_key, ports, pause)
    try:
        yield client
    finally:
        client.kill()


class Client:
    """Sends the plan.

    :param pause: seconds that each thread waits after a call.
    """

    def __init__(self, file: Path, write_key: str, pause: float, ports: list[int]) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        credential = base64.b64encode(f"{write_key}:".encode()).decode()
        self._headers = {"Authorization": f"Basic {credential}", "Content-Type": "application/json"}
        self._pause = pause
        self._ports = ports
        self._numbers = itertools.count()
        self._ended = threading.Event()

    def run(self) -> None:
        """Send until standard input ends."""
        threads = [threading.Thread(target=self._work) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        self._ended.set()
        for thread in threads:
            thread.join()

    def _work(self) -> None:
        held: dict[int, http.client.HTTPConnection] = {}
        while not self._ended.is_set():
            number = next(self._numbers)
            body = json.dumps({"batch": list(messages([number]))}).encode()
            self._send(held, number, body, number)
            if number % 5 == 0 and len(self._ports) > 1:
                self._send(held, number, body, number + 1)
            time.sleep(self._pause)

    def _send(
        self, held: dict[int, http.client.HTTPConnection], number: int, body: bytes, place: int
    ) -> None:
        for attempt in itertools.count():
            port = self._ports[(place + attempt) % len(self._ports)]
            if self._try(held, port, number, body) == 200:
                return
            time.sleep(_AGAIN_SECONDS)

    def _try(self, held: dict[int, http.client.HTTPConnection], port: int, number: int, body: bytes) -> int:
        connection = held.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT))
        begun = time.time()
        status, after = 0, "-1"
        try:
            connection.request("POST", "/v1/batch", body, self._headers)
            answer = connection.getresponse()
            answer.read()
            status, after = answer.status, answer.headers.get("Retry-After", "-1")
        except (OSError, http.client.HTTPException):
            connection.close()
        line = f"{number} {status} {begun:.6f} {time.time() - begun:.6f} {after}\n"
        os.write(self._file, line.encode())
        return status


def main() -> None:
    """Run the client."""
    file, write_key, pause, *ports = sys.argv[1:]
    Client(Path(file), write_key, float(pause), [int(port) for port in ports]).run()


if __name__ == "__main__":
    main()
