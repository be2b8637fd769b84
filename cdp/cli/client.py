"""The one way from a command to the platform: its REST API.

``connected()`` answers with a client that reaches, in this order:

1. the server that holds the data directory's lock (``serve`` runs here), over HTTP;
2. the application itself in this process, without a network, while this process holds the lock.

Either way the same routes, roles and audit entries apply, and the command acts as the key in
``CDP_API_KEY``, else as the operator key that ``cdp init`` left in the data directory.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from cdp.cli.in_process import AsgiApp, in_process
from cdp.cli.lock import data_lock, running_server
from cdp.errors import (
    CdpError,
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    NotPermittedError,
    UnavailableError,
)
from cdp.settings import Settings, load

T = TypeVar("T")
Json = Any
Route = str | tuple[str, ...]
"""A path of fixed words (``/identity/rules``), or the parts of one, of which some were given."""
OPERATOR_KEY_FILE = "operator.key"
_PAGE = 500
_PATIENCE_SECONDS = 15.0
_UNAVAILABLE_SECONDS = 5.0
_TIMEOUT = httpx.Timeout(600.0, connect=5.0)
_ERRORS: dict[int, type[CdpError]] = {
    400: InvalidInputError,
    401: NotAuthenticatedError,
    403: NotPermittedError,
    404: NotFoundError,
    409: ConflictError,
}


class Api:
    """A client of the REST API that raises the platform's own errors.

    :param send: sends one request and returns the answer.
    """

    def __init__(self, send: Callable[[httpx.Request], httpx.Response], key: str) -> None:
        self._send = send
        self._key = key

    def as_key(self, key: str) -> Api:
        """Return the same client acting as another key."""
        return Api(self._send, key)

    def get(self, path: Route, **params: str | float | None) -> Json:
        """Return what ``GET /api/v1{path}`` answers."""
        return self.call("GET", path, params=params)

    def post(self, path: Route, body: Json = None, **params: str | float | None) -> Json:
        """Return what ``POST /api/v1{path}`` answers."""
        return self.call("POST", path, body=body, params=params)

    def call(
        self,
        method: str,
        path: Route,
        *,
        body: Json = None,
        params: Mapping[str, str | float | None] | None = None,
        purpose: str = "",
    ) -> Json:
        """Send one request and return the decoded answer (None when it has no body).

        :raises CdpError: the error that the answer names.
        """
        answer = self._request(method, path, body, params, purpose)
        return msgspec.json.decode(answer.content) if answer.content else None

    def items(
        self, path: Route, *, most: float = math.inf, stating: str | None = None, **params: str | float | None
    ) -> Iterator[Json]:
        """Yield every item of a list, or the first ``most`` of them, page after page.

        :param stating: the purpose for which it is read, where people are.
        """
        cursor: str | None = None
        while most > 0:
            asked = {**params, "limit": int(min(_PAGE, most)), "cursor": cursor}
            page = self.call("GET", path, params=asked, purpose=stating or "")
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return
            most -= len(page["items"])

    def data(self, path: Route, **params: str | float | None) -> bytes:
        """Return the raw bytes that ``GET /api/v1{path}`` answers."""
        return self._request("GET", path, None, params, "").content

    def text(self, path: Route, **params: str | float | None) -> str:
        """Return the text that ``GET /api/v1{path}`` answers."""
        return self._request("GET", path, None, params, "").text

    def download(
        self,
        path: Route,
        file: BinaryIO,
        report: Callable[[int, int], None],
        *,
        params: Mapping[str, str | float | Sequence[int] | None],
    ) -> Mapping[str, str]:
        """Write what ``GET /api/v1{path}`` answers into a file as it comes; returns the answer's headers.

        :param report: told (bytes so far, about how many there will be).
        """
        answer = self._request("GET", path, None, params, "", read=False)
        about, done = int(answer.headers.get("cdp-bytes", "0")), 0
        with _whole(), closing(answer):
            for piece in answer.iter_bytes():
                done += file.write(piece)
                report(done, max(about, done))
        return answer.headers

    def ingest(self, write_key: str, messages: Sequence[Json], *, wait: bool = False) -> None:
        """Send Segment messages as a source does.

        :param wait: return only when segments can see them.
        """
        url = "http://cdp.invalid/v1/batch" + ("?wait=warehouse" if wait else "")
        headers = {"Content-Type": "application/json"}
        content = msgspec.json.encode({"batch": messages, "writeKey": write_key})
        answer = _read(self._send(httpx.Request("POST", url, headers=headers, content=content)))
        if answer.status_code != 200:
            raise _error_of(answer)

    def _request(
        self,
        method: str,
        path: Route,
        body: Json,
        params: Mapping[str, str | float | Sequence[int] | None] | None,
        purpose: str,
        *,
        read: bool = True,
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._key}"}
        if purpose:
            headers["CDP-Purpose"] = purpose
        content = None
        if body is not None:
            content, headers["Content-Type"] = msgspec.json.encode(body), "application/json"
        given = {name: value for name, value in (params or {}).items() if value is not None}
        url = f"http://cdp.invalid/api/v1{_path(path)}"
        deadline = time.monotonic() + _UNAVAILABLE_SECONDS
        while True:
            answer = self._send(httpx.Request(method, url, params=given, headers=headers, content=content))
            if read or answer.status_code >= 400:
                _read(answer)
            if answer.status_code != 503 or time.monotonic() > deadline:
                break
            time.sleep(0.2)  # nothing was done; the warehouse, say, is filling since the start
        if answer.status_code >= 400:
            raise _error_of(answer)
        return answer


@contextmanager
def _whole() -> Iterator[None]:
    """Say plainly when an answer breaks off."""
    try:
        yield
    except httpx.HTTPError as error:
        raise UnavailableError(f"the server broke off: {type(error).__name__}", retry_after=0) from None


def _read(answer: httpx.Response) -> httpx.Response:
    with _whole():
        answer.read()
    return answer


def _path(route: Route) -> str:
    """Return the path of a route, each given part quoted, so that it stays one part.

    :raises InvalidInputError: no quoting would keep one: it is empty, or has a slash, which servers unquote.
    """
    if isinstance(route, str):
        return route
    if not all(route) or "/" in "".join(route):
        raise InvalidInputError("an id or a name is empty, or has a slash")
    # a part of dots alone would be taken for a folder
    return "".join("/" + (quote(part, safe="") if part.strip(".") else "%2E" * len(part)) for part in route)


def _error_of(answer: httpx.Response) -> CdpError:
    """Return the error that an answer carries, with every place it names, on one line."""
    try:
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.DecodeError:
        problem = {}
    message = str(
        problem.get("detail") or problem.get("message") or f"the server answered {answer.status_code}"
    )
    places = [f"{found['place']}: {found['problem']}" for found in problem.get("problems", [])]
    line = "; ".join([message, *places])
    if answer.status_code in {429, 503}:
        return UnavailableError(line, retry_after=int(answer.headers.get("retry-after", "5")))
    return _ERRORS.get(answer.status_code, CdpError)(line)


@contextmanager
def connected(settings: Settings | None = None) -> Iterator[Api]:
    """Open the way to the platform for one command.

    :raises ConfigurationError: there is no key to act as, or nothing was initialised here.
    :raises UnavailableError: another command keeps the data directory, or the server does not answer.
    """
    chosen = settings or load()
    key = _key(chosen.data_dir)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with ExitStack() as stack:
            if stack.enter_context(data_lock(chosen.data_dir)):
                app = _application(chosen)
                yield Api(stack.enter_context(in_process(app)), key)
                return
            server = running_server(chosen.data_dir)
            if server is not None:
                yield Api(stack.enter_context(_over_http(server.url, deadline)), key)
                return
        if time.monotonic() > deadline:
            raise UnavailableError("another cdp command is at work in this data directory; try again later")
        time.sleep(0.1)


def _key(data_dir: Path) -> str:
    if key := os.environ.get("CDP_API_KEY"):
        return key
    path = data_dir / OPERATOR_KEY_FILE
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise ConfigurationError(
            f"no key to act as: set CDP_API_KEY, or run `cdp init` (it leaves one in {path})"
        ) from None
    except (OSError, ValueError):
        raise ConfigurationError(f"the operator key file {path} cannot be read") from None


def _application(settings: Settings) -> AsgiApp:
    from cdp.app import create  # noqa: PLC0415  # all of the platform; not needed to ask a running server

    return create(settings)


@contextmanager
def _over_http(url: str, deadline: float) -> Iterator[Callable[[httpx.Request], httpx.Response]]:
    base = httpx.URL(url)
    with httpx.Client(timeout=_TIMEOUT, trust_env=False) as client:

        def send(request: httpx.Request) -> httpx.Response:
            request.url = request.url.copy_with(scheme=base.scheme, host=base.host, port=base.port)
            request.headers["Host"] = base.netloc.decode()
            while True:
                try:
                    return client.send(request, stream=True)
                except httpx.ConnectError:
                    if time.monotonic() > deadline:
                        raise UnavailableError(
                            f"the server at {url} does not answer", retry_after=0
                        ) from None
                    time.sleep(0.1)  # it has the lock already and is starting
                except httpx.HTTPError as error:
                    name = type(error).__name__
                    raise UnavailableError(f"the server at {url} broke off: {name}", retry_after=0) from None

        yield send
