"""Reading OpenDSR 2.0: what fits is taken, what does not is refused without repeating it. Pure."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.clock import parse_rfc3339
from cdp.errors import CdpError, InvalidInputError, MalformedBodyError
from cdp.export import check_url
from cdp.rights.opendsr import say
from cdp.rights.opendsr.model import IDENTITY_TYPES, Submission
from cdp.rights.opendsr.read import read_discovered, read_signature, read_submission, read_told

NOW = parse_rfc3339("2026-03-01T12:00:00Z")
ID = "a7551968-d5d6-44b2-9831-815ac9017798"
ADA = "ada@lovelace.example"
DECLARED = {"user_id", "email", "anonymous_id"}


def body(**changes: Any) -> dict[str, Any]:
    """Return a request that fits, with changes; None takes a field out."""
    whole = {
        "regulation": "gdpr",
        "subject_request_id": ID,
        "subject_request_type": "erasure",
        "submitted_time": "2026-02-28T15:00:00+02:00",
        "subject_identities": [identity("email", ADA)],
        "api_version": "2.0",
        "status_callback_urls": ["https://controller.example/callbacks"],
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def identity(kind: str, value: Any, form: str = "raw") -> dict[str, Any]:
    return {"identity_type": kind, "identity_value": value, "identity_format": form}


def read(raw: object) -> Submission:
    return read_submission(
        raw if isinstance(raw, bytes) else msgspec.json.encode(raw),
        domain="cdp.example",
        now=NOW,
        declared=lambda kind: kind in DECLARED or kind.startswith("external:"),
        check_url=lambda url: check_url(url, loopback=False),
    )


def test_a_request_as_the_standard_shows_it() -> None:
    found = read(body())
    assert found.kind == "erasure"
    assert found.identifiers == (("email", ADA),)
    assert found.submitted_at == parse_rfc3339("2026-02-28T13:00:00Z")
    assert found.callbacks == ("https://controller.example/callbacks",)
    assert (found.regulation, found.regulation_given) == ("gdpr", True)
    assert ADA not in repr(found)


def test_the_example_of_the_standard_lacks_the_regulation_and_is_taken() -> None:
    found = read(body(regulation=None))
    assert (found.regulation, found.regulation_given) == ("gdpr", False)


def test_every_type_of_the_standard_is_looked_up_under_ours() -> None:
    for kind, ours in IDENTITY_TYPES.items():
        found = read(body(subject_identities=[identity(kind, "some-id")]))
        wanted = [one for one in ours if one in DECLARED or one.startswith("external:")]
        assert found.identifiers == tuple((one, "some-id") for one in wanted) != (), kind


def test_hashed_identities_are_counted_and_not_looked_up() -> None:
    hashed = identity("email", "0" * 64, "sha256")
    found = read(body(subject_identities=[hashed, identity("controller_customer_id", "u1")]))
    assert found.identifiers == (("user_id", "u1"),)
    assert found.ignored == 1
    with pytest.raises(InvalidInputError, match="no identity that is looked up here"):
        read(body(subject_identities=[hashed]))


def test_our_own_extension_names_people_and_others_are_passed_over() -> None:
    ours = {"user_ids": ["u1", "u1"], "anonymous_ids": ["a1"]}
    theirs = {"mpids": [5], "identities": "whatever"}
    found = read(
        body(subject_identities=None, extensions={"cdp.example": ours, "opendsr.other.example": theirs})
    )
    assert found.identifiers == (("user_id", "u1"), ("anonymous_id", "a1"))
    with pytest.raises(InvalidInputError, match="extensions"):
        read(body(extensions={"cdp.example": {"user_idz": ["u1"]}}))


def test_what_is_not_of_the_standard_is_passed_over() -> None:
    assert read(body(note="anything")) == read(body())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"regulation": "lgpd"}, "regulation"),
        ({"regulation": ""}, "regulation"),
        ({"subject_request_id": None}, "subject_request_id"),
        ({"subject_request_id": ID.upper()}, "subject_request_id"),
        ({"subject_request_id": "a7551968-d5d6-14b2-9831-815ac9017798"}, "subject_request_id"),
        ({"subject_request_id": ID + "\n"}, "subject_request_id"),
        ({"subject_request_type": "rectification"}, "subject_request_type"),
        ({"subject_request_type": None}, "subject_request_type"),
        ({"submitted_time": None}, "submitted_time"),
        ({"submitted_time": "2026-02-28"}, "submitted_time"),
        ({"submitted_time": "2026-02-28T15:00:00"}, "submitted_time"),
        ({"submitted_time": "2026-02-30T15:00:00Z"}, "submitted_time"),
        ({"submitted_time": "1969-02-20T15:00:00Z"}, "submitted_time"),
        ({"submitted_time": "2026-03-05T15:00:00Z"}, "future"),
        ({"subject_identities": None}, "no identity"),
        ({"subject_identities": []}, "no identity"),
        ({"subject_identities": [identity("phone", ADA)]}, "identity_type"),
        ({"subject_identities": [identity("email", ADA, "sha512")]}, "identity_format"),
        ({"subject_identities": [identity("email", "")]}, "identity_value"),
        ({"subject_identities": [identity("email", 7)]}, "identity_value"),
        ({"subject_identities": [identity("email", "a" * 600)]}, "identity_value"),
        ({"subject_identities": [{"identity_type": "email"}]}, "identity_value"),
        ({"subject_identities": [identity("email", ADA)] * 101}, "subject_identities"),
        ({"api_version": "3.0"}, "api_version"),
        ({"status_callback_urls": [f"https://c.example/{no}" for no in range(11)]}, "status_callback_urls"),
        ({"status_callback_urls": ["http://c.example/"]}, "url"),
        ({"status_callback_urls": ["https://u:p@c.example/"]}, "url"),
        ({"status_callback_urls": "https://c.example/"}, "status_callback_urls"),
        ({"extensions": []}, "extensions"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name_alone(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(body(**changes))
    assert says in caught.value.message
    assert ADA not in caught.value.message
    assert "c.example" not in caught.value.message


def test_ten_urls_are_called_back() -> None:
    urls = [f"https://c.example/{number}" for number in range(10)]
    assert read(body(status_callback_urls=[*urls])).callbacks == tuple(urls)


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 100_000, b"\xff", b"null", b"[]"])
def test_what_is_no_request_at_all_is_refused(raw: bytes) -> None:
    with pytest.raises(CdpError):
        read(raw)


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_nothing_that_is_sent_raises_anything_else(value: Any) -> None:
    for name in body():
        try:
            read(body() | {name: value})
        except (InvalidInputError, MalformedBodyError):
            continue


def test_a_clock_that_is_ahead_gains_no_time() -> None:
    assert read(body(submitted_time="2026-03-01T18:00:00Z")).submitted_at == NOW


def test_a_signature_may_be_folded_over_lines() -> None:
    text = base64.b64encode(bytes(range(200))).decode()
    folded = "\r\n ".join(text[at : at + 60] for at in range(0, len(text), 60))
    assert read_signature(folded) == bytes(range(200))
    assert read_signature("no base64!") == read_signature("") == b""


def test_what_a_processor_says_is_read() -> None:
    said = say.status(
        "7", ID, NOW, "completed", results=("https://cdp.example/r",), callback_url="https://c.example/x"
    )
    told = read_told(said)
    assert (told.subject_request_id, told.request_status) == (ID, "completed")
    assert told.status_callback_url == "https://c.example/x"
    assert told.expected_at() == NOW
    with pytest.raises(InvalidInputError):
        read_told(b'{"subject_request_id":"x","request_status":"lost"}')
    found = read_discovered(say.discovery(lambda kind: kind in DECLARED, "https://cdp.example/c.pem"))
    assert found.supported_subject_request_types == ("access", "portability", "erasure")
    assert found.processor_certificate == "https://cdp.example/c.pem"


def test_headers_are_said_in_both_families_and_read_in_either() -> None:
    said = {name.lower(): value for name, value in say.headers("cdp.example", b"\x00\x01").items()}
    assert said == {
        "x-opendsr-processor-domain": "cdp.example",
        "x-opendsr-signature": "AAE=",
        "x-opengdpr-processor-domain": "cdp.example",
        "x-opengdpr-signature": "AAE=",
    }
    assert say.header({"x-opengdpr-signature": "old"}, "Signature") == "old"
    assert say.header(said | {"x-opengdpr-signature": "old"}, "Signature") == "AAE="
    assert say.header({}, "Signature") == ""
