"""The published schema of the files of an archive (JSON Schema 2020-12), made from their shapes."""

from __future__ import annotations

from typing import Any

import msgspec

from cdp.rights.archive import model
from cdp.rights.archive.portable import Profile

FILES: dict[str, Any] = {
    "manifest.json": model.Contents,
    "identifiers.json": list[model.Identifier],
    "profile.json": Profile,
    "events/NNNN.json": list[model.Event],
    "consents.json": model.Consents,
    "conclusions.json": list[model.Conclusion],
    "recipients.json": list[model.Recipient],
    "uses.json": list[model.Use],
    "requests.json": list[model.Asked],
    "lists.json": list[model.Listed],
    "waiting.json": list[model.Waiting],
    "meanings.json": model.Meanings,
    "portable/profile.json": Profile,
    "portable/events-NNNN.json": list[model.Event],
}
"""Name of a file, with NNNN for a number from 0001 → what is in it."""


def schema() -> dict[str, Any]:
    """Return the schema: ``files`` gives that of each file."""
    files, components = msgspec.json.schema_components(FILES.values(), ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{model.SCHEMA.replace('/', ':')}",
        "title": "An archive of what is kept of one person",
        "files": dict(zip(FILES, files, strict=True)),
        "$defs": components,
    }
