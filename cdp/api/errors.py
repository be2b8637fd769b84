"""The error tree in HTTP.

RFC 9457 ``application/problem+json`` with a stable ``type``; the ingest routes (``/v1/…`` and Rudder's)
answer ``{"code", "message"}`` as their clients expect, one of which tries ten times on any other JSON.
Invariants: no answer and no log line repeats a value that was sent; an error that nobody foresaw answers 500
with an incident id and nothing else, and its log line has the same id, the error's type and its places in
the code, not its message.
"""

from __future__ import annotations

import re
import secrets
import traceback
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap
from prometheus_client import Counter

from cdp import errors

_KINDS: dict[type[errors.CdpError], tuple[int, str]] = {
    errors.MalformedBodyError: (400, "malformed-body"),
    errors.TooLargeError: (413, "too-large"),
    errors.UnsupportedMediaError: (415, "unsupported-media-type"),
    errors.DefinitionError: (400, "invalid-definition"),
    errors.InvalidInputError: (400, "invalid-input"),
    errors.NotAuthenticatedError: (401, "not-authenticated"),
    errors.NotPermittedError: (403, "not-permitted"),
    errors.NotFoundError: (404, "not-found"),
    errors.ConflictError: (409, "conflict"),
    errors.OverloadedError: (429, "too-many-requests"),
    errors.StoreError: (503, "store-unavailable"),
    errors.KeyAccessError: (503, "keys-unavailable"),
    errors.JournalError: (503, "journal-unavailable"),
    errors.NotRecoveredError: (503, "not-recovered"),
    errors.UnavailableError: (503, "unavailable"),
    errors.SealError: (500, "integrity"),
    errors.AuditError: (500, "integrity"),
    errors.IntegrityError: (500, "integrity"),
    errors.PolicyError: (400, "invalid-policies"),
    errors.ConfigurationError: (500, "configuration"),
}
_HTTP_SLUGS = {
    400: "malformed-body",
    401: "not-authenticated",
    403: "not-permitted",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    429: "too-many-requests",
}
_SAYABLE = re.compile(
    r"Expected `[\w |-]+`(, got `[\w |-]+`)?( - at `[$.\w\[\]-]+`)?"
    r"|Object missing required field `\w+`( - at `[$.\w\[\]-]+`)?"
)
_MISSING = re.compile(r"Missing required \w+ parameter '[\w-]+'")  # the path that follows holds values
_UNSAYABLE = {  # what the decoder says repeats what was sent; this says as much without it
    "Object contains unknown field": "it has a field that is not known here; /schema/openapi.json lists them",
    "Invalid enum value": "none of the values allowed here; /schema/openapi.json lists them",
}
_UNREADABLE = "the body is no JSON that can be read"
_INGEST = ("/v1/", "/beacon/", "/pixel/", "/sourceConfig", "/rsaMetrics", "/rsaRequest")
_log = structlog.get_logger("cdp.api")
# The sender has the events of such a call still: they are none of those that were received.
_CALLS = Counter("cdp_ingest_refused_calls", "Ingest calls refused whole, by why", ["reason"])
_CALLS_EVENTS = Counter(
    "cdp_ingest_refused_calls_events", "Events in such calls, as far as they were read", ["reason"]
)


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an error (RFC 9457).

    :param problems: for a body that does not fit: one place and what is wrong there, each.
    :param incident: names the log line of an unforeseen error.
    """

    type: str
    title: str
    status: int
    detail: str
    problems: list[dict[str, str]] = []
    incident: str = ""


def classify(error: Exception) -> tuple[int, str]:
    """Return (HTTP status, stable name) of an error."""
    for kind in type(error).__mro__:
        if kind in _KINDS:
            return _KINDS[kind]
    if isinstance(error, HTTPException):
        name = _HTTP_SLUGS.get(error.status_code)
        return error.status_code, name or ("invalid-input" if error.status_code < 500 else "internal")
    return 500, "internal"


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer ``error``."""
    if isinstance(error, RecursionError):  # the decoder's word for it; nothing else here is unbounded
        error = errors.MalformedBodyError("the body is nested too deeply")
    status, name = classify(error)
    incident, problems = "", list[dict[str, str]]()
    if isinstance(error, errors.CdpError) and name != "internal":
        detail = error.message
    elif isinstance(error, ValidationException):
        name, problems = "invalid-input", _places(error)
        if missing := _MISSING.match(error.detail):
            problems.append({"place": "", "problem": missing[0]})
        detail = "the request does not fit; see `problems`" if problems else "the request does not fit"
    elif status < 500:
        detail = _UNREADABLE if status == 400 else HTTPStatus(status).description or HTTPStatus(status).phrase
    else:
        incident = log_incident(error)
        detail = f"an unforeseen error; the server's log has it as incident {incident}"
    headers = _headers(error, status)
    if request.url.path.startswith(_INGEST):
        reason = name.replace("-", "_")
        _CALLS.labels(reason).inc()
        _CALLS_EVENTS.labels(reason).inc(request.state.get("events", 0))
        # Segment's clients know 400 for a body over its size, and read `code` and `message`.
        code = 400 if status == 413 else status
        return Response(
            {"code": reason, "message": detail},
            status_code=code,
            media_type="application/json",
            headers=headers,
        )
    problem = Problem(f"/problems/{name}", HTTPStatus(status).phrase, status, detail, problems, incident)
    return Response(problem, status_code=status, media_type="application/problem+json", headers=headers)


def log_incident(error: BaseException) -> str:
    """Log an unforeseen error without its message and return the incident's id."""
    incident = secrets.token_hex(8)
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    _log.error("incident", incident=incident, error=type(error).__name__, places=places[-12:])
    return incident


def _headers(error: Exception, status: int) -> dict[str, str]:
    if isinstance(error, errors.UnavailableError):
        seconds = str(error.retry_after)
        return {"Retry-After": seconds, "X-RateLimit-Reset": seconds}
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    if status == 405 and isinstance(error, HTTPException):
        return dict(error.headers or {})
    return {}


def _places(error: ValidationException) -> list[dict[str, str]]:
    """Return where a body does not fit and why, in the decoder's words where they hold no value."""
    found = []
    for extra in error.extra if isinstance(error.extra, list) else []:
        if isinstance(extra, dict):
            message = str(extra.get("message", ""))
            found.append({"place": str(extra.get("key", "")), "problem": _said(message)})
    return found


def _said(message: str) -> str:
    if _SAYABLE.fullmatch(message):
        return message
    return next((said for start, said in _UNSAYABLE.items() if message.startswith(start)), "not valid here")


EXCEPTION_HANDLERS: ExceptionHandlersMap = {Exception: handle, HTTPException: handle}
