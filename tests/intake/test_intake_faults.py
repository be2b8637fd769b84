"""Nodes, workers and servers of an intake killed: all that was answered is there, and nothing twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from typing import Any

import httpx
import msgspec
from forked import CONTEXT
from litestar.testing import TestClient
from nats_cluster import NatsCluster, free_ports
from served import environment_of
from streamed import (
    ON_POSTGRESQL,
    called,
    drained,
    eventually,
    give_again_soon,
    stored,
    stream_name,
    through,
)

from cdp import app
from cdp.settings import Settings

_ROUNDS = 400


def _post(http: TestClient[Any], key: str, number: int) -> int:
    """Send a call of two events that have ids; returns how it was answered."""
    events = [
        {
            "type": "track",
            "event": f"E{number}.{part}",
            "userId": f"u{number % 7}",
            "messageId": f"{number}.{part}",
        }
        for part in range(2)
    ]
    return http.post("/v1/batch", content=msgspec.json.encode({"batch": events}), auth=(key, "")).status_code


@ON_POSTGRESQL
def test_nodes_killed_under_load(settings: Settings, cluster: NatsCluster) -> None:
    """The leader of the stream, another one with it so that no majority is left, and all; they come back."""
    streamed = through(settings, cluster)
    with called(streamed) as caller, ExitStack() as workers:
        give_again_soon(cluster, streamed)
        for _ in range(2):
            workers.enter_context(app.consuming(streamed, mirror=False))
        key, http = caller.write_key(), caller.http
        answers: dict[int, int] = {}
        ending = threading.Event()

        def load(first: int) -> None:
            """Send call after call; one that is refused is sent again, as SDKs do."""
            for number in range(first, _ROUNDS * 10, 3):
                while (status := _post(http, key, number)) != 200:
                    answers[status] = answers.get(status, 0) + 1
                    assert status == 503
                    if ending.is_set():
                        return
                    time.sleep(0.1)
                answers[200] = answers.get(200, 0) + 1
                taken.append(number)
                if ending.is_set():
                    return

        taken: list[int] = []
        senders = [threading.Thread(target=load, args=(first,)) for first in range(3)]
        for sender in senders:
            sender.start()
        eventually(lambda: len(taken) > 20)
        leader = cluster.leader(stream_name(streamed))
        cluster.kill(leader)
        before = len(taken)
        eventually(lambda: len(taken) > before + 20)  # two of three go on
        cluster.kill()
        eventually(lambda: answers.get(503, 0) > 0)
        answer = http.post("/v1/track", content=b'{"event":"x","userId":"u"}', auth=(key, ""))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        ready = http.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["intake"]) == (503, False)
        cluster.settle()
        before = len(taken)
        eventually(lambda: len(taken) > before + 20)
        ending.set()
        for sender in senders:
            sender.join()
        drained(caller)
        expected = {f"E{number}.{part}" for number in taken for part in range(2)}
        eventually(lambda: expected <= set(stored(caller)))
        found = stored(caller)
        assert len(found) == len(set(found))


def _killed_after_commit(settings: Settings) -> None:
    """A worker that is killed when it would acknowledge what it has committed."""
    from nats.aio.msg import Msg  # noqa: PLC0415  # an extra

    async def killed(_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    Msg.ack = killed  # type: ignore[assignment,method-assign]  # the fault
    with app.consuming(settings, mirror=False):
        time.sleep(60)


def _killed_before_answer(settings: Settings, key: str) -> None:
    """A server that is killed when the stream has taken what it was sent, before it answers."""
    with called(settings) as caller:
        submit = caller.services.intake.submit

        def killed(delivery: Any) -> Any:
            submit(delivery).result()
            os.kill(os.getpid(), signal.SIGKILL)

        caller.services.intake.submit = killed  # type: ignore[method-assign]  # the fault
        _post(caller.http, key, 1)


@ON_POSTGRESQL
def test_killed_between_two_steps(settings: Settings, cluster: NatsCluster) -> None:
    """A server between publishing and answering, a worker between its commit and saying so."""
    streamed = through(settings, cluster)
    with called(streamed) as caller:
        key = caller.write_key()
        server = CONTEXT.Process(target=_killed_before_answer, args=(streamed, key))
        server.start()
        server.join(60)
        assert server.exitcode == -signal.SIGKILL
        assert _post(caller.http, key, 1) == 200  # the client's retry
        nameless = [{"type": "track", "event": "Nameless", "userId": "u1"}, {"type": "track", "userId": "u1"}]
        caller.send(*nameless)
        give_again_soon(cluster, streamed)
        worker = CONTEXT.Process(target=_killed_after_commit, args=(streamed,))
        worker.start()
        worker.join(60)
        assert worker.exitcode == -signal.SIGKILL
        assert len(stored(caller)) > 0
        (port,) = free_ports(1)
        command = [sys.executable, "-m", "cdp", "worker", "--no-mirror", "--metrics-port", str(port)]
        with subprocess.Popen(command, env=environment_of(streamed)) as other:
            try:
                drained(caller)
                told = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            finally:
                other.terminate()
        assert other.returncode == 0  # it ended in order
        assert float(re.findall(r"cdp_intake_redelivered_total ([0-9.]+)", told)[0]) >= 1
        assert stored(caller) == ["E1.0", "E1.1", "Nameless"]
        assert len(caller.api("GET", "/quarantine")["items"]) == 1
