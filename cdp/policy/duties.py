"""retention.yaml, rights.yaml and intake.yaml: how long, by when, and how much of it at all."""

from __future__ import annotations

from collections.abc import Collection
from zoneinfo import ZoneInfo

import msgspec

from cdp.policy import shapes
from cdp.policy.collection import QUARANTINE_DAYS, IntakeRule
from cdp.policy.declared import Category
from cdp.policy.document import Document
from cdp.policy.model import Jurisdictions, Purpose
from cdp.policy.periods import Deadline, ErasureRule, Retention, Rights, Term


def read_retention(
    document: Document | None,
    categories: dict[str, Category],
    purposes: dict[str, Purpose],
    jurisdictions: Jurisdictions,
) -> tuple[Retention, ...]:
    """Return the retention periods.

    :raises PolicyError: a name is not declared, or an id stands twice.
    """
    if document is None:
        return ()
    found: dict[str, Retention] = {}
    for number, shape in enumerate(document.read(shapes.RetentionFile).retention):
        path = ("retention", number)
        if shape.id in found:
            raise document.error(f"there is another period with the id {shape.id!r}", *path, "id")
        for place, category in enumerate(shape.categories):
            document.check(category, categories, "the category", *path, "categories", place)
        if shape.purpose != "*":
            document.check(shape.purpose, purposes, "the purpose", *path, "purpose")
        for place, name in enumerate(shape.jurisdictions):
            document.check(name, jurisdictions.configured, "the jurisdiction", *path, "jurisdictions", place)
        found[shape.id] = Retention(
            id=shape.id,
            categories=shape.categories,
            purpose=shape.purpose,
            basis=shape.basis,
            jurisdictions=frozenset(shape.jurisdictions),
            days=shape.days,
            source=shape.source,
        )
    return tuple(found.values())


def read_rights(document: Document | None, jurisdictions: Jurisdictions) -> Rights:
    """Return the deadlines of requests.

    :raises PolicyError: a jurisdiction is not declared, or one has no deadline.
    """
    if document is None:
        return Rights()
    file = document.read(shapes.RightsFile)
    for kind, given in file.deadlines.items():
        for name, shape in given.items():
            path = ("deadlines", kind, name)
            document.check(name, {*jurisdictions.configured, "*"}, "the jurisdiction", *path)
            if bool(shape.days) == bool(shape.months):
                raise document.error("a deadline is in days or in months", *path)
        _complete(document, kind, given, jurisdictions.configured)
    try:
        ZoneInfo(file.time_zone)
    except (ValueError, OSError, KeyError):
        raise document.error("the time zone is none of the IANA database", "time_zone") from None
    return Rights(
        deadlines={
            kind: {
                name: Deadline(
                    days=shape.days,
                    months=shape.months,
                    extension_days=shape.extension_days,
                    extension_months=shape.extension_months,
                    working_days=shape.working_days,
                    source=shape.source,
                )
                for name, shape in given.items()
            }
            for kind, given in file.deadlines.items()
        },
        keep_requests_days=file.keep_requests_days,
        keep_requests_source=file.keep_requests_source,
        time_zone=file.time_zone,
        identity_check_days=file.identity_check_days,
        acknowledgements=_periods(document, "acknowledgements", file.acknowledgements, jurisdictions),
        no_asking=_periods(document, "no_asking", file.no_asking, jurisdictions),
        erasure=ErasureRule(**msgspec.structs.asdict(file.erasure)) if file.erasure else ErasureRule(),
    )


def _periods(
    document: Document, part: str, given: dict[str, shapes.PeriodShape], jurisdictions: Jurisdictions
) -> dict[str, Term]:
    for name, shape in given.items():
        document.check(name, jurisdictions.configured, "the jurisdiction", part, name)
        if bool(shape.days) == bool(shape.months):
            raise document.error("a period is in days or in months", part, name)
    return {
        name: Term(days=shape.days, months=shape.months, working_days=shape.working_days, source=shape.source)
        for name, shape in given.items()
    }


def read_intake(document: Document | None, purposes: dict[str, Purpose]) -> tuple[IntakeRule, ...]:
    """Return what is collected of people who refused.

    :raises PolicyError: a rule names no source, or a purpose that is not declared or cannot be refused.
    """
    if document is None:
        return ()
    found = []
    for number, shape in enumerate(document.read(shapes.IntakeFile).rules):
        path = ("rules", number)
        if not (shape.sources.name or shape.sources.kind):
            raise document.error("name at least one source, or a kind of sources", *path, "sources")
        document.check(shape.purpose, purposes, "the purpose", *path, "purpose")
        if not purposes[shape.purpose].restrainable:
            raise document.error("nobody can refuse this purpose", *path, "purpose")
        found.append(
            IntakeRule(
                names=frozenset(shape.sources.name),
                kinds=frozenset(shape.sources.kind),
                purpose=shape.purpose,
                when=shape.when,
                action=shape.action,
            )
        )
    return tuple(found)


def read_quarantine_days(document: Document | None) -> int:
    """Return how many days failed events are kept."""
    return QUARANTINE_DAYS if document is None else document.read(shapes.IntakeFile).quarantine_days


def _complete(document: Document, kind: str, given: Collection[str], jurisdictions: Collection[str]) -> None:
    missing = sorted(set(jurisdictions) - set(given))
    if missing and "*" not in given:
        message = f'{kind} has no deadline in {missing[0]}; add it, or "*" for the others'
        raise document.error(message, "deadlines", kind)
