"""The IAB TCF 2.x consent string → what it says, and that as statements. Pure.

Source: IAB Tech Lab, *Consent string and vendor list formats*, v2.3 (specs: consent-signals.md §1).

Invariants:

1. Legitimate-interest bits of purposes 1 and 3 to 6 count as 0: the policies allow none there.
2. A vendor that a list does not name is not consented to. Where the string says which vendors were
   disclosed (v2.3: always), one that was not has no consent either.
3. Only consent is read as a grant, never legitimate interest. A purpose of ours is granted when every TCF
   purpose it needs has consent, and refused when one has not.
4. A grant binds the device alone and names its recipients: the destinations that are no vendors, and the
   vendors with consent and without a restriction. Where nobody is left it is no grant.
5. A string for all services (IsServiceSpecific 0) has been invalid since 2021: it may refuse, never grant.
6. A grant ends thirteen months after the string was last updated. The policy version is evidence only.
7. The jurisdiction is that of PublisherCC, the country whose legislation the string goes by, else the EU, for
   which the framework is made. It tells nobody's place: the gate takes it as a hint, which only adds a law.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cdp.clock import DAY, Micros
from cdp.consent.model import Statement
from cdp.consent.signals.bits import Bits, MalformedSignalError

MAX_AGE = 393 * DAY
"""The shortest thirteen months."""
_VERSION = 2
_SPECIFIC_VERSION = 4
_DECISECOND: Micros = 100_000
_NO_INTEREST = frozenset({1, 3, 4, 5, 6})
_MAX_SEGMENTS = 4
_HOME = "EU"
_NO_COUNTRY = frozenset({"AA", "ZZ", "XX"})  # what tools write that know none
_DISCLOSED, _ALLOWED, _PUBLISHER = 1, 2, 3
_NOT_ALLOWED, _NEEDS_INTEREST = 0, 2


class Vendors(msgspec.Struct, frozen=True):
    """A set of vendor ids as it was encoded: a bit field, vendor 1 first, or ranges.

    :param top: the highest id that the set speaks of.
    """

    top: int = 0
    field: int = 0
    ranges: tuple[tuple[int, int], ...] = ()

    def __contains__(self, vendor: int) -> bool:
        if not 1 <= vendor <= self.top:
            return False
        if self.field >> (self.top - vendor) & 1:
            return True
        return any(first <= vendor <= last for first, last in self.ranges)


class Restriction(msgspec.Struct, frozen=True):
    """A publisher's restriction: 0 not allowed, 1 needs consent, 2 needs legitimate interest."""

    purpose: int
    kind: int
    vendors: Vendors


class Publisher(msgspec.Struct, frozen=True):
    """The segment publisherTC: what the publisher itself, not a vendor, was allowed."""

    consents: frozenset[int]
    interests: frozenset[int]
    custom_consents: frozenset[int]
    custom_interests: frozenset[int]


class ConsentString(msgspec.Struct, frozen=True, kw_only=True):
    """A TCF 2.x string, decoded.

    :param interests: purposes with legitimate interest, those for which it is not allowed left out.
    :param disclosed: None in a string older than v2.3 that does not say.
    """

    created: Micros
    last_updated: Micros
    cmp_id: int
    cmp_version: int
    screen: int
    language: str
    list_version: int
    policy_version: int
    service_specific: bool
    non_standard_texts: bool
    special_features: frozenset[int]
    consents: frozenset[int]
    interests: frozenset[int]
    purpose_one_treatment: bool
    publisher_country: str
    vendor_consents: Vendors
    vendor_interests: Vendors
    restrictions: tuple[Restriction, ...]
    disclosed: Vendors | None = None
    publisher: Publisher | None = None

    def allows(self, purpose: int, vendor: int | None = None) -> bool:
        """Return whether there is consent for a TCF purpose, by a vendor or by nobody in particular."""
        if purpose not in self.consents:
            return False
        if vendor is None:
            return True
        if vendor not in self.vendor_consents or (
            self.disclosed is not None and vendor not in self.disclosed
        ):
            return False
        return not any(
            one.purpose == purpose and one.kind in {_NOT_ALLOWED, _NEEDS_INTEREST} and vendor in one.vendors
            for one in self.restrictions
        )


def decode(text: str) -> ConsentString:
    """Return what a string says.

    :raises MalformedSignalError: it is no TCF 2.x string.
    """
    core, *segments = text.split(".")
    if len(segments) > _MAX_SEGMENTS:
        raise MalformedSignalError("more segments than a TCF string has")
    further: dict[int, Bits] = {}
    for segment in segments:
        bits = Bits(segment)
        kind = bits.take(3)
        if kind not in {_DISCLOSED, _ALLOWED, _PUBLISHER} or kind in further:
            raise MalformedSignalError("a segment of an unknown type, or one given twice")
        further[kind] = bits
    return _core(
        Bits(core),
        _vendors(further[_DISCLOSED]) if _DISCLOSED in further else None,
        _publisher(further[_PUBLISHER]) if _PUBLISHER in further else None,
    )


def _core(bits: Bits, disclosed: Vendors | None, publisher: Publisher | None) -> ConsentString:
    if bits.take(6) != _VERSION:
        raise MalformedSignalError("not version 2 of the TCF")
    return ConsentString(  # in the order of the bits
        created=bits.take(36) * _DECISECOND,
        last_updated=bits.take(36) * _DECISECOND,
        cmp_id=bits.take(12),
        cmp_version=bits.take(12),
        screen=bits.take(6),
        language=bits.letters(),
        list_version=bits.take(12),
        policy_version=bits.take(6),
        service_specific=bits.flag(),
        non_standard_texts=bits.flag(),
        special_features=bits.numbers(12),
        consents=bits.numbers(24),
        interests=bits.numbers(24) - _NO_INTEREST,
        purpose_one_treatment=bits.flag(),
        publisher_country=bits.letters(),
        vendor_consents=_vendors(bits),
        vendor_interests=_vendors(bits),
        restrictions=tuple(
            Restriction(bits.take(6), bits.take(2), Vendors(0xFFFF, 0, _ranges(bits)))
            for _ in range(bits.take(12))
        ),
        disclosed=disclosed,
        publisher=publisher,
    )


def _vendors(bits: Bits) -> Vendors:
    top = bits.take(16)
    if bits.flag():
        return Vendors(top, 0, _ranges(bits))
    return Vendors(top, bits.take(top))


def _ranges(bits: Bits) -> tuple[tuple[int, int], ...]:
    found = []
    for _ in range(bits.take(12)):
        is_range = bits.flag()
        first = bits.take(16)
        last = bits.take(16) if is_range else first
        if not 1 <= first <= last:
            raise MalformedSignalError("a range of vendors that ends before it begins")
        found.append((first, last))
    return tuple(found)


def _publisher(bits: Bits) -> Publisher:
    consents, interests = bits.numbers(24), bits.numbers(24)
    custom = bits.take(6)
    return Publisher(consents, interests, bits.numbers(custom), bits.numbers(custom))


def statements(
    text: str, needed: Mapping[str, tuple[int, ...]], vendors: Mapping[str, int | None]
) -> tuple[Statement, ...]:
    """Return what a string says about our purposes, dated when it was last updated.

    :param needed: purpose → TCF purposes, all of which it needs.
    :param vendors: destination → its vendor id, None where it is no vendor.
    :raises MalformedSignalError: it is no TCF 2.x string.
    """
    said = decode(text)
    evidence = _evidence(text, said)
    found = []
    country = said.publisher_country
    law = _HOME if country in _NO_COUNTRY else country
    for purpose, ids in needed.items():
        granted = all(said.allows(number) for number in ids)
        recipients = tuple(
            name
            for name, vendor in vendors.items()
            if vendor is None or all(said.allows(number, vendor) for number in ids)
        )
        if granted and not (said.service_specific and recipients):
            continue
        found.append(
            Statement(
                purpose=purpose,
                state="granted" if granted else "refused",
                act=False,
                event_time=said.last_updated,
                signal="tcf",
                expires_at=said.last_updated + MAX_AGE if granted else None,
                language=said.language.lower(),
                method="stamp",
                jurisdiction=law,
                recipients=recipients if granted else (),
                evidence=evidence,
                device_only=True,
            )
        )
    return tuple(found)


def _evidence(text: str, said: ConsentString) -> bytes:
    """Return the raw string and what a reader of the ledger asks of it first."""
    return msgspec.json.encode(
        {
            "tcf": text,
            "last_updated": said.last_updated,
            "cmp_id": said.cmp_id,
            "cmp_version": said.cmp_version,
            "list_version": said.list_version,
            "policy_version": said.policy_version,
            "policy_outdated": said.policy_version < _SPECIFIC_VERSION,
            "service_specific": said.service_specific,
            "publisher_country": said.publisher_country,
            "consents": sorted(said.consents),
            "special_features": sorted(said.special_features),
        }
    )
