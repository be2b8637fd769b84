"""Writers draw identity numbers from blocks of their own: whom a lower number joins stays restrained."""

from __future__ import annotations

from pathlib import Path

import msgspec
from caller import Caller

from cdp import app
from cdp.access import Source
from cdp.clock import FixedClock
from cdp.ingest import Delivery
from cdp.settings import Settings

EMAIL = "marketing.communications.email"


def test_an_identity_of_a_lower_number_joins_somebody_restrained(
    settings: Settings, caller: Caller, clock: FixedClock, tmp_path: Path
) -> None:
    folder = tmp_path / "beside"
    folder.mkdir()
    (folder / "root.key").write_bytes((settings.data_dir / "root.key").read_bytes())
    services = caller.services
    caller.send({"type": "track", "event": "Seen", "messageId": "m0", "userId": "somebody"})
    beside = app.build(msgspec.structs.replace(settings, data_dir=folder), clock)
    try:
        message = {
            "type": "track",
            "event": "Segment Consent Preference Updated",
            "messageId": "m1",
            "userId": "ann",
            "context": {"consent": {"categoryPreferences": {"Email": False}}},
        }
        source = Source(source_id=1, name="shop", kind="server", enabled=True)
        told = (msgspec.json.encode(message),)
        beside.writer.write([Delivery(source=source, messages=told, received_at=clock.now())])
    finally:
        beside.close()
    caller.send(
        {"type": "track", "event": "Seen", "messageId": "m2", "userId": "ann", "anonymousId": "phone"}
    )
    with services.store.reading() as connection:
        ann = services.identity.find(connection, "user_id", "ann")
        phone = services.identity.find(connection, "anonymous_id", "phone")
        assert ann is not None
        assert phone is not None
        assert phone < ann
        assert services.identity.profile_of(connection, ann) == phone
        assert services.ledger.states(connection, EMAIL)[phone].state == "withdrawn"
        assert list(services.ledger.restrained(connection, EMAIL)) == [phone]
