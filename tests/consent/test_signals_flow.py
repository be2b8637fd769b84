"""Consent signals through the door: from the request's header or an event's context to the derived state."""

from __future__ import annotations

from typing import Any

import msgspec
import signal_encoder as encode
from caller import Caller
from prometheus_client import REGISTRY
from sqlalchemy import func, select

from cdp.clock import DAY, SECOND, FixedClock
from cdp.consent import Standing
from cdp.consent.tables import consent_records
from cdp.ingest import Wanted

SHARING = "marketing.advertising.third_party"
OWN_ADS = "marketing.advertising.first_party"
ADNET = 4093  # the fictional network's vendor id in policies/destinations/adnet.yaml
UPDATED = 17_721_504_000  # 2026-02-27, in tenths of a second


def send(caller: Caller, *messages: dict[str, Any], kind: str = "browser", control: str = "") -> None:
    answer = caller.http.post(
        "/v1/batch",
        content=msgspec.json.encode({"batch": messages}),
        auth=(caller.write_key(kind), ""),
        headers={"Sec-GPC": control} if control else {},
    )
    assert answer.status_code == 200, answer.text


def page(message_id: str, context: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"type": "page", "messageId": message_id, "anonymousId": "b1", "context": context or {}, **fields}


def tcf(
    message_id: str, purposes: range, vendors: tuple[int, ...] = (ADNET,), **fields: Any
) -> dict[str, Any]:
    core = encode.tcf_core(purposes=purposes, consented=encode.vendors(vendors), updated=UPDATED)
    return page(message_id, {"consent": {"tcfString": core, "gdprApplies": True}}, **fields)


def standing(caller: Caller, kind: str, value: str, purpose: str = SHARING) -> Standing | None:
    """What the gate goes by."""
    services = caller.services
    with services.store.reading() as connection:
        number = services.identity.find(connection, kind, value)
        assert number is not None
        profile_no = services.identity.profile_of(connection, number)
        return services.ledger.states(connection, purpose).get(profile_no)


def state(caller: Caller, kind: str, value: str, purpose: str = SHARING) -> str:
    found = standing(caller, kind, value, purpose)
    return "none" if found is None else found.state


def records(caller: Caller) -> int:
    with caller.services.store.reading() as connection:
        return connection.execute(select(func.count()).select_from(consent_records)).scalar_one()


def odd(signal: str, outcome: str) -> float:
    labels = {"signal": signal, "outcome": outcome}
    return REGISTRY.get_sample_value("cdp_consent_signals_odd_total", labels) or 0.0


def test_sec_gpc_opts_out_the_browser_and_the_known_person_once(caller: Caller) -> None:
    send(caller, page("m1", userId="ann"), control="1")
    for kind, value in (("anonymous_id", "b1"), ("user_id", "ann")):
        assert state(caller, kind, value) == "opted_out"
        assert state(caller, kind, value, OWN_ADS) == "none"
    before = records(caller)
    send(caller, *(page(f"m{number}", userId="ann") for number in range(2, 30)), control="1")
    assert records(caller) == before


def test_only_the_exact_header_of_a_browser_counts(caller: Caller) -> None:
    for number, (control, kind) in enumerate(
        [("0", "browser"), ("true", "browser"), ("", "browser"), ("1", "server")]
    ):
        send(caller, page(f"m{number}"), kind=kind, control=control)
    assert state(caller, "anonymous_id", "b1") == "none"
    send(caller, page("m9", {"gpc": True}), kind="server")  # a server tells what its browser sent
    assert state(caller, "anonymous_id", "b1") == "opted_out"


def test_sec_gpc_outlives_the_quarantine(caller: Caller) -> None:
    send(caller, page("m1", name="x" * 300), control="1")
    services = caller.services
    sources = {source.source_id: source for source in services.access.list_sources()}
    ((item, delivery),) = services.quarantine.take(10, 0, Wanted(), sources)
    assert item.reason == "bad_name"
    assert delivery is not None
    assert delivery.sec_gpc


def test_a_tcf_string_grants_to_the_device_and_names_the_vendors(caller: Caller) -> None:
    send(caller, tcf("m1", range(1, 12), userId="ann"), kind="server")
    found = standing(caller, "anonymous_id", "b1")
    assert found is not None
    assert (found.state, "adnet" in found.recipients, "mailer" in found.recipients) == ("granted", True, True)
    with caller.services.store.reading() as connection:
        person = caller.services.identity.find(connection, "user_id", "ann")
        assert person is not None
        assert caller.services.ledger.records_of(connection, [person]) == []


def test_a_vendor_that_is_taken_back_stays_out_and_costs_one_row(caller: Caller, clock: FixedClock) -> None:
    send(caller, tcf("m1", range(1, 12)))
    before = records(caller)
    for number in range(2, 8):
        clock.advance(SECOND)
        send(caller, tcf(f"m{number}", range(1, 12), () if number % 2 else (ADNET,)))
    found = standing(caller, "anonymous_id", "b1")
    assert found is not None
    assert found.state == "granted"
    assert "adnet" not in found.recipients
    assert "mailer" in found.recipients
    assert records(caller) == before + 4  # one for each mapped purpose


def test_a_refusing_string_restrains_and_a_granting_one_does_not_lift(
    caller: Caller, clock: FixedClock
) -> None:
    send(caller, tcf("m1", range(1, 12)))
    clock.advance(SECOND)
    send(caller, tcf("m2", range(1, 3)))
    assert state(caller, "anonymous_id", "b1") == "refused"
    clock.advance(SECOND)
    send(caller, tcf("m3", range(1, 12)))
    assert state(caller, "anonymous_id", "b1") == "refused"


def test_a_tcf_grant_ends_thirteen_months_after_its_update(caller: Caller, clock: FixedClock) -> None:
    send(caller, tcf("m1", range(1, 12)))
    found = standing(caller, "anonymous_id", "b1")
    assert found is not None
    assert found.expires_at is not None
    clock.advance(found.expires_at - clock.now())
    assert state(caller, "anonymous_id", "b1") == "stale"
    clock.advance(10 * DAY)
    send(caller, tcf("m2", range(1, 12), anonymousId="b2"))
    assert state(caller, "anonymous_id", "b2") == "none"


def test_gpp_opts_out_and_not_opting_out_is_no_grant(caller: Caller) -> None:
    send(caller, page("m1", {"consent": {"gpp": "DBABLA~BVQqAAAAAAA.QA"}}))
    assert state(caller, "anonymous_id", "b1") == "none"
    send(caller, page("m2", {"consent": {"gpp": "DBABRg~BAUAABA", "gppSid": [9]}}))
    assert state(caller, "anonymous_id", "b1") == "opted_out"
    assert state(caller, "anonymous_id", "b1", OWN_ADS) == "opted_out"


def test_an_opt_out_in_a_message_without_a_device_binds_whom_it_names(caller: Caller) -> None:
    message = {"type": "track", "event": "Order Completed", "messageId": "m1", "userId": "ann"}
    send(caller, {**message, "context": {"consent": {"gpp": "DBABRg~BAUAABA"}}}, kind="server")
    assert state(caller, "user_id", "ann") == "opted_out"


def test_an_event_with_malformed_signals_lands_and_they_are_counted(caller: Caller) -> None:
    before = odd("tcf", "malformed"), odd("gpp", "malformed")
    consent = {"tcfString": "C" * 20_000, "gpp": "D~", "categoryPreferences": {"Analytics": True}}
    send(caller, page("m1", {"consent": consent}))
    assert state(caller, "anonymous_id", "b1", "analytics") == "granted"
    assert state(caller, "anonymous_id", "b1") == "none"
    assert caller.api("GET", "/quarantine")["items"] == []
    assert (odd("tcf", "malformed"), odd("gpp", "malformed")) == (before[0] + 1, before[1] + 1)


def test_of_contradictory_signals_the_restraint_wins_and_both_are_on_record(caller: Caller) -> None:
    before = odd("any", "contradiction")
    consent = {"categoryPreferences": {"Advertising": True, "DataSharing": True}, "gcs": "G100"}
    send(caller, page("m1", {"consent": consent}))
    assert state(caller, "anonymous_id", "b1") == "refused"
    with caller.services.store.reading() as connection:
        number = caller.services.identity.find(connection, "anonymous_id", "b1")
        assert number is not None
        held = caller.services.ledger.records_of(connection, [number])
    assert {(one.state, one.signal) for one in held if one.purpose == SHARING} == {
        ("granted", "segment"),
        ("refused", "google_consent_mode"),
    }
    assert odd("any", "contradiction") == before + 1


def test_the_support_file_says_that_the_control_is_honoured(caller: Caller) -> None:
    answer = caller.http.get("/.well-known/gpc.json")
    assert answer.status_code == 200
    assert answer.json() == {"gpc": True, "lastUpdate": answer.json()["lastUpdate"]}
    assert len(answer.json()["lastUpdate"]) == 10
