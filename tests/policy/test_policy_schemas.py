"""docs/schemas: what editors check policy files against, and what loading says, agree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from cdp.ingest import mapping_schema
from cdp.policy import schemas

ROOT = Path(__file__).parents[2]
POLICIES, KEPT = ROOT / "policies", ROOT / "docs" / "schemas"
FILES = sorted(POLICIES.rglob("*.yaml"))


class Core(yaml.SafeLoader):
    """YAML 1.2's core schema, as editors read it: NO is a country, 2010-01-01 is text."""


Core.yaml_implicit_resolvers = {}
Core.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|false)\Z"), list("tf"))
Core.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?\d+\Z"), list("-0123456789"))
Core.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"-?\d+\.\d+\Z"), list("-0123456789"))
Core.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|)\Z"), ["~", "n", ""])


def kind(path: Path) -> str:
    folder = path.relative_to(POLICIES).parent.name
    return folder or path.stem


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((KEPT / f"{name}.schema.json").read_text(encoding="utf-8")))


def content(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=Core)  # noqa: S506  # a SafeLoader


def test_the_schemas_in_docs_are_those_of_the_code() -> None:
    """``cdp policy check --schemas docs/schemas`` writes them again."""
    written = {**schemas(), "import": mapping_schema()}
    made = {f"{name.removesuffix('.yaml')}.schema.json": schema for name, schema in written.items()}
    kept = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in KEPT.iterdir()}
    assert kept == made


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(POLICIES).as_posix() for path in FILES])
def test_what_is_shipped_is_valid_and_names_its_schema(path: Path) -> None:
    assert [error.message for error in validator(kind(path)).iter_errors(content(path))] == []
    depth = "../" * len(path.relative_to(ROOT).parent.parts)
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    assert first == f"# yaml-language-server: $schema={depth}docs/schemas/{kind(path)}.schema.json"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("rules", [{"id": "x", "effect": "permits", "purpose": "analytics"}]),
        ("rules", {"id": "x", "effect": "permit", "purpose": "analytics", "chanels": "email"}),
        ("retention", {"retention": [{"id": "x", "categories": "user", "days": 0, "source": "none"}]}),
        ("tests", {"name": "x", "destination": "mailer", "purpose": "analytics"}),
    ],
)
def test_a_mistake_of_form_is_one_for_editors_too(name: str, wrong: Any) -> None:
    assert not validator(name).is_valid(wrong)
