"""A platform whose warehouse is Spark, in this process: from a pushed event to a counted segment."""

from __future__ import annotations

import msgspec
import pytest
from caller import Caller
from litestar.testing import TestClient
from spark_cluster import LEAVES_SOCKETS

from cdp import app
from cdp.clock import FixedClock
from cdp.settings import Settings

pytestmark = LEAVES_SOCKETS
WHERE = {"where": {"event": "Order Completed", "sum": {"property": "revenue", "gte": 20}}}


@pytest.mark.usefixtures("spark_needed")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # Spark reads neither of the two
def test_a_segment_is_found_and_counted_on_spark(settings: Settings, clock: FixedClock) -> None:
    settings = msgspec.structs.replace(settings, warehouse="spark-local")
    key = (settings.data_dir / app.OPERATOR_FILE).read_text(encoding="ascii").strip()
    platform = app.build(settings, clock)
    with TestClient(app.application(platform)) as http:
        caller = Caller(http, key, platform.services)
        order = {"type": "track", "event": "Order Completed", "properties": {"revenue": 10.0}}
        orders = [
            {**order, "userId": f"u{n}", "messageId": f"{n}-{m}"} for n in range(12) for m in range(n % 4)
        ]
        caller.send(*orders, wait=True)
        assert caller.api("PUT", "/segments/regulars", {"name": "regulars", **WHERE})["count"] == 6
        assert "regulars" in caller.lookup("user_id", "u2")["segments"]
        assert caller.lookup("user_id", "u1")["segments"] == []
