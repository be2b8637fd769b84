"""What holds for every file of the repository: declared, pinned, finished, readable, at home anywhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve()
CODE = sorted(
    path for folder in ("cdp", "tests", "benchmarks", "migrations") for path in (ROOT / folder).rglob("*.py")
)
LONG = 400
LONG_FILES = {
    "cdp/audit/verify.py": "what a regulator takes along: one file on the standard library",
    "tests/audit/test_audit_log.py": "one log, attacked from every side",
    "tests/policy/test_policy_activation.py": "from a proposal to a switch, in one process and in two",
    "tests/consent/test_consent_precedence.py": "the decision table of precedence, row by row",
}
"""Files over 400 lines, each with the reason why it is one file."""


def name(path: Path) -> str:
    """Return ``path`` as a message shows it."""
    return path.relative_to(ROOT).as_posix()


def distribution(requirement: str) -> str:
    """Return the normalised name (PEP 503) that a requirement begins with."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=~! ;]", requirement)[0]).lower()


def declared(*groups: str) -> set[str]:
    """Return what pyproject.toml asks for: the default install, and the extras named."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [project["dependencies"], *(project["optional-dependencies"][group] for group in groups)]
    return {distribution(requirement) for requirements in wanted for requirement in requirements}


def lines(path: Path) -> list[tuple[str, str]]:
    """Return (``file:line``, text) for every line of a file."""
    return [(f"{name(path)}:{no}", text) for no, text in enumerate(path.read_text().splitlines(), 1)]


def test_everything_imported_is_declared() -> None:
    """A library that only comes along with another one may leave with it."""
    home = packages_distributions()
    offenders = set()
    for path in sorted((ROOT / "cdp").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for top in {module.split(".")[0] for module in modules} - sys.stdlib_module_names - {"cdp"}:
                owners = {distribution(owner) for owner in home.get(top, [])}
                if not owners & declared("postgres", "vault", "aws", "match", "spark", "nats"):
                    offenders.add(f"{name(path)} imports {top}")
    assert offenders == set()


def test_the_lock_pins_every_dependency_exactly_and_names_no_place() -> None:
    locked = (ROOT / "requirements.lock").read_text().splitlines()[1:]
    assert [line for line in locked if not re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", line)] == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert declared(*extras) - {distribution(line) for line in locked} == set()


def test_files_stay_readable() -> None:
    """A migration is history, one statement a table: it is as long as the schema."""
    written = [path for path in CODE if path.parent.name != "versions"]
    long = {name(path) for path in written if len(path.read_bytes().splitlines()) > LONG}
    assert long == set(LONG_FILES)


def test_test_files_have_names_of_their_own() -> None:
    """Tests are no packages, so two files of one name would be one module."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_people_of_the_tests_have_addresses_that_the_scan_looks_for() -> None:
    """In domains that are nobody's (RFC 2606): see ``tests/canary.py``."""
    address = re.compile(r"[\w.+}-](?:@|%40)((?:[a-z0-9-]+\.)+[a-z]{2,})", re.IGNORECASE)
    nobodys = re.compile(r"(?:.*\.)?example(?:\.(?:org|com|net))?", re.IGNORECASE)
    offenders = [
        f"{place}: {domain}"
        for path in CODE
        if path.parts[-2] != "architecture"
        for place, text in lines(path)
        for domain in address.findall(text)
        if not nobodys.fullmatch(domain)
    ]
    assert offenders == []


def test_nothing_is_left_for_later() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError\b(?!\(kind\))")
    assert [place for path in CODE if path != HERE for place, text in lines(path) if mark.search(text)] == []


def test_a_silenced_rule_says_why() -> None:
    silenced = re.compile(r"#\s*(noqa\b|type:\s*ignore)")
    reasoned = re.compile(r"#\s*(noqa: [A-Z0-9, ]+|type: ignore\[[\w, -]+\])\s+# \S")
    offenders = [
        place
        for path in CODE
        if path != HERE
        for place, text in lines(path)
        if silenced.search(text) and not reasoned.search(text)
    ]
    assert offenders == []


@pytest.mark.parametrize(
    "place",
    [r"/(root|home|work|Users)/[\w.-]+", r"pythonhosted\.org", r"registry\.npmjs", r"pypi\.org/simple"],
    ids=["a folder of one machine", "a package host", "a package registry", "a package index"],
)
def test_no_file_names(place: str) -> None:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    files = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    found = re.compile(place.encode())
    offenders = [
        file
        for file in files
        if file and (ROOT / file).is_file() and (ROOT / file) != HERE
        if found.search((ROOT / file).read_bytes())
    ]
    assert offenders == []
