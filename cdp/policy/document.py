"""YAML text → records of a wanted shape, remembering on which line each value stands.

Invariants:

1. The shape decides how a scalar is read, not YAML's guesses: where text is wanted ``NO`` is a
   country and not false, where a flag is wanted only ``true`` and ``false`` will do.
2. Whatever the shape does not name is refused: unknown keys, keys given twice, wrong types, missing
   values. The error names file and line and, for a near miss, what was probably meant.
3. Files over 1 MB are refused, and what ``plain_yaml`` refuses: anchors, aliases, tags.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect

from cdp.errors import PolicyError
from cdp.plain_yaml import NotPlainError, compose, line_of

T = TypeVar("T")
Path = tuple[str | int, ...]

_MAX_BYTES = 1_000_000
_INTEGER = re.compile(r"-?\d{1,15}")
_DECIMAL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")
_FLAGS = {"true": True, "false": False}


class Document:
    """One parsed file.

    :param file: its name as errors show it, relative to the policies folder.
    :raises PolicyError: it is no YAML, too large, or uses anchors, aliases or tags.
    """

    def __init__(self, file: str, content: bytes) -> None:
        self.file = file
        self._lines: dict[Path, int] = {}
        if len(content) > _MAX_BYTES:
            raise PolicyError("the file is over 1 MB; split it or check what was put there", file=file)
        self._root = self._compose(content)

    def _compose(self, content: bytes) -> yaml.Node:
        try:
            root = compose(content.decode())
        except UnicodeDecodeError:
            raise PolicyError("the file is not UTF-8 text", file=self.file) from None
        except NotPlainError as error:
            raise PolicyError(error.problem, file=self.file, line=error.line) from None
        if root is None:
            raise PolicyError("the file is empty", file=self.file, line=1)
        return root

    def read(self, shape: type[T]) -> T:
        """Return the document as a record of ``shape`` (a msgspec Struct).

        :raises PolicyError: it has another shape.
        """
        value: T = self._read(inspect.type_info(shape), self._root, ())
        return value

    def read_each(self, shape: type[T]) -> list[T]:
        """Return the document as records: a list of mappings, or one mapping."""
        info = inspect.type_info(shape)
        if isinstance(self._root, yaml.SequenceNode):
            return [self._read(info, node, (place,)) for place, node in enumerate(self._root.value)]
        return [self._read(info, self._root, (0,))]

    def error(self, message: str, *path: str | int) -> PolicyError:
        """Return the error that ``message`` is about the value at ``path`` (or what lies above it)."""
        return PolicyError(message, file=self.file, line=self._line_of(path))

    def line(self, *path: str | int) -> int:
        """Return the line on which the value at ``path`` (or what lies above it) stands, from 1."""
        return self._line_of(path) or 1

    def _line_of(self, path: Path) -> int | None:
        places = (path[:length] for length in range(len(path), -1, -1))
        return next((self._lines[place] for place in places if place in self._lines), None)

    def check(self, name: str, known: Iterable[str], what: str, *path: str | int) -> None:
        """Refuse a ``name`` that is not among ``known``, with what was probably meant."""
        names = set(known)
        if name not in names:
            hint = meant(name, names) or "; declare it, or name one that is"
            raise self.error(f"{what} {name!r} is not declared{hint}", *path)

    # -- one node -------------------------------------------------------------------------------

    def _read(self, info: inspect.Type, node: yaml.Node, path: Path) -> Any:
        self._lines.setdefault(path, line_of(node))
        if isinstance(info, inspect.UnionType):
            return self._read_union(info, node, path)
        if isinstance(info, inspect.StructType):
            return self._read_struct(info, node, path)
        if isinstance(info, inspect.DictType):
            return {
                key: self._read(info.value_type, value, (*path, key))
                for key, value in self._pairs(node, path)
            }
        if isinstance(info, inspect.VarTupleType):
            if isinstance(node, yaml.ScalarNode):  # one value stands for a list of one
                return (self._read(info.item_type, node, path),)
            if not isinstance(node, yaml.SequenceNode):
                raise self.error("a list is wanted here", *path)
            return tuple(self._read(info.item_type, item, (*path, n)) for n, item in enumerate(node.value))
        if not isinstance(node, yaml.ScalarNode):
            raise self.error("a single value is wanted here, not a list or mapping", *path)
        return self._read_scalar(info, node, path)

    def _read_union(self, info: inspect.UnionType, node: yaml.Node, path: Path) -> Any:
        if isinstance(node, yaml.ScalarNode) and _is_null(node):
            if info.includes_none:
                return None
            raise self.error("a value is missing here", *path)
        nested = isinstance(node, yaml.MappingNode)
        kinds = [kind for kind in info.types if not isinstance(kind, inspect.NoneType)]
        fitting = (
            kind for kind in kinds if isinstance(kind, inspect.DictType | inspect.StructType) == nested
        )
        return self._read(next(fitting, kinds[0]), node, path)

    def _read_struct(self, info: inspect.StructType, node: yaml.Node, path: Path) -> Any:
        fields = {field.encode_name: field for field in info.fields}
        values = {}
        for key, value in self._pairs(node, path):
            field = fields.get(key)
            if field is None:
                raise self.error(f"unknown key {key!r}{meant(key, fields)}", *path, key)
            values[field.name] = self._read(field.type, value, (*path, key))
        for name, field in fields.items():
            if field.required and field.name not in values:
                raise self.error(f"the key {name!r} is missing", *path)
        return info.cls(**values)

    def _pairs(self, node: yaml.Node, path: Path) -> Iterable[tuple[str, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            raise self.error("a mapping (key: value) is wanted here", *path)
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error("a key must be a single word", *path)
            first = self._lines.get((*path, key.value))
            self._lines[*path, key.value] = line_of(key)
            if key.value in seen:
                message = f"the key {key.value!r} is given twice, first on line {first}"
                raise self.error(message, *path, key.value)
            seen.add(key.value)
            yield key.value, value

    def _read_scalar(self, info: inspect.Type, node: yaml.ScalarNode, path: Path) -> str | float | bool:
        text = node.value
        if isinstance(info, inspect.LiteralType):
            if text not in info.values:
                options = ", ".join(str(value) for value in info.values)
                raise self.error(f"{text!r} is not one of: {options}{meant(text, info.values)}", *path)
            return str(text)
        if isinstance(info, inspect.BoolType):
            if text not in _FLAGS or node.style:
                raise self.error("true or false is wanted here", *path)
            return _FLAGS[text]
        if isinstance(info, inspect.IntType):
            if not _INTEGER.fullmatch(text) or node.style:
                raise self.error("a whole number is wanted here", *path)
            if info.ge is not None and int(text) < info.ge:
                raise self.error(f"the number must be at least {info.ge}", *path)
            return int(text)
        if isinstance(info, inspect.FloatType):
            return self._read_decimal(info, node, path)
        if _is_null(node):
            raise self.error("a value is missing here", *path)
        return str(text)

    def _read_decimal(self, info: inspect.FloatType, node: yaml.ScalarNode, path: Path) -> float:
        if not _DECIMAL.fullmatch(node.value) or node.style:
            raise self.error("a number is wanted here", *path)
        low, high = info.gt or 0, info.lt or math.inf
        if not low < float(node.value) < high:
            raise self.error(f"the number must be above {low:g} and below {high:g}", *path)
        return float(node.value)


def meant(name: str, known: Iterable[object]) -> str:
    """Return ``; did you mean …?`` when something among ``known`` comes near ``name``, else nothing."""
    near = difflib.get_close_matches(name, [str(item) for item in known], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _is_null(node: yaml.ScalarNode) -> bool:
    return not node.style and node.value in {"", "~", "null"}


def schema(shape: type, *, several: bool = False) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a file of ``shape``, for editors.

    :param several: True when the file holds one such mapping or a list of them.
    """
    found = _lenient(msgspec.json.schema(shape))
    if several:
        one = {"$ref": found.pop("$ref")}
        found = {"anyOf": [one, {"type": "array", "items": one}], **found}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _lenient(node: Any) -> Any:
    """Allow a bare value where a list of values is wanted, as ``Document`` does."""
    if isinstance(node, list | tuple):
        return [_lenient(item) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _lenient(value) for key, value in node.items()}
    items = changed.get("items", {})
    if changed.get("type") == "array" and "$ref" not in items and items.get("type") != "object":
        kept = {key: changed.pop(key) for key in ("default", "description") if key in changed}
        return {"anyOf": [changed, items], **kept}
    return changed
