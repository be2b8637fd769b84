"""The default region of a source: said when it is made, shown, and what its numbers are read by."""

from __future__ import annotations

import pytest
from caller import Caller
from platform_fixtures import Shell


def test_a_source_has_a_region_that_its_numbers_are_read_by(caller: Caller) -> None:
    made = caller.api("POST", "/sources", {"name": "shop-gb", "default_region": "gb"})
    assert made["default_region"] == "GB"
    caller.api("POST", "/sources", {"name": "shop"})
    listed = {item["name"]: item["default_region"] for item in caller.api("GET", "/sources")["items"]}
    assert listed == {"shop-gb": "GB", "shop": None}
    caller._write_keys["server"] = made["write_key"]
    message = {"type": "identify", "userId": "ann", "traits": {"phone": "020 8765 4321"}}
    caller.send(message)
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, "phone", "+44 20 8765 4321")
        assert number is not None
        assert services.identity.find(connection, "phone", "020 8765 4321") == number


@pytest.mark.parametrize("region", ["XX", "001", "Britain", "G", "é"])
def test_a_region_that_is_none_is_refused(caller: Caller, region: str) -> None:
    refused = caller.api("POST", "/sources", {"name": "shop", "default_region": region}, expect=400)
    assert "the region of a source is the ISO 3166 code" in refused["detail"]
    assert caller.api("GET", "/sources")["items"] == []


def test_the_command_says_it(shell: Shell) -> None:
    assert '"default_region": "CN"' in shell("source", "create", "shop", "--region", "cn", "--json")
    assert "CN" in shell("source", "list")
