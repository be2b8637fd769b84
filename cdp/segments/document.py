"""YAML or JSON text → plain data with the line of each part.

Invariants: only maps with text keys, lists, text, numbers, true, false and null come out (``2024-05-01``
and ``no`` are text, as people who write a country code mean them); duplicate keys, documents larger than a
definition can be, and what ``plain_yaml`` refuses (anchors, tags, deep nesting) are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import yaml

from cdp.errors import DefinitionError
from cdp.plain_yaml import NotPlainError, compose, line_of

Path = tuple[str | int, ...]
MAX_BYTES = 512 * 1024
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class Document(msgspec.Struct, frozen=True):
    """Plain data and where its parts stand.

    :param lines: path → line, from 1; empty when the data did not come as YAML.
    """

    data: Any
    lines: dict[Path, int]


def read(source: str | bytes | Mapping[str, Any]) -> Document:
    """Return the document that ``source`` holds.

    :param source: YAML or JSON text, or data that was decoded before.
    :raises DefinitionError: it cannot be read.
    """
    if isinstance(source, Mapping):
        return Document(source, {})
    text = _decoded(source)
    if text.lstrip().startswith("{"):
        try:
            json.loads(text, object_pairs_hook=_once)
            return Document(msgspec.json.decode(text), {})
        except (msgspec.DecodeError, RecursionError, ValueError):
            pass  # a YAML flow mapping begins like this too; if it is neither, the error below tells where
    return _yaml(text)


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise ValueError


def _decoded(source: str | bytes) -> str:
    try:
        raw = source.encode() if isinstance(source, str) else source
        if len(raw) > MAX_BYTES:
            raise DefinitionError(f"the definition has {len(raw)} bytes; at most {MAX_BYTES} are allowed")
        return raw.decode()
    except UnicodeError as error:
        raise DefinitionError("the definition is not UTF-8 text") from error


def _yaml(text: str) -> Document:
    lines: dict[Path, int] = {}
    try:
        node = compose(text)
        if node is None:
            raise DefinitionError("the definition is empty")
        return Document(_build(node, (), lines), lines)
    except NotPlainError as error:
        place = "the definition" if error.line is None else f"line {error.line}"
        raise DefinitionError(f"{place}: {error.problem}") from None
    except ValueError:  # a number that Python does not read
        raise DefinitionError("the definition is not readable as YAML or JSON") from None


def _build(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    line = line_of(node)
    lines[path] = line
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, place), lines) for place, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        built: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in built:
                raise DefinitionError(f"line {line_of(key)}: a key is given twice or is no text")
            built[key.value] = _build(value, (*path, key.value), lines)
        return built
    assert isinstance(node, yaml.ScalarNode)  # noqa: S101  # YAML has three kinds of nodes
    return _scalar(node)


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if node.style:  # quoted, or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    number: Callable[[str], Any] = float if found[2] or found[3] else int
    return number(text)
