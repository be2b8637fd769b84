"""Spark for the tests: an engine in this process, and a standalone cluster of two executor processes.

A test that needs Spark is skipped where pyspark or its Java is not there, and says what to install.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cdp.errors import ConfigurationError, MissingExtraError
from cdp.warehouse import open_engine

WORKERS = 2
_READY_S = 120
_DEFAULTS = """\
spark.authenticate true
spark.authenticate.secret {secret}
spark.network.crypto.enabled true
spark.executor.cores 1
spark.executor.memory 512m
spark.driver.host 127.0.0.1
spark.driver.bindAddress 127.0.0.1
spark.sql.shuffle.partitions 2
spark.sql.adaptive.enabled false
spark.sql.codegen.wholeStage false
spark.sql.codegen.factoryMode NO_CODEGEN
"""  # the last three: each of very many small queries is run once, and not worth a plan made for many rows
_SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # of Java: no time for what pays off in minutes
_BOUND = '"$@" </dev/null & read -r _; kill $!; wait'  # ends with the tests, however they end

LEAVES_SOCKETS = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""For tests on Spark: pyspark leaves it to Python to close the sockets that results come through."""


class SparkCluster:
    """A running cluster.

    :param url: what ``CDP_WAREHOUSE`` names.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder

    @contextmanager
    def engine(self) -> Iterator[Any]:
        """Yield an engine that is connected to the cluster, with the configuration that knows its secret."""
        engine: Any = open_engine(self.url, self._folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SPARK_CONF_DIR", str(self._folder / "conf"))
            engine.connected()
        try:
            yield engine
        finally:
            engine.close()


def tasks_by_executor(engine: Any) -> dict[str, int]:
    """Return executor → the tasks that it has finished, of the session at hand."""
    java = engine.connected().root.sparkContext._jsc.sc()
    listed = java.statusStore().executorList(True)
    executors = [listed.apply(place) for place in range(listed.size())]
    return {one.id(): one.completedTasks() for one in executors if one.id() != "driver"}


@pytest.fixture(scope="session")
def spark_needed() -> Iterator[None]:
    """Skip where there is no Spark; have Java start fast where there is."""
    try:
        open_engine("spark-local", Path()).close()
    except MissingExtraError as error:
        pytest.skip(f"no pyspark: {error.message}")
    except ConfigurationError as error:
        pytest.skip(f"no Java: {error.message}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", _SHORT_LIVED)
        yield


@pytest.fixture(scope="module")
def spark_local(spark_needed: None) -> Iterator[Any]:  # noqa: ARG001  # skips
    """Return an engine in this process, for any number of warehouses of a file of tests."""
    engine = open_engine("spark-local", Path())
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def spark_cluster(
    spark_needed: None,  # noqa: ARG001  # skips
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SparkCluster]:
    """A standalone cluster on this machine: a master and two workers, each with one executor."""
    folder = tmp_path_factory.mktemp("spark")
    (folder / "conf").mkdir()
    defaults = folder / "conf" / "spark-defaults.conf"
    defaults.touch(mode=0o600)
    defaults.write_text(_DEFAULTS.format(secret=secrets.token_hex(32)))
    port, page = _free_ports(2)
    url = f"spark://127.0.0.1:{port}"
    with ExitStack() as opened:
        master = ["--port", str(port), "--webui-port", str(page)]
        opened.enter_context(_daemon(folder, "master", "master.Master", master))
        for number in range(WORKERS):
            name = f"worker-{number}"
            worker = ["--cores", "1", "--memory", "600m", "--work-dir", str(folder / name), url]
            opened.enter_context(_daemon(folder, name, "worker.Worker", worker))
        _wait_until_ready(page)
        yield SparkCluster(url, folder)


@contextmanager
def _daemon(folder: Path, name: str, kind: str, arguments: Sequence[str]) -> Iterator[None]:
    """Run a daemon of Spark; it and its executors end with the block, and when these tests are killed."""
    import pyspark  # noqa: PLC0415  # an extra

    command = [str(Path(pyspark.__file__).parent / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}"]
    environment = {
        **os.environ,
        "SPARK_CONF_DIR": str(folder / "conf"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(folder / f"{name}-local"),
        "SPARK_DAEMON_MEMORY": "256m",
    }
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _BOUND, "sh", *command, "--host", "127.0.0.1", *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as opened:
        probes = [opened.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _wait_until_ready(page: int) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{page}/json/").json()["aliveworkers"] == WORKERS:
                return
        except (httpx.TransportError, ValueError):
            pass
        time.sleep(0.2)
    pytest.fail("the Spark cluster did not become ready")
