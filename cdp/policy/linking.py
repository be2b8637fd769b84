"""identity.yaml: which identifiers tie events to one person, and what refuses to.

Two rules that contradict are refused with both places named. What an earlier version let pass is refused to
whoever asks for it anew (``refuse``), and stays readable where it is stored.
"""

from __future__ import annotations

import re

import msgspec

from cdp.policy import shapes
from cdp.policy.declared import Blocked, FieldCatalogue, IdentifierRule, IdentityRules, Limit, Thresholds
from cdp.policy.document import Document
from cdp.policy.patterns import trouble

_Path = tuple[str, ...]
_MAX_PATTERN = 200
_COMPONENT_CAP = 10_000
_EXTERNAL = "external"
_ORDINARY = ("ada", "user-1", "ada@example.org", "+41446681800", "3f2b8c1e-5a47-4d09-9c55-0e6f4b7a2d18")


def read_identity(document: Document, fields: FieldCatalogue) -> IdentityRules:
    """Return how identifiers link.

    :raises PolicyError: a type is not declared, or its rule contradicts another.
    """
    file = document.read(shapes.IdentityFile)
    for name in file.types:
        document.check(name, fields.identifiers, "the identifier (fields.yaml, identifiers)", "types", name)
    for name in fields.identifiers:
        if name not in file.types and name != _EXTERNAL:
            raise document.error(f"the identifier {name!r} of fields.yaml has no rule under types", "types")
    _check_priorities(document, {("types", name): shape for name, shape in file.types.items()})
    alarm = max(file.profile_cap // 2, 1) if file.growth_alarm is None else file.growth_alarm
    if alarm > file.profile_cap:
        above = _at(document, "profile_cap")
        raise document.error(f"the alarm is above {above} and could never be raised", "growth_alarm")
    most = max(file.profile_cap, _COMPONENT_CAP) if file.component_cap is None else file.component_cap
    if file.profile_cap > most:
        above = _at(document, "component_cap")
        raise document.error(f"the cap is above {above} and could never be reached", "profile_cap")
    if file.matching.review > file.matching.accept:
        above = _at(document, "matching", "accept")
        raise document.error(
            f"this is above {above}; nobody would ever be put before a steward", "matching", "review"
        )
    return IdentityRules(
        version=file.version,
        types={
            name: _identifier(document, ("types", name), shape, file.profile_cap)
            for name, shape in file.types.items()
        },
        external=_identifier(document, (_EXTERNAL,), file.external, file.profile_cap),
        blocked=_blocked(document, ("blocked",), file.blocked),
        profile_cap=file.profile_cap,
        source_trust=file.source_trust,
        growth_alarm=alarm,
        component_cap=most,
        matching=Thresholds(file.matching.accept, file.matching.review),
    )


def refuse(document: Document) -> None:
    """Refuse what earlier versions let pass: what contradicts, and patterns that could take for ever.

    :param document: one that ``read_identity`` has read.
    :raises PolicyError: there is some.
    """
    file = document.read(shapes.IdentityFile)
    if _EXTERNAL in file.types:
        other = _at(document, _EXTERNAL)
        raise document.error(f"{other} says how these link already; take one away", "types", _EXTERNAL)
    shaped: dict[_Path, shapes.TypeShape] = {("types", name): shape for name, shape in file.types.items()}
    shaped[_EXTERNAL,] = file.external
    _check_priorities(document, shaped)
    for path, shape in shaped.items():
        _refuse_blocking(document, (*path, "blocked"), shape.blocked)
    _refuse_blocking(document, ("blocked",), file.blocked)


def deciding(content: bytes) -> tuple[int, shapes.IdentityFile]:
    """Return the version of an identity.yaml, and what of it decides links: not who is told or believed.

    :raises PolicyError: this version cannot read it.
    """
    file = Document("identity.yaml", content).read(shapes.IdentityFile)
    return file.version, msgspec.structs.replace(
        file, version=1, growth_alarm=None, source_trust={}, matching=shapes.MatchingShape()
    )


def _at(document: Document, *path: str | int) -> str:
    """Return how an error names another place."""
    return f"{'.'.join(map(str, path))} ({document.file}:{document.line(*path)})"


def _check_priorities(document: Document, shaped: dict[_Path, shapes.TypeShape]) -> None:
    held: dict[int, _Path] = {}
    for path, shape in shaped.items():
        first = held.setdefault(shape.priority, path)
        if first != path:
            message = f"{_at(document, *first, 'priority')} has this priority already; each needs its own"
            raise document.error(message, *path, "priority")


def _identifier(document: Document, path: _Path, shape: shapes.TypeShape, cap: int) -> IdentifierRule:
    limit = None if shape.limit is None else Limit(shape.limit.count, shape.limit.period)
    if shape.unique and limit is not None:
        other = _at(document, *path, "unique")
        raise document.error(f"unique already means one; take the limit away, or {other}", *path, "limit")
    if limit is not None and limit.count > cap:
        message = (
            f"the limit is above profile_cap and could never be reached; see {_at(document, 'profile_cap')}"
        )
        raise document.error(message, *path, "limit")
    return IdentifierRule(
        type=path[-1],
        device=shape.class_ == "device",
        priority=shape.priority,
        limit=limit,
        unique=shape.unique,
        blocked=_blocked(document, (*path, "blocked"), shape.blocked),
    )


def _blocked(document: Document, path: _Path, shape: shapes.BlockedShape) -> Blocked:
    for number, pattern in enumerate(shape.pattern):
        if len(pattern) > _MAX_PATTERN:
            raise document.error("the pattern is over 200 characters", *path, "pattern", number)
        try:
            re.compile(pattern)
        except (re.error, OverflowError) as error:
            message = f"not a regular expression: {getattr(error, 'msg', error)}"
            raise document.error(message, *path, "pattern", number) from None
    return Blocked(
        exact=frozenset(text.casefold() for text in shape.exact),
        prefix=tuple(text.casefold() for text in shape.prefix),
        pattern=shape.pattern,
    )


def _refuse_blocking(document: Document, path: _Path, shape: shapes.BlockedShape) -> None:
    """Refuse what blocks every value, which contradicts having the type, and what takes too long."""
    other = _at(document, *(path[:-1] or ("types",)))
    everything = f"this blocks every value, so nothing of {other} would ever link; narrow it"
    for number, prefix in enumerate(shape.prefix):
        if not prefix:
            raise document.error(everything, *path, "prefix", number)
    for number, pattern in enumerate(shape.pattern):
        if wrong := trouble(pattern):
            raise document.error(wrong, *path, "pattern", number)
        if all(re.fullmatch(pattern, value) for value in _ORDINARY):
            raise document.error(everything, *path, "pattern", number)
