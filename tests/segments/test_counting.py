"""What a definition may not read if anybody but an officer is to have it counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdp.policy import FieldCatalogue, load
from cdp.segments import parse
from cdp.segments.definition import leaves
from cdp.segments.references import identifies


@pytest.fixture(scope="module")
def fields() -> FieldCatalogue:
    """The shipped fields, as if somebody had declared all traits and properties clear."""
    shipped = load(Path(__file__).parents[2] / "policies").fields
    parts = {
        part: {
            name: msgspec.structs.replace(rule, protection="clear")
            for name, rule in getattr(shipped, part).items()
        }
        for part in ("traits", "properties", "context")
    }
    return msgspec.structs.replace(shipped, **parts)


@pytest.mark.parametrize(
    ("leaf", "named"),
    [
        ({"trait": "country", "op": "eq", "value": "GB"}, False),
        ({"trait": "address.city", "op": "eq", "value": "Ghent"}, True),
        ({"trait": "email", "op": "exists", "value": True}, True),
        ({"trait": "first_name", "op": "eq", "value": "Ada"}, True),
        ({"event": "Order Completed", "count": {"gte": 2}}, False),
        ({"event": "Order Completed", "where": [{"property": "revenue", "op": "gt", "value": 5}]}, False),
        ({"event": "Gift Sent", "where": [{"property": "recipient", "op": "eq", "value": "x"}]}, True),
        ({"event": "Gift Sent", "distinct": {"property": "recipient", "gte": 2}}, True),
        ({"sample": 0.5, "salt": "x"}, False),
        ({"segment": "others"}, False),
    ],
)
def test_what_names_a_person(fields: FieldCatalogue, leaf: dict[str, Any], named: bool) -> None:  # noqa: FBT001  # a table
    definition = parse({"where": {"not": leaf}}, fields, "")
    assert [identifies(one, fields) for one in leaves(definition.where)] == [named]


def test_identifiers_name_a_person(fields: FieldCatalogue) -> None:
    cookie = msgspec.structs.replace(fields.traits["country"], category="user.device.cookie_id")
    declared = msgspec.structs.replace(fields, traits={**fields.traits, "country": cookie})
    definition = parse({"where": {"trait": "country", "op": "eq", "value": "GB"}}, declared, "")
    assert all(identifies(one, declared) for one in leaves(definition.where))
