"""What each policy file may say, word for word; ``load.py`` turns it into the records of ``model.py``.

Every struct refuses keys that it does not name. A list may be written as one bare value.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cdp.policy.collection import QUARANTINE_DAYS, IntakeAction, IntakeCondition
from cdp.policy.declared import Period, Thresholds
from cdp.policy.field_shapes import Count, Positive
from cdp.policy.model import Basis, GoogleSignal, GppChoice, Require
from cdp.policy.periods import RightKind


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of all shapes."""


# -- identity.yaml ----------------------------------------------------------------------------------


class LimitShape(_Shape, frozen=True):
    """At most so many values of a type on one profile: ever, or first linked within one UTC day or month."""

    count: Positive
    period: Period = "ever"


class BlockedShape(_Shape, frozen=True):
    """Values that identify nobody; a ``pattern`` is a regular expression for the whole value."""

    exact: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    pattern: tuple[str, ...] = ()


class TypeShape(_Shape, frozen=True):
    """How an identifier type links."""

    class_: Literal["person", "device"] = msgspec.field(name="class")
    priority: Positive
    limit: LimitShape | None = None
    unique: bool = False
    blocked: BlockedShape = BlockedShape()


class MatchingShape(_Shape, frozen=True):
    """How sure matching has to be to link two records, and to put them before a steward: probabilities."""

    accept: Annotated[float, Meta(gt=0.5, lt=1)] = Thresholds().accept
    review: Annotated[float, Meta(gt=0, lt=1)] = Thresholds().review


class IdentityFile(_Shape, frozen=True, kw_only=True):
    """``identity.yaml``.

    ``growth_alarm``: half of ``profile_cap`` where it is not said; ``component_cap``: 10,000, or
    ``profile_cap`` where that is more.
    """

    version: Positive
    profile_cap: Positive
    growth_alarm: Positive | None = None
    component_cap: Positive | None = None
    source_trust: dict[str, Count]
    types: dict[str, TypeShape]
    external: TypeShape
    blocked: BlockedShape
    matching: MatchingShape = MatchingShape()


# -- purposes.yaml ----------------------------------------------------------------------------------


class NoticeShape(_Shape, frozen=True):
    """One version of a notice; a date is YYYY-MM-DD, from 00:00 UTC. ``text``: one, or language → text."""

    id: str
    version: Positive
    in_force_from: str
    material: bool
    text: str | dict[str, str]


class WordsShape(_Shape, frozen=True):
    """What people read of a purpose in another language."""

    name: str
    description: str
    non_personalised: str = ""


class PurposeShape(_Shape, frozen=True, kw_only=True):
    """What data may be used for.

    ``source`` and ``validity_source``: the law behind each basis, by the same keys, and behind the validity.
    ``double_opt_in``: where a grant counts only once its person has confirmed it from their own address;
    ``double_opt_in_source``: the law behind that.
    ``non_personalised``: what is offered to whoever wants no choice made by their data (PIPL 24, GDPR 22);
    ``variant``: the purpose for which that is done.
    """

    name: str
    description: str
    translations: dict[str, WordsShape] = {}
    basis: dict[str, Basis]
    source: dict[str, str]
    validity_source: str = ""
    non_personalised: str = ""
    variant: str = ""
    channels: tuple[str, ...] = ()
    validity_days: Positive | None = None
    separate_consent: tuple[str, ...] = ()
    double_opt_in: tuple[str, ...] = ()
    double_opt_in_source: str = ""
    notices: tuple[NoticeShape, ...] = ()
    internal: bool = False
    restrainable: bool = True
    sensitive: bool = False


class PurposesFile(_Shape, frozen=True):
    """``purposes.yaml``."""

    purposes: dict[str, PurposeShape]


# -- signals.yaml -----------------------------------------------------------------------------------


class GpcShape(_Shape, frozen=True):
    """What the Global Privacy Control does."""

    opts_out_of: tuple[str, ...]
    act_may_lift_in: tuple[str, ...] = ()


class SignalsFile(_Shape, frozen=True):
    """``signals.yaml``: what signals from outside say; a list has one mapping per consent tool."""

    segment: dict[str, tuple[str, ...]] | tuple[dict[str, tuple[str, ...]], ...]
    rudder: dict[str, tuple[str, ...]] | tuple[dict[str, tuple[str, ...]], ...]
    google: dict[str, tuple[GoogleSignal, ...]]
    tcf: dict[str, tuple[Positive, ...]]
    gpp: dict[GppChoice, tuple[str, ...]]
    gpc: GpcShape
    notices: dict[str, tuple[str, ...]] = {}


# -- jurisdictions.yaml and destinations/*.yaml -----------------------------------------------------


class JurisdictionShape(_Shape, frozen=True):
    """A law, the region that destinations in it belong to, and its places.

    ``countries``: code → names. ``states``: country code → state code → names, for a law of some states,
    and for the law of a country in which other laws have states.
    """

    name: str
    region: str
    source: str
    countries: dict[str, tuple[str, ...]] = {}
    states: dict[str, dict[str, tuple[str, ...]]] = {}


class JurisdictionsFile(_Shape, frozen=True):
    """``jurisdictions.yaml``."""

    controller: tuple[str, ...]
    other: str
    nowhere: tuple[str, ...]
    jurisdictions: dict[str, JurisdictionShape]


class OpenDsrShape(_Shape, frozen=True):
    """Where a recipient takes requests of people, in OpenDSR 2.0.

    ``url``: what stands before ``/discovery`` and ``/requests``; its host is the domain that signs
    its answers. ``within_days``: how soon it does its part, or that is late.
    """

    url: str
    within_days: Positive = 14


class DestinationFile(_Shape, frozen=True):
    """``destinations/NAME.yaml``: who may receive data.

    ``unsubscribe_url``: each row carries the link with which its person withdraws, for List-Unsubscribe.
    """

    name: str
    title: str
    type: str
    role: Literal["processor", "joint", "third_party", "controller"]
    country: str
    contract: str
    contract_expires: str | None
    transfer_tool: str
    purposes: tuple[str, ...]
    minimum_audience: Count
    enabled: bool
    tcf_vendor_id: Positive | None = None
    recall_within_hours: Positive = 24
    unsubscribe_url: bool = False
    opendsr: OpenDsrShape | None = None


# -- rules/*.yaml -----------------------------------------------------------------------------------


class TargetShape(_Shape, frozen=True):
    """Which destinations a rule is about; what is not said is not asked."""

    type: tuple[str, ...] = ()
    country_in: tuple[str, ...] = ()
    name: tuple[str, ...] = ()


class RuleShape(_Shape, frozen=True):
    """One permit, forbid or limit; ``fields`` maps a category to ``clear`` or ``{generalise: country}``."""

    id: str
    effect: Literal["permit", "forbid", "limit"]
    purpose: str
    legal_basis: Basis | None = None
    channels: tuple[str, ...] = ()
    destinations: TargetShape = TargetShape()
    jurisdictions: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    require: Require = Require()
    fields: dict[str, str | dict[str, str]] = {}
    source: str = ""


# -- retention.yaml and rights.yaml -----------------------------------------------------------------


class RetentionShape(_Shape, frozen=True, kw_only=True):
    """How long data of some categories is kept for a purpose on a basis; ``days`` from its receipt."""

    id: str
    categories: tuple[str, ...]
    purpose: str = "*"
    basis: Basis | Literal["*"] = "*"
    jurisdictions: tuple[str, ...] = ()
    days: Positive
    source: str


class RetentionFile(_Shape, frozen=True):
    """``retention.yaml``: where several rows fit, the shortest wins."""

    retention: tuple[RetentionShape, ...]


class DeadlineShape(_Shape, frozen=True, kw_only=True):
    """By when a request is to be answered: in ``days`` or ``months``, and by how much that can be put off."""

    days: Count = 0
    months: Count = 0
    extension_days: Count = 0
    extension_months: Count = 0
    working_days: bool = False
    source: str


class PeriodShape(_Shape, frozen=True, kw_only=True):
    """A period in ``days`` or ``months``, and the law that wants it."""

    days: Count = 0
    months: Count = 0
    working_days: bool = False
    source: str


class ErasureShape(_Shape, frozen=True, kw_only=True):
    """What is kept of people who were erased, to prove lawful processing, and whether they may begin anew."""

    keep_proof_days: Count
    source: str
    live_events: Literal["suppress", "begin_anew"] = "suppress"


class RightsFile(_Shape, frozen=True):
    """``rights.yaml``: kind of request → jurisdiction (``*`` for the others) → deadline.

    ``acknowledgements`` and ``no_asking`` are by jurisdiction: by when the receipt of a request is confirmed,
    and for how long nobody who objected is asked again. ``time_zone`` is the controller's (IANA): a deadline
    is a day there.
    """

    deadlines: dict[RightKind, dict[str, DeadlineShape]]
    keep_requests_days: Positive
    keep_requests_source: str
    time_zone: str = "UTC"
    identity_check_days: Positive = 30
    acknowledgements: dict[str, PeriodShape] = {}
    no_asking: dict[str, PeriodShape] = {}
    erasure: ErasureShape | None = None


# -- intake.yaml ------------------------------------------------------------------------------------


class SourcesShape(_Shape, frozen=True):
    """Sources by name, by kind, or both."""

    name: tuple[str, ...] = ()
    kind: tuple[Literal["browser", "server", "import"], ...] = ()


class IntakeShape(_Shape, frozen=True):
    """What is kept of events of these sources, of people who stand so on the purpose."""

    sources: SourcesShape
    purpose: str
    when: IntakeCondition
    action: IntakeAction


class IntakeFile(_Shape, frozen=True):
    """``intake.yaml``. ``quarantine_days``: how long failed events are kept."""

    rules: tuple[IntakeShape, ...]
    quarantine_days: Annotated[int, Meta(ge=1, le=366)] = QUARANTINE_DAYS


# -- tests/*.yaml -----------------------------------------------------------------------------------


class ConsentCase(_Shape, frozen=True):
    """What is on record about the purpose of a case; ``state: none`` for nothing.

    ``confirmed``: by a double opt-in.
    """

    state: Literal["none", "granted", "stale", "refused", "withdrawn", "objected", "opted_out", "restricted"]
    age_days: Count = 0
    separate: bool = False
    confirmed: bool = False
    notice_current: bool = True
    recipients: tuple[str, ...] = ()


class FactsCase(_Shape, frozen=True):
    """A person: recorded countries and states (none for nothing recorded), what they said, their age.

    ``notice``: which notice of the purpose they were given, apart from the one that they agreed on.
    """

    countries: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    consent: ConsentCase = ConsentCase(state="none")
    notice: Literal["none", "current", "superseded"] = "none"
    minor: bool = False
    restraints: tuple[Literal["identity_changed", "black_list"], ...] = ()


class ExpectShape(_Shape, frozen=True):
    """What is to be decided, and why not.

    ``fields``: every field that leaves: trait or identifier type → transform, as in a rule.
    """

    decision: Literal["permit", "deny"]
    reason: str = ""
    fields: dict[str, str | dict[str, str]] | None = None


class CaseShape(_Shape, frozen=True, kw_only=True):
    """One case of a policy test: what is decided of this person under these policies.

    ``inputs``: categories that the segment's definition reads. ``fields``: those asked for; none for those
    that the rules name.
    """

    name: str
    destination: str
    purpose: str
    inputs: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    facts: FactsCase = FactsCase()
    expect: ExpectShape
