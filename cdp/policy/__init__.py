"""Policies as data: ``load`` reads and validates a folder, ``Bundle`` is what everybody works with."""

from cdp.policy.activation import Activation, Overview, Proposal, Switch
from cdp.policy.cases import Case, read_cases, read_tests
from cdp.policy.check import check
from cdp.policy.collection import IntakeAction, IntakeCondition, IntakeRule
from cdp.policy.declared import (
    Blocked,
    Category,
    FieldCatalogue,
    FieldRule,
    Generalise,
    IdentifierRule,
    IdentityRules,
    Limit,
    Period,
    PlaceKind,
    Protection,
    Survivorship,
    Thresholds,
    ValueType,
)
from cdp.policy.diff import Change, compare, sealed_now, stale_notices
from cdp.policy.document import Document
from cdp.policy.document import schema as document_schema
from cdp.policy.findings import Finding
from cdp.policy.generalise import generaliser
from cdp.policy.load import build, digest, load, read_folder, read_rules, schemas
from cdp.policy.model import (
    Basis,
    Bundle,
    Destination,
    GoogleSignal,
    Gpc,
    GppChoice,
    Jurisdictions,
    Notice,
    OpenDsr,
    Purpose,
    Require,
    Rule,
    SourceSignals,
    Transform,
    TransformKind,
    Words,
)
from cdp.policy.names import GENERALISATIONS, covers, lineage
from cdp.policy.periods import Deadline, ErasureRule, Retention, RightKind, Rights, Term
from cdp.policy.queries import activation_count
from cdp.policy.reading import aims_at, touches, unreadable, word
from cdp.policy.service import InForce, Policies
from cdp.policy.suggest import suggest
from cdp.policy.typed import TYPED, Typed

__all__ = [
    "GENERALISATIONS",
    "TYPED",
    "Activation",
    "Basis",
    "Blocked",
    "Bundle",
    "Case",
    "Category",
    "Change",
    "Deadline",
    "Destination",
    "Document",
    "ErasureRule",
    "FieldCatalogue",
    "FieldRule",
    "Finding",
    "Generalise",
    "GoogleSignal",
    "Gpc",
    "GppChoice",
    "IdentifierRule",
    "IdentityRules",
    "InForce",
    "IntakeAction",
    "IntakeCondition",
    "IntakeRule",
    "Jurisdictions",
    "Limit",
    "Notice",
    "OpenDsr",
    "Overview",
    "Period",
    "PlaceKind",
    "Policies",
    "Proposal",
    "Protection",
    "Purpose",
    "Require",
    "Retention",
    "RightKind",
    "Rights",
    "Rule",
    "SourceSignals",
    "Survivorship",
    "Switch",
    "Term",
    "Thresholds",
    "Transform",
    "TransformKind",
    "Typed",
    "ValueType",
    "Words",
    "activation_count",
    "aims_at",
    "build",
    "check",
    "compare",
    "covers",
    "digest",
    "document_schema",
    "generaliser",
    "lineage",
    "load",
    "read_cases",
    "read_folder",
    "read_rules",
    "read_tests",
    "schemas",
    "sealed_now",
    "stale_notices",
    "suggest",
    "touches",
    "unreadable",
    "word",
]
