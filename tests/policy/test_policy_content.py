"""What is shipped as data for counsel: sources, languages, periods, deadlines."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import get_args

import pytest

from cdp.policy import Bundle, RightKind, load

LAWS = ("EU", "UK", "US", "US-CA", "CN", "other")
WORDS_OF_LAW = ("GDPR", "CCPA", "PIPL", "ePrivacy", "CAN-SPAM", "privacy law")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load(Path(__file__).parents[2] / "policies")


def test_every_basis_names_the_law_that_it_rests_on(bundle: Bundle) -> None:
    for purpose in bundle.purposes.values():
        assert set(purpose.source) == set(purpose.basis)
        for source in purpose.source.values():
            assert any(word in source for word in WORDS_OF_LAW), (purpose.key, source)
        assert purpose.validity_days is None or purpose.validity_source


def test_marketing_can_be_refused_without_losing_the_service(bundle: Bundle) -> None:
    """PIPL 24 and GDPR 22: whoever is chosen by their data is offered the same without."""
    variants = {purpose.variant for purpose in bundle.purposes.values()} - {""}
    assert variants == {"marketing.communications.email_plain"}
    for purpose in bundle.purposes.values():
        if (purpose.channels or purpose.key == "personalisation") and purpose.key not in variants:
            assert purpose.non_personalised, purpose.key
    permits = [rule for rule in bundle.rules if rule.effect == "permit" and rule.purpose in variants]
    assert frozenset[str]().union(*(rule.jurisdictions for rule in permits)) == set(LAWS)
    assert not any(rule.inputs for rule in permits)


def test_purposes_and_notices_speak_english_and_chinese(bundle: Bundle) -> None:
    for purpose in bundle.purposes.values():
        assert purpose.words().name == purpose.words("en-GB").name == purpose.name
        assert purpose.words("zh-CN") == purpose.words("zh") != purpose.words()
        assert purpose.words("fr").description == purpose.description
        offered = purpose.words("zh").non_personalised
        assert bool(offered) == bool(purpose.non_personalised), purpose.key
        assert not offered or offered != purpose.non_personalised
        for notice in purpose.notices:
            assert notice.shown("zh-Hans") != notice.shown("fr") == notice.text
            assert notice.digest("zh") == hashlib.sha256(notice.shown("zh").encode()).hexdigest()
            assert notice.digest() == notice.sha256 != notice.digest("zh")


def test_every_request_has_a_deadline_under_every_law(bundle: Bundle) -> None:
    kinds: tuple[RightKind, ...] = get_args(RightKind)
    for kind in kinds:
        for law in LAWS:
            found = bundle.rights.deadline(kind, law)
            assert found is not None
            assert found.source
            assert bool(found.days) != bool(found.months)
    european = bundle.rights.deadline("access", "EU")
    assert european is not None
    assert (european.months, european.extension_months) == (1, 2)
    assert european == bundle.rights.deadline("access", "UK")
    californian = bundle.rights.deadline("erasure", "US-CA")
    assert californian is not None
    assert (californian.days, californian.extension_days) == (45, 45)
    assert bundle.rights.keep_requests_days >= 730


def test_sensitive_conclusions_are_kept_shortest(bundle: Bundle) -> None:
    periods = {period.id: period for period in bundle.retention}
    assert periods["sensitive-conclusions"].days < periods["conclusions"].days
    assert all(period.source and period.days > 0 for period in bundle.retention)
    kept = {key for period in bundle.retention for key in period.categories}
    inferred = {category for category in bundle.fields.inferences.values() if bundle.is_sensitive(category)}
    assert inferred <= kept
