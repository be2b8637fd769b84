"""Through a stream: the same people as directly, nothing twice, nothing clear; what restrains goes first."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats_cluster import NatsCluster
from platform_fixtures import Template, copy_database, settings_of
from prometheus_client import generate_latest
from streamed import ON_POSTGRESQL, backlog, called, drained, stored, stream_name, through, world

from cdp import app
from cdp.access import Source
from cdp.clock import SECOND, FixedClock
from cdp.ingest import Delivery
from cdp.ingest.apart import pack, unpack
from cdp.ingest.tables import events
from cdp.settings import Settings

PEOPLE, DEVICES, MESSAGES = 9, 4, 150
REFUSAL = {"consent": {"categoryPreferences": {"Email": False}}}


def refusal(message_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": message_id,
        "context": REFUSAL,
        **fields,
    }


def messages() -> list[dict[str, Any]]:
    chance = random.Random(11)  # noqa: S311  # repeatable data
    made: list[dict[str, Any]] = []
    for number in range(MESSAGES):
        person, day = chance.randrange(PEOPLE), chance.randrange(1, 28)
        common = {
            "messageId": f"m{number}",
            "timestamp": f"2026-02-{day:02d}T08:00:{number % 60:02d}Z",
            "userId": f"u{person}",
        }
        kind = chance.randrange(5)
        if kind == 0:
            made.append(refusal(**{**common, "message_id": common.pop("messageId")}))
        elif kind < 3:
            device = chance.randrange(DEVICES)
            traits = {"email": f"p{person}@mail.example", "country": chance.choice(["FR", "DE", "IT"])}
            made.append({"type": "identify", "anonymousId": f"d{device}", "traits": traits, **common})
        else:
            made.append({"type": "track", "event": f"E{number}", "properties": {"revenue": 1.5}, **common})
    return made


@ON_POSTGRESQL
def test_two_workers_make_the_same_people_as_one_writer(
    settings: Settings,
    cluster: NatsCluster,
    clock: FixedClock,
    tmp_path: Path,
    templates: Callable[[str], Template],
) -> None:
    template = templates("sqlite")
    shutil.copytree(template.folder, tmp_path / "direct")
    direct_urls = [f"sqlite:///{tmp_path / name}.sqlite" for name in ("cdp", "keys")]
    for made, url in zip(template[1:], direct_urls, strict=True):
        copy_database(made, url)
    direct = settings_of(tmp_path / "direct", *direct_urls)
    streamed = through(settings, cluster)
    later = FixedClock(clock.now() + 60 * SECOND)  # the time of receipt is that of the process that took it
    sent = messages()
    known = [("user_id", f"u{number}") for number in range(PEOPLE)]
    known += [("anonymous_id", f"d{number}") for number in range(DEVICES)]
    known += [("email", f"p{number}@mail.example") for number in range(PEOPLE)]
    with called(direct, clock) as one, called(streamed, clock) as other, ExitStack() as workers:
        for _ in range(2):
            workers.enter_context(app.consuming(streamed, later, mirror=False))
        for caller in (one, other):
            for start in range(0, 120, 15):
                caller.send(*sent[start : start + 15])
            for message in sent[120:]:
                caller.send(message)
            caller.send(*sent[40:70])  # a client's retry
        drained(other)
        assert stored(other) == stored(one)
        assert len(stored(one)) == MESSAGES
        assert world(other, known) == world(one, known)
        assert 'cdp_intake_published_total{lane="urgent"}' in generate_latest().decode()


@ON_POSTGRESQL
def test_nothing_clear_lies_in_the_stream_and_a_refusal_goes_before_the_backlog(
    settings: Settings, cluster: NatsCluster, clock: FixedClock
) -> None:
    streamed = through(settings, cluster)
    with called(streamed, clock) as caller:
        canary = "stella.streamed@mail.example"
        for number in range(30):
            caller.send(
                *(
                    {"type": "track", "event": f"Streamed {number}", "userId": f"u{number}"}
                    for _ in range(20)
                ),
                {"type": "identify", "userId": f"u{number}", "traits": {"email": canary}},
            )
        caller.send(
            {"type": "track", "event": "Beside", "userId": "u1"},
            refusal("r1", userId="u1"),
            {"type": "track", "event": "Beside", "userId": "u1"},
        )
        assert backlog(caller).messages == 32  # the refusal was cut out of its batch
        assert stored(caller) == []
        files = [path.read_bytes() for path in cluster.folder.rglob("*") if path.is_file()]
        lying = b"".join(files)
        assert stream_name(streamed).encode() in lying
        assert not [one for one in (canary, "Streamed 29", "Beside", '"userId"') if one.encode() in lying]

        clock.advance(30 * SECOND)
        caller.services.intake.observe()
        text = generate_latest().decode()
        assert "cdp_intake_oldest_seconds 30.0" in text
        assert "cdp_intake_waiting 32.0" in text
        with app.consuming(msgspec.structs.replace(streamed, batch_events=40), clock, mirror=False):
            drained(caller)
        assert len(stored(caller)) == 30 * 21 + 3
        with caller.services.store.reading() as connection:
            rows = list(connection.execute(events.select()))
        batches = sorted({int(row.batch) for row in rows})
        (refused,) = [int(row.batch) for row in rows if row.name.startswith("Segment")]
        assert refused in batches[:2]
        assert len(batches) > 4


@ON_POSTGRESQL
def test_what_comes_again_or_does_not_open_harms_nothing(
    settings: Settings, cluster: NatsCluster, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed = through(settings, cluster)
    name = stream_name(streamed)
    with called(streamed, clock) as caller:
        pipeline, raw = caller.services.pipeline, tuple(map(msgspec.json.encode, messages()[:9]))
        shop = Source(source_id=1, name="shop", kind="server", enabled=True)
        part = Delivery(source=shop, messages=raw, received_at=clock.now()).part([1, 4, 8])
        prepared = pipeline.prepare([part])  # and given to another process
        found = unpack(pack(prepared), part, prepared.generation)
        ids = [[one.classified.event.message.raw for one in held.events] for held in (prepared, found)]
        assert ids[0] == ids[1] == [raw[1], raw[4], raw[8]]

        caller.send({"type": "track", "event": "Whole", "userId": "u1"}, {"type": "track", "userId": "u1"})

        async def again(context: Any) -> None:
            """Put what lies there in again: as it is, altered, moved, under another hour, and nonsense."""
            held = await context.get_msg(name, seq=1)
            number, at, sealed = held.headers["Nats-Msg-Id"], held.headers["Cdp-At"], held.data
            flipped = bytes([*sealed[:-1], sealed[-1] ^ 1])
            for told, when, data in [
                ("0" + number, at, sealed),  # another spelling: the stream takes it for new
                ("00aa", at, flipped),
                ("00bb", at, sealed),
                ("00cc", str(int(at) - 3600 * SECOND), sealed),
                ("00dd", "soon", b""),
            ]:
                await context.publish(held.subject, data, headers={"Nats-Msg-Id": told, "Cdp-At": when})
            await context.publish(held.subject, b"no header")

        cluster.ask(again)
        caller.send({"type": "track", "event": "After", "userId": "u1"})
        with app.consuming(streamed, clock, mirror=False):
            drained(caller)
        assert stored(caller) == ["After", "Whole"]
        assert all(one.balanced for one in caller.services.counts.of())
        causes = sorted(item["cause"] for item in caller.api("GET", "/quarantine")["items"])
        assert (
            len(causes) == 5
        )  # one that is there twice counts once: the message without a name, and a moved one
        assert [one for one in causes if "altered or moved" in one]

        later = FixedClock(clock.now() + 73 * 3600 * SECOND)  # the key of its hour is past its time
        caller.send({"type": "track", "event": "Late", "userId": "u1"})
        keyring = caller.services.keyring
        monkeypatch.setattr(keyring, "_clock", later)
        ended = [one for one in keyring.ended_buckets() if one.startswith("intake/")]
        assert ended
        held = caller.services.intake.over(ended)
        assert max(ended) not in held  # something under it waits
        with app.consuming(streamed, later, mirror=False):
            drained(caller)
        assert "Late" in stored(caller)
        assert caller.services.intake.over(ended) == ended
        monkeypatch.undo()

        caller.send({"type": "track", "event": "Lost", "userId": "u1"})
        keyring.destroy_buckets(ended)
        with app.consuming(streamed, clock, mirror=False):
            drained(caller)
        causes = [item["cause"] for item in caller.api("GET", "/quarantine")["items"]]
        assert [one for one in causes if one.endswith("the key of its hour was destroyed")]
        assert "Lost" not in stored(caller)
