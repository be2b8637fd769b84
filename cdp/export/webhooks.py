"""Webhook endpoints of destinations: one each, with its secrets, and sending to it.

Sending, a turn of the worker, for each endpoint that is enabled and not asked to be slow:

1. Claim the messages that are due: the attempt is counted and the next one set before anything is sent, so
   that a process that dies leaves a message that is sent again, with the same id.
2. Resolve the host, refuse an address that is not public, connect to that address alone; sign; post; wait
   at most 20 s in all; never follow a redirect; never read the answer's body.
3. 2xx is taken. 410 disables the endpoint. 429, 502, 503, 504 and no answer at all slow the whole endpoint
   down, and disable it after the last try. Any other answer is about its message, which is tried again and
   fails after the last try. The tries come at the times of ``retries.py``; ``Retry-After`` is honoured.
4. What has failed or is disabled is shown until somebody sets the endpoint anew, which starts both over.
   What is recalled can be read without any endpoint.

Invariants: secrets lie in the key database and are shown once; no answer of an endpoint is stored or logged.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import httpx
import msgspec
import structlog

from cdp.audit import Entry
from cdp.clock import DAY, SECOND, Clock, Micros, random_id
from cdp.crypto import Keyring, Signer, derive
from cdp.errors import ConflictError, KeyAccessError, NotFoundError
from cdp.export import queries
from cdp.export.addresses import check_url, resolve
from cdp.export.model import Endpoint, Message
from cdp.export.outbox import Outbox
from cdp.export.retries import asked_to_wait, next_try
from cdp.export.signing import headers, shown_key, shown_secret
from cdp.journal import Fact, Thing, switched
from cdp.store import Committer, Store, retrying

log = structlog.get_logger()
_LONGEST_PAUSE = 2 * DAY
_CLAIMED = 60 * SECOND  # longer than an attempt lasts
_GRACE = DAY
_TIMEOUT_SECONDS = 20.0
_AT_ONCE = 20
_SLOW = frozenset({429, 502, 503, 504})
_GONE = 410


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as its owner is shown it.

    :param secret: only in the answer that made it.
    """

    endpoint: Endpoint
    public_key: str
    secret: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """What came of one attempt.

    :param status: of HTTP; 0 when there was no answer.
    :param error: a short code; empty when the message was taken.
    :param wait: microseconds that the endpoint asks to wait.
    """

    status: int
    error: str
    wait: Micros = 0


class Webhooks:
    """Endpoints, and what is sent to them.

    :param loopback: allow http and this machine: for tests.
    :param timeout: seconds for one attempt, resolving included.
    """

    def __init__(
        self,
        store: Store,
        committer: Committer,
        keyring: Keyring,
        outbox: Outbox,
        clock: Clock,
        *,
        loopback: bool = False,
        timeout: float = _TIMEOUT_SECONDS,
    ) -> None:
        self._store = store
        self._committer = committer
        self._keyring = keyring
        self._outbox = outbox
        self._clock = clock
        self._loopback = loopback
        self._timeout = timeout

    # -- endpoints ------------------------------------------------------------------------------

    def get(self, destination: str) -> Shown:
        """Return the endpoint of a destination, without its secret.

        :raises NotFoundError: it has none.
        """
        return self._shown(self._endpoint(destination))

    def every(self) -> list[Endpoint]:
        """Return every endpoint, by destination."""
        with self._store.reading() as connection:
            return queries.endpoints(connection)

    def put(self, actor: str, destination: str, url: str) -> Shown:
        """Set the endpoint of a destination, enabled; what waits or has failed starts over.

        The answer to the first one holds its secret, this once.

        :raises InvalidInputError: the URL is none that is ever called.
        """
        check_url(url, loopback=self._loopback)

        def work() -> tuple[Endpoint, bool]:
            with self._committer.batch() as batch:
                held = queries.endpoints(batch.connection, destination)
                batch.facts.extend(_left(one) for one in held if one.url != url)
                batch.facts.append(switched("webhook", _named(destination, url), on=True))
                endpoint = Endpoint(
                    destination=destination,
                    url=url,
                    enabled=True,
                    disabled_for="",
                    secret_version=held[0].secret_version if held else random_id(),
                    old_secret_version=held[0].old_secret_version if held else None,
                    old_secret_until=held[0].old_secret_until if held else None,
                    slow_until=None,
                    failures=0,
                    changed_at=self._clock.now(),
                )
                queries.put_endpoint(batch.connection, batch.id, endpoint)
                queries.requeue(batch.connection, destination, self._clock.now())
                batch.record(Entry(action="webhook.set", actor=actor, destination=destination))
            return endpoint, not held

        endpoint, fresh = retrying(work)
        return self._shown(endpoint, secret=fresh)

    def rotate(self, actor: str, destination: str) -> Shown:
        """Give the endpoint another secret, shown this once; for a day messages are signed with both.

        :raises NotFoundError: the destination has no endpoint.
        :raises ConflictError: the rotation before is not over.
        """
        held, now = self._endpoint(destination), self._clock.now()
        if held.old_secret_until is not None and held.old_secret_until > now:
            raise ConflictError("the secret was rotated less than a day ago; both are still in use")
        changed = msgspec.structs.replace(
            held,
            secret_version=random_id(),
            old_secret_version=held.secret_version,
            old_secret_until=now + _GRACE,
            changed_at=now,
        )
        retrying(partial(self._keep, actor, "webhook.rotate", changed))
        return self._shown(changed, secret=True)

    def delete(self, actor: str, destination: str) -> None:
        """Take the endpoint away; what waits can be read.

        :raises NotFoundError: the destination has none.
        """

        def work() -> None:
            with self._committer.batch() as batch:
                held = queries.endpoints(batch.connection, destination)
                batch.facts.extend(_left(one) for one in held)
                if not queries.drop_endpoint(batch.connection, destination):
                    raise NotFoundError("this destination has no webhook")
                batch.record(Entry(action="webhook.delete", actor=actor, destination=destination))

        retrying(work)

    def end_again(self, ended: Callable[[Thing, str], bool]) -> int:
        """Delete endpoints that a backup brought back; what waits can be read. Returns how many.

        :param ended: (thing, what identifies it) → it was put out of use, as the journal says.
        """
        with self._committer.batch() as batch:
            back = [
                held.destination
                for held in queries.endpoints(batch.connection)
                if ended("webhook", _named(held.destination, held.url))
            ]
            for destination in back:
                queries.drop_endpoint(batch.connection, destination)
        return len(back)

    def _endpoint(self, destination: str) -> Endpoint:
        with self._store.reading() as connection:
            found = queries.endpoints(connection, destination)
        if not found:
            raise NotFoundError("this destination has no webhook")
        return found[0]

    def _keep(self, actor: str, action: str, endpoint: Endpoint) -> None:
        with self._committer.batch() as batch:
            queries.put_endpoint(batch.connection, batch.id, endpoint)
            batch.record(Entry(action=action, actor=actor, destination=endpoint.destination))

    def _shown(self, endpoint: Endpoint, *, secret: bool = False) -> Shown:
        shown = shown_secret(self._secret(endpoint, endpoint.secret_version)) if secret else None
        key = shown_key(self._signer(endpoint).public_key)
        return Shown(endpoint=endpoint, public_key=key, secret=shown)

    def _secret(self, endpoint: Endpoint, version: int) -> bytes:
        root, name = self._keyring.secret("webhooks"), endpoint.destination.encode()
        return derive(root, b"cdp/webhook/v1", name, version.to_bytes(8))

    def _signer(self, endpoint: Endpoint) -> Signer:
        root, name = self._keyring.secret("webhooks"), endpoint.destination.encode()
        return Signer(derive(root, b"cdp/webhook-signing/v1", name))

    # -- sending --------------------------------------------------------------------------------

    def send(self) -> int:
        """Send what is due; returns how many messages were taken."""
        now, taken = self._clock.now(), 0
        for endpoint in self.every():
            pause = 0 if endpoint.slow_until is None else endpoint.slow_until - now
            if endpoint.enabled and not 0 < pause <= _LONGEST_PAUSE:  # a longer one: a clock was ahead
                try:
                    taken += self._send_to(endpoint)
                except Exception as error:  # noqa: BLE001  # one destination's failure is not another's
                    log.warning(
                        "sending failed", destination=endpoint.destination, error=type(error).__name__
                    )
        return taken

    def _send_to(self, endpoint: Endpoint) -> int:
        """Send a few messages; the first one alone: an endpoint that is down is asked once a turn."""
        now, taken = self._clock.now(), 0
        with self._store.reading() as connection:
            due = queries.due_messages(connection, endpoint.destination, now, _AT_ONCE)
        for part in (due[:1], due[1:]):
            mine = retrying(partial(self._claim, part, now))  # 1
            answers = asyncio.run(self._post_all(endpoint, mine))  # 2
            retrying(partial(self._settle, endpoint, mine, answers))  # 3, 4
            taken += sum(not answer.error for answer in answers)
            if not due[1:] or any(_is_slow(answer) or answer.status == _GONE for answer in answers):
                break
        return taken

    def _claim(self, due: Sequence[Message], now: Micros) -> Sequence[Message]:
        with self._committer.batch() as batch:
            ids = [message.message_id for message in due]
            mine = queries.claim(batch.connection, ids, now, now + _CLAIMED)
        return [message for message in due if message.message_id in mine]

    async def _post_all(self, endpoint: Endpoint, due: Sequence[Message]) -> list[Answer]:
        context = ssl.create_default_context()
        async with httpx.AsyncClient(
            verify=context, trust_env=False, follow_redirects=False, timeout=self._timeout
        ) as client:
            return await asyncio.gather(*(self._post(client, endpoint, message) for message in due))

    async def _post(self, client: httpx.AsyncClient, endpoint: Endpoint, message: Message) -> Answer:
        try:
            async with asyncio.timeout(self._timeout):
                target = await asyncio.to_thread(resolve, endpoint.url, loopback=self._loopback)
                if target is None:
                    return Answer(0, "address_refused")
                body = self._outbox.opened(message)
                given = self._headers(endpoint, message.message_id, body)
                given |= {"host": target.host, "content-type": "application/json"}
                extensions = {"sni_hostname": target.name}
                async with client.stream(
                    "POST", target.url, content=body, headers=given, extensions=extensions
                ) as answer:
                    return _answer(answer.status_code, answer.headers, self._clock.now())
        except KeyAccessError:
            return Answer(0, "expired")
        except (TimeoutError, httpx.TimeoutException):
            return Answer(0, "timeout")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError):
            return Answer(0, "no_connection")

    def _headers(self, endpoint: Endpoint, message_id: str, body: bytes) -> dict[str, str]:
        now, old, until = self._clock.now(), endpoint.old_secret_version, endpoint.old_secret_until
        live = [self._secret(endpoint, endpoint.secret_version)]
        if old is not None and until is not None and now < until:
            live.append(self._secret(endpoint, old))
        return headers(message_id, now // SECOND, body, live, self._signer(endpoint))

    def _settle(self, endpoint: Endpoint, due: Sequence[Message], answers: Sequence[Answer]) -> None:
        now = self._clock.now()
        slow = next((answer for answer in answers if _is_slow(answer)), None)
        with self._committer.batch() as batch:
            taken = []
            for message, answer in zip(due, answers, strict=True):
                if not answer.error:
                    taken.append(message.message_id)
                    continue
                again = next_try(0 if _is_slow(answer) else message.attempts, answer.wait, now)
                queries.mark_refused(batch.connection, message.message_id, answer.error, again)
            queries.mark_sent(batch.connection, taken, now)
            held = queries.endpoints(batch.connection, endpoint.destination)
            reason = ""
            if held and held[0].changed_at == endpoint.changed_at:
                gone = any(answer.status == _GONE for answer in answers)
                changed = self._judged(held[0], slow, gone=gone, now=now)
                reason = changed.disabled_for
                if changed != held[0]:
                    queries.put_endpoint(batch.connection, batch.id, changed)
            batch.record(
                Entry(
                    action="recall.send",
                    actor="system",
                    outcome="allowed" if taken else "failed",
                    destination=endpoint.destination,
                    object={"disabled_for": reason} if reason else {},
                    counts={"taken": len(taken), "refused": len(answers) - len(taken)},
                )
            )

    def _judged(self, endpoint: Endpoint, slow: Answer | None, *, gone: bool, now: Micros) -> Endpoint:
        """Return the endpoint after a turn: enabled or not, and until when it is left alone."""
        failures = 0 if slow is None else endpoint.failures + 1
        pause = None if slow is None else next_try(failures - 1, slow.wait, now)
        reason = "gone" if gone else "exhausted" if slow is not None and pause is None else ""
        return msgspec.structs.replace(
            endpoint, enabled=not reason, disabled_for=reason, slow_until=pause, failures=failures
        )


def _named(destination: str, url: str) -> str:
    """Return what identifies an endpoint in the journal."""
    return f"{destination} {url}"


def _left(endpoint: Endpoint) -> Fact:
    return switched("webhook", _named(endpoint.destination, endpoint.url))


def _is_slow(answer: Answer) -> bool:
    return answer.status in _SLOW or answer.error in {"timeout", "no_connection", "address_refused"}


def _answer(status: int, given: Mapping[str, str], now: Micros) -> Answer:
    if 200 <= status < 300:
        return Answer(status, "")
    return Answer(status, f"http_{status}", asked_to_wait(given.get("retry-after", ""), now))
