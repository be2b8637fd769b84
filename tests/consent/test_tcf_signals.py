"""TCF strings: the published vectors, what they say about our purposes, and strings that mean harm."""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import signal_encoder as encode
from hypothesis import given
from hypothesis import strategies as st

from cdp.clock import parse_rfc3339, rfc3339
from cdp.consent import MalformedSignalError, Statement
from cdp.consent.signals import tcf

SPEC = (
    "CQeEcwAQeEcwAAfACBENB4FoAPKAAEJAAAYgF5wBAABAAGAAQAvMAAAAAAAA.IF5wBgABAAGAAQAAoADIC8wA",
    "CQSbk4AQSbk4ANwAAAENAwCgAAAAAAAAAAYgACPAAAAA.IDKQA4AAgAKAGQAygAAA.YAAAAAAAAAAA",
)
NEEDED = {"analytics": (1, 9), "ads": (1, 2, 3, 4)}
VENDORS = {"mailer": None, "adnet": 8, "exchange": 10}
JANUARY = parse_rfc3339("2026-01-15T00:00:00Z")


def said(text: str, needed: dict[str, tuple[int, ...]] = NEEDED) -> dict[str, Statement]:
    return {one.purpose: one for one in tcf.statements(text, needed, VENDORS)}


# -- the vectors ------------------------------------------------------------------------------------


def test_the_vector_of_version_2_3() -> None:
    found = tcf.decode(SPEC[0])
    assert (rfc3339(found.created)[:10], found.last_updated) == ("2026-01-15", found.created)
    assert (found.cmp_id, found.cmp_version, found.screen, found.language) == (31, 2, 1, "EN")
    assert (found.list_version, found.policy_version, found.publisher_country) == (120, 5, "DE")
    assert found.service_specific
    assert found.special_features == {1}
    assert found.consents == {1, 2, 3, 4, 7, 9}
    assert found.interests == {2, 7, 10}
    assert {v for v in range(1000) if v in found.vendor_consents} == {2, 6, 8, 755}
    assert not any(v in found.vendor_interests for v in range(1000))
    assert found.restrictions == ()
    assert found.disclosed is not None
    assert {v for v in range(1000) if v in found.disclosed} == {2, 6, 8, 10, 25, 755}


def test_the_sample_of_the_specification() -> None:
    found = tcf.decode(SPEC[1])
    assert (rfc3339(found.created)[:10], found.cmp_id, found.list_version) == ("2025-06-03", 880, 48)
    assert (found.policy_version, found.consents) == (2, frozenset())
    assert {v for v in range(1000) if v in found.vendor_consents} == {1, 2, 3, 4}
    assert found.disclosed is not None
    assert {v for v in range(1000) if v in found.disclosed} == {1, 2, 3, 4, 5, 100, 404}
    assert found.publisher is not None
    assert found.publisher.consents == frozenset()


def public_strings(shared: Path, *kinds: str) -> list[dict[str, Any]]:
    path = shared / "data" / "consent_strings" / "consent_strings.jsonl"
    if not path.exists():
        pytest.skip(f"no consent strings at {path}")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if row["kind"] in kinds]


def test_the_strings_of_the_public_test_suites(shared: Path) -> None:
    """Every core field as decoded for the set, every vendor as iab-tcf 0.2.2, a second decoder, reads it."""
    rows = public_strings(shared, "tcf_v2")
    assert len(rows) == 26
    for row in rows:
        found, core = tcf.decode(row["string"]), row["core"]
        assert found.created == parse_rfc3339(core["created"])
        assert found.last_updated == parse_rfc3339(core["last_updated"])
        names = {"cmp_id": "cmp_id", "cmp_version": "cmp_version", "screen": "consent_screen"}
        names |= {"language": "consent_language", "list_version": "vendor_list_version"}
        names |= {"policy_version": "tcf_policy_version", "service_specific": "is_service_specific"}
        names |= {"purpose_one_treatment": "purpose_one_treatment", "publisher_country": "publisher_cc"}
        assert {ours: getattr(found, ours) for ours in names} == {ours: core[t] for ours, t in names.items()}
        assert sorted(found.consents) == core["purposes_consent"]
        assert sorted(found.interests) == sorted(set(core["purposes_li_transparency"]) - {1, 3, 4, 5, 6})
        assert sorted(found.special_features) == core["special_feature_opt_ins"]
        if "consented_vendor_ranges" in row:
            ours = {vendor for vendor in range(1, 0xFFFF) if vendor in found.vendor_consents}
            theirs = {v for first, last in row["consented_vendor_ranges"] for v in range(first, last + 1)}
            assert ours == theirs


def test_strings_of_version_1_are_refused(shared: Path) -> None:
    for row in public_strings(shared, "tcf_v1"):
        with pytest.raises(MalformedSignalError):
            tcf.decode(row["string"])


def test_odd_strings_of_the_public_test_suites_grant_nothing_today(shared: Path) -> None:
    """One is of 1970 and agrees to nothing; the other ends in the middle of its disclosed vendors."""
    nothing, broken = sorted(row["string"] for row in public_strings(shared, "tcf_odd"))
    needed = {f"ads.{number}": (number,) for number in range(1, 12)}
    assert {said.state for said in tcf.statements(nothing, needed, {"mailer": None})} == {"refused"}
    with pytest.raises(MalformedSignalError):
        tcf.decode(broken)


# -- what is said about our purposes ----------------------------------------------------------------


def test_every_needed_purpose_needs_consent() -> None:
    everything = encode.tcf_core(purposes=range(1, 12))
    assert {key: one.state for key, one in said(everything).items()} == {
        "analytics": "granted",
        "ads": "granted",
    }
    for number in NEEDED["ads"]:
        less = encode.tcf_core(purposes=set(range(1, 12)) - {number})
        assert said(less)["ads"].state == "refused"


def test_legitimate_interest_is_no_consent() -> None:
    text = encode.tcf_core(purposes={1}, interests=range(1, 12))
    assert tcf.decode(text).interests == {2, 7, 8, 9, 10, 11}
    assert {one.state for one in said(text).values()} == {"refused"}


def test_a_statement_is_a_stamp_that_binds_the_device_and_ends_after_thirteen_months() -> None:
    one = said(SPEC[0])["analytics"]
    assert (one.act, one.device_only, one.signal) == (False, True, "tcf")
    assert one.event_time == JANUARY
    assert one.expires_at == parse_rfc3339("2027-02-12T00:00:00Z")
    assert one.evidence is not None
    evidence = json.loads(one.evidence)
    assert evidence["tcf"] == SPEC[0]
    assert (evidence["cmp_id"], evidence["list_version"], evidence["policy_outdated"]) == (31, 120, False)
    refused = said(SPEC[1])["analytics"]
    assert (refused.state, refused.expires_at, refused.recipients) == ("refused", None, ())


@pytest.mark.parametrize("as_ranges", [False, True])
def test_a_vendor_needs_its_bit_and_its_disclosure(as_ranges: bool) -> None:  # noqa: FBT001  # a table
    def recipients(consented: set[int], *segments: str) -> tuple[str, ...]:
        core = encode.tcf_core(
            purposes=range(1, 12), consented=encode.vendors(consented, as_ranges=as_ranges)
        )
        return said(".".join((core, *segments)))["ads"].recipients

    assert recipients(set()) == ("mailer",)
    assert recipients({8}) == ("mailer", "adnet")
    assert recipients({8, 10}, encode.disclosed({10, 11})) == ("mailer", "exchange")
    assert recipients({8, 10}, encode.disclosed(())) == ("mailer",)


@pytest.mark.parametrize(("kind", "named"), [(0, ()), (1, ("adnet",)), (2, ()), (3, ("adnet",))])
def test_a_publishers_restriction(kind: int, named: tuple[str, ...]) -> None:
    text = encode.tcf_core(
        purposes=range(1, 12), consented=encode.vendors({8}), restrictions=[(3, kind, [(7, 9)])]
    )
    assert said(text)["ads"].recipients == ("mailer", *named)
    assert "adnet" in said(text)["analytics"].recipients  # purpose 3 only


def test_where_no_recipient_is_left_there_is_no_grant() -> None:
    """A grant without named recipients is one for everybody, so an empty list must not become one."""
    text = encode.tcf_core(purposes=range(1, 12))
    assert tcf.statements(text, NEEDED, {"adnet": 8}) == ()


def test_a_string_for_all_services_may_refuse_and_never_grants() -> None:
    text = encode.tcf_core(purposes={1, 9}, service_specific=False)
    assert {key: one.state for key, one in said(text).items()} == {"ads": "refused"}


# -- round trips and bad input ----------------------------------------------------------------------

ids = st.frozensets(st.integers(1, 24))
some_vendors = st.frozensets(st.integers(1, 3_000), max_size=30)


@given(ids, ids, some_vendors, some_vendors, st.booleans(), st.integers(0, 2**36 - 1))
def test_what_was_encoded_is_decoded(
    purposes: frozenset[int],
    interests: frozenset[int],
    consented: frozenset[int],
    shown: frozenset[int],
    as_ranges: bool,  # noqa: FBT001  # drawn
    updated: int,
) -> None:
    core = encode.tcf_core(
        purposes=purposes,
        interests=interests,
        consented=encode.vendors(consented, as_ranges=as_ranges),
        updated=updated,
    )
    found = tcf.decode(f"{core}.{encode.disclosed(shown)}")
    assert found.consents == purposes
    assert found.interests == interests - {1, 3, 4, 5, 6}
    assert found.last_updated == updated * 100_000
    assert found.disclosed is not None
    for vendor in {*consented, *shown, 1, 3_001}:
        assert (vendor in found.vendor_consents) == (vendor in consented)
        assert (vendor in found.disclosed) == (vendor in shown)


@given(st.text() | st.binary().map(lambda raw: "C" + base64.urlsafe_b64encode(raw).decode().rstrip("=")))
def test_nothing_raises_but_the_one_error(text: str) -> None:
    with suppress(MalformedSignalError):
        tcf.statements(text, NEEDED, VENDORS)


@pytest.mark.parametrize("text", SPEC)
def test_a_truncated_string_says_nothing(text: str) -> None:
    """What is cut off is padding, and then it says the same, or it is missed."""
    core, *segments = text.split(".")
    for length in range(len(core)):
        try:
            found = tcf.decode(".".join((core[:length], *segments)))
        except MalformedSignalError:
            continue
        assert length >= len(core) - 3
        assert found == tcf.decode(text)


HOSTILE = {
    "empty": "",
    "dots": "." * 100,
    "a megabyte": "C" * 1_000_000,
    "padding": SPEC[0] + "==",
    "another alphabet": SPEC[0].replace("A", "+"),
    "not ASCII": "Cé" + SPEC[0][2:],
    "line end": SPEC[0] + "\n",
    "a future version": encode.tcf_core(version=3),
    "letters that are none": "C" + "_" * 60,
    "range that ends before it begins": encode.tcf_core(
        consented=encode.number(9, 16) + "1" + encode.ranges([(9, 3)])
    ),
    "vendor 0": encode.tcf_core(consented=encode.number(9, 16) + "1" + encode.ranges([(0, 3)])),
    "more ranges than there are bits": encode.tcf_core()[:-4] + "____",
    "disclosed twice": ".".join((encode.tcf_core(), encode.disclosed({8}), encode.disclosed({10}))),
    "segment of type 0": encode.tcf_core() + ".AAAA",
    "segment of type 7": encode.tcf_core() + ".____",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_strings_are_refused(text: str) -> None:
    with pytest.raises(MalformedSignalError):
        tcf.statements(text, NEEDED, VENDORS)


def test_deep_ranges_take_milliseconds() -> None:
    deepest = [(1, 0xFFFF)] * 4095
    core = encode.tcf_core(
        purposes=range(1, 12),
        consented=encode.number(0xFFFF, 16) + "1" + encode.ranges(deepest[:1200]),
        restrictions=[(4, 0, deepest[:1200])],
    )
    started = time.process_time()
    one = said(core)["ads"]
    assert time.process_time() - started < 0.2
    assert one.recipients == ("mailer",)
    assert said(core)["analytics"].recipients == ("mailer", "adnet", "exchange")
