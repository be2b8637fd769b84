"""NATS JetStream, spoken to from threads: the one place where nats-py is loaded.

A loop in a thread of its own holds the connection, which is opened when it is first needed and comes back by
itself. Invariants:

1. A delivery is taken when JetStream says so: then a majority of the replicas has it. What gets no answer is
   sent again under the same ``Nats-Msg-Id``, so the stream holds it once, until it is answered or its time is
   over; then nobody is told that it was taken.
2. A message leaves the stream when it is acknowledged, which is after its commit. There is no age at which
   JetStream drops one: what is not consumed stays, and says how old it is.
3. The stream has three replicas on disk and never drops old for new; one that is there with less is refused.
4. What is given to this process and not committed is bounded, for each lane by number and size.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

import nats
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError
from prometheus_client import Counter

from cdp.errors import CdpError, UnavailableError
from cdp.intake.address import Address
from cdp.intake.model import LANES, Backlog, Carried

log = structlog.get_logger()
_REDELIVERED = Counter("cdp_intake_redelivered", "Sealed deliveries that came to this worker again")
_T = TypeVar("_T")
Make = Callable[[int], Iterable[tuple[str, Carried]]]
"""Returns lanes and what goes into them, given the most bytes that a message may have."""
Take = Callable[[Carried], "Future[object]"]
"""Takes a sealed delivery; the future is done once it is committed."""

REPLICAS = 3
_MAJORITY = 2
_PATIENCE = 5.0  # seconds that a call may wait for the stream
_TRY = 1.0  # seconds after which an unanswered message is sent again
_GRACE = 1.0  # seconds without a connection after which calls are refused at once
_PAUSE = 0.1
_ACK_WAIT = 30.0  # seconds without word after which a message is given to another worker
_UNACKNOWLEDGED = 1024  # of one lane, in all workers together
_FETCHED = 256
_FETCHED_BYTES = 8 * 1024 * 1024
_FETCH_SECONDS = 1.0
_AGAIN_SECONDS = 1.0  # until what failed comes again
_HEAD = 1024  # bytes of a message that headers may take
_NUMBER, _AT = "Nats-Msg-Id", "Cdp-At"
_AWAY = "the intake's stream does not answer; send it again"
_Failures = (nats.errors.Error, TimeoutError, OSError)


class JetStream:
    """One stream, and the connection to its servers."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._starting = threading.Lock()
        self._connecting = asyncio.Lock()
        self._client: Client | None = None
        self._ready = False
        self._lost_at: float | None = None
        self._why = ""  # the connection failed last; empty while it is there
        self._ending = False
        self._lanes: list[Future[None]] = []

    # -- called from any thread -----------------------------------------------------------------

    def publish(self, make: Make) -> Future[None]:
        """Put what ``make`` returns into the stream; done when all of it is replicated, or refused.

        The future has an ``UnavailableError`` when that cannot be had in time: some of it may be there.
        """
        return self._run(self._publish(make))

    def check(self) -> None:
        """Let pass while the stream is there and a majority of its replicas is.

        :raises UnavailableError: it is not.
        """
        self._run(self._within(self._check)).result()

    def backlog(self) -> Backlog:
        """Return what lies in the stream.

        :raises UnavailableError: it does not answer.
        """
        return self._run(self._within(self._backlog)).result()

    def consume(self, take: Take) -> None:
        """Begin to give sealed deliveries to ``take``, which is called in threads, until ``stop``."""
        self._lanes = [self._run(self._lane(lane, take)) for lane in LANES]

    def stop(self) -> None:
        """Fetch no more; return when what was fetched is committed and acknowledged, or given back."""
        self._ending = True
        for lane in self._lanes:
            lane.result()

    def close(self) -> None:
        """End the connection."""
        self.stop()
        if self._thread.is_alive():
            with contextlib.suppress(CdpError, *_Failures):
                self._run(self._close()).result(_PATIENCE)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        with self._starting:
            if not self._thread.is_alive():
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    # -- in the loop ----------------------------------------------------------------------------

    async def _within(self, ask: Callable[[JetStreamContext], Coroutine[Any, Any, _T]]) -> _T:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await ask(await self._context())
        except _Failures as error:
            why = (self._why if isinstance(error, TimeoutError) else "") or _said(error)
            raise UnavailableError(f"the intake's stream does not answer: {why}") from None

    async def _context(self) -> JetStreamContext:
        """Return the connection with the stream behind it, both made where they are not there."""
        async with self._connecting:
            if self._client is None or self._client.is_closed:
                here = self._address
                self._client = await nats.connect(
                    list(here.servers),
                    user=here.user,
                    password=here.password,
                    tls=here.tls,
                    name="cdp",
                    error_cb=self._failed,
                    disconnected_cb=self._lost,
                    reconnected_cb=self._found,
                    connect_timeout=2,
                    reconnect_time_wait=0.2,  # seconds
                    max_reconnect_attempts=-1,
                )
                self._lost_at, self._why = None, ""
            if self._lost_at is not None and self._loop.time() - self._lost_at > _GRACE:
                raise UnavailableError(_AWAY)  # nobody waits for what is known to be away
            context = self._client.jetstream(timeout=_TRY)
            if not self._ready:
                await self._make(context)
                self._ready = True
            return context

    async def _make(self, context: JetStreamContext) -> None:
        name = self._address.name
        try:
            held = (await context.stream_info(name)).config
        except NotFoundError:
            held = (await context.add_stream(_stream(name))).config
        fit = (held.retention, held.storage, held.discard) == (
            api.RetentionPolicy.WORK_QUEUE,
            api.StorageType.FILE,
            api.DiscardPolicy.NEW,
        )
        if not fit or held.max_age or (held.num_replicas or 1) < REPLICAS:
            raise UnavailableError(
                f"the stream {name} is not what an intake needs: three replicas on disk, a work queue, "
                "discard new, no greatest age (docs/intake.md)"
            )

    async def _failed(self, error: Exception) -> None:
        self._why = _said(error)
        log.debug("the connection to the intake's stream failed", error=self._why)

    async def _lost(self) -> None:
        self._lost_at = self._loop.time()
        if not self._ending:
            log.warning("the connection to the intake's stream is lost")

    async def _found(self) -> None:
        self._lost_at, self._why = None, ""
        log.info("the connection to the intake's stream is there again")

    async def _close(self) -> None:
        if self._client is not None:
            await self._client.close()

    # -- what goes in ---------------------------------------------------------------------------

    async def _publish(self, make: Make) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                context = await self._context()
                most = self._client.max_payload - _HEAD if self._client else 0
                pieces = list(make(most))
                await asyncio.gather(*(self._put(context, *piece) for piece in pieces))
        except _Failures:
            raise UnavailableError(_AWAY) from None

    async def _put(self, context: JetStreamContext, lane: str, carried: Carried) -> None:
        name = self._address.name
        while True:
            head = {_NUMBER: f"{carried.number:016x}", _AT: str(carried.at)}
            try:
                await context.publish(
                    f"{name}.{lane}", carried.sealed, timeout=_TRY, stream=name, headers=head
                )
            except _Failures:
                await asyncio.sleep(_PAUSE)
            else:
                return

    # -- what comes out -------------------------------------------------------------------------

    async def _lane(self, lane: str, take: Take) -> None:
        held: JetStreamContext.PullSubscription | None = None
        most = _FETCHED
        while not self._ending:
            try:
                held = held or await self._subscribed(lane)
                most = await self._turn(held, most, take)
            except TimeoutError:
                continue  # nothing there
            except Exception as error:  # noqa: BLE001  # a lane ends with its worker, not before
                log.warning(
                    "a lane of the intake waits for its stream", lane=lane, error=type(error).__name__
                )
                if held is not None:
                    with contextlib.suppress(*_Failures):
                        await held.unsubscribe()
                    held = None
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _turn(self, held: JetStreamContext.PullSubscription, most: int, take: Take) -> int:
        """Fetch messages and see them committed; returns how many the next turn fetches."""
        messages = await held.fetch(most, timeout=_FETCH_SECONDS)
        if not messages:
            await asyncio.sleep(_PAUSE)
            return most
        taken = [(one, await self._taken(one, take)) for one in messages]
        await asyncio.gather(*(_answer(one, future) for one, future in taken))
        largest = max(len(one.data) for one in messages)
        return max(1, min(_FETCHED, _FETCHED_BYTES // max(1, largest)))

    async def _subscribed(self, lane: str) -> JetStreamContext.PullSubscription:
        async with asyncio.timeout(_PATIENCE):
            context = await self._context()
            name = self._address.name
            config = api.ConsumerConfig(ack_wait=_ACK_WAIT, max_ack_pending=_UNACKNOWLEDGED)
            return await context.pull_subscribe(f"{name}.{lane}", durable=lane, stream=name, config=config)

    async def _taken(self, message: Msg, take: Take) -> Future[object]:
        """Hand a message over, in a thread: it is opened, and prepared, and may have to wait for room."""
        if message.metadata.num_delivered > 1:
            _REDELIVERED.inc()
        head = message.headers or {}
        carried = Carried(_number(head.get(_NUMBER), 16), _number(head.get(_AT), 10), message.data)
        try:
            return await asyncio.to_thread(take, carried)
        except Exception as error:  # noqa: BLE001  # it comes again
            failed: Future[object] = Future()
            failed.set_exception(error)
            return failed

    # -- how it is ------------------------------------------------------------------------------

    async def _check(self, context: JetStreamContext) -> None:
        info = await context.stream_info(self._address.name)
        cluster = info.cluster
        there = 0
        if cluster is not None and cluster.leader:
            there = 1 + sum(bool(one.current and not one.offline) for one in cluster.replicas or ())
        if there < _MAJORITY:
            raise UnavailableError("the intake's stream has no majority of its replicas")

    async def _backlog(self, context: JetStreamContext) -> Backlog:
        name = self._address.name
        state = (await context.stream_info(name)).state
        in_hand = redelivered = 0
        for lane in LANES:
            with contextlib.suppress(NotFoundError):  # no worker was there yet
                info = await context.consumer_info(name, lane)
                in_hand += info.num_ack_pending or 0
                redelivered += info.num_redelivered or 0
        oldest = None
        if state.messages:
            with contextlib.suppress(NotFoundError):  # it went meanwhile
                first = await context.get_msg(name, seq=state.first_seq, subject=">", next=True)
                oldest = _number((first.headers or {}).get(_AT), 10)
        return Backlog(state.messages, in_hand, redelivered, oldest)


async def _answer(message: Msg, taken: Future[object]) -> None:
    """Acknowledge a message once it is committed; one that could not be comes again."""
    try:
        await asyncio.wrap_future(taken)
    except Exception as error:  # noqa: BLE001  # whatever it is, nothing of it was committed
        log.warning("a delivery of the intake comes again", error=type(error).__name__)
        with contextlib.suppress(*_Failures):
            await message.nak(delay=_AGAIN_SECONDS)
        return
    with contextlib.suppress(*_Failures):  # then it comes again, and counts as it did
        await message.ack()


def _said(error: Exception) -> str:
    """Return what a failure is called; what a server says of it holds nothing that was sent."""
    return str(error) if isinstance(error, nats.errors.Error) and str(error) else type(error).__name__


def _stream(name: str) -> api.StreamConfig:
    return api.StreamConfig(
        name=name,
        subjects=[f"{name}.{lane}" for lane in LANES],
        retention=api.RetentionPolicy.WORK_QUEUE,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.NEW,
        num_replicas=REPLICAS,
        duplicate_window=120,
    )


def _number(text: str | None, base: int) -> int:
    """Return a header's number; 0 for one that is none: what it belongs to does not open."""
    try:
        found = int(text or "", base)
    except ValueError:
        return 0
    return found if 0 <= found < 2**64 else 0
