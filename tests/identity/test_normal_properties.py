"""The normaliser on whatever can be sent: it never raises, twice is once, and spellings become equal."""

from __future__ import annotations

import string
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp.identity import Normaliser, addresses, names, version1
from cdp.policy import load

FASTMAIL = "fastmail.com"
PROTON = "proton.me"
GMAIL = "gmail.com"
GOOGLEMAIL = "googlemail.com"
NORMALISE = Normaliser(load(Path(__file__).parents[2] / "policies").identity)
KINDS = ("user_id", "anonymous_id", "email", "phone", "device_id", "external:crm", "external:", "nobody")
SCRIPTS = (
    "Ann Lee",
    "Ängström",
    "Ανδρέας",
    "Юлия",
    "王小明",
    "さくら",
    "김철수",
    "محمد",
    "दीपक",
    "ณัฐ",
    "🜁🙂",
    "ⅷ½ﬃ",
    "\uff46\uff55\uff4c\uff4c",
)
EVIL = "\x00\x1f\x7f\u200b\u200d\u202e\u2066\ufeff\ud800\udfff\U000e0001 \t\n@.+-;=\"'\\,()<>0٣५"
DOTS = (".", "\u3002", "\uff0e", "\uff61", "\u2024", "\u3002com", "\u3002\u3002")
PREFIXES = ("0", "00", "0-00", "000", "+49 (0)", "+49000", "+550140", "+570", "+5490", "0\u06600", "09")
TEXT = st.one_of(
    st.text(max_size=60),
    st.text(alphabet=EVIL + string.ascii_letters + string.digits, max_size=40),
    st.text(alphabet=st.characters(categories=("Cs", "Cf", "Cc", "Mn", "Lo", "Lu")), max_size=30),
    st.sampled_from(SCRIPTS),
    st.builds("{}@{}".format, st.text(max_size=20), st.text(max_size=20)),
    st.builds("{}@{}.example".format, st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20)),
    st.builds("{}@shop.example{}".format, st.text(max_size=5), st.sampled_from(DOTS)),
    st.builds("+{}".format, st.integers(0, 10**17)),
    st.builds("{}{}".format, st.sampled_from(PREFIXES), st.integers(10**6, 10**9)),
    st.text(min_size=500, max_size=3000),
)
REGIONS = st.sampled_from((None, "DE", "GB", "US", "CN", "IM", "AR", "BR", "IT"))
UUID = "aebe52e7-03ee-455a-b3c4-e57283966239"
LOCAL = st.text(alphabet=string.ascii_lowercase + string.digits, min_size=1, max_size=20)


@given(st.sampled_from(KINDS), TEXT, REGIONS)
def test_nothing_raises_and_twice_is_once(kind: str, text: str, region: str | None) -> None:
    found = NORMALISE(kind, text, region)
    for value in (found, NORMALISE.earlier(kind, text, region), NORMALISE.known(kind, text, region)):
        if value is not None:
            assert value.encode()
            assert 0 < len(value) <= 512
    if found is not None:
        assert NORMALISE(kind, found, region) == found
        assert NORMALISE(kind, found) == found


@given(TEXT)
def test_names_and_addresses_never_raise_and_twice_is_once(text: str) -> None:
    for normalise in (names.normalise, addresses.normalise):
        found = normalise(text)
        assert normalise(found) == found
        found.encode()  # half of a surrogate pair would raise
    for part in names.parts(text):
        part.encode()


@given(st.sampled_from(("email", "device_id", "user_id")), TEXT)
def test_what_version_1_made_becomes_what_the_text_becomes(kind: str, text: str) -> None:
    """So identifiers can be indexed anew from their values (``version1.py``)."""
    before, now = version1.normalise(kind, text), NORMALISE(kind, text)
    if before is not None and now is not None:
        assert NORMALISE(kind, before) == now


@given(LOCAL, st.lists(st.sampled_from(string.ascii_lowercase), max_size=5), LOCAL)
def test_spellings_of_one_mailbox_at_gmail(local: str, extra: list[str], tag: str) -> None:
    dotted = ".".join((local, *extra))
    plain = NORMALISE("email", f"{local}{''.join(extra)}@{GMAIL}")
    for spelling in (
        f"{dotted}@{GMAIL}",
        f" {dotted.upper()}@{GOOGLEMAIL.title()}\n",
        f"{dotted}+{tag}@{GMAIL}",
        f"mailto:{dotted}@{GMAIL}",
        f"\u200e{dotted}@{GMAIL}\u200b",
        unicodedata.normalize("NFKC", f"{dotted}@\uff47\uff4d\uff41\uff49\uff4c.\uff43\uff4f\uff4d"),
        f"{dotted}\uff20\uff47\uff4d\uff41\uff49\uff4c\uff0e\uff43\uff4f\uff4d",
    ):
        assert NORMALISE("email", spelling) == plain


@given(LOCAL, LOCAL)
def test_nothing_that_a_provider_does_not_document_is_folded(local: str, tag: str) -> None:
    for provider in ("outlook.com", "icloud.com", "yahoo.com", "people.example"):
        plain = NORMALISE("email", f"{local}@{provider}")
        assert NORMALISE("email", f"{local}+{tag}@{provider}") != plain
        assert NORMALISE("email", f"a.{local}@{provider}") != NORMALISE("email", f"a{local}@{provider}")


@given(st.integers(20_3000_0000, 20_3999_9999), st.sampled_from(("", " ", "-", ".", "\u00a0", "\u2011")))
def test_spellings_of_one_number(number: int, gap: str) -> None:
    digits = str(number)
    cut = gap.join((digits[:2], digits[2:6], digits[6:]))
    wide = "".join(chr(ord(one) + 0xFEE0) for one in digits)
    arabic = "".join(chr(ord(one) - ord("0") + 0x0660) for one in digits)
    wanted = f"+44{digits}"
    for spelling in (
        f"+44{gap}{cut}",
        f"+44 (0) {cut}",
        f"tel:+44{digits}",
        f"\uff0b44{wide}",
        f"+44{arabic}",
    ):
        assert NORMALISE("phone", spelling) == wanted
        assert NORMALISE("phone", spelling, "CN") == wanted
    for spelling in (f"0{cut}", f"(0{digits[:2]}) {digits[2:]}", f"0{wide}", f"0{arabic}", f"00 44 {cut}"):
        assert NORMALISE("phone", spelling, "GB") == wanted
        assert NORMALISE("phone", spelling) != wanted  # nobody said of which country


@given(TEXT)
def test_a_number_without_a_country_never_equals_one_with(text: str) -> None:
    found = NORMALISE("phone", text)
    assert found is None or found.startswith("+") == ("+" in found)
    if found is not None and not found.startswith("+"):
        assert found.isascii()
        assert found.isdigit()


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("email", "Jörg@Bücher.example", "jörg@xn--bcher-kva.example"),
        ("email", "jo\u0308rg@people.example", "jörg@people.example"),
        ("email", '"jane.doe"@people.example', "jane.doe@people.example"),
        ("email", "a@stra\u00dfe.example", "a@xn--strae-oqa.example"),  # folded, as version 1 had it
        ("email", "a@\u03c3\u03bf\u03c2.example", "a@xn--0xagb.example"),
        ("email", f"ann.\u0323@{GMAIL}", f"an\u1e47@{GMAIL}"),
        ("email", f"jane+a@{FASTMAIL}", f"jane@{FASTMAIL}"),
        ("email", f"jane+a@{PROTON}", f"jane@{PROTON}"),
        ("phone", "+44 20 3456 7890 x456", "tel:+44-20-3456-7890;ext=456"),
        ("device_id", f" {{{UUID}}}", UUID),
        ("device_id", f"urn:uuid:{UUID}", UUID.upper()),
        ("user_id", "  Ann ", "Ann"),
    ],
)  # fmt: skip
def test_two_spellings_of_one_thing(kind: str, one: str, other: str) -> None:
    found = NORMALISE(kind, one)
    assert found is not None
    assert found == NORMALISE(kind, other) == NORMALISE(kind, found)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("user_id", "Ann", "ann"),  # opaque: two accounts of another system
        ("user_id", "e\u0301", "\u00e9"),
        ("device_id", "ABCDEF", "abcdef"),  # no UUID, so nobody documents its case
        ("phone", "+44 20 3456 7890 x456", "+44 20 3456 7890"),
        ("phone", "+44 20 3456 7890 x456", "+44 20 3456 7890 x457"),
        ("email", "jane.doe@people.example", "janedoe@people.example"),
    ],
)
def test_two_things_stay_two(kind: str, one: str, other: str) -> None:
    found = NORMALISE(kind, one), NORMALISE(kind, other)
    assert None not in found
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("device_id", "00000000-0000-0000-0000-000000000000"),
        ("device_id", "{00000000-0000-0000-0000-000000000000}"),
        ("user_id", "Null"),
        ("user_id", "a\x00b"),
        ("user_id", "\ud800"),
        ("user_id", "x" * 513),
        ("external:a b", "1"),
        ("external:\n", "1"),
        ("email", "@"),
        ("email", "x@localhost"),
        ("email", "≮x@people.example"),
        ("phone", "+999 1234567"),
        ("phone", "+44 1"),
        ("phone", "123"),
        ("phone", "+49 000 30 1234567"),  # a prefix behind a prefix behind a prefix: dialled nowhere
        ("phone", "+43 00 0 5852123"),
        ("email", "x@people.example\u3002"),
        ("email", "x@b\u00fccher.example\uff61"),
        ("email", "x@people\u3002m5"),
        ("email", "a@b." * 200_000),
        ("phone", "1" * 1_000_000),
    ],
)  # fmt: skip
def test_what_identifies_nobody(kind: str, text: str) -> None:
    assert NORMALISE(kind, text) is None


@pytest.mark.parametrize(
    ("name", "given_names", "family"),
    [
        ("Dr. José  O’Brien", "jose", "obrien"),
        ("OBRIEN, Jose", "jose", "obrien"),
        ("John Q. Public, Ph.D.", "john q", "public"),
        ("John Public Jr.", "john", "public"),
        ("Ludwig van Beethoven", "ludwig", "van beethoven"),
        ("DUPONT Jean-Marie", "jean marie", "dupont"),
        ("Anna Müller-Lüdenscheidt", "anna", "muller ludenscheidt"),
        ("王小明", "小明", "王"),
        ("歐陽 修", "修", "欧阳"),
        ("司马懿", "懿", "司马"),
        ("买买提·艾力", "买买提", "艾力"),
        ("山田太郎", "太郎", "山田"),
        ("山田 はなこ", "はなこ", "山田"),
        ("남궁민", "민", "남궁"),
        ("Мария Иванова", "мария", "иванова"),
        ("Madonna", "madonna", ""),
        ("", "", ""),
    ],
)
def test_the_parts_of_names(name: str, given_names: str, family: str) -> None:
    assert names.parts(name) == (given_names, family)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12 Fifth Avenue, Apt. #3", "12 5th ave apt 3"),
        ("Hauptstraße 5 a", "HAUPTSTR. 5A"),
        ("12 rue de l’Église", "12, Rue de l'Eglise"),
        ("100 North Main Street", "100 N. Main St"),
        ("P.O. Box 12", "PO Box 12"),
        ("中国北京市 海淀区 中关村大街 \uff12\uff17 號", "北京市海淀区中关村大街27号"),
        ("三号樓二层", "3号楼2楼"),
        ("二十三号", "23号"),
    ],
)
def test_two_spellings_of_one_address(one: str, other: str) -> None:
    assert addresses.normalise(one) == addresses.normalise(other)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("phone", "+1 123 456 7890"),
        ("phone", "+44 1234 567890"),
        ("phone", "+353 12345678"),
        ("phone", "0123456789"),
        ("phone", "+1 555 555 5555"),
        ("phone", "000 000 0000"),
        ("email", "NoReply@shop.example"),
        ("email", f"t.e.s.t+1@{GMAIL}"),
        ("user_id", " NULL "),
        ("user_id", "[object Object]"),
        ("user_id", "0"),
        ("anonymous_id", "00000000-0000-0000-0000-000000000000"),
        ("external:crm", "xxx"),
    ],
)
def test_the_starter_rules_block_what_is_made_up(kind: str, value: str) -> None:
    """It names nobody, and is known all the same where it says no."""
    assert NORMALISE(kind, value) is None
    assert NORMALISE.known(kind, value) is not None


@pytest.mark.parametrize(
    "number",
    ["+1 212 345 6789", "+7 712 345 67 89", "+49 1512 345678", "+86 123 4567 8901", "+44 20 8765 4321"],
)
def test_a_number_that_only_holds_such_digits_is_somebodys(number: str) -> None:
    assert NORMALISE("phone", number) is not None


@given(TEXT, REGIONS, st.sets(st.sampled_from(("GB", "US", "DE", "IT")), max_size=3))
def test_what_a_number_may_be_holds_what_it_is(text: str, region: str | None, others: set[str]) -> None:
    meant = NORMALISE.meant("phone", text, region, lambda: others)
    assert len(set(meant)) == len(meant) <= 1 + max(1, len(others))
    known = NORMALISE.known("phone", text, region)
    assert known is None or known in meant
    bare = NORMALISE.known("phone", text)
    if bare is not None and bare.startswith("+"):
        assert len(meant) == 1
    assert NORMALISE.meant("email", text, region) == tuple(filter(None, [NORMALISE.known("email", text)]))
