"""YAML or JSON text → plain data with the line of each part.

Invariants: only maps with text keys, lists, text, numbers, true, false and null come out (``2024-05-01``
and ``no`` are text, as people who write a country code mean them); anchors, tags, duplicate keys, and
documents larger or deeper than a definition can be are refused before they are built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import yaml

from cdp.errors import DefinitionError

Path = tuple[str | int, ...]
MAX_BYTES = 512 * 1024
_MAX_DEPTH = 400
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
            return Document(msgspec.json.decode(text), {})
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            pass  # a YAML flow mapping begins like this too; if it is neither, the error below tells where
    return _yaml(text)


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
        _refuse_early(text)
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            raise DefinitionError("the definition is empty")
        return Document(_build(node, (), lines), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "the definition" if mark is None else f"line {mark.line + 1}"
        raise DefinitionError(f"{place}: not readable as YAML: {error.problem or 'syntax error'}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise DefinitionError("the definition is not readable as YAML or JSON") from None


def _refuse_early(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = _line(event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise DefinitionError(f"line {line}: anchors and aliases are not allowed")
        if getattr(event, "tag", None) is not None:
            raise DefinitionError(f"line {line}: tags are not allowed")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise DefinitionError(f"line {line}: nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _build(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    line = _line(node)
    lines[path] = line
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, place), lines) for place, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        built: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in built:
                raise DefinitionError(f"line {_line(key)}: a key is given twice or is no text")
            built[key.value] = _build(value, (*path, key.value), lines)
        return built
    assert isinstance(node, yaml.ScalarNode)  # noqa: S101  # YAML has three kinds of nodes
    return _scalar(node)


def _line(part: yaml.Event | yaml.Node) -> int:
    mark = part.start_mark
    return 1 if mark is None else mark.line + 1


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
