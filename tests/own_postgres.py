"""A PostgreSQL server of a test's own, to be stopped, started and filled: nobody else may miss it.

Made as `.ci/run` makes that of all tests: PostgreSQL refuses to run as root, who has it run as `postgres`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import pytest
from running import free_port
from small_disk import Disk, small_disk

_BIN = Path("/usr/lib/postgresql/15/bin")
_AS_SERVER = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
Mode = Literal["smart", "fast", "immediate"]


class OwnPostgres:
    """A server in a folder.

    :param options: of its configuration, by name.
    """

    def __init__(self, folder: Path, options: Mapping[str, object], disk: Disk | None) -> None:
        self.disk = disk
        self.port = free_port()
        self._data, self._log = folder / "data", folder / "log"
        given = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": folder,
            "fsync": "off",
            "shared_buffers": "16MB",
            **options,
        }
        self._options = " ".join(f"-c {name}={value}" for name, value in given.items())
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        self.start()

    def url(self, database: str) -> str:
        """Return the URL of a database on it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("pg_ctl", "-l", str(self._log), "-w", "-s", "start", "-o", self._options)

    def stop(self, mode: Mode) -> None:
        """Stop it: ``fast`` cuts everybody off, ``immediate`` is a crash."""
        self._run("pg_ctl", "-m", mode, "-w", "-s", "stop")

    def said(self) -> str:
        """Return its log."""
        return self._log.read_text(encoding="utf-8")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*_AS_SERVER, str(_BIN / program), "-D", str(self._data), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._data.parent)


@contextmanager
def own_postgres(disk_megabytes: int = 0, **options: object) -> Iterator[OwnPostgres]:
    """Yield a server that runs; it and its folder are gone after the block.

    :param disk_megabytes: of the disk of its own (``OwnPostgres.disk``) that it lies on; 0 for none.
    """
    if not (_BIN / "initdb").exists():
        pytest.skip(f"no PostgreSQL server in {_BIN} (.ci/run installs it)")
    made = Path(tempfile.mkdtemp(prefix="cdp-postgres-"))
    with ExitStack() as opened:
        opened.callback(shutil.rmtree, made, ignore_errors=True)
        if _AS_SERVER:
            shutil.chown(made, "postgres")
        disk = opened.enter_context(small_disk(made / "disk", disk_megabytes)) if disk_megabytes else None
        server = OwnPostgres(made if disk is None else disk.folder, options, disk)
        opened.callback(server.stop, "immediate")
        yield server
