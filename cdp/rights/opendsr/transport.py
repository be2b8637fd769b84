"""Calls to other machines: to whom controllers want called back, and to recipients.

Invariants: those of ``cdp.export.addresses`` hold for every call (no network of ours, the address that was
checked is the one that is called); redirects are not followed; a call lasts at most 20 s in all, whatever
drips in; of an answer no more is read than was asked for, and none of it is logged.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from functools import cached_property

import httpx
import msgspec

from cdp.clock import Clock, Micros
from cdp.crypto import Authorities
from cdp.export import asked_to_wait, resolve

MAX_BODY = 64 * 1024
_TIMEOUT_SECONDS = 20.0


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call; it cannot print itself.

    :param reads: whether the answer's body is wanted.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    reads: bool = False

    def __repr__(self) -> str:
        return f"<{self.method}>"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a call.

    :param status: of HTTP; 0 when there was no answer.
    :param error: a short code; empty for 2xx.
    :param headers: their names in lower case.
    :param wait: microseconds that the other side asks to wait.
    """

    status: int
    error: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""
    wait: Micros = 0

    def __repr__(self) -> str:
        return f"<answer {self.status}>"


class Transport:
    """Makes calls.

    :param authorities: who vouches for the servers.
    :param loopback: allow this machine, and http to it: for tests.
    :param timeout: seconds for one call, resolving included.
    """

    def __init__(
        self, authorities: Authorities, clock: Clock, *, loopback: bool, timeout: float = _TIMEOUT_SECONDS
    ) -> None:
        self._authorities = authorities
        self._clock = clock
        self._loopback = loopback
        self._timeout = timeout

    def calls(self, calls: Sequence[Call]) -> list[Answer]:
        """Make calls side by side; returns their answers in order.

        :raises ConfigurationError: the trusted authorities cannot be read.
        """
        return asyncio.run(self._all(calls)) if calls else []

    def call(self, call: Call) -> Answer:
        """Make one call."""
        return self.calls([call])[0]

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return self._authorities.context()

    async def _all(self, calls: Sequence[Call]) -> list[Answer]:
        async with httpx.AsyncClient(
            verify=self._context, trust_env=False, follow_redirects=False, timeout=self._timeout
        ) as client:
            return await asyncio.gather(*(self._one(client, call) for call in calls))

    async def _one(self, client: httpx.AsyncClient, call: Call) -> Answer:
        try:
            async with asyncio.timeout(self._timeout):
                target = await asyncio.to_thread(resolve, call.url, loopback=self._loopback)
                if target is None:
                    return Answer(status=0, error="address_refused")
                headers = {**call.headers, "host": target.host, "accept-encoding": "identity"}
                if call.body:
                    headers["content-type"] = "application/json"
                async with client.stream(
                    call.method,
                    target.url,
                    content=call.body or None,
                    headers=headers,
                    extensions={"sni_hostname": target.name},
                ) as answer:
                    return await self._taken(answer, reads=call.reads)
        except (TimeoutError, httpx.TimeoutException):
            return Answer(status=0, error="timeout")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
            return Answer(status=0, error="no_connection")

    async def _taken(self, answer: httpx.Response, *, reads: bool) -> Answer:
        body = b""
        if reads:
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MAX_BODY:
                    return Answer(status=answer.status_code, error="too_large")
        return Answer(
            status=answer.status_code,
            error="" if 200 <= answer.status_code < 300 else f"http_{answer.status_code}",
            headers={name.lower(): value for name, value in answer.headers.items()},
            body=body,
            wait=asked_to_wait(answer.headers.get("retry-after", ""), self._clock.now()),
        )
