"""The outbox: what is told, read, acknowledged, late and over."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from gate_world import World, running
from receiver import Desk, Receiver, receiving
from sqlalchemy import update

from cdp.clock import DAY, SECOND
from cdp.errors import NotFoundError
from cdp.gate import Recall
from cdp.gate.tables import export_classes

world_fixture = pytest.fixture(running, name="world")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def desk(world: World, receiver: Receiver) -> Desk:
    return Desk(world, receiver.url)


def test_an_acknowledged_message_can_be_read_by_nobody_any_more(desk: Desk) -> None:
    desk.people("Ada", "Bea")
    desk.withdraw(1)
    desk.turn()
    world = desk.world
    (waiting,) = desk.outbox.waiting(world.mailer, after="", limit=10)
    assert desk.outbox.acknowledge(world.mailer, [waiting.id]) == 1
    assert desk.outbox.acknowledge(world.mailer, [waiting.id]) == 0, "once is enough"
    assert desk.outbox.waiting(world.mailer, after="", limit=10) == []
    assert desk.states() == {"acknowledged": 1}
    assert [entry.counts for entry in world.entries("recall.acknowledge")] == [{"messages": 1}]
    assert desk.refs["Ada"].encode() not in world.stored()


def test_nobody_acknowledges_for_another(desk: Desk) -> None:
    desk.people("Ada")
    desk.withdraw(1)
    desk.turn()
    (waiting,) = desk.outbox.waiting(desk.world.mailer, after="", limit=10)
    crm = desk.world.another_key("crm")
    with pytest.raises(NotFoundError):
        desk.outbox.acknowledge(crm, [waiting.id])
    assert desk.outbox.waiting(crm, after="", limit=10) == []
    with pytest.raises(NotFoundError):
        desk.outbox.acknowledge(desk.world.mailer, [waiting.id, "msg_other"])
    assert desk.states() == {"sent": 1}


def test_what_is_not_acknowledged_in_time_is_late(desk: Desk) -> None:
    desk.world.change_destination(recall_within_hours=2)
    desk.people("Ada")
    desk.withdraw(1)
    desk.turn()
    assert [one.late for one in desk.outbox.counts()] == [False]
    desk.world.clock.advance(2 * 3600 * SECOND + 1)
    (count,) = desk.outbox.counts()
    assert (count.late, count.state, count.messages, count.people) == (True, "sent", 1, 1)


def test_after_its_time_a_message_is_gone(desk: Desk) -> None:
    desk.people("Ada")
    desk.withdraw(1)
    desk.outbox.issue()
    desk.world.clock.advance(31 * DAY)
    desk.outbox.expire()
    assert desk.states() == {"failed": 1}
    assert desk.outbox.waiting(desk.world.mailer, after="", limit=10) == []


def test_erasure_is_told_after_the_keys_are_gone(desk: Desk, receiver: Receiver) -> None:
    desk.people("Ada", "Bea")
    world = desk.world
    with world.committer.batch() as batch:
        assert desk.outbox.materialise_removals(batch, [1, 2]) == 1
    world.destroy(1)
    assert desk.turn() == 1
    assert receiver.removals() == {desk.refs["Ada"]: "erase"}


def test_a_big_recall_is_cut_into_messages_of_a_size(world: World, receiver: Receiver) -> None:
    desk = Desk(world, receiver.url)
    desk.people(*(f"P{number}" for number in range(260)))
    assert desk.outbox.recall_everything("key:1", "mailer") == 260
    assert desk.webhooks.send() == 2
    assert receiver.removals() == dict.fromkeys(desk.refs.values(), "erase")
    assert max(len(body) for _, body in receiver.calls) < 20_000
    assert world.entries("recall.issue")[0].people["removed"] == 260


def test_one_bad_fetch_or_audience_stops_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    world = desk.world
    desk.people("Ada", "Bea")
    world.rows(world.gate.authorise(world.request(segment="before")).export_id)
    broken, whole = (world.gate.authorise(world.request(segment=name)).export_id for name in ("bad", "good"))
    for export in (broken, whole):
        world.gate.render(export, world.mailer)  # and the connection breaks off
    world.clock.advance(3601 * SECOND)
    with world.committer.batch() as batch:
        batch.connection.execute(
            update(export_classes).where(export_classes.c.export_id == broken).values(identities=b"?")
        )
    desk.withdraw(1)
    sealed = desk.outbox._sealed

    def failing(recall: Recall, within: int) -> object:
        if recall.audience.segment == "before":
            raise RuntimeError
        return sealed(recall, within)

    monkeypatch.setattr(desk.outbox, "_sealed", failing)
    assert desk.outbox.issue() == 3, "of everybody, of bad and of good: all that was begun is held"
    monkeypatch.undo()
    assert desk.outbox.issue() == 1, "what failed is taken again"
    assert desk.outbox.issue() == 0


def test_nothing_clear_waits_in_the_database(desk: Desk) -> None:
    desk.people("Ada", "Bea")
    desk.withdraw(1)
    desk.outbox.issue()
    held = desk.world.stored()
    assert desk.refs["Ada"].encode() not in held
    assert base64.b64decode(desk.secret.removeprefix("whsec_")) not in held
    assert desk.secret.encode() not in held
