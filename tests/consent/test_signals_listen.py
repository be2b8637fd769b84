"""What one message says about consent, wherever in it that stands."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import signal_encoder as encode
from hypothesis import given
from hypothesis import strategies as st

from cdp.clock import DAY, parse_rfc3339
from cdp.consent import Heard, Listener
from cdp.policy import Gpc, SourceSignals

NOW = parse_rfc3339("2026-03-01T12:00:00Z")
AT = parse_rfc3339("2026-03-01T11:59:00Z")
UPDATED = parse_rfc3339("2026-01-15T00:00:00Z")
TCF_GRANT = encode.tcf_core(purposes={1, 8, 9})
TCF_REFUSAL = encode.tcf_core(purposes={1})
GPP_OPT_OUT = "DBABRg~BAUAABA"
CHANGED = "Segment Consent Preference Updated"
LISTEN = Listener(
    SourceSignals(
        segment=(
            {
                "Advertising": ("ads.first", "ads.third"),
                "DataSharing": ("ads.third",),
                "Analytics": ("analytics",),
            },
            {"ads": ("ads.first", "ads.third")},
        ),
        rudder=({"C0002": ("analytics",), "C0003": ("analytics",), "C0004": ("ads.first", "ads.third")},),
        google={"analytics": ("analytics_storage",), "ads.first": ("ad_storage", "ad_user_data")},
        tcf={"analytics": (1, 8, 9)},
        gpp={"sale": ("ads.third",), "targeted_advertising": ("ads.first", "ads.third")},
        gpc=Gpc(opts_out_of=("ads.third",)),
        vendors={"mailer": None},
    )
)


def hear(context: dict[str, Any], kind: str = "track", name: str = "", **facts: Any) -> Heard:
    return LISTEN(kind, name, context, AT, received_at=NOW, **facts)


def said(context: dict[str, Any], kind: str = "page", name: str = "", **facts: Any) -> dict[str, str]:
    return {
        one.purpose: f"{'act' if one.act else 'stamp'} {one.state}"
        for one in hear(context, kind, name, **facts).statements
    }


def categories(preferences: object, kind: str = "page", name: str = "") -> dict[str, str]:
    return said({"consent": {"categoryPreferences": preferences}}, kind, name)


# -- Segment and Rudder -----------------------------------------------------------------------------


def test_on_any_event_categories_are_a_stamp() -> None:
    expected = {"ads.first": "stamp granted", "analytics": "stamp refused"}
    assert categories({"Advertising": True, "Analytics": False}) == expected


def test_preference_updated_is_an_act() -> None:
    assert categories({"Analytics": True}, "track", CHANGED) == {"analytics": "act granted"}
    assert categories({"Analytics": False}, "track", CHANGED) == {"analytics": "act withdrawn"}
    assert categories({"Analytics": False}, "page", CHANGED) == {"analytics": "stamp refused"}


@pytest.mark.parametrize("act", [False, True])
@pytest.mark.parametrize(
    ("preferences", "third"),
    [
        ({"Advertising": True, "DataSharing": True}, "granted"),
        ({"Advertising": True}, ""),
        ({"DataSharing": True}, ""),
        ({"Advertising": True, "DataSharing": None}, ""),
        ({"Advertising": True, "DataSharing": False}, "refused"),
        ({"Advertising": False, "DataSharing": True}, "refused"),
        ({"DataSharing": False}, "refused"),
        ({"ads": True}, "granted"),
        ({"ads": True, "DataSharing": True}, "granted"),
        ({"ads": True, "DataSharing": False}, "refused"),
        ({"ads": False, "Advertising": True, "DataSharing": True}, "refused"),
    ],
)
def test_a_purpose_needs_all_categories_of_a_tool(
    preferences: dict[str, object],
    third: str,
    act: bool,  # noqa: FBT001  # a table
) -> None:
    no = "withdrawn" if act else "refused"
    expected = {"granted": "granted", "refused": no, "": None}[third]
    found = categories(preferences, "track", CHANGED if act else "")
    assert found.get("ads.third") == (expected and f"{'act' if act else 'stamp'} {expected}")


@pytest.mark.parametrize("signal", ["segment", "rudder"])
def test_of_too_many_categories_the_refused_ones_are_heard(signal: str) -> None:
    def spoken(others: int) -> Heard:
        names = [f"category {number}" for number in range(others)]
        if signal == "rudder":
            allowed = {"allowedConsentIds": ["C0004", *names], "deniedConsentIds": ["C0002"]}
            return hear({"consentManagement": allowed})
        preferences = {"ads": True, **dict.fromkeys(names, True), "Analytics": False}
        return hear({"consent": {"categoryPreferences": preferences}})

    heard = spoken(98)
    assert [one.state for one in heard.statements] == ["granted", "granted", "refused"]
    assert set(heard.notes) == {(signal, "unmapped")}
    heard = spoken(99)
    assert [(one.purpose, one.state) for one in heard.statements] == [("analytics", "refused")]
    assert heard.notes == ((signal, "malformed"),)
    assert len(spoken(3_000).statements) == 1


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"consent": None},
        {"consent": {}},
        {"consent": []},
        {"consent": "granted"},
        {"consent": {"categoryPreference": {"Analytics": True}}},
        {"consent": {"categoryPreferences": None}},
        {"consent": {"categoryPreferences": {}}},
        {"consent": {"categoryPreferences": ["Analytics"]}},
        {"consent": {"categoryPreferences": {"Analytics": "true"}}},
        {"consent": {"categoryPreferences": {"Analytics": None}}},
        {"consent": {"categoryPreferences": {"analytics ": True}}},
        {"consentManagement": []},
        {"consentManagement": {"provider": "oneTrust"}},
        {"consentManagement": {"allowedConsentIds": "C0002"}},
        {"consentManagement": {"allowedConsentIds": [None, 2, ["C0002"]]}},
        {"gpc": "1"},
        {"gpc": 1},
        {"gpc": False},
        {"page": {"search": None}},
        {"page": "gpp="},
    ],
)
def test_what_is_not_provided_is_neither_a_grant_nor_a_refusal(context: dict[str, Any]) -> None:
    assert hear(context).statements == ()


def test_rudder_lists_what_is_allowed_and_what_is_denied() -> None:
    management = {
        "provider": "oneTrust",
        "allowedConsentIds": ["C0002", "C0003", "C0004"],
        "deniedConsentIds": ["C0004"],
    }
    expected = {"analytics": "stamp granted", "ads.first": "stamp refused", "ads.third": "stamp refused"}
    assert said({"consentManagement": management}) == expected
    assert said({"consentManagement": management}, "track", CHANGED)["ads.first"] == "act withdrawn"
    assert said({"consentManagement": {"allowedConsentIds": ["C0002"]}}) == {}
    assert said({"consentManagement": {"deniedConsentIds": ["C0003"]}}) == {"analytics": "stamp refused"}


def test_unmapped_categories_are_counted() -> None:
    context = {"consent": {"categoryPreferences": {"Analytics": True, "Weather": False}}}
    assert hear(context).notes == (("segment", "unmapped"),)
    assert hear({"consentManagement": {"deniedConsentIds": ["x"]}}).notes == (("rudder", "unmapped"),)


def test_the_evidence_is_what_was_sent() -> None:
    context = {"consent": {"categoryPreferences": {"Weather": False, "Analytics": True}, "note": "private"}}
    (statement,) = hear(context).statements
    assert statement.evidence == b'{"categoryPreferences":{"Analytics":true,"Weather":false}}'
    assert statement.event_time == AT


# -- TCF and GPP ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["tcfString", "tcf", "gdpr_consent", "IABTCF_TCString"])
@pytest.mark.parametrize("applies", [None, True, 1, "1", "true"])
def test_a_tcf_string_is_as_old_as_its_last_update(key: str, applies: object) -> None:
    (statement,) = hear({"consent": {key: TCF_GRANT, "gdprApplies": applies}}).statements
    assert (statement.state, statement.event_time, statement.device_only) == ("granted", UPDATED, True)


@pytest.mark.parametrize("applies", [False, 0, "0", "false"])
def test_where_the_gdpr_does_not_apply_a_tcf_string_says_nothing(applies: object) -> None:
    assert hear({"consent": {"tcfString": TCF_REFUSAL, "gdprApplies": applies}}) == Heard()


def test_a_string_from_before_the_answer_says_nothing() -> None:
    shown = {"tcfString": TCF_REFUSAL, "eventStatus": "cmpuishown"}
    assert hear({"consent": shown}) == Heard()
    assert said({"consent": {**shown, "eventStatus": "useractioncomplete"}}) == {"analytics": "stamp refused"}


def test_a_tcf_string_on_an_act_is_a_stamp_all_the_same() -> None:
    assert said({"consent": {"tcfString": TCF_GRANT}}, "track", CHANGED) == {"analytics": "stamp granted"}


def test_an_old_string_refuses_and_no_longer_grants() -> None:
    for text, state in ((TCF_GRANT, ""), (TCF_REFUSAL, "refused")):
        heard = LISTEN("page", "", {"consent": {"tcf": text}}, AT, received_at=UPDATED + 393 * DAY)
        assert [one.state for one in heard.statements] == ([state] if state else [])
        assert heard.notes == (() if state else (("tcf", "expired"),))


def test_a_grant_of_the_future_gains_nothing() -> None:
    ahead = encode.tcf_core(purposes={1, 8, 9}, updated=(NOW + 2 * DAY) // 100_000)
    assert hear({"consent": {"tcf": ahead}}) == Heard(notes=(("tcf", "malformed"),))


@pytest.mark.parametrize(
    "sections",
    [None, "9", "7,9", "7_9", [9], ["9"], 9, "?", [None], [], [0], 0, "0", [float("inf")]],
)
def test_gpp_opts_out(sections: object) -> None:
    heard = hear({"consent": {"gpp": GPP_OPT_OUT, "gppSid": sections}})
    assert {(one.purpose, one.state, one.event_time) for one in heard.statements} == {
        ("ads.first", "opted_out", AT),
        ("ads.third", "opted_out", AT),
    }


@pytest.mark.parametrize("sections", ["7", [2, 7], "-1", [-1]])
def test_gpp_sections_that_do_not_apply_say_nothing(sections: object) -> None:
    assert hear({"consent": {"gppString": GPP_OPT_OUT, "gpp_sid": sections}}) == Heard()


def test_a_us_privacy_string_opts_out_of_sale() -> None:
    assert said({"consent": {"us_privacy": "1YYN"}}) == {"ads.third": "stamp opted_out"}
    assert said({"consent": {"us_privacy": "1YNN"}}) == {}


# -- Google's consent mode and GPC ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("consent", "expected"),
    [
        ({"googleConsentMode": {"analytics_storage": "granted"}}, {"analytics": "granted"}),
        ({"googleConsentMode": {"analytics_storage": "denied"}}, {"analytics": "refused"}),
        ({"googleConsentMode": {"ad_storage": "granted"}}, {}),
        ({"googleConsentMode": {"ad_storage": "denied"}}, {"ads.first": "refused"}),
        (
            {"googleConsentMode": {"ad_storage": "granted", "ad_user_data": "granted"}},
            {"ads.first": "granted"},
        ),
        ({"googleConsentMode": {"analytics_storage": "yes", "ad_storage": True}}, {}),
        (
            {
                "googleConsentMode": {
                    "default": {"analytics_storage": "denied"},
                    "update": {"analytics_storage": "granted"},
                }
            },
            {"analytics": "granted"},
        ),
        ({"gcs": "G101"}, {"analytics": "granted", "ads.first": "refused"}),
        ({"gcs": "G110"}, {"analytics": "refused"}),
        ({"gcs": "G1--"}, {}),
        ({"gcd": "13r3r3r2r5"}, {"analytics": "granted", "ads.first": "granted"}),
        ({"gcd": "11p1t1l1l5"}, {"analytics": "granted", "ads.first": "refused"}),
        ({"gcd": "13l3l3l3l1"}, {}),
        ({"gcs": "G101", "gcd": "13r3q3r2r5"}, {"analytics": "refused", "ads.first": "refused"}),
    ],
)
def test_google_consent_mode(consent: dict[str, Any], expected: dict[str, str]) -> None:
    heard = hear({"consent": consent})
    assert {one.purpose: one.state for one in heard.statements} == expected
    assert all(one.device_only and not one.act and one.event_time == AT for one in heard.statements)
    assert heard.notes == ()


def test_gpc_opts_everybody_out_who_is_named() -> None:
    for heard in (hear({}, sec_gpc=True), hear({"gpc": True})):
        (one,) = heard.statements
        assert (one.purpose, one.state, one.signal) == ("ads.third", "opted_out", "gpc")
        assert not one.device_only
        assert not one.act


# -- addresses, contradictions ----------------------------------------------------------------------


def test_an_address_may_restrain_and_never_grants() -> None:
    def page(search: str) -> dict[str, str]:
        return said({"page": {"search": search}})

    assert page(f"?gdpr=1&gdpr_consent={TCF_REFUSAL}") == {"analytics": "stamp refused"}
    assert page(f"?gdpr=0&gdpr_consent={TCF_REFUSAL}") == {}
    assert page(f"?gdpr=1&gdpr_consent={TCF_GRANT}") == {}
    assert set(page(f"?utm=x&gpp={GPP_OPT_OUT.replace('~', '%7E')}&gpp_sid=9")) == {"ads.first", "ads.third"}
    assert page(f"?gpp={GPP_OPT_OUT}&gpp_sid=7") == {}
    assert said({"page": {"search": f"?gpp={GPP_OPT_OUT}"}}, "track") == {}


def test_of_contradictory_signals_all_go_on_record_and_are_counted() -> None:
    consent = {"tcfString": TCF_GRANT, "categoryPreferences": {"Analytics": False}, "gcs": "G111"}
    heard = hear({"consent": consent}, sec_gpc=True)
    found = {(one.signal, one.purpose, one.state) for one in heard.statements}
    assert found == {
        ("segment", "analytics", "refused"),
        ("tcf", "analytics", "granted"),
        ("google_consent_mode", "analytics", "granted"),
        ("gpc", "ads.third", "opted_out"),
    }
    assert heard.notes == (("any", "contradiction"),)


# -- bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("consent", "signal"),
    [
        ({"tcfString": TCF_GRANT[:30]}, "tcf"),
        ({"tcfString": "C" * 1_000_000}, "tcf"),
        ({"tcfString": 7}, "tcf"),
        ({"tcfString": [TCF_GRANT]}, "tcf"),
        ({"gpp": "D" * 1_000_000}, "gpp"),
        ({"gpp": {"a": 1}}, "gpp"),
        ({"gpp": "DBABRg~A"}, "gpp"),
        ({"usPrivacy": "1Y"}, "us_privacy"),
        ({"gcs": "G1"}, "google_consent_mode"),
        ({"gcs": 111}, "google_consent_mode"),
        ({"gcd": "1" * 100_000}, "google_consent_mode"),
        ({"gcd": "13x3r3r2r5"}, "google_consent_mode"),
    ],
)
def test_a_malformed_signal_is_counted_and_leaves_the_others_alone(
    consent: dict[str, Any], signal: str
) -> None:
    heard = hear({"consent": {**consent, "categoryPreferences": {"Analytics": True}}})
    assert [(one.signal, one.state) for one in heard.statements] == [("segment", "granted")]
    assert heard.notes == ((signal, "malformed"),)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    "tcfString", "gdprApplies", "gpp", "gppSid", "gcs", "gcd", "googleConsentMode", "us_privacy",
    "categoryPreferences", "eventStatus",
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(KEYS), json_values) | json_values,
    json_values,
    json_values,
    st.text(max_size=60).map("?gpp=".__add__) | json_values,
)
def test_whatever_a_context_holds_an_event_is_never_lost(
    consent: object, management: object, gpc: object, search: object
) -> None:
    context = {"consent": consent, "consentManagement": management, "gpc": gpc, "page": {"search": search}}
    heard = hear(context, "page")
    assert all(one.state != "granted" or json.loads(one.evidence or b"") for one in heard.statements)


def test_a_message_without_a_signal_costs_next_to_nothing() -> None:
    context = {"page": {"search": "?q=lamp", "path": "/"}, "library": {"name": "x"}, "ip": "192.0.2.1"}
    started = time.process_time()
    for _ in range(10_000):
        hear(context)
    assert time.process_time() - started < 0.1  # 10 µs each on any machine
