"""``cdp demo``: the whole path on real purchases, from a pushed event to a proved, consented export.

Steps: 1. prepare the data directory. 2. Make a source and push everything through the ingest route.
3. Apply the segments. 4. Release one through the gate into a file, as its destination would. 5. Show who
was released, who was withheld and why. 6. Verify the audit log. Every step goes through the REST API, and
running it again changes nothing: the messages are known by then and count once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.progress import Progress

from cdp.cli.client import Api, connected
from cdp.cli.demo_people import messages, purchases
from cdp.cli.exports import destination_key
from cdp.cli.lock import data_lock
from cdp.cli.output import say, show_list
from cdp.errors import AuditError, CdpError, ConflictError
from cdp.settings import Settings, load

_SOURCE = "demo-shop"
_DESTINATION = "mailer"
_PURPOSE = "marketing.communications.email"
_BATCH = 1000
_PERIOD = {"from": "1997-01-01T00:00:00Z", "to": "1998-07-01T00:00:00Z"}
_SEGMENTS: dict[str, dict[str, Any]] = {
    "buyers": {
        "description": "Everybody who bought at least once",
        "where": {"event": "Order Completed", **_PERIOD},
    },
    "good-customers": {
        "description": "At least three orders and 100 dollars",
        "where": {
            "all": [
                {"event": "Order Completed", "count": {"gte": 3}, **_PERIOD},
                {"event": "Order Completed", "sum": {"property": "revenue", "gte": 100}, **_PERIOD},
            ]
        },
    },
    "lapsed-good-customers": {
        "description": "Good customers who bought nothing in the last half year of the data",
        "where": {
            "all": [
                {"segment": "good-customers"},
                {"not": {"event": "Order Completed", "from": "1998-01-01T00:00:00Z", "to": _PERIOD["to"]}},
            ]
        },
    },
}
_RELEASED = "lapsed-good-customers"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(demo)


def demo() -> None:
    """Load real purchases, release a segment to those who said yes, and prove it. Safe to repeat."""
    settings = load()
    _prepare(settings)  # 1
    orders = purchases()
    asked_on = f"{datetime.now(tz=UTC).year - 1}-07-01"  # the same all year, so that a rerun repeats it
    with connected(settings) as api:
        count = _push(api, messages(orders, asked_on), sum(map(len, orders.values())))  # 2
        say(f"{count} messages of {len(orders)} customers are stored, each counted once")
        shown = []
        for name, definition in _SEGMENTS.items():  # 3
            api.call("PUT", ("segments", name), body={"name": name, **definition})
            preview = api.post("/segments/preview", {"name": name, **definition})
            shown.append({"segment": name, "people": preview["count"], "meaning": definition["description"]})
        show_list(shown, ("segment", "people", "meaning"), as_json=False)
        _release(api, settings)  # 4, 5
        report = api.get("/audit/verify")  # 6
        if report["problems"]:
            raise AuditError("the audit log does not verify; run `cdp audit verify`")
        say(f"audit log: {report['entries']} entries, {report['checkpoints']} checkpoints, all verified")
    say("\nNext: make serve")


def _prepare(settings: Settings) -> None:
    from cdp.app import initialise  # noqa: PLC0415  # all of the platform, which other commands need not load

    with data_lock(settings.data_dir) as held:
        if held:
            initialise(settings)


def _push(api: Api, stream: Iterable[dict[str, Any]], about: int) -> int:
    try:
        write_key = api.post("/sources", {"name": _SOURCE, "kind": "server"})["write_key"]
    except ConflictError:
        write_key = api.post(("sources", _SOURCE, "rotate"))["write_key"]
    sent = 0
    waiting: list[dict[str, Any]] = []
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("pushing events", total=about * 2)
        for message in stream:
            waiting.append(message)
            if len(waiting) == _BATCH:
                api.ingest(write_key, waiting)
                sent += len(waiting)
                waiting = []
                progress.update(task, completed=sent)
        sent += len(waiting)
        api.ingest(write_key, waiting, wait=True)  # the last one returns when segments see them all
        progress.update(task, completed=sent, total=sent)
    return sent


def _release(api: Api, settings: Settings) -> None:
    asked = {"segment": _RELEASED, "destination": _DESTINATION, "purpose": _PURPOSE, "format": "jsonl"}
    decided = api.post("/exports", asked)
    with destination_key(api, _DESTINATION, _PURPOSE) as key:
        data = api.as_key(key).data(("exports", decided["id"], "data"))
    path = settings.data_dir / f"{decided['id']}.jsonl"
    path.touch(mode=0o600)
    path.write_bytes(data)
    rows = data.count(b"\n")
    if rows != decided["released"]:
        raise CdpError(f"the gate released {decided['released']} people and the file has {rows}")
    outcome = [{"outcome": "released", "people": rows, "why": "consent granted, current and unexpired"}]
    outcome += [
        {"outcome": "withheld", "people": number, "why": reason.replace("_", " ")}
        for reason, number in decided["withheld"].items()
    ]
    say(f"\n{_RELEASED} → {_DESTINATION} for {_PURPOSE} (export {decided['id']})")
    show_list(outcome, ("outcome", "people", "why"), as_json=False)
    say(f"fields: {', '.join(f'{name} ({kind})' for name, kind in decided['fields'].items())}")
    say(f"written to {path}: what the destination received")
