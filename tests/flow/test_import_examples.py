"""The mapping files in examples/imports on the data that they are for, against another reading of it."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from caller import Caller
from importing import Importer
from sqlalchemy import func, select

from cdp.ingest.tables import events

EXAMPLES = Path(__file__).parents[2] / "examples" / "imports"
_MOST = 600
Rows = list[dict[str, str]]


def part(source: Path, target: Path, most: int = _MOST) -> Path:
    """Write the beginning of a file of the test data, unpacked."""
    unpacked = gzip.open if source.suffix == ".gz" else open
    with unpacked(source, "rb") as data:
        target.write_bytes(b"".join(islice(data, most + 1)))
    return target


def independent(path: Path, delimiter: str = ",") -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def retail(rows: Rows) -> Counter[str]:
    known = [row for row in rows if row["CustomerID"]]
    gone = sum(row["InvoiceNo"].startswith("C") for row in known)
    return Counter({"identify": len(known), "Product Added": len(known) - gone, "Product Removed": gone})


def shop(rows: Rows) -> Counter[str]:
    named = {"view": "Product Viewed", "cart": "Product Added", "purchase": "Order Completed"}
    return Counter(named[row["event_type"]] for row in rows)


def bank(rows: Rows) -> Counter[str]:
    said = sum(row["y"] == "yes" for row in rows)
    return Counter({"identify": len(rows), "Campaign Contacted": len(rows), "Term Deposit Subscribed": said})


def each(name: str) -> Callable[[Rows], Counter[str]]:
    return lambda rows: Counter({name: len(rows)})


FILES: list[tuple[str, str, Callable[[Rows], Counter[str]]]] = [
    ("online_retail", "online_retail/online_retail_2010-12_2011-09.csv.gz", retail),
    ("cdnow", "cdnow/cdnow_master.csv.gz", each("Order Completed")),
    ("rees46_sample", "rees46_sample/2019-Oct-sample.csv", shop),
    ("complete_journey", "complete_journey/transactions_sample.csv.gz", each("Product Added")),
    ("complete_journey_demographics", "complete_journey/demographics.csv", each("identify")),
    ("complete_journey_redemptions", "complete_journey/coupon_redemptions.csv", each("Coupon Applied")),
    ("bank_marketing", "bank_marketing/bank-additional-full.csv.gz", bank),
]


def stored(caller: Caller, source: str) -> Counter[str]:
    held = {one["name"]: int(one["id"]) for one in caller.api("GET", "/sources")["items"]}
    query = select(events.c.name, func.count()).where(events.c.source_id == held[source])
    with caller.services.store.reading() as connection:
        return Counter(dict(connection.execute(query.group_by(events.c.name)).all()))


def test_each_example_makes_of_its_data_what_another_reading_does(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, shared: Path, tmp_path: Path
) -> None:
    run = Importer(caller, monkeypatch)
    folder = tmp_path / "outside"
    folder.mkdir()
    for name, data, expected in FILES:
        caller.api("POST", "/sources", {"name": name, "kind": "import"})
        file = part(shared / "data" / data, folder / f"{name}.csv")
        report = run(file, "--source", name, "--mapping", EXAMPLES / f"{name}.yaml")
        rows = independent(file, ";" if name == "bank_marketing" else ",")
        wanted = expected(rows)
        assert stored(caller, name) == +wanted, name
        assert (report["rows"], report["stored"]) == (len(rows), wanted.total()), name
        assert (report["duplicates"], report["quarantined"], report["suppressed"]) == (0, 0, 0), name
    line = independent(folder / "online_retail.csv")[0]
    *_, first = (
        item
        for item in timeline(caller, "user_id", line["CustomerID"])
        if item["properties"].get("product_id") == line["StockCode"]
    )
    assert first["occurred_at"] == "2010-12-01T08:26:00Z"
    assert first["properties"]["value"] == pytest.approx(int(line["Quantity"]) * float(line["UnitPrice"]))
    order = independent(folder / "cdnow.csv")[0]
    (bought,) = timeline(caller, "user_id", order["customer_id"])
    assert bought["occurred_at"] == "1997-01-01T05:00:00Z", "midnight in New York"
    assert bought["properties"]["revenue"] == float(order["dollar_value"])


def timeline(caller: Caller, type_: str, value: str) -> Iterator[dict[str, Any]]:
    profile = caller.lookup(type_, value)["id"]
    path, cursor = f"/profiles/{profile}/events?limit=500", ""
    while cursor is not None:
        page = caller.api("GET", path + (f"&cursor={cursor}" if cursor else ""), purpose="data_quality")
        yield from page["items"]
        cursor = page["next"]
