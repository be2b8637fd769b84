"""The normaliser against public test data: addresses of mail, numbers, names and postal addresses.

Where it does not agree, the reason is one of those that are listed here; a row more or less is a failure.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cdp.identity import addresses, emails, names, phones, version1

Rows = Callable[[str], Iterator[dict[str, Any]]]


@pytest.fixture
def rows(shared: Path) -> Rows:
    """Return a function that yields the rows of a file of the public data."""

    def read(path: str) -> Iterator[dict[str, Any]]:
        raw = (shared / "data" / path).read_bytes()
        text = (gzip.decompress(raw) if path.endswith(".gz") else raw).decode("utf-8-sig")
        lines = io.StringIO(text, newline="")
        yield from map(json.loads, lines) if ".jsonl" in path else csv.DictReader(lines)

    return read


def test_what_is_no_address_is_refused(rows: Rows) -> None:
    taken = Counter[str]()
    refused = Counter[str]()
    for row in rows("email_addresses/syntax_cases.jsonl"):
        address, found = row["address"], emails.normalise(row["address"])
        if row["expected"] == "invalid" and found:
            taken[_why_taken(address)] += 1
        if row["expected"] == "valid" and not found:
            refused[_why_refused(address)] += 1
        if found and row["normalized"]:
            assert found == row["normalized"].casefold()
    # 154 are invalid: 128 are refused, and these taken: spellings of a good one, or merely undeliverable.
    assert taken == {
        "white space around it": 18,
        "special-use domain": 6,
        "full-width or compatibility form, which is mapped": 1,
        "too long only as it was sent, not composed (NFC)": 1,
    }
    # 49 are valid: 41 are taken, and these refused.
    assert refused == {
        "a display name around it": 4,
        "needs quotes, so a mail system may read it otherwise": 2,
        "no dot in the domain: nobody's outside one network": 1,
        "full-width @ in its name": 1,
    }


def _why_taken(address: str) -> str:
    if address != address.strip():
        return "white space around it"
    if address.rpartition(".")[2] in {"arpa", "invalid", "local", "localhost", "onion", "test"}:
        return "special-use domain"
    if "\u2488" in address:
        return "full-width or compatibility form, which is mapped"
    return "too long only as it was sent, not composed (NFC)" if len(address.encode()) > 254 else address


def _why_refused(address: str) -> str:
    if address.endswith(">"):
        return "a display name around it"
    if address.startswith('"'):
        return "needs quotes, so a mail system may read it otherwise"
    if "\uff20" in address:
        return "full-width @ in its name"
    return "no dot in the domain: nobody's outside one network" if "." not in address else address


def test_spellings_of_one_mailbox_become_equal(rows: Rows) -> None:
    """Rows whose options are our rules: Gmail folded, lower case; of the others nothing undocumented."""
    agreed, otherwise = 0, Counter[str]()
    for row in rows("email_addresses/normalization_cases.csv"):
        address, wanted, options = row["address"], row["same_mailbox_as"], row["options"]
        if (emails.normalise(address) or "(rejected)") == wanted:
            agreed += 1
        else:
            otherwise[_why_another(address, wanted, options)] += 1
    assert agreed == 81
    assert otherwise == {
        "not documented by the provider (outlook, icloud, yahoo, yandex)": 20,
        "an option that is not ours": 15,
        "no address (RFC 5321)": 4,
    }


def _why_another(address: str, wanted: str, options: str) -> str:
    domain = address.rpartition("@")[2].lower()
    if ".." in address or '"' in address:
        return "no address (RFC 5321)"
    providers = ("live", "outlook", "hotmail", "icloud", "me.com", "yahoo", "ymail", "yandex", "ya.ru")
    if domain.startswith(providers) and wanted.casefold() != address.casefold():
        return "not documented by the provider (outlook, icloud, yahoo, yandex)"
    return "an option that is not ours" if options else address


def test_numbers_of_all_regions_agree_with_the_reference(rows: Rows) -> None:
    agreed = 0
    for row in rows("phone_numbers/example_numbers.csv"):
        region = None if row["region"] == "001" else row["region"]
        forms = [(row["e164"], None), (row["international"], None), (row["rfc3966"], None)]
        if region is not None:
            forms.append((row["national"], region))
        for text, known in forms:
            found = phones.normalise(text, known)
            # A number that is deliberately wrong and yet "possible" can be dialled within one town only.
            local = row["kind"] == "invalid" and not found
            assert local or found == (row["e164"] if row["is_possible"] == "True" else ""), text
            agreed += not local or row["is_possible"] == "False"
    assert agreed == 6439  # of 6503


def test_messy_numbers_agree_with_the_reference(rows: Rows) -> None:
    otherwise = set()
    for row in rows("phone_numbers/parse_cases.csv"):
        region = row["default_region"] if row["default_region"] not in {"", "ZZ"} else None
        wanted = row["e164"] if row["is_possible"] == "True" else ""
        if wanted and row["extension"]:
            wanted += f";ext={row['extension']}"
        found = phones.normalise(row["input"], region)
        if found != wanted:
            otherwise.add((row["input"], found))
    assert otherwise == {  # 169 of 176 agree
        ("87654321", "87654321"),  # no country is known: it stays digits
        *((text, "") for text in LOCAL),  # dialled within one town only: nobody's number
    }


LOCAL = (
    "2530000",
    "tel:253-0000;phone-context=www.google.com",
    "tel:253-0000;isub=12345;phone-context=www.google.com",
    "tel:2530000;isub=12345;phone-context=1234.com",
    "011xx5481429712",
    "81234",
)


def test_names_are_parted_as_people_parted_them(rows: Rows) -> None:
    given_of = {"GivenName", "FirstInitial"}
    family_of = {"Surname", "LastInitial"}
    right = whole = 0
    for row in rows("person_names/person_labeled.jsonl.gz"):
        labels = [label for _, label in row["tokens"]]
        if any("Second" in label or label in {"And", "PrefixOther"} for label in labels):
            continue  # couples
        given = " ".join(token for token, label in row["tokens"] if label in given_of)
        family = " ".join(token for token, label in row["tokens"] if label in family_of)
        if given and family:
            whole += 1
            first, last = names.parts(row["text"])
            first_of = names.normalise(given).split()[:1]
            right += last == names.normalise(family.rstrip(",")) and first.split()[:1] == first_of
    assert right / whole > 0.94, (right, whole)  # "Family Given" without a comma cannot be told


def test_every_compound_surname_that_people_bear_is_known(rows: Rows) -> None:
    borne = [row for row in rows("person_names/chinese_familyname.csv") if row["compound"] == "1"]
    often = [row["surname"] for row in borne if float(row["ppm.1930_2008"]) >= 1]
    known = [surname for surname in often if names.parts(f"{surname}明华")[1] == surname]
    assert len(known) == len(often), set(often) - set(known)


def test_equal_names_are_matches(rows: Rows) -> None:
    """What becomes equal is the same person's in every pair; what does not is for matching to compare."""
    found = Counter[tuple[str, bool]]()
    for row in rows("name_pairs/name_pairs.csv"):
        if row["schema"] == "Person":
            found[row["is_match"], names.normalise(row["name1"]) == names.normalise(row["name2"])] += 1
    assert found["false", True] == 0
    assert found["true", True] >= 9


def test_postal_addresses_stay_themselves_and_apart(rows: Rows) -> None:
    texts = [row["text"] for row in rows("postal_addresses/us_labeled.jsonl.gz")]
    texts += [row["text"] for row in rows("postal_addresses/world_parse_cases.jsonl")]
    texts += [row["expected"] for row in rows("postal_addresses/world_format_cases.jsonl")]
    texts += [row["原始地址"] for row in rows("postal_addresses/chinese_addresses.csv.gz") if row["原始地址"]]
    alike: dict[str, set[str]] = {}
    for text in texts:
        folded = addresses.normalise(text)
        assert addresses.normalise(folded) == folded
        assert folded or not any(map(str.isalnum, text))
        alike.setdefault(folded, set()).add("".join(filter(str.isalnum, text.casefold())))
    assert sum(len(one) > 1 for one in alike.values()) < 80  # of 18,900


def test_version_2_makes_of_a_value_of_version_1_what_it_makes_of_its_text(rows: Rows) -> None:
    """What the pass over all identifiers rests on."""
    texts = [row["address"] for row in rows("email_addresses/syntax_cases.jsonl")]
    texts += [row["address"] for row in rows("email_addresses/normalization_cases.csv")]
    for text in texts:
        before, now = version1.normalise("email", text), emails.normalise(text)
        if before and now:
            assert emails.normalise(before) == now
