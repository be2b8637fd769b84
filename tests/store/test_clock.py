"""Instants: text in, microseconds inside, text out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.clock import parse_rfc3339, random_id, rfc3339


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_every_instant_that_can_be_written_reads_back(at: int) -> None:
    assert parse_rfc3339(rfc3339(at)) == at


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "10000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+01:00"],
)
def test_what_cannot_be_written_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the standard library words some of them
        parse_rfc3339(text)


def test_a_zone_is_applied_and_a_missing_one_is_utc() -> None:
    assert parse_rfc3339("2026-01-01T01:00:00+01:00") == parse_rfc3339("2026-01-01T00:00:00")


def test_ids_are_positive_and_distinct() -> None:
    made = [random_id() for _ in range(1000)]
    assert min(made) > 0
    assert max(made) < 2**63
