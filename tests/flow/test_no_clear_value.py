"""The grep: nothing personal that was sent in lies readable anywhere on disk or in the databases."""

from __future__ import annotations

import resource
from typing import Any

import pytest
from caller import Caller
from sqlalchemy import create_engine, inspect, text

from cdp import app
from cdp.settings import Settings

NEEDLES = {
    "email": "canary.one@mail.example",
    "email_in_trait": "canary.two@mail.example",
    "email_in_name": "canary.three@mail.example",
    "email_in_url": "canary.four@mail.example",
    "email_in_message_id": "canary.five@mail.example",
    "email_in_key": "canary.six@mail.example",
    "email_in_quarantine": "canary.seven@mail.example",
    "email_in_consent": "canary.eight@mail.example",
    "email_in_product": "canary.nine@mail.example",
    "phone": "+442079460958",
    "phone_in_property": "+442079460959",
    "first_name": "Quillfeather",
    "last_name": "Bramblethorpe",
    "name_in_property": "Zephyrine",
    "user_id": "canary-user-4711",
    "anonymous_id": "canary-browser-4712",
    "street": "Nightjar Alley 9",
    "ip": "203.0.113.77",
    "undeclared": "likes blue herons",
}


def _messages() -> list[dict[str, Any]]:
    ids = {"userId": NEEDLES["user_id"], "anonymousId": NEEDLES["anonymous_id"]}
    return [
        {
            "type": "identify",
            **ids,
            "traits": {
                "email": NEEDLES["email"],
                "phone": NEEDLES["phone"],
                "firstName": NEEDLES["first_name"],
                "lastName": NEEDLES["last_name"],
                "country": NEEDLES["email_in_trait"],
                "address": {"street": NEEDLES["street"], "country": "DE"},
                NEEDLES["email_in_key"]: True,
                "hobby": NEEDLES["undeclared"],
            },
        },
        {
            "type": "track",
            "event": "Product Added",
            **ids,
            "messageId": NEEDLES["email_in_message_id"],
            "context": {
                "ip": NEEDLES["ip"],
                "page": {"url": f"https://shop.example/?e={NEEDLES['email_in_url']}"},
                "consent": {"categoryPreferences": {"Email": True}, "note": NEEDLES["email_in_consent"]},
            },
            "properties": {
                "revenue": 1.5,
                "coupon": NEEDLES["phone_in_property"],
                "engraving": NEEDLES["name_in_property"],
                "products": [{"name": NEEDLES["email_in_product"]}],
            },
        },
        {"type": "track", "event": f"to {NEEDLES['email_in_name']}", **ids},
        {"type": "group", "groupId": "g1", **ids, "traits": {"name": NEEDLES["last_name"]}},
        {"type": "nonsense", "userId": NEEDLES["email_in_quarantine"]},
    ]


@pytest.mark.usefixtures("clock")
def test_nothing_that_was_sent_in_can_be_read(
    caller: Caller, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    caller.send(*_messages(), wait=True)
    caller.lookup("email", NEEDLES["email"])
    caller.api(
        "POST",
        "/profiles/lookup",
        {"type": "nope", "value": NEEDLES["email"]},
        purpose="data_quality",
        expect=400,
    )
    output = capfd.readouterr()
    haystack = {"output": (output.out + output.err).encode()}
    for path in settings.data_dir.parent.rglob("*"):
        if path.is_file():
            haystack[path.name] = path.read_bytes()
    assert any(name.endswith(".parquet") for name in haystack)
    for url in (settings.database_url, settings.keys_database_url):
        haystack |= _tables(url)
    found = {
        (needle, place)
        for needle, value in NEEDLES.items()
        for place, content in haystack.items()
        if value.casefold().encode() in content.lower()
    }
    assert found == set()


def test_a_process_that_dies_leaves_no_memory_behind(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of this process may be nought from elsewhere: what counts is that it is set."""
    limits: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    app.build(settings).close()
    assert limits == {resource.RLIMIT_CORE: (0, 0)}


def test_the_search_would_find_a_clear_value(caller: Caller, settings: Settings) -> None:
    caller.send(
        {"type": "track", "event": "Product Added", "userId": "u1", "properties": {"coupon": "HERON20"}}
    )
    found = [name for name, content in _tables(settings.database_url).items() if b"HERON20" in content]
    assert found == ["events"]


def _tables(url: str) -> dict[str, bytes]:
    """Return every table's rows as bytes, as the database gives them out."""
    engine = create_engine(url)
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        dump = {}
        for name in names:
            rows = connection.execute(text(f"SELECT * FROM {name}"))  # noqa: S608  # our own table names
            dump[name] = b"\n".join(
                bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                for row in rows
                for value in row
            )
    engine.dispose()
    return dump
