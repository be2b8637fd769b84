"""Who may do what in which file: the rules that import-linter cannot express, read off the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "cdp").rglob("*.py"))

BESIDE_THE_DOOR = {
    "cdp.store.migrate": "Alembic is loaded by the commands that need it, not by every process",
    "cdp.crypto.tables": "the key database is no stage's; its keyring makes it",
}
"""Modules that other packages may import although their package does not re-export them."""

ENGINES = {"snapshot", "self", "self._engine"}
"""What bears the name of the warehouse's SQL, which is no database's."""

PRINTERS = {"cdp/audit/verify.py"}
"""Files outside ``cdp/cli`` that print: the verifier is a program of its own, for somebody else's machine."""


def name(path: Path) -> str:
    """Return ``path`` as a message shows it."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """Return a file's syntax tree."""
    return ast.parse(path.read_bytes())


def imports(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, module) for every import below ``node``; ``from a import b`` is ``a``."""
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            yield from ((part.lineno, alias.name) for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            yield part.lineno, part.module or ""


def callers(function: str, *, method: bool | None = None) -> set[str]:
    """Return the files that call ``function``, as a method, as a plain name, or (None) either way."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            is_method = isinstance(node.func, ast.Attribute)
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called == function and method in {None, is_method}:
                found.add(name(path))
    return found


def test_only_the_gate_makes_released_values() -> None:
    assert callers("Released") == {"cdp/gate/release.py"}


def test_only_the_commit_order_commits() -> None:
    assert callers("commit", method=True) == {"cdp/store/commit.py"}


def test_nothing_prints_but_the_command_line() -> None:
    assert {path for path in callers("print", method=False) if not path.startswith("cdp/cli/")} <= PRINTERS


def test_no_command_puts_a_path_together() -> None:
    """The client quotes the parts of a path, so a command names them one by one."""
    made = [
        f"{name(path)}:{node.lineno}"
        for path in SOURCES
        if name(path).startswith("cdp/cli/") and name(path) != "cdp/cli/client.py"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.JoinedStr)
        and isinstance(node.values[0], ast.Constant)
        and str(node.values[0].value).startswith("/")
    ]
    assert made == []


@pytest.mark.parametrize("function", ["eval", "exec", "breakpoint"])
def test_nobody_calls(function: str) -> None:
    assert callers(function, method=False) == set()


def test_only_the_store_knows_which_database_it_is() -> None:
    """A dialect's name is a string in code; the prose of docstrings may speak of both."""
    offenders = []
    for path in SOURCES:
        if path.parent.name == "store":
            continue
        prose = {id(node.value) for node in ast.walk(tree(path)) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree(path)):
            names_it = isinstance(node, ast.Constant) and str(node.value).lower() in {
                "sqlite",
                "postgres",
                "postgresql",
            }
            asks = (
                isinstance(node, ast.Attribute)
                and node.attr == "dialect"
                and ast.unparse(node.value) not in ENGINES
            )
            if (names_it and id(node) not in prose) or asks:
                offenders.append(f"{name(path)}:{getattr(node, 'lineno', 0)}")
    assert offenders == []


def test_stages_meet_at_their_front_doors() -> None:
    """A package is imported as itself; only its ``tables`` may be, by queries that join to them."""
    packages = {path.parent.name for path in (ROOT / "cdp").glob("*/__init__.py")} - {"api", "cli"}
    offenders = []
    for path in SOURCES:
        for line, module in imports(tree(path)):
            parts = module.split(".")
            if len(parts) < 3 or parts[0] != "cdp" or parts[1] not in packages:
                continue
            is_own = path.relative_to(ROOT / "cdp").parts[0] == parts[1]
            is_join = parts[2:] == ["tables"] and path.name in {"queries.py", "tables.py"}
            if not is_own and not is_join and module not in BESIDE_THE_DOOR:
                offenders.append(f"{name(path)}:{line} imports {module}")
    assert offenders == []


def test_every_error_is_in_the_one_tree() -> None:
    """One declared beside its stage extends the tree; a private one never leaves its file."""
    known = {node.name for node in tree(ROOT / "cdp/errors.py").body if isinstance(node, ast.ClassDef)}
    strangers = [
        f"{name(path)}:{node.lineno} {node.name}"
        for path in SOURCES
        if path.name not in {"errors.py", "verify.py"}  # the verifier stands alone
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and node.name[0] != "_"
        if not {ast.unparse(base) for base in node.bases} & known
    ]
    assert strangers == []


def test_the_offline_verifier_stands_alone() -> None:
    """A regulator runs it as one file: it may import only the standard library."""
    modules = {module.split(".")[0] for _, module in imports(tree(ROOT / "cdp/audit/verify.py"))}
    assert modules <= sys.stdlib_module_names
