"""Fixtures of the segment tests: sets of public data, each in a platform of its own, made once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from known import Happened, Known, rows
from population import catalogue, rule

from cdp.clock import Micros, micros, parse_rfc3339
from cdp.policy import FieldCatalogue

Load = Callable[[FieldCatalogue, Iterable[Happened], str], Known]
ORDERS = catalogue(
    properties=[rule("revenue", "number"), rule("quantity", "number"), rule("order_id"), rule("sku")],
    inferences=["recency", "frequency", "monetary", "customer_tier"],
)


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Return a function that has a platform know what happened."""
    with ExitStack() as opened:

        def loaded(fields: FieldCatalogue, happened: Iterable[Happened], now: str) -> Known:
            known = Known(tmp_path_factory.mktemp("known"), fields, happened, parse_rfc3339(now))
            opened.callback(known.close)
            return known

        yield loaded


def local(text: str, zone: str) -> Micros:
    """Return the instant of a date, or a date and time, on the clocks of a zone."""
    return micros(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC))


@pytest.fixture(scope="session")
def cdnow(shared: Path, load: Load) -> Known:
    """Every purchase of the CDNOW cohort, at midnight of its day; evaluated the day after the last."""
    happened = (
        Happened(
            row["customer_id"],
            "Order Completed",
            local(row["date"], "UTC"),
            {"revenue": float(row["dollar_value"]), "quantity": int(row["number_of_cds"])},
        )
        for row in rows(shared, "cdnow/cdnow_master.csv.gz")
    )
    return load(ORDERS, happened, "1998-07-01T00:00:00Z")


@pytest.fixture(scope="session")
def retail(shared: Path, load: Load) -> Known:
    """The invoices of Online Retail's known customers; cancellations are refunds of what they amount to."""
    totals: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for row in rows(shared, "online_retail/online_retail_2010-12_2011-09.csv.gz"):
        if row["CustomerID"]:
            key = row["CustomerID"], row["InvoiceNo"], row["InvoiceDate"]
            totals[key] += int(row["Quantity"]) * Decimal(row["UnitPrice"])
    happened = (
        Happened(
            customer,
            "Order Refunded" if invoice.startswith("C") else "Order Completed",
            local(at, "Europe/London"),
            {"revenue": float(abs(total)), "order_id": invoice},
        )
        for (customer, invoice, at), total in totals.items()
    )
    return load(ORDERS, happened, "2011-09-30T23:00:00Z")


@pytest.fixture(scope="session")
def clicks(shared: Path, load: Load) -> Known:
    """The synthetic clickstream; its times are read as those of UTC."""
    happened = (
        Happened(row["user_id"], row["event"], local(row["timestamp"], "UTC"), {"platform": row["platform"]})
        for row in rows(shared, "ecom_clickstream_synthetic/ecom.csv.gz")
    )
    return load(catalogue(properties=[rule("platform")]), happened, "2024-06-30T00:00:00Z")


@pytest.fixture(scope="session")
def journey(shared: Path, load: Load) -> Known:
    """The grocery households: campaigns sent on their first day, coupons, baskets; clocks of New York."""
    folder, zone = "complete_journey", "America/New_York"
    starts = {
        row["campaign_id"]: local(row["start_date"], zone)
        for row in rows(shared, f"{folder}/campaign_descriptions.csv")
    }
    happened = [
        Happened(
            row["household_id"],
            "Campaign Sent",
            starts[row["campaign_id"]],
            {"campaign_id": row["campaign_id"]},
        )
        for row in rows(shared, f"{folder}/campaigns.csv")
    ]
    happened += [
        Happened(
            row["household_id"],
            "Coupon Redeemed",
            local(row["redemption_date"], zone),
            {"campaign_id": row["campaign_id"], "coupon": row["coupon_upc"]},
        )
        for row in rows(shared, f"{folder}/coupon_redemptions.csv")
    ]
    baskets: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for row in rows(shared, f"{folder}/transactions_sample.csv.gz"):
        key = row["household_id"], row["basket_id"], row["transaction_timestamp"]
        baskets[key] += Decimal(row["sales_value"])
    happened += [
        Happened(household, "Order Completed", parse_rfc3339(at), {"revenue": float(total)})
        for (household, _, at), total in baskets.items()
    ]
    fields = catalogue(properties=[rule("campaign_id"), rule("coupon"), rule("revenue", "number")])
    return load(fields, happened, "2018-03-01T05:00:00Z")
