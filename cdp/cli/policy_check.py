"""``cdp policy check``: every mistake of a folder of policies, and its tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cdp import policy
from cdp.cli.options import AsJson
from cdp.cli.output import say, show_json, show_list, show_record
from cdp.clock import SystemClock
from cdp.errors import ConfigurationError
from cdp.gate import check_candidate
from cdp.policy import Finding
from cdp.settings import load

_COLUMNS = ("severity", "place", "message", "fix")


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
    rows = [_row(finding) for finding in found.findings]
    if as_json:
        show_json({**summary, "findings": rows})
    else:
        if rows:
            show_list(rows, _COLUMNS, as_json=False)
            say("")
        show_record(summary, as_json=False)
    errors = [finding for finding in found.findings if finding.severity == "error"]
    if errors:
        first = _row(errors[0])
        raise ConfigurationError(f"{len(errors)} mistakes; {first['place']}: {first['message']}")


def _row(finding: Finding) -> dict[str, str]:
    place = finding.file if finding.line is None else f"{finding.file}:{finding.line}"
    return {
        "severity": finding.severity,
        "place": place,
        "message": finding.message,
        "fix": finding.fix,
    }


def write_schemas(directory: Path) -> None:
    """Write the JSON Schema of each kind of policy file, as ``<kind>.schema.json``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, schema in policy.schemas().items():
        path = directory / f"{name.removesuffix('.yaml')}.schema.json"
        path.write_text(json.dumps(schema, indent=2, sort_keys=True) + "\n", encoding="utf-8")
