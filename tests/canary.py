"""The scan at the end of a run: nothing personal that any test sent in lies readable where it went through.

Every plainly fictional person of the tests has an e-mail address in one of ``CANARIES``. When all tests are
done, every file that they left behind is searched for them: SQLite files and their write-ahead logs, the
Parquet mirror, journals, backups, quarantine, spill, logs of servers; of PostgreSQL its data directory,
write-ahead log included (databases that were dropped live on in it). So is what the tests printed or
logged, every error body that any client in the tests got, and every answer of ``/metrics``. Traces are not
searched, for the platform makes none.

Files in which a test itself put clear data (what it imports, what it exported) lie in a folder named
``outside``: outside the platform.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from databases import server_of
from sqlalchemy import text

CANARIES = (b"@mail.example", b"@people.example", b"%40mail.example", b"%40people.example")
OUTSIDE = "outside"
_ANY = re.compile(b"|".join(map(re.escape, CANARIES)), re.IGNORECASE)
_found: list[str] = []
_watching = pytest.MonkeyPatch()


def check(where: str, data: bytes) -> None:
    """Note a canary in ``data``: the run fails at its end."""
    if _ANY.search(data):
        _found.append(where)


def pytest_configure() -> None:
    """Watch what every HTTP client is answered; the test clients of the platform are among them."""
    send = httpx.Client.send

    def watched(client: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        response = send(client, request, **more)
        if response.is_error or request.url.path == "/metrics":
            check(f"answer {response.status_code} to {request.method} {request.url.path}", response.read())
        return response

    _watching.setattr(httpx.Client, "send", watched)


def pytest_unconfigure() -> None:
    """Leave the client as it was."""
    _watching.undo()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Search what a test that passed printed and logged; a failing one shows its values on purpose."""
    if report.passed:
        for name, printed in report.sections:
            check(f"{report.nodeid}: {name}", printed.encode(errors="replace"))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what another process of this run found."""
    _found.extend(getattr(node, "workeroutput", {}).get("canary", ()))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search every file, and fail the run where one holds a canary."""
    to_first = getattr(session.config, "workeroutput", None)
    if to_first is not None:  # one of several processes: the first, which started them, searches the files
        to_first["canary"] = _found
        return
    factory = getattr(session.config, "_tmp_path_factory", None)
    base = None if factory is None else factory._basetemp
    if base is not None:
        for path in _files(base):
            _search(path, path.relative_to(base).as_posix())
    for folder in _postgres_folders():
        for path in _files(folder):
            _search(path, f"postgresql/{path.relative_to(folder).as_posix()}")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if _found and reporter is not None:
        reporter.ensure_newline()
        reporter.write_line("clear personal data was left behind in:", red=True)
        for where in sorted(set(_found)):
            reporter.write_line(f"  {where}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != OUTSIDE]
        yield from (Path(root) / name for name in names)


def _search(path: Path, where: str) -> None:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    if _ANY.search(data):
                        _found.append(where)
    except (FileNotFoundError, PermissionError, ValueError):
        return  # a socket, or a file that went away meanwhile


def _postgres_folders() -> list[Path]:
    url = os.environ.get("CDP_TEST_POSTGRES_URL", "")
    if not url:
        return []
    with server_of(url) as connection:
        connection.execute(text("CHECKPOINT"))
        folder = Path(str(connection.execute(text("SHOW data_directory")).scalar_one()))
    return [folder] if os.access(folder, os.R_OK) else []
