"""``cdp doctor`` says what the warehouse left out, and that it is damaged; ``/metrics`` counts the same."""

from __future__ import annotations

from collections.abc import Callable

from caller import Caller
from prometheus_client import generate_latest
from sqlalchemy import insert

from cdp.ingest.tables import events
from cdp.settings import Settings
from cdp.store import Batch


def _event(batch: Batch, seq: int, properties: str) -> None:
    row = {
        "batch": batch.id, "seq": seq, "identity_no": 1, "event_id": seq.to_bytes(16), "source_id": 1,
        "type": "track", "name": "Order Completed", "occurred_at": 1, "stamped_at": 1, "received_at": 1,
        "properties": properties, "sealed": None,
    }  # fmt: skip
    batch.connection.execute(insert(events).values(row))


def test_what_was_left_out_is_told_and_damage_is_named(
    caller: Caller, shell: Callable[..., str], settings: Settings
) -> None:
    services = caller.services
    with services.committer.batch() as batch:
        _event(batch, 1, '{"revenue": 12.5}')
        _event(batch, 2, '{"revenue": "twelve"}')
    services.mirror.refresh()
    services.mirror.observe()
    metrics = generate_latest().decode()  # what /metrics answers to private networks
    assert 'cdp_warehouse_mistyped{column="p_revenue"} 1.0' in metrics
    told = shell("doctor", "--json")
    assert "values of another type than declared, held as NULL: p_revenue 1" in told
    assert "followed up to the newest commit" in told
    (file,) = [file for file in services.mirror.directory.read().files["events"] if file.rows]
    path = settings.mirror_dir / file.name
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert "not in order: warehouse" in shell("doctor", expect=1)
    path.write_bytes(whole)
    assert "not in order: warehouse" not in shell("doctor")
