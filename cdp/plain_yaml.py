"""YAML text → nodes that are plain data: mappings, lists and scalars, each with its line.

Invariant: anchors, aliases, tags and deep nesting are refused before anything is built, so that no document
unfolds into more than was written, and whoever walks the nodes needs no bound of its own.
"""

from __future__ import annotations

from typing import Any

import yaml

from cdp.errors import InvalidInputError

MAX_DEPTH = 400
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotPlainError(InvalidInputError):
    """The text is no YAML, or more than plain data.

    :param problem: what is wrong, without a value of the text.
    :param line: where, from 1; None when that is not known.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


def compose(text: str) -> yaml.Node | None:
    """Return the root of a document; None when it is empty.

    :raises NotPlainError: it cannot be read, or is more than plain data.
    """
    try:
        _refuse_early(text)
        found: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise NotPlainError(
            f"not valid YAML: {error.problem or 'syntax error'}",
            None if mark is None else mark.line + 1,
        ) from None
    except (yaml.YAMLError, RecursionError):
        raise NotPlainError("not valid YAML") from None
    return found


def line_of(part: yaml.Event | yaml.Node) -> int:
    """Return the line on which something begins, from 1."""
    mark = part.start_mark
    return 1 if mark is None else mark.line + 1


def _refuse_early(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent) or any(
            getattr(event, more, None) is not None for more in ("anchor", "tag")
        ):
            message = "anchors, aliases and tags are not allowed; write the value out"
            raise NotPlainError(message, line_of(event))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise NotPlainError("nested too deeply", line_of(event))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
