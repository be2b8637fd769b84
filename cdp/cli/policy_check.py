"""``cdp policy check``: every mistake of a folder of policies, and its tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cdp import policy
from cdp.cli.options import AsJson
from cdp.cli.output import counted, say, show_json, show_list, show_record
from cdp.clock import SystemClock
from cdp.errors import ConfigurationError
from cdp.gate import check_candidate
from cdp.ingest import mapping_schema
from cdp.settings import load

COLUMNS = ("severity", "place", "message", "fix")


def check(
    folder: Annotated[Path | None, typer.Argument(help="CDP_POLICIES_DIR unless given.")] = None,
    schemas: Annotated[
        Path | None, typer.Option(help="Also write the JSON Schema of each kind of file into this folder.")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002  # a flag
) -> None:
    """Check a folder of policies and run its tests; names file, line and fix of every mistake."""
    if schemas is not None:
        write_schemas(schemas)
    directory = folder or load().policies_dir
    found = check_candidate(policy.read_folder(directory), policy.read_tests(directory), SystemClock().now())
    summary: dict[str, object] = {}
    if (bundle := found.bundle) is not None:
        summary = {
            "bundle": bundle.sha256,
            "purposes": len(bundle.purposes),
            "destinations": len(bundle.destinations),
            "rules": len(bundle.rules),
            "declared_traits": len(bundle.fields.traits),
            "declared_properties": len(bundle.fields.properties),
        }
    summary["tests"] = found.tests
    rows = [placed(msgspec.structs.asdict(finding)) for finding in found.findings]
    if as_json:
        show_json({**summary, "findings": rows})
    else:
        if rows:
            show_list(rows, COLUMNS, as_json=False)
            say("")
        show_record(summary, as_json=False)
    errors = [finding for finding in found.findings if finding.severity == "error"]
    if errors:
        first = next(row for row in rows if row["severity"] == "error")
        raise ConfigurationError(f"{counted(len(errors), 'mistake')}; {first['place']}: {first['message']}")


def placed(finding: Mapping[str, Any]) -> dict[str, str]:
    """Return a finding as a row, with file and line in one column."""
    file, line = finding["file"], finding["line"]
    place = file if line is None else f"{file}:{line}"
    return {"place": place, **{name: finding[name] for name in ("severity", "message", "fix")}}


def write_schemas(directory: Path) -> None:
    """Write the JSON Schema of each kind of policy file, and of mapping files, as ``<kind>.schema.json``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, schema in {**policy.schemas(), "import": mapping_schema()}.items():
        path = directory / f"{name.removesuffix('.yaml')}.schema.json"
        path.write_text(json.dumps(schema, indent=2, sort_keys=True) + "\n", encoding="utf-8")
