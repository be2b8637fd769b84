"""No event disappears without a count: whatever is sent is accounted for, by source and day."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from caller import Caller
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

import cdp.pipeline
from cdp.clock import DAY, FixedClock, rfc3339
from cdp.errors import StoreError
from cdp.ingest import Delivery, Prepared, add_events
from cdp.store.engine import LostError

OUTCOMES = ("stored", "duplicates", "quarantined", "refused", "suppressed")


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"cdp_ingest_{name}_total", labels) or 0.0


@pytest.fixture
def balanced() -> Iterator[None]:
    """Whatever a test does, every batch adds up, and so do the metrics."""
    before = weighed()
    yield
    unbalanced, received, *became = (late - early for late, early in zip(weighed(), before, strict=True))
    assert unbalanced == 0
    assert received == sum(became) > 0


def weighed() -> list[float]:
    became = (metric("events", outcome=outcome) for outcome in OUTCOMES)
    return [metric("unbalanced"), metric("received_events"), *became]


def counts(caller: Caller, kind: str = "server") -> dict[str, int]:
    found = caller.api("GET", f"/sources/test-{kind}/counts")
    assert found["balanced"] is True
    assert found["total"]["received"] == sum(found["total"][name] for name in OUTCOMES)
    return {name: count for name, count in found["total"].items() if count}


def page(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "page", "name": "Home", "messageId": f"m{number}", "userId": f"u{number}", **more}


MESSAGES = st.one_of(
    st.integers(0, 20).map(page),
    st.integers(0, 20).map(lambda n: page(n, userId=None)),
    st.integers(0, 20).map(lambda n: page(n, type="dance")),
    st.integers(0, 3).map(lambda n: page(n, userId="gone")),
    st.sampled_from([1, None, "text", [], {}]),
)


@pytest.mark.usefixtures("balanced")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(MESSAGES, max_size=12), max_size=4),
    refuses=st.sampled_from(["none", "some"]),
    days=st.integers(0, 1),
)
def test_any_mix_of_any_batches_balances(
    caller: Caller, clock: FixedClock, batches: list[list[Any]], refuses: str, days: int
) -> None:
    """Of two sources in one micro-batch, with duplicates, rejects, and what a source is not to send."""
    clock.advance(days * DAY)
    pipeline, sent = caller.services.pipeline, 0
    for kind in ("server", "import"):
        caller.write_key(kind)
    sources = caller.services.access.list_sources()
    before = sum(one.received for one in caller.services.counts.of())
    parts = []
    for place, batch in enumerate(batches):
        source = sources[place % 2]
        messages = tuple(msgspec.json.encode(one) for one in batch)
        part = pipeline.prepare([Delivery(source=source, messages=messages, received_at=clock.now())])
        if refuses == "some":
            rejects = [msgspec.structs.replace(one, kept=bool(n % 2)) for n, one in enumerate(part.rejects)]
            part = msgspec.structs.replace(part, rejects=rejects)
        parts.append(part)
        sent += len(messages)
    outcome = pipeline.store(Prepared.of(parts))
    assert outcome.received == sum(outcome.counts.values()) == sent
    held = caller.services.counts.of()
    assert all(one.balanced for one in held)
    assert sum(one.received for one in held) == before + sent
    caller.services.counts.fold()
    assert caller.services.counts.of() == held


@pytest.mark.usefixtures("balanced")
def test_retries_cuts_and_refused_calls(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    caller.send(page(1), page(2), page(1), page(3, userId=None))
    caller.send(page(1))
    assert counts(caller) == {"received": 5, "stored": 2, "duplicates": 2, "quarantined": 1, "waiting": 1}

    losses = iter([LostError(), LostError()])
    store = add_events

    def unlucky(connection: Any, rows: Any) -> None:
        store(connection, rows)
        if (loss := next(losses, None)) is not None:
            raise loss
        if any("Poison" in row for row in rows):
            raise ValueError

    monkeypatch.setattr(cdp.pipeline, "add_events", unlucky)
    caller.send(page(4), page(1))
    assert counts(caller) == {"received": 7, "stored": 3, "duplicates": 3, "quarantined": 1, "waiting": 1}
    caller.send(*(page(n, name="Poison" if n == 13 else "Home") for n in range(10, 17)), page(17, type=7))
    assert counts(caller)["received"] == 15
    assert (counts(caller)["stored"], counts(caller)["quarantined"]) == (9, 3)

    def down(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(cdp.pipeline, "add_events", down)
    whole = ("store_unavailable", "not_authenticated", "malformed_body")
    calls = [metric("refused_calls", reason=n) for n in whole]
    events = metric("refused_calls_events", reason="store_unavailable")
    body = json.dumps({"batch": [page(30), page(31)]})
    assert caller.http.post("/v1/batch", content=body, auth=(caller.write_key(), "")).status_code == 503
    assert caller.http.post("/v1/batch", content=body, auth=("nobody", "")).status_code == 401
    assert caller.http.post("/v1/batch", content="{", auth=(caller.write_key(), "")).status_code == 400
    assert [metric("refused_calls", reason=n) for n in whole] == [one + 1 for one in calls]
    assert metric("refused_calls_events", reason="store_unavailable") == events + 2
    assert counts(caller)["received"] == 15
    assert caller.api("GET", "/counts") == {"balanced": True, "received": 15, "unbalanced": []}
    marketer = caller.officer("m", roles=("marketer",))
    caller.api("GET", "/counts", key=marketer, expect=403)
    caller.api("GET", "/sources/nobody/counts", expect=404)
    caller.api("GET", "/sources/test-server/counts?from=soon", expect=400)
    day = rfc3339(caller.services.clock.now())[:10]
    (only,) = caller.api("GET", f"/sources/test-server/counts?from={day}&to={day}")["days"]
    assert (only["day"], only["received"], only["balanced"]) == (day, 15, True)


def test_a_lost_event_is_noticed(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in a stage is told, by the metric and by the counts; nothing else is lost for it."""
    turn_away = caller.services.pipeline._statements.turn_away
    monkeypatch.setattr(
        caller.services.pipeline._statements, "turn_away", lambda *given: list(turn_away(*given))[1:]
    )
    before = metric("unbalanced")
    caller.send(page(1), page(2))
    assert metric("unbalanced") == before + 1
    found = caller.api("GET", "/sources/test-server/counts")
    assert (found["balanced"], found["total"]["received"], found["total"]["stored"]) == (False, 2, 1)
    assert [one["source"] for one in caller.api("GET", "/counts")["unbalanced"]] == ["test-server"]
