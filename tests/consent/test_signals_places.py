"""What a signal or a message tells of where its person is: a hint, which only adds a law."""

from __future__ import annotations

from typing import Any

import pytest
import signal_encoder as encode
from caller import Caller

from cdp.clock import FixedClock
from cdp.consent.signals import gpp, tcf
from cdp.consent.signals.us_sections import LAYOUTS
from cdp.policy import Gpc, SourceSignals

MAPPING = SourceSignals(
    segment=(), rudder=(), google={}, tcf={"ads": (1,)},
    gpp={"sale": ("ads",), "targeted_advertising": ("ads",)},
    gpc=Gpc(opts_out_of=()), vendors={"mailer": None},
)  # fmt: skip
EMAIL = "marketing.communications.email"
UPDATED = 17_721_504_000  # 2026-02-27, in tenths of a second


@pytest.mark.parametrize(
    ("country", "law"), [("DE", "DE"), ("GB", "GB"), ("US", "US"), ("AA", "EU"), ("ZZ", "EU")]
)
def test_a_tcf_string_goes_by_the_law_of_its_publishers_country(country: str, law: str) -> None:
    for purposes in ({1}, set()):
        text = encode.tcf_core(purposes=purposes, publisher_country=country)
        (said,) = tcf.statements(text, MAPPING.tcf, MAPPING.vendors)
        assert said.jurisdiction == law
        assert said.state == ("granted" if purposes else "refused")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("DBABLA~CVQWAAAAAACA.QA", "US"),
        ("DBABBg~BUUAAACA.QA", "US-CA"),
        ("DBABRg~BAUAABA", "US-VA"),
        ("DBABEYA~BQBQ.QA", "US-MD"),
        ("DBACNY~CQSbk4AQSbk4ANwAAAENAwCgAAAAAAAAAAYgACPAAAAA~1YYN", "US"),
    ],
)
def test_a_us_section_is_of_the_place_that_it_is_named_for(text: str, place: str) -> None:
    said = [one for one in gpp.hear(text, None, MAPPING).statements if one.signal != "tcf"]
    assert {one.jurisdiction for one in said} == {place}


def test_every_section_names_the_country_or_one_of_its_states(caller: Caller) -> None:
    laws = caller.services.bundle.jurisdictions
    for layout in LAYOUTS.values():
        place = gpp.place_of(layout.name)
        assert laws.recorded([place]) <= {"US", "US-CA"}, place
    assert laws.recorded([gpp.place_of("usca")]) == {"US-CA"}
    assert laws.recorded([gpp.place_of("usnat")]) == {"US", "US-CA"}  # any of its states
    assert laws.recorded([gpp.place_of("ustx")]) == {"US"}


def identify(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "identify", "messageId": f"m{number}", "userId": "ann", **more}


def laws_of(caller: Caller) -> dict[str, str]:
    """Jurisdiction → why it binds, as an officer reads it."""
    asked = {
        "profile": caller.lookup("user_id", "ann")["id"],
        "destination": "mailer",
        "purpose": EMAIL,
    }
    found = caller.api("POST", "/policies/explain", asked, purpose="compliance_review")
    return {one["jurisdiction"]: one["because"] for one in found["jurisdictions"]}


EVERYWHERE = {"EU", "UK", "US", "US-CA", "CN", "other"}


def test_a_signals_place_adds_a_law_and_is_no_record(caller: Caller, clock: FixedClock) -> None:
    opted_out = {"consent": {"gpp": "DBABBg~BUUAAACA.QA"}}
    caller.send(identify(1, context=opted_out))
    assert laws_of(caller).keys() == EVERYWHERE  # no recorded place: what the signal says narrows nothing
    caller.send(identify(2, traits={"country": "US", "address": {"state": "TX"}}))
    assert laws_of(caller).keys() == {"EU", "US", "US-CA"}
    clock.advance(1)
    string = encode.tcf_core(updated=UPDATED, publisher_country="GB")
    caller.send(identify(3, context={"consent": {"tcf": string}}))
    assert laws_of(caller).keys() == {"EU", "UK", "US", "US-CA"}


@pytest.mark.parametrize(
    ("location", "added"),
    [
        ({"country": "China"}, {"CN"}),
        ({"country": "US", "region": "California"}, {"US-CA"}),
        ({"country": "US", "region": "CA", "city": "Nowhere", "latitude": 1.5}, {"US-CA"}),
        ({"country": "US", "region": "NV"}, {"US"}),
        ({"country": "US"}, {"US", "US-CA"}),
        ({"country": " gb "}, {"UK"}),
        ({"country": "Brazil", "region": "Bahia"}, {"other"}),
        ({"country": "unspecified"}, set()),
        ({"country": None, "region": ""}, set()),
        ({"country": ["CN"]}, set()),
        ({"country": "C" * 200}, set()),
        ({"country": "ada@example.org"}, set()),
        ("CN", set()),
        (None, set()),
    ],
)
def test_where_a_message_was_made_adds_a_law(caller: Caller, location: object, added: set[str]) -> None:
    """Segment's ``context.location``: where the device is, not where the person lives."""
    caller.send(identify(1, traits={"country": "Germany"}))
    assert laws_of(caller).keys() == {"EU"}
    track = {"type": "track", "event": "Order Completed", "messageId": "m2", "userId": "ann"}
    caller.send({**track, "context": {"location": location}})
    assert laws_of(caller).keys() == {"EU"} | added


def test_where_a_message_was_made_is_no_recorded_place(caller: Caller) -> None:
    """Were it one, a traveller with no recorded place would fall under one law in place of all."""
    caller.send(identify(1, context={"location": {"country": "US", "region": "TX"}}))
    assert laws_of(caller).keys() == EVERYWHERE
    assert set(laws_of(caller).values()) == {"controller", "no_place_recorded"}
