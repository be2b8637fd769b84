"""The Online Retail order lines as Segment messages.

Each line becomes one ``Product Added`` event of its customer, or of its invoice's browser for guests. A
customer's browser gets a new anonymous id each month. So about 5 % of the events bring a new identity.
Three events in ten carry an IP address, which is sealed. Before the first line of a customer come an
``identify`` (fictional e-mail address and name, sealed) and, for most, a consent.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

FILE = "data/online_retail/online_retail_2010-12_2011-09.csv.gz"
_CONTEXT = {"library": {"name": "analytics-python", "version": "2.4.0"}}


def messages(shared: Path, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield messages in the file's order, at most ``limit`` order lines."""
    known: set[str] = set()
    with gzip.open(shared / FILE, "rt", encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if limit is not None and number >= limit:
                return
            customer = row["CustomerID"]
            at = row["InvoiceDate"].replace(" ", "T") + "Z"
            if customer and customer not in known:
                known.add(customer)
                yield from _person(customer, row["Country"], at)
            yield _line(number, row, customer, at)


def _person(customer: str, country: str, at: str) -> Iterator[dict[str, Any]]:
    traits = {
        "email": f"customer-{customer}@mail.example",
        "first_name": f"Heron {customer}",
        "country": country,
    }
    common = {"userId": customer, "timestamp": at, "context": _CONTEXT}
    yield {"type": "identify", "messageId": f"identify-{customer}", "traits": traits, **common}
    said = int(customer) % 10
    if said < 8:
        consent = {"consent": {"categoryPreferences": {"Email": said < 7}}}
        yield {
            "type": "track",
            "event": "Segment Consent Preference Updated",
            "messageId": f"consent-{customer}",
            **common,
            "timestamp": "2026-01-01T00:00:00Z",
            "context": {**_CONTEXT, **consent},
        }


def _line(number: int, row: dict[str, str], customer: str, at: str) -> dict[str, Any]:
    invoice, quantity, price = row["InvoiceNo"], int(row["Quantity"]), float(row["UnitPrice"])
    browser = f"{customer}-{at[:7]}" if customer else f"guest-{invoice}"
    message: dict[str, Any] = {
        "type": "track",
        "event": "Product Removed" if invoice.startswith("C") else "Product Added",
        "messageId": f"line-{number}",
        "anonymousId": browser,
        "timestamp": at,
        "properties": {
            "order_id": invoice,
            "product_id": row["StockCode"],
            "name": row["Description"],
            "quantity": quantity,
            "price": price,
            "value": round(quantity * price, 2),
            "currency": "GBP",
        },
        "context": _CONTEXT,
    }
    if customer:
        message["userId"] = customer
    if zlib.crc32(message["messageId"].encode()) % 10 < 3:
        message["context"] = {**_CONTEXT, "ip": f"192.0.2.{number % 250}"}
    return message


def bodies(
    shared: Path, size: int, limit: int | None = None, *, live: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Yield (number of events, JSON body) of batches of ``size``.

    :param live: they happen when they are received.
    """
    batch: list[dict[str, Any]] = []
    for message in messages(shared, limit):
        if live:
            del message["timestamp"]
        batch.append(message)
        if len(batch) == size:
            yield size, msgspec.json.encode({"batch": batch})
            batch = []
    if batch:
        yield len(batch), msgspec.json.encode({"batch": batch})
