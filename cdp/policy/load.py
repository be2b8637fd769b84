"""A policies folder → a validated ``Bundle``.

Order: read every file into its shape (``document.py`` refuses what is not in ``shapes.py``), then
resolve names in the order in which they build on each other: taxonomy → fields → identity →
jurisdictions → purposes → destinations → rules (``rules.py``). Nothing is returned unless everything
holds, so a ``Bundle`` has no dangling names and no contradictions.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date
from pathlib import Path
from typing import Any

from cdp.clock import parse_rfc3339
from cdp.errors import PolicyError
from cdp.policy import shapes
from cdp.policy.document import Document, meant, schema
from cdp.policy.model import (
    Blocked,
    Bundle,
    Category,
    Destination,
    FieldCatalogue,
    FieldRule,
    IdentifierRule,
    IdentityRules,
    Jurisdictions,
    Limit,
    Notice,
    Purpose,
    SourceSignals,
)
from cdp.policy.names import lineage
from cdp.policy.rules import resolve_rules

_FILES = {
    "taxonomy.yaml": shapes.TaxonomyFile,
    "fields.yaml": shapes.FieldsFile,
    "identity.yaml": shapes.IdentityFile,
    "jurisdictions.yaml": shapes.JurisdictionsFile,
    "purposes.yaml": shapes.PurposesFile,
}
_FOLDERS = {"destinations": shapes.DestinationFile, "rules": shapes.RuleShape}
_DOTTED = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_MAX_PATTERN = 200


def load(directory: Path) -> Bundle:
    """Read and validate a policies folder.

    :raises PolicyError: a file is missing, unknown or wrong; the message names file, line and fix.
    """
    contents = _read(directory)
    documents = {name: Document(name, content) for name, content in contents.items()}
    categories = _categories(documents["taxonomy.yaml"])
    fields = _fields(documents["fields.yaml"], categories)
    jurisdictions, regions = _jurisdictions(documents["jurisdictions.yaml"])
    purposes, signals = _purposes(documents["purposes.yaml"], jurisdictions)
    destinations = {}
    for name in _inside(contents, "destinations"):
        found = _destination(documents[name], purposes, regions)
        destinations[found.name] = found
    rules = resolve_rules(
        [documents[name] for name in _inside(contents, "rules")],
        categories=categories,
        purposes=purposes,
        jurisdictions=jurisdictions,
        destinations=destinations,
        regions=regions,
    )
    return Bundle(
        sha256=_digest(contents),
        categories=categories,
        fields=fields,
        identity=_identity(documents["identity.yaml"], fields),
        purposes=purposes,
        signals=signals,
        jurisdictions=jurisdictions,
        destinations=destinations,
        rules=rules,
    )


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of every kind of policy file, by file name or folder."""
    return {name: schema(shape) for name, shape in {**_FILES, **_FOLDERS}.items()}


def _read(directory: Path) -> dict[str, bytes]:
    """Return the content of every policy file by its name relative to the folder."""
    try:
        found = {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.is_file() and path.suffix != ".md" and not path.name.startswith(".")
        }
    except OSError as error:
        raise PolicyError(f"cannot be read: {error.strerror}", file=str(directory)) from error
    for name in _FILES:
        if name not in found:
            raise PolicyError("this policy file is missing; CDP_POLICIES_DIR names the folder", file=name)
    for name in found:
        folder, _, stem = name.rpartition("/")
        if not (name in _FILES or (folder in _FOLDERS and stem.endswith(".yaml"))):
            hint = meant(name, _FILES) or "; it belongs into destinations/ or rules/ and ends in .yaml"
            raise PolicyError(f"not a policy file{hint}", file=name)
    return found


def _inside(contents: dict[str, bytes], folder: str) -> list[str]:
    return [name for name in contents if name.startswith(f"{folder}/")]


def _digest(contents: dict[str, bytes]) -> str:
    """SHA-256 over (length, path, length, content) of every file, by path."""
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        for part in (name.encode(), content):
            digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()


def _categories(document: Document) -> dict[str, Category]:
    given = document.read(shapes.TaxonomyFile).categories
    categories = {}
    for key, shape in given.items():
        if not _DOTTED.fullmatch(key):
            raise document.error(f"{key!r} is not a dotted name in snake_case", "categories", key)
        for above in lineage(key)[1:]:
            document.check(above, given, "the category above,", "categories", key)
        sensitive = any(given[name].sensitive for name in lineage(key))
        categories[key] = Category(key, shape.name, sensitive)
    return categories


def _fields(document: Document, categories: dict[str, Category]) -> FieldCatalogue:
    file = document.read(shapes.FieldsFile)
    parts = {
        part: {name: _field(document, part, name, shape, categories) for name, shape in given.items()}
        for part, given in (
            ("traits", file.traits),
            ("properties", file.properties),
            ("context", file.context),
            ("identifiers", file.identifiers),
        )
    }
    events: dict[str, str] = {}
    for category, names in file.events.items():
        document.check(category, categories, "the category", "events", category)
        for name in names:
            if name in events:
                raise document.error(f"the event {name!r} stands under two categories", "events", category)
            events[name] = category
    return FieldCatalogue(events=events, **parts)


def _field(
    document: Document, part: str, name: str, shape: shapes.FieldShape, categories: dict[str, Category]
) -> FieldRule:
    path = (part, name)
    if not _DOTTED.fullmatch(name):
        raise document.error(f"{name!r} is not a dotted name in snake_case", *path)
    document.check(shape.category, categories, "the category", *path, "category")
    clear = shape.protection == "clear"
    if (part == "identifiers") != (shape.protection == "sealed+index"):
        message = "an identifier is always sealed+index, and nothing else has an index"
        raise document.error(message, *path, "protection")
    if clear and categories[shape.category].sensitive:
        raise document.error("a field of a sensitive category cannot be clear; seal it", *path, "protection")
    if shape.place and not clear:
        raise document.error("a place decides the jurisdiction, so it must be clear", *path, "place")
    if shape.items and shape.type != "list":
        raise document.error("items belong to type: list", *path, "items")
    return FieldRule(
        name=name,
        category=shape.category,
        protection=shape.protection,
        type=shape.type,
        place=shape.place,
        items=frozenset(shape.items),
        survivorship=shape.survivorship,
    )


def _identity(document: Document, fields: FieldCatalogue) -> IdentityRules:
    file = document.read(shapes.IdentityFile)
    for name in file.types:
        document.check(name, fields.identifiers, "the identifier (fields.yaml, identifiers)", "types", name)
    for name in fields.identifiers:
        if name not in file.types and name != "external":
            raise document.error(f"the identifier {name!r} of fields.yaml has no rule under types", "types")
    priorities: dict[int, str] = {}
    for name, shape in file.types.items():
        if shape.priority in priorities:
            message = f"{priorities[shape.priority]!r} has this priority already; each needs its own"
            raise document.error(message, "types", name, "priority")
        priorities[shape.priority] = name
    types = {
        name: _identifier(document, ("types", name), name, shape, file.profile_cap)
        for name, shape in file.types.items()
    }
    return IdentityRules(
        version=file.version,
        types=types,
        external=_identifier(document, ("external",), "external", file.external, file.profile_cap),
        blocked=_blocked(document, ("blocked",), file.blocked),
        profile_cap=file.profile_cap,
        source_trust=file.source_trust,
    )


def _identifier(
    document: Document, path: tuple[str, ...], name: str, shape: shapes.TypeShape, cap: int
) -> IdentifierRule:
    limit = None if shape.limit is None else Limit(shape.limit.count, shape.limit.period)
    if shape.unique and limit is not None:
        raise document.error("unique already means one; take the limit away", *path, "limit")
    if limit is not None and limit.count > cap:
        raise document.error("the limit is above profile_cap and could never be reached", *path, "limit")
    return IdentifierRule(
        type=name,
        device=shape.class_ == "device",
        priority=shape.priority,
        limit=limit,
        unique=shape.unique,
        blocked=_blocked(document, (*path, "blocked"), shape.blocked),
    )


def _blocked(document: Document, path: tuple[str, ...], shape: shapes.BlockedShape) -> Blocked:
    for number, pattern in enumerate(shape.pattern):
        if len(pattern) > _MAX_PATTERN:
            raise document.error("the pattern is over 200 characters", *path, "pattern", number)
        try:
            re.compile(pattern)
        except re.error as error:
            message = f"not a regular expression: {error.msg}"
            raise document.error(message, *path, "pattern", number) from None
    return Blocked(
        exact=frozenset(text.casefold() for text in shape.exact),
        prefix=tuple(text.casefold() for text in shape.prefix),
        pattern=shape.pattern,
    )


def _jurisdictions(document: Document) -> tuple[Jurisdictions, dict[str, str]]:
    """Return the jurisdictions, and country code → region."""
    file = document.read(shapes.JurisdictionsFile)
    for number, name in enumerate(file.controller):
        document.check(name, file.jurisdictions, "the jurisdiction", "controller", number)
    if not file.controller:
        raise document.error("the controller is established somewhere; name it", "controller")
    document.check(file.other, file.jurisdictions, "the jurisdiction", "other")
    nowhere = frozenset(value.casefold() for value in file.nowhere)
    places: dict[str, str] = {}
    regions: dict[str, str] = {}
    for key, shape in file.jurisdictions.items():
        for code, names in shape.countries.items():
            path = ("jurisdictions", key, "countries", code)
            regions[code] = shape.region
            for value in {code.casefold(), *(name.casefold() for name in names)}:
                if places.setdefault(value, key) != key:
                    raise document.error(f"{value!r} is a place of {places[value]!r} already", *path)
                if value in nowhere:
                    raise document.error(f"{value!r} stands under nowhere, too", *path)
    found = Jurisdictions(
        controller=frozenset(file.controller),
        places=places,
        configured=frozenset(file.jurisdictions),
        other=file.other,
        nowhere=nowhere,
    )
    return found, regions


def _purposes(document: Document, jurisdictions: Jurisdictions) -> tuple[dict[str, Purpose], SourceSignals]:
    file = document.read(shapes.PurposesFile)
    purposes = {
        key: _purpose(document, key, shape, file.purposes, jurisdictions)
        for key, shape in file.purposes.items()
    }
    for category, names in file.signals.segment.items():
        for number, name in enumerate(names):
            path = ("signals", "segment", category, number)
            document.check(name, purposes, "the purpose", *path)
            if purposes[name].internal:
                raise document.error(f"{name!r} is internal; no signal of a source grants it", *path)
    return purposes, SourceSignals(segment=file.signals.segment)


def _purpose(
    document: Document,
    key: str,
    shape: shapes.PurposeShape,
    others: dict[str, shapes.PurposeShape],
    jurisdictions: Jurisdictions,
) -> Purpose:
    path = ("purposes", key)
    if not _DOTTED.fullmatch(key):
        raise document.error(f"{key!r} is not a dotted name in snake_case", *path)
    for above in lineage(key)[1:]:
        document.check(above, others, "the purpose above,", *path)
    for name in shape.basis:
        document.check(name, {*jurisdictions.configured, "*"}, "the jurisdiction", *path, "basis", name)
    for number, name in enumerate(shape.separate_consent):
        place = (*path, "separate_consent", number)
        document.check(name, jurisdictions.configured, "the jurisdiction", *place)
        if shape.basis.get(name, shape.basis.get("*")) != "consent":
            raise document.error(f"a separate consent needs the basis consent in {name}", *place)
    return Purpose(
        key=key,
        name=shape.name,
        description=shape.description,
        basis=shape.basis,
        channels=shape.channels,
        validity_days=shape.validity_days,
        separate_consent=shape.separate_consent,
        notices=_notices(document, path, shape.notices),
        internal=shape.internal,
        restrainable=shape.restrainable,
    )


def _notices(
    document: Document, path: tuple[str, ...], given: tuple[shapes.NoticeShape, ...]
) -> tuple[Notice, ...]:
    latest: dict[str, Notice] = {}
    notices = []
    for number, shape in enumerate(given):
        place: tuple[str | int, ...] = (*path, "notices", number)
        try:
            since = parse_rfc3339(date.fromisoformat(shape.in_force_from).isoformat())
        except ValueError:
            raise document.error("not a date; write YYYY-MM-DD", *place, "in_force_from") from None
        notice = Notice(
            id=shape.id, version=shape.version, material=shape.material, text=shape.text, in_force_from=since
        )
        before = latest.get(notice.id)
        if before is not None and (before.version >= notice.version or before.in_force_from >= since):
            raise document.error(
                "versions of a notice stand in order, each later than the one before", *place
            )
        latest[notice.id] = notice
        notices.append(notice)
    return tuple(notices)


def _destination(document: Document, purposes: dict[str, Purpose], regions: dict[str, str]) -> Destination:
    file = document.read(shapes.DestinationFile)
    if document.file != f"destinations/{file.name}.yaml":
        raise document.error(f"the file of this destination must be named {file.name}.yaml", "name")
    document.check(file.country, regions, "the country (jurisdictions.yaml)", "country")
    inside = file.role == "controller"
    if inside and file.minimum_audience:
        raise document.error("the controller itself has no minimum audience", "minimum_audience")
    for number, name in enumerate(file.purposes):
        document.check(name, purposes, "the purpose", "purposes", number)
        if purposes[name].internal and not inside:
            raise document.error(f"{name!r} is internal; only the controller uses it", "purposes", number)
    if file.contract_expires is not None:
        try:
            date.fromisoformat(file.contract_expires)
        except ValueError:
            raise document.error("not a date; write YYYY-MM-DD or null", "contract_expires") from None
    return Destination(
        name=file.name,
        title=file.title,
        type=file.type,
        role=file.role,
        country=file.country,
        region=regions[file.country],
        contract=file.contract,
        contract_expires=file.contract_expires,
        transfer_tool=file.transfer_tool,
        purposes=frozenset(file.purposes),
        minimum_audience=file.minimum_audience,
        enabled=file.enabled,
    )
