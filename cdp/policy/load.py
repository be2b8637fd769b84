"""A policies folder → a validated ``Bundle``.

Order: read every file into its shape (``document.py`` refuses what is not in ``shapes.py``), then
resolve names in the order in which they build on each other: taxonomy → fields → identity →
jurisdictions → purposes → destinations → rules → duties. Nothing is returned unless everything holds,
so a ``Bundle`` has no dangling names and no contradictions.

The folder also holds what is no policy and no part of a bundle: its tests (``tests/``) and text (``*.md``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cdp.errors import PolicyError
from cdp.policy import field_shapes, shapes
from cdp.policy.catalogue import read_categories, read_fields
from cdp.policy.declared import FieldCatalogue, IdentityRules
from cdp.policy.document import Document, meant, schema
from cdp.policy.duties import read_intake, read_quarantine_days, read_retention, read_rights
from cdp.policy.linking import read_identity, refuse
from cdp.policy.model import Bundle
from cdp.policy.places import read_jurisdictions
from cdp.policy.rules import RulesRead, resolve_rules
from cdp.policy.signals import read_signals
from cdp.policy.uses import read_destination, read_purposes

REQUIRED = {
    "taxonomy.yaml": field_shapes.TaxonomyFile,
    "fields.yaml": field_shapes.FieldsFile,
    "identity.yaml": shapes.IdentityFile,
    "jurisdictions.yaml": shapes.JurisdictionsFile,
    "purposes.yaml": shapes.PurposesFile,
    "signals.yaml": shapes.SignalsFile,
}
OPTIONAL = {
    "retention.yaml": shapes.RetentionFile,
    "rights.yaml": shapes.RightsFile,
    "intake.yaml": shapes.IntakeFile,
}
"""Files that a folder written before they existed does not have; without one there is nothing of its kind."""
FOLDERS = {"destinations": shapes.DestinationFile, "rules": shapes.RuleShape}
TESTS = "tests/"
_FILES = {**REQUIRED, **OPTIONAL}


class Reading(msgspec.Struct, frozen=True):
    """A bundle, and the documents that say on which line what stands."""

    bundle: Bundle
    documents: dict[str, Document]
    rules: RulesRead


def load(directory: Path) -> Bundle:
    """Read and validate a policies folder.

    :raises PolicyError: a file is missing, unknown or wrong; the message names file, line and fix.
    """
    contents = read_folder(directory)
    bundle = build(contents)
    admit(contents)
    return bundle


def admit(contents: Mapping[str, bytes]) -> None:
    """Refuse what a bundle that an earlier version stored may hold, and no new one.

    :raises PolicyError: there is some.
    """
    refuse(Document("identity.yaml", contents["identity.yaml"]))


def read_folder(directory: Path) -> dict[str, bytes]:
    """Return the content of every policy file, by its name relative to the folder.

    :raises PolicyError: the folder cannot be read.
    """
    if not directory.is_dir():
        raise PolicyError("there is no such folder; CDP_POLICIES_DIR names the server's", file=str(directory))
    try:
        return {
            name: path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.is_file() and _is_policy(name := path.relative_to(directory).as_posix())
        }
    except OSError as error:
        raise PolicyError(f"cannot be read: {error.strerror}", file=str(directory)) from error


def _is_policy(name: str) -> bool:
    stem = name.rpartition("/")[2]
    return not (name.startswith(TESTS) or stem.endswith(".md") or stem.startswith("."))


def build(contents: Mapping[str, bytes]) -> Bundle:
    """Validate policy files that lie in memory.

    :param contents: file name relative to the folder (``rules/service.yaml``) → its bytes.
    :raises PolicyError: as ``load``.
    """
    return read(contents).bundle


def read(contents: Mapping[str, bytes]) -> Reading:
    """Return the bundle and where everything in it stands.

    :raises PolicyError: as ``load``.
    """
    check_names(contents)
    documents = {name: Document(name, content) for name, content in sorted(contents.items())}
    categories = read_categories(documents["taxonomy.yaml"])
    fields = read_fields(documents["fields.yaml"], categories)
    jurisdictions, regions = read_jurisdictions(documents["jurisdictions.yaml"])
    purposes = read_purposes(documents["purposes.yaml"], jurisdictions)
    destinations = {}
    for name in _inside(contents, "destinations"):
        found = read_destination(documents[name], purposes, regions)
        destinations[found.name] = found
    rules = resolve_rules(
        [documents[name] for name in _inside(contents, "rules")],
        categories=categories,
        purposes=purposes,
        jurisdictions=jurisdictions,
        destinations=destinations,
        regions=regions,
    )
    bundle = Bundle(
        sha256=digest(contents),
        categories=categories,
        fields=fields,
        identity=read_identity(documents["identity.yaml"], fields),
        purposes=purposes,
        signals=read_signals(documents["signals.yaml"], purposes, jurisdictions, destinations.values()),
        jurisdictions=jurisdictions,
        destinations=destinations,
        rules=rules.rules,
        retention=read_retention(documents.get("retention.yaml"), categories, purposes, jurisdictions),
        rights=read_rights(documents.get("rights.yaml"), jurisdictions),
        intake=read_intake(documents.get("intake.yaml"), purposes),
        quarantine_days=read_quarantine_days(documents.get("intake.yaml")),
    )
    return Reading(bundle, documents, rules)


def read_rules(content: bytes, fields: FieldCatalogue) -> IdentityRules:
    """Return what a text of ``identity.yaml`` that was never in force says beside a catalogue of fields.

    :raises PolicyError: as ``admit``.
    """
    document = Document("identity.yaml", content)
    rules = read_identity(document, fields)  # first, as in ``load``: only of patterns that compile
    refuse(document)
    return rules


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of every kind of policy file, by file name or folder."""
    return {
        **{name: schema(shape) for name, shape in _FILES.items()},
        "destinations": schema(shapes.DestinationFile),
        "rules": schema(shapes.RuleShape, several=True),
        "tests": schema(shapes.CaseShape, several=True),
    }


def check_names(contents: Mapping[str, bytes]) -> None:
    """Refuse files that are missing, and those that nothing would read.

    :raises PolicyError: there is one.
    """
    for name in REQUIRED:
        if name not in contents:
            raise PolicyError("this policy file is missing; CDP_POLICIES_DIR names the folder", file=name)
    for name in sorted(contents):
        if shape_of(name) is None:
            hint = meant(name, _FILES) or "; it belongs into destinations/ or rules/ and ends in .yaml"
            raise PolicyError(f"not a policy file{hint}", file=name)


def shape_of(name: str) -> type | None:
    """Return the shape of a policy file by its name; None for one that is no policy file."""
    folder, _, stem = name.rpartition("/")
    return FOLDERS.get(folder) if stem.endswith(".yaml") and folder else _FILES.get(name)


def _inside(contents: Mapping[str, bytes], folder: str) -> list[str]:
    return sorted(name for name in contents if name.startswith(f"{folder}/"))


def digest(contents: Mapping[str, bytes]) -> str:
    """SHA-256 over (length, path, length, content) of every file, by path."""
    hashed = hashlib.sha256()
    for name, content in sorted(contents.items()):
        for part in (name.encode(), content):
            hashed.update(len(part).to_bytes(8) + part)
    return hashed.hexdigest()
