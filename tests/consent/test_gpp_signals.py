"""GPP strings: headers, every US section, what they opt out of, and strings that mean harm."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

import pytest
import signal_encoder as encode
from hypothesis import given
from hypothesis import strategies as st
from signal_encoder import pairs, text_of

from cdp.consent import MalformedSignalError
from cdp.consent.signals import gpp
from cdp.consent.signals.bits import Bits
from cdp.consent.signals.us_sections import LAYOUTS, UsSection, decode_section
from cdp.policy import Gpc, SourceSignals

MAPPING = SourceSignals(
    tcf={"analytics": (1, 9)},
    gpp={
        "sale": ("ads.third",),
        "sharing": ("ads.third",),
        "targeted_advertising": ("ads.first", "ads.third"),
        "sensitive_data": ("sensitive",),
        "known_child": ("ads.first",),
    },
    gpc=Gpc(opts_out_of=("ads.third",)),
    vendors={"mailer": None},
)
TCF = "CQeEcwAQeEcwAAfACBENB4FoAPKAAEJAAAYgF5wBAABAAGAAQAvMAAAAAAAA.IF5wBgABAAGAAQAAoADIC8wA"


def section(text: str) -> UsSection:
    ((number, found),) = gpp.decode(text).items()
    return decode_section(number, found)


def said(text: str, *sections: int) -> dict[str, str]:
    heard = gpp.hear(text, frozenset(sections) or None, MAPPING)
    return {f"{one.signal} {one.purpose}": one.state for one in heard.statements}


# -- the vectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "ids"),
    [
        ("DBABM", (2,)),
        ("DBACNY", (2, 6)),
        ("DBACNYA", (2, 6)),
        ("DBABjw", (5, 6)),
        ("DBABLA", (7,)),
        ("DBABBg", (8,)),
    ],
)
def test_headers(header: str, ids: tuple[int, ...]) -> None:
    bits = Bits(header)
    assert bits.take(12) == 3 << 6 | 1
    assert bits.ids() == ids


@pytest.mark.parametrize(
    ("text", "name", "version", "restrained", "control"),
    [
        ("DBABLA~CVQWAAAAAACA.YA", "usnat", 2, {"sale", "sharing"}, True),
        ("DBABBg~BUoAAACA.QA", "usca", 1, set(), False),
        ("DBABLA~BVQqAAAAAAA.QA", "usnat", 1, set(), False),
        ("DBABRg~BAUAABA", "usva", 1, {"sale", "targeted_advertising"}, False),
        ("DBABEYA~BQBQ.QA", "usmd", 1, {"sale", "targeted_advertising"}, False),
        ("DBABTA~1YNN", "uspv1", 1, set(), False),
        ("DBABTA~1YYN", "uspv1", 1, {"sale"}, False),
        ("DBABTA~1---", "uspv1", 1, set(), False),
    ],
)
def test_sections(text: str, name: str, version: int, restrained: set[str], control: bool) -> None:  # noqa: FBT001  # a table
    found = section(text)
    assert (found.name, found.version, found.gpc) == (name, version, control)
    assert found.restrained == restrained


def test_the_strings_of_the_public_test_suites(shared: Path) -> None:
    """Each is read to its last section, but the two whose headers name a section that is not there."""
    path = shared / "data" / "consent_strings" / "consent_strings.jsonl"
    if not path.exists():
        pytest.skip(f"no consent strings at {path}")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    strings = [row["string"] for row in rows if row["kind"] == "gpp"]
    incomplete = 0
    for text in strings:
        try:
            heard = gpp.hear(text, None, MAPPING)
        except MalformedSignalError:
            incomplete += 1
            continue
        assert ("gpp", "malformed") not in heard.notes
    assert (len(strings), incomplete) == (36, 2)


HEADERS = {
    "DBAA": [], "DBABMA": [2], "DBABMAAA": [2], "DBABjwAA": [5, 6], "DBACNYA": [2, 6], "DBACNYAA": [2, 6],
}  # fmt: skip
US_PRIVACY = {"1---": False, "1NYN": True, "1YNN": False, "1YNY": False}  # opted out of the sale


def test_the_headers_and_us_privacy_strings_of_the_public_test_suites(shared: Path) -> None:
    path = shared / "data" / "consent_strings" / "consent_strings.jsonl"
    if not path.exists():
        pytest.skip(f"no consent strings at {path}")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row["string"] for row in rows if row["kind"] == "gpp_header"} == HEADERS.keys()
    for header, ids in HEADERS.items():
        assert list(gpp.decode(header + "~x" * len(ids))) == ids
        with pytest.raises(MalformedSignalError):
            gpp.decode(header + "~x" * (len(ids) + 1))
    assert {row["string"] for row in rows if row["kind"] == "us_privacy"} == US_PRIVACY.keys()
    for text, opted_out in US_PRIVACY.items():
        assert bool(gpp.us_privacy(text, MAPPING).statements) == opted_out, text


# -- every section, bit by bit ----------------------------------------------------------------------

CORES = [(number, version) for number, layout in LAYOUTS.items() for version in layout.cores]
PLACES = {"usut": 14, "usia": 14, "usnat": 18, "usmd": 16, "usin": 16, "usky": 16, "usri": 16}


def core(number: int, version: int, one: int = -1, value: int = 1) -> str:
    """Return a core of zeros with one entry set."""
    entries = sum(count for _, count in LAYOUTS[number].cores[version])
    return encode.number(version, 6) + pairs(*(value if place == one else 0 for place in range(entries)))


@pytest.mark.parametrize(("number", "version"), CORES)
def test_the_opt_out_of_sale_stands_where_the_text_says(number: int, version: int) -> None:
    """Bits 12-13 in most states, 14-15 where a notice comes first, as the texts give them."""
    at = PLACES.get(LAYOUTS[number].name, 12)
    bits = list(core(number, version))
    bits[at : at + 2] = "01"
    assert decode_section(number, text_of("".join(bits))).restrained == {"sale"}


@pytest.mark.parametrize(("number", "version"), CORES)
def test_each_entry_restrains_only_when_it_is_1(number: int, version: int) -> None:
    names = [name for name, count in LAYOUTS[number].cores[version] for _ in range(count)]
    for place, name in enumerate(names):
        restraining = set() if name in {"notice", "mspa"} else {name}
        assert decode_section(number, text_of(core(number, version, place, 1))).restrained == restraining
        assert decode_section(number, text_of(core(number, version, place, 2))).restrained == set()
        with pytest.raises(MalformedSignalError):
            decode_section(number, text_of(core(number, version, place, 3)))


@pytest.mark.parametrize("number", [25, 26, 27])
def test_the_newer_layout_holds_sensitive_data_in_a_segment_of_its_own(number: int) -> None:
    whole = text_of(core(number, 1)) + "." + text_of(pairs(0, 0, 0, 0, 0, 0, 0, 1))
    assert decode_section(number, whole).restrained == {"sensitive_data"}


@pytest.mark.parametrize("number", [24, 25, 26, 27])
def test_the_newer_layout_may_carry_the_header_of_the_texts(number: int) -> None:
    header = encode.number(number, 6) + encode.number(1, 6) + encode.number(1, 12) + "0" + encode.fibonacci(1)
    bits = list(core(number, 1))
    bits[16:18] = "01"
    assert decode_section(number, text_of(header + "".join(bits))).restrained == {"sale"}


# -- what is said about our purposes ----------------------------------------------------------------


def test_only_an_opt_out_says_anything() -> None:
    assert said("DBABLA~BVQqAAAAAAA.QA") == {}
    assert said("DBABRg~BAUAABA") == {
        "gpp:usva ads.third": "opted_out",
        "gpp:usva ads.first": "opted_out",
    }


def test_a_section_that_reports_gpc_counts_as_gpc_for_everybody_named() -> None:
    found = gpp.hear("DBABBg~BUoAAACA.YA", None, MAPPING).statements
    assert [(one.signal, one.purpose, one.device_only) for one in found] == [("gpc", "ads.third", False)]
    bound = gpp.hear("DBABRg~BAUAABA", None, MAPPING).statements
    assert all(one.device_only and not one.act for one in bound)


def test_only_the_sections_named_apply_and_else_all() -> None:
    text = "~".join((encode.gpp_header([7, 9]), "BVQqAAAAAAA.QA", "BAUAABA"))
    assert set(said(text)) == {"gpp:usva ads.third", "gpp:usva ads.first"}
    assert said(text, 7) == {}
    assert said(text, 9) == said(text, 7, 9) == said(text)
    assert said(text, -1) == {}


def test_the_european_section_follows_the_rules_of_tcf() -> None:
    (one,) = gpp.hear(f"DBABMA~{TCF}", frozenset({2}), MAPPING).statements
    assert (one.signal, one.state, one.recipients) == ("tcf", "granted", ("mailer",))
    assert gpp.hear(TCF, None, MAPPING).statements == (one,)  # bare, as its first letter says


def test_what_is_not_read_is_counted_and_silences_nobody() -> None:
    text = "~".join((encode.gpp_header([5, 7, 9, 40]), "BPSG", "C", "BAUAABA", "x"))
    heard = gpp.hear(text, None, MAPPING)
    assert sorted(heard.notes) == [("gpp", "ignored"), ("gpp", "ignored"), ("gpp", "malformed")]
    assert {one.purpose for one in heard.statements} == {"ads.first", "ads.third"}


# -- round trips and bad input ----------------------------------------------------------------------


@given(st.sets(st.integers(1, 500), min_size=1, max_size=40).map(sorted))
def test_headers_are_read_as_they_were_written(ids: list[int]) -> None:
    bits = Bits(encode.gpp_header(ids))
    bits.take(12)
    assert list(bits.ids()) == ids


@given(st.text() | st.text("ABCDEFGabcdefg0123_-~.").map("DBAB".__add__))
def test_nothing_raises_but_the_one_error(text: str) -> None:
    with suppress(MalformedSignalError):
        gpp.hear(text, None, MAPPING)


HOSTILE = {
    "empty": "",
    "tildes": "~" * 10_000,
    "a megabyte": "D" * 1_000_000,
    "another type": "EBABLA~BVQqAAAAAAA.QA",
    "another version": "DCABLA~BVQqAAAAAAA.QA",
    "a header alone": "DBABLA",
    "a section too few": "DBACNY~1YNN",
    "a section too many": "DBABLA~BVQqAAAAAAA.QA~1YNN",
    "Fibonacci without an end": "DBAB" + "A" * 10_000,
    "a group of thousands": text_of(
        encode.number(3, 6) + encode.number(1, 6) + encode.number(1, 12) + "1" + "11" + encode.fibonacci(1500)
    ),
    "4095 groups": text_of(
        encode.number(3, 6) + encode.number(1, 6) + encode.number(4095, 12) + "1110000000000001" * 4095
    ),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_strings_are_refused_in_no_time(text: str) -> None:
    started = time.process_time()
    with pytest.raises(MalformedSignalError):
        gpp.hear(text, None, MAPPING)
    assert time.process_time() - started < 0.2


@pytest.mark.parametrize("text", ["2YNN", "1YN", "1YNNN", "1ynn", "1YZN", ""])
def test_other_us_privacy_strings_are_refused(text: str) -> None:
    with pytest.raises(MalformedSignalError):
        gpp.us_privacy(text, MAPPING)


@pytest.mark.parametrize(("number", "version"), CORES)
def test_half_a_section_or_one_of_the_future_is_refused(number: int, version: int) -> None:
    whole = core(number, version)
    for bits in (whole[:12], encode.number(9, 6) + whole[6:]):
        with pytest.raises(MalformedSignalError):
            decode_section(number, text_of(bits))
