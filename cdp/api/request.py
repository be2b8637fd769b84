"""The request as handlers see it: text is UTF-8, and none of it holds a NUL character.

PostgreSQL cannot store NUL, no name or identifier has one, and a store that refuses it halfway would look
like a failure of ours. JSON can carry it only as an escape. Ingest reads its body itself and judges event
by event.
"""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection

from cdp.errors import InvalidInputError, MalformedBodyError, TooLargeError

_ESCAPED = b"\\u0000"


class ApiRequest(Request[Any, Any, Any]):
    """A request whose body is checked when it is read."""

    async def body(self) -> bytes:
        """Return the body.

        :raises InvalidInputError: a text in it holds NUL.
        :raises MalformedBodyError: it is not UTF-8, of which the decoder would say so in an error of its own.
        """
        raw = await super().body()
        try:
            raw.decode()
        except UnicodeDecodeError:
            raise MalformedBodyError("the body is not UTF-8 text") from None
        if _ESCAPED in raw:
            raise InvalidInputError("a text in the body holds a NUL character")
        return raw


async def read_within(request: Request[Any, Any, Any], limit: int) -> bytes:
    """Return the body as it came, of which never more than ``limit`` bytes are read.

    :raises TooLargeError: it is longer.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"the body is over the limit of {limit} bytes")


def carries_gpc(request: Request[Any, Any, Any]) -> bool:
    """True for a request with the Global Privacy Control, ``Sec-GPC: 1`` exactly (W3C GPC)."""
    return "1" in request.headers.getall("sec-gpc", [])


def check_address(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Check the path and the query.

    :raises InvalidInputError: a text in them holds NUL.
    """
    if "\x00" in connection.scope["path"] or b"%00" in connection.scope["query_string"]:
        raise InvalidInputError("the address holds a NUL character")
