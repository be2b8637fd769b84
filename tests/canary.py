"""The scan at the end of a run: nothing personal that any test sent in lies readable where it went through.

Every plainly fictional person of the tests has an e-mail address in a domain that is nobody's (RFC 2606;
a repository rule refuses others), and any such address is a canary. When all tests are done, every file that
they left behind is searched: SQLite files and their write-ahead logs, the Parquet mirror (its values, for its
pages are compressed), journals, backups, quarantine, spill, logs of servers; of PostgreSQL its data
directory, write-ahead log included (databases that were dropped live on in it); and the folders that
``CANARY_ALSO_SEARCH`` names, as CI does the demo's. So is what was printed or logged (of what a test read
of it, standard error), every error body that any HTTP client in the tests got, and every answer of
``/metrics``. Traces are not searched, for the platform makes none; what Chromium gets are pages, which are
there to show.

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
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from databases import server_of
from sqlalchemy import text as sql

OUTSIDE = "outside"
_NAMED = rb"(?:(?<=[\w.+-]@)|(?<=[\w.+-]%40))"  # beside a log's origin any byte may stand, an @ too
_DOMAIN = rb"(?:[a-z0-9-]{1,63}\.){0,4}example(?:\.(?:org|com|net))?(?!/audit)"
_CANARIES = [  # apart, each is found fast
    re.compile(at + _NAMED + _DOMAIN, re.IGNORECASE) for at in (b"@", b"%40")
]
_PARQUET = b"PAR1"  # how such a file begins and, when it is whole, ends
_found: list[str] = []
_watching = pytest.MonkeyPatch()


def check(where: str, data: bytes | mmap.mmap | pa.Buffer) -> None:
    """Note a canary in ``data``: the run fails at its end."""
    if any(canary.search(data) for canary in _CANARIES):
        _found.append(where)


def pytest_configure() -> None:
    """Watch what every HTTP client is answered: the platform's test clients, and the SDKs'."""
    send = httpx.Client.send

    def watched(client: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        response = send(client, request, **more)
        if more.get("stream"):  # whoever asked reads it
            return response
        if response.is_error or request.url.path == "/metrics":
            check(f"answer {response.status_code} to {request.method} {request.url.path}", response.read())
        return response

    sent = requests.Session.send

    def watched_too(
        session: requests.Session, request: requests.PreparedRequest, **more: Any
    ) -> requests.Response:
        response = sent(session, request, **more)
        if not response.ok:
            check(f"answer {response.status_code} to {request.method} {request.path_url}", response.content)
        return response

    read = pytest.CaptureFixture.readouterr

    def watched_read(capture: pytest.CaptureFixture[Any]) -> Any:
        printed = read(capture)
        raw = printed.err if isinstance(printed.err, bytes) else printed.err.encode(errors="replace")
        check(f"{os.environ.get('PYTEST_CURRENT_TEST', '')}: errors", raw)  # output is what a command shows
        return printed

    _watching.setattr(pytest.CaptureFixture, "readouterr", watched_read)
    _watching.setattr(httpx.Client, "send", watched)
    _watching.setattr(requests.Session, "send", watched_too)


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
    also = os.environ.get("CANARY_ALSO_SEARCH", "").split(os.pathsep)
    server = _postgres_folder()
    if server is not None and not os.access(server, os.R_OK) and session.config.getoption("--no-skips"):
        _found.append("postgresql: not searched, its data directory cannot be read")
    for name, folder in [
        ("", base),
        ("postgresql/", server),
        *(("also/", Path(path)) for path in also if path),
    ]:
        if folder is not None:
            for path in _files(folder):
                _search(path, name + path.relative_to(folder).as_posix())
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
                    check(where, data)
                    whole = data[:4] == data[-4:] == _PARQUET
                if whole:
                    _search_values(path, where)
    except (FileNotFoundError, PermissionError, ValueError):
        return  # a socket, or a file that went away meanwhile


def _search_values(path: Path, where: str) -> None:
    """Search the values of a Parquet file; of its names and least and greatest values the bytes told."""
    try:
        with pq.ParquetFile(path) as file:
            texts = [one.name for one in file.schema_arrow if not pa.types.is_primitive(one.type)]
            columns = file.read(texts, use_threads=False).columns
    except (pa.ArrowException, OSError):
        _found.append(f"{where}: not searched, it cannot be read")
        return
    for chunk in (chunk for column in columns for chunk in column.chunks):
        for buffer in (chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk).buffers():
            if buffer is not None:
                check(where, buffer)


def _postgres_folder() -> Path | None:
    url = os.environ.get("CDP_TEST_POSTGRES_URL", "")
    if not url:
        return None
    connection = server_of(url)
    connection.execute(sql("CHECKPOINT"))
    return Path(str(connection.execute(sql("SHOW data_directory")).scalar_one()))
