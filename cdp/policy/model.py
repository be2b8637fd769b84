"""The policy bundle as typed, immutable records.

Invariants: loading validates everything, so whoever holds a ``Bundle`` holds one without unknown
keys, dangling names or contradictions; a bundle is identified by the SHA-256 of its files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import date
from typing import Literal

import msgspec

from cdp.clock import Micros
from cdp.policy.collection import QUARANTINE_DAYS, IntakeRule
from cdp.policy.declared import Category, FieldCatalogue, IdentityRules
from cdp.policy.names import covers
from cdp.policy.periods import Retention, Rights

DEFAULT_LANGUAGE = "en"
"""The language of a text that names none."""
TransformKind = Literal["clear", "mask", "hash", "pseudonymise", "generalise", "drop"]
Basis = Literal["consent", "opt_out", "contract", "legal_obligation", "legitimate_interest"]


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the text that people were shown.

    :param material: True when a grant given on an earlier version has become stale.
    :param text: in the default language, or the only one; ``translations``: language → text.
    """

    id: str
    version: int
    material: bool
    text: str
    in_force_from: Micros = 0
    translations: dict[str, str] = {}

    @property
    def sha256(self) -> str:
        """Hex digest of the archived text."""
        return self.digest()

    def shown(self, language: str = "") -> str:
        """Return the text in a language (``zh`` also answers for ``zh-CN``), else in the default one."""
        tag = language.lower()
        return self.translations.get(tag) or self.translations.get(tag.partition("-")[0]) or self.text

    def digest(self, language: str = "") -> str:
        """Return the hex digest of the text shown in a language."""
        return hashlib.sha256(self.shown(language).encode()).hexdigest()


class Words(msgspec.Struct, frozen=True):
    """The name and the description of something in one language, and what is offered instead of it."""

    name: str
    description: str
    non_personalised: str = ""


class Purpose(msgspec.Struct, frozen=True, kw_only=True):
    """``purposes.yaml``: what data may be used for.

    :param key: dotted; a restraint on a key covers all keys below it.
    :param basis: legal basis by jurisdiction; ``*`` for the others.
    :param source: the law behind each basis, by the keys of ``basis``.
    :param validity_days: a grant older than this is stale; None never ages.
    :param double_opt_in: jurisdictions in which a grant counts only once its person has confirmed it.
    :param non_personalised: what is offered to whoever wants no choice made by their data.
    :param variant: the purpose for which that is done; empty where no data of the person is used for it.
    :param sensitive: it and all below it need more than an advertising signal to be granted.
    """

    key: str
    name: str
    description: str
    basis: dict[str, Basis]
    channels: tuple[str, ...] = ()
    validity_days: int | None = None
    separate_consent: tuple[str, ...] = ()
    double_opt_in: tuple[str, ...] = ()
    double_opt_in_source: str = ""
    notices: tuple[Notice, ...] = ()
    internal: bool = False
    restrainable: bool = True
    sensitive: bool = False
    source: dict[str, str] = {}
    validity_source: str = ""
    non_personalised: str = ""
    variant: str = ""
    translations: dict[str, Words] = {}

    def words(self, language: str = "") -> Words:
        """Return what people read of it in a language (``zh`` also answers for ``zh-CN``)."""
        tag = language.lower()
        found = self.translations.get(tag) or self.translations.get(tag.partition("-")[0])
        return found or Words(self.name, self.description, self.non_personalised)

    def basis_in(self, jurisdiction: str) -> Basis | None:
        """Return the legal basis in ``jurisdiction``, None where there is none."""
        return self.basis.get(jurisdiction, self.basis.get("*"))

    def notice_at(self, at: Micros) -> Notice | None:
        """Return the notice that was in force at ``at``: what was shown when nobody says otherwise."""
        shown = [notice for notice in self.notices if notice.in_force_from <= at]
        return max(shown, key=lambda notice: (notice.in_force_from, notice.version), default=None)

    def notice_named(self, notice_id: str, version: int | None, at: Micros) -> Notice | None:
        """Return a version of a notice; where none is said the one in force at ``at``."""
        kept = (n for n in self.notices if n.id == notice_id and version in {None, n.version})
        fitting = (n for n in kept if version or n.in_force_from <= at)
        return max(fitting, key=lambda notice: notice.version, default=None)


class Jurisdictions(msgspec.Struct, frozen=True, kw_only=True):
    """``jurisdictions.yaml``.

    :param controller: the jurisdictions of the controller's establishment.
    :param countries: country code or name, lower case → code.
    :param laws: country code → the jurisdictions that bind somebody there whose state is not known.
    :param states: country code → state code or name, lower case → the state's jurisdiction.
    :param configured: all jurisdictions; what a person without any recorded place falls under.
    :param other: the jurisdiction of a recorded country that ``countries`` does not name.
    :param nowhere: values, lower case, that name no place (``unspecified``): as if none were recorded.
    """

    controller: frozenset[str]
    countries: dict[str, str]
    laws: dict[str, frozenset[str]]
    states: dict[str, dict[str, str]]
    configured: frozenset[str]
    other: str
    nowhere: frozenset[str] = frozenset()

    def recorded(self, countries: Iterable[str], states: Iterable[str] = ()) -> frozenset[str]:
        """Return the jurisdictions of the places recorded of one identity; none when they name no place.

        A state counts within each country recorded beside it, or, without any country, within those that
        have a state of that name. One that is not known there may be any of the country's; so may the state
        be when none was recorded. A country may bring its state (``US-CA``, ISO 3166-2), and a jurisdiction
        by its own name is a place, too.
        """
        return self._laws_of(self._named(countries), frozenset(_folded(states)))

    def hinted(self, countries: Iterable[str], states: Iterable[str] = ()) -> frozenset[str]:
        """Return the laws that hints add to those of the recorded places of a person; they record nothing.

        Of a hint it is not known whether it is the person's place (where an IP address stands, which law a
        consent string was made for, what a browser says). Each stands by itself, so that one more never
        takes away what another adds: a state is none of the country beside it.
        """
        laws = self._laws_of(self._named(countries), frozenset())
        return laws | self._laws_of((), frozenset(_folded(states)))

    def _named(self, places: Iterable[str]) -> set[str]:
        return _folded(places) - self.nowhere

    def _laws_of(self, countries: Iterable[str], states: frozenset[str]) -> frozenset[str]:
        """Return the laws of countries, and of states that may lie in any of them."""
        found: set[str] = set()
        whole: set[str] = set()
        for key in countries:
            above, _, state = key.partition("-")
            code, country = self.countries.get(key), self.countries.get(above, "")
            known = self.states.get(country, {})
            named = {name for name in self.configured if code is None and name.casefold() == key}
            found |= named
            if code is not None:
                whole.add(code)
            elif country and (state in known or not named):
                found |= {known[state]} if state in known else self.laws[country]
                whole |= {country} if states else set()
            elif not named:
                found.add(self.other)
        if not (found or whole):
            whole = {code for code, known in self.states.items() if states & known.keys()}
        for code in whole:
            known = self.states.get(code, {})
            found |= {known[state] for state in states & known.keys()}
            if not states or not states <= known.keys():
                found |= self.laws[code]
        return frozenset(found)

    def of(self, countries: Iterable[str], states: Iterable[str] = ()) -> frozenset[str]:
        """Return the jurisdictions of a person with these recorded places.

        The controller's and every recorded place's; without any recorded place all that are configured.
        """
        found = self.recorded(countries, states)
        return self.controller | found if found else self.configured


def _folded(values: Iterable[str]) -> set[str]:
    return {value.strip().casefold() for value in values} - {""}


class OpenDsr(msgspec.Struct, frozen=True):
    """Where a recipient takes requests of people, in OpenDSR 2.0.

    :param url: https, without a slash at its end.
    :param domain: its host, in lower case: whose certificate signs what the recipient says.
    :param within_days: how soon it does its part, or that is late.
    """

    url: str
    domain: str
    within_days: int


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """``destinations/*.yaml``: who may receive data.

    :param tcf_vendor_id: its id on the TCF's global vendor list; None where it is no vendor.
    :param recall_within_hours: how soon it acknowledges a recall, or that is late.
    :param unsubscribe_url: each row carries the link with which its person withdraws from the purpose.
    :param opendsr: how it is told of requests of people; None where it does not speak OpenDSR.
    """

    name: str
    title: str
    type: str
    role: Literal["processor", "joint", "third_party", "controller"]
    country: str
    region: str
    contract: str
    contract_expires: str | None
    transfer_tool: str
    purposes: frozenset[str]
    minimum_audience: int
    enabled: bool
    tcf_vendor_id: int | None = None
    recall_within_hours: int = 24
    unsubscribe_url: bool = False
    opendsr: OpenDsr | None = None

    def contract_ended(self, on: date) -> bool:
        """Return whether the contract is over on a day (UTC); its last day still counts."""
        return self.contract_expires is not None and self.contract_expires < on.isoformat()


class Transform(msgspec.Struct, frozen=True):
    """What happens to a released field; ``argument`` is the level of ``generalise``."""

    kind: TransformKind
    argument: str = ""


class Require(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the person that a rule needs; an absent requirement is no condition."""

    consent: str | None = None
    max_age_days: int | None = None
    notice_current: bool | None = None
    not_minor: bool | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """``rules/*.yaml``: one permit, forbid or limit."""

    id: str
    effect: Literal["permit", "forbid", "limit"]
    purpose: str
    legal_basis: str = ""
    channels: tuple[str, ...] = ()
    destination_types: frozenset[str] = frozenset()
    destination_regions: frozenset[str] = frozenset()
    destination_names: frozenset[str] = frozenset()
    jurisdictions: frozenset[str] = frozenset()
    inputs: tuple[str, ...] = ()
    require: Require = Require()
    fields: dict[str, Transform] = {}
    source: str = ""


GppChoice = Literal[
    "sale", "sharing", "targeted_advertising", "sensitive_data", "known_child", "additional_processing"
]
"""What a US section of the GPP can restrain."""
GoogleSignal = Literal[
    "ad_storage",
    "analytics_storage",
    "ad_user_data",
    "ad_personalization",
    "functionality_storage",
    "personalization_storage",
    "security_storage",
]


class Gpc(msgspec.Struct, frozen=True, kw_only=True):
    """What the Global Privacy Control does.

    :param opts_out_of: purposes.
    :param act_may_lift_in: jurisdictions whose law lets a later act for a named purpose prevail over it.
    """

    opts_out_of: tuple[str, ...] = ()
    act_may_lift_in: frozenset[str] = frozenset()


class SourceSignals(msgspec.Struct, frozen=True, kw_only=True):
    """How signals of the outside world map to purposes (``signals.yaml``).

    :param segment: of each consent tool: category of Segment's consent object → purposes.
    :param rudder: of each consent tool: consent id of Rudder's consent management → purposes.
    :param google: purpose → signals of Google Consent Mode, all of which it needs.
    :param tcf: purpose → TCF purposes, all of which it needs.
    :param gpp: what a US section opts out of → purposes.
    :param notices: name of a track event that tells that somebody was given a notice → purposes.
    :param vendors: destination → its id on the TCF's vendor list, None where it is no vendor.
    """

    segment: tuple[dict[str, tuple[str, ...]], ...] = ()
    rudder: tuple[dict[str, tuple[str, ...]], ...] = ()
    google: dict[str, tuple[GoogleSignal, ...]] = {}
    tcf: dict[str, tuple[int, ...]] = {}
    gpp: dict[GppChoice, tuple[str, ...]] = {}
    gpc: Gpc = Gpc()
    notices: dict[str, tuple[str, ...]] = {}
    vendors: dict[str, int | None] = {}


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """Everything under ``policies/`` at one version.

    :param sha256: hex digest over all files, by path and content.
    """

    sha256: str
    categories: dict[str, Category]
    fields: FieldCatalogue
    identity: IdentityRules
    purposes: dict[str, Purpose]
    signals: SourceSignals
    jurisdictions: Jurisdictions
    destinations: dict[str, Destination]
    rules: tuple[Rule, ...]
    retention: tuple[Retention, ...] = ()
    rights: Rights = Rights()
    intake: tuple[IntakeRule, ...] = ()
    quarantine_days: int = QUARANTINE_DAYS

    def basis(self, purpose: str, jurisdiction: str) -> Basis | None:
        """Return the legal basis of a purpose in a jurisdiction, None where there is none."""
        found = self.purposes.get(purpose)
        return None if found is None else found.basis_in(jurisdiction)

    def is_sensitive(self, category: str) -> bool:
        """True for a sensitive category; an unknown one counts as sensitive."""
        found = self.categories.get(category)
        return found is None or found.sensitive

    def lists(self, listed: Iterable[str], category: str) -> bool:
        """True when a permit that lists these categories lists ``category``.

        A sensitive category is listed by its own name or that of a sensitive one above it, never by an
        ordinary one above it: whoever permits data about health has to say so.
        """
        ordinary = not self.is_sensitive(category)
        return any(covers(key, category) and (ordinary or self.is_sensitive(key)) for key in listed)
