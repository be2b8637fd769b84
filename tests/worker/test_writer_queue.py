"""The writer's line: what goes first, what is taken when all else is refused, and what it costs nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import cast

import msgspec
import pytest

from cdp.access import Limits, Source
from cdp.errors import OverloadedError, StoreError, UnavailableError
from cdp.ingest import Delivery, Prepared
from cdp.pipeline import Outcome, Pipeline
from cdp.worker import Room, Writer

SHOP = Source(source_id=1, name="shop", kind="server", enabled=True)
SITE = Source(source_id=2, name="site", kind="browser", enabled=True)
_BATCH = 10
_SECONDS = 10.0
NO = {"consent": {"state": "withdrawn"}}
YES: dict[str, object] = {}


class _Heard(msgspec.Struct):
    """As much of a reject as the writer looks at."""

    heard: object
    name: str


class Scripted:
    """A pipeline that stores when it is let, and hears a no in whatever has ``consent``."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.begun = threading.Event()
        self.batches: list[list[str]] = []
        self.fails = False

    def prepare(self, deliveries: list[Delivery]) -> Prepared:
        messages = [msgspec.json.decode(raw) for one in deliveries for raw in one.messages]
        made = [_Heard(one.get("consent"), one["name"]) for one in messages]
        return Prepared([], cast("list[object]", made))  # type: ignore[arg-type]  # as above

    def store(self, prepared: Prepared) -> Outcome:
        self.begun.set()
        assert self.let.wait(_SECONDS)
        if self.fails:
            raise StoreError
        self.batches.append([cast("_Heard", one).name for one in prepared.rejects])
        size = prepared.size
        return Outcome(commit_no=len(self.batches), received=size, stored=size, duplicates=0, quarantined=0)


class Line:
    """A writer whose first micro-batch waits for the database."""

    def __init__(self, *, events: int = 40) -> None:
        self.pipeline = Scripted()
        self.room = Room(events, 64 << 20)
        self.writer = Writer(cast("Pipeline", self.pipeline), batch_events=_BATCH, room=self.room)
        self.writer.start()

    def send(
        self, name: str, more: Mapping[str, object] = YES, *, times: int = 1, source: Source = SHOP
    ) -> Future[Outcome]:
        raw = msgspec.json.encode({"name": name, **more})
        return self.writer.submit(Delivery(source=source, messages=(raw,) * times, received_at=0))

    def hold(self) -> None:
        """Have one call being stored, so that all that follows waits."""
        self.send("held")
        assert self.pipeline.begun.wait(_SECONDS)

    def fill(self) -> None:
        """Send until there is no more room."""
        while self.room.events < 40:
            self.send("more")
        with pytest.raises(OverloadedError):
            self.send("more")

    def stop(self) -> None:
        self.pipeline.let.set()
        self.writer.stop()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.stop()


def test_what_restrains_goes_first_and_the_rest_goes_on(line: Line) -> None:
    line.hold()
    for number in range(12):
        line.send(f"page {number}")
    for number in range(12):
        line.send(f"no {number}", NO)
    line.stop()
    kinds = [[name.split()[0] for name in batch] for batch in line.pipeline.batches]
    assert kinds[1] == ["no"] * 5 + ["page"] * 5
    assert kinds[2] == ["no"] * 5 + ["page"] * 5
    assert sorted(kinds[3]) == ["no"] * 2 + ["page"] * 2
    assert [name for batch in line.pipeline.batches for name in batch if "no" in name] == [
        f"no {number}" for number in range(12)
    ]


def test_a_full_line_takes_a_no_a_few_of_one_source_and_nothing_else(line: Line) -> None:
    line.hold()
    line.fill()
    taken = [line.send("no", NO), line.send("no", NO)]  # half of a tenth of 40
    with pytest.raises(OverloadedError):
        line.send("no", NO)
    taken.append(line.send("no", NO, source=SITE))
    with pytest.raises(OverloadedError):
        line.send("agreed", {"consent": None})  # looks like one, and is none
    assert line.room.events == 43
    line.stop()
    assert [future.result(_SECONDS).commit_no for future in taken] == [2, 2, 2]
    assert (line.room.events, line.room.bytes) == (0, 0)


def test_a_source_over_its_rate_may_still_say_no_and_not_without_end(line: Line) -> None:
    limits = Limits(events_per_second=1, burst=3)
    slow = msgspec.structs.replace(SHOP, limits=limits)
    line.pipeline.let.set()
    for _ in range(3):
        line.send("page", source=slow)
    with pytest.raises(OverloadedError, match="events_per_second") as refused:
        line.send("page", source=slow)
    assert refused.value.retry_after == 1
    for _ in range(3):
        line.send("no", NO, source=slow).result(_SECONDS)
    with pytest.raises(OverloadedError):
        line.send("no", NO, source=slow)
    line.send("page").result(_SECONDS)  # nobody else's business
    faster = msgspec.structs.replace(SHOP, limits=Limits(events_per_second=1000))
    assert line.send("page", times=30, source=faster).result(_SECONDS).stored == 30


def test_what_cannot_be_stored_is_told_to_its_callers_and_leaves_the_room(line: Line) -> None:
    line.hold()
    line.pipeline.fails = True
    waiting = [line.send("page") for _ in range(3)]
    line.pipeline.let.set()
    for future in waiting:
        with pytest.raises(StoreError):
            future.result(_SECONDS)
    assert line.room.events == 0
    line.pipeline.fails = False
    assert line.send("page").result(_SECONDS).stored == 1


def test_one_that_stops_writes_what_waits_and_takes_nothing_more(line: Line) -> None:
    line.hold()
    waiting = [line.send("page") for _ in range(25)]
    line.writer.close()
    with pytest.raises(UnavailableError, match="shutting down"):
        line.send("no", NO)
    with pytest.raises(UnavailableError):
        line.writer.check()
    line.stop()
    assert {future.result(0).stored for future in waiting} == {10, 5}


def test_callers_in_an_event_loop_are_answered_and_one_that_left_harms_nobody(line: Line) -> None:
    async def both() -> list[Outcome | BaseException]:
        def deliver(times: int) -> asyncio.Task[Outcome]:
            messages = (msgspec.json.encode({"name": "page"}),) * times
            delivery = Delivery(source=SHOP, messages=messages, received_at=0)
            return asyncio.create_task(line.writer.deliver(delivery))

        tasks = [deliver(1), deliver(300), deliver(1)]  # the second is prepared in a thread
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        line.pipeline.let.set()
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    line.room = line.writer.room = Room(1000, 64 << 20)
    gone, many, one = asyncio.run(both())
    assert isinstance(gone, asyncio.CancelledError)
    assert isinstance(many, Outcome)
    assert isinstance(one, Outcome)
    assert sum(map(len, line.pipeline.batches)) == 302
