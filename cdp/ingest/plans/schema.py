"""A JSON Schema (draft 2020-12) that somebody wrote → a validator that ends soon, whatever it is given.

Invariants:

1. Nothing is fetched: a ``$ref`` names one of the plan's or schema's own ``$defs``, and the validator is
   offline besides.
2. Work is bounded: references form no circle, a schema unfolds into at most ``MOST`` sub-schemas, and
   patterns are of an engine that reads a text once (no look-around, no back-references).
3. A keyword that is not known is a mistake: a misspelt ``required`` would require nothing.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

import jsonschema_rs

from cdp.errors import DefinitionError

MOST = 2_000
MAX_DEPTH = 40
MAX_PATTERN = 500
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_PATTERN_BYTES = 256 * 1024
_OF_PLAN = re.compile(r"#/\$defs/([A-Za-z0-9_.-]{1,100})")
_DEFS = "$defs"
_NOTES = {"title", "description", "$comment", "default", "examples", "deprecated", "readOnly", "writeOnly"}
_VALUES = {
    "type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
    "maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains",
    "maxProperties", "minProperties", "required", "dependentRequired", "format",
}  # fmt: skip
_ONE = {
    "not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames",
    "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
_SOME = {"allOf", "anyOf", "oneOf", "prefixItems"}
_NAMED = {"properties", "patternProperties", "dependentSchemas"}
_FORMATS = {
    "date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6",
    "uri", "uri-reference", "iri", "iri-reference", "uuid", "json-pointer",
}  # fmt: skip
_NO_PATTERN = (
    "this is no regular expression that a text is read by once (without look-around and back-references, of "
    "bounded size)"
)


class Compiled(NamedTuple):
    """A schema that is ready to be used.

    :param names: of the properties in it.
    """

    validator: jsonschema_rs.Validator
    names: frozenset[str]


def compiled(schema: object, shared: Mapping[str, Any], place: str) -> Compiled:
    """Return the validator of a schema.

    :param shared: the ``$defs`` of the plan.
    :param place: where the schema stands, for the message.
    :raises DefinitionError: it is refused; the message begins with the place.
    """
    if not isinstance(schema, dict):
        raise DefinitionError(f"{place}: a schema is a mapping")
    own = schema.get(_DEFS, {})
    if not isinstance(own, dict):
        raise DefinitionError(f"{place}.{_DEFS}: this is a mapping of schemas")
    unfolding = _Unfolding({**shared, **own})
    for name, inner in own.items():
        unfolding.size(inner, f"{place}.{_DEFS}.{name}", 1)
    rest = {key: value for key, value in schema.items() if key != _DEFS}
    if unfolding.size(rest, place, 0) > MOST:
        raise DefinitionError(f"{place}: the schema unfolds into more than {MOST} sub-schemas")
    used = {name: unfolding.shared[name] for name in unfolding.sizes}
    return Compiled(_validator({**rest, _DEFS: {**used, **own}}, own, place), frozenset(unfolding.names))


def _validator(whole: dict[str, Any], own: Container[str], place: str) -> jsonschema_rs.Validator:
    """Return the validator of a schema of which only the meta-schema was not asked yet."""
    options = jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES)
    try:
        return jsonschema_rs.Draft202012Validator(
            whole,
            validate_formats=True,
            ignore_unknown_formats=False,
            offline=True,
            pattern_options=options,
        )
    except jsonschema_rs.ValidationError as error:
        path = list(error.instance_path)
        if path[:1] == [_DEFS] and len(path) > 1 and path[1] not in own:
            place = ""  # it stands in the plan's
        where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
        is_pattern = path[-1:] == ["pattern"] or path[-2:-1] == ["patternProperties"]
        message = _NO_PATTERN if is_pattern else f"JSON Schema does not allow this here ({error.kind.name})"
        raise DefinitionError(f"{(place + where).lstrip('.')}: {message}") from None
    except (ValueError, jsonschema_rs.ReferencingError):
        raise DefinitionError(f"{place}: this is no schema that can be read") from None


class _Unfolding:
    """A walk over a schema and what it refers to.

    :param shared: the definitions that references name.
    """

    def __init__(self, shared: dict[str, Any]) -> None:
        self.shared = shared
        self.names: set[str] = set()
        self.sizes: dict[str, int | None] = {}  # of what is referred to; None while it is being found

    def size(self, schema: object, place: str, depth: int) -> int:
        """Return the number of sub-schemas that a schema unfolds into."""
        if isinstance(schema, bool):
            return 1
        if not isinstance(schema, dict):
            raise DefinitionError(f"{place}: a schema is a mapping, true or false")
        if depth > MAX_DEPTH:
            raise DefinitionError(f"{place}: schemas are nested more than {MAX_DEPTH} deep")
        self._note_names(schema)
        total = 1
        for keyword, value in schema.items():
            here = f"{place}.{keyword}"
            if keyword == "$ref":
                total += self._referred(value, here, depth)
            elif keyword == "$schema":
                if value != DRAFT:
                    raise DefinitionError(f"{here}: schemas are of {DRAFT}")
            elif keyword in _VALUES:
                _check_value(keyword, value, here)
            elif keyword not in _NOTES:
                total += sum(self.size(inner, at, depth + 1) for inner, at in _parts(keyword, value, here))
        return total

    def _note_names(self, schema: Mapping[str, Any]) -> None:
        depends = schema.get("dependentRequired")
        needed = depends.values() if isinstance(depends, dict) else ()
        for given in (schema.get("properties"), schema.get("required"), depends, *needed):
            if isinstance(given, dict | list):
                self.names.update(name for name in given if isinstance(name, str))

    def _referred(self, target: object, place: str, depth: int) -> int:
        found = _OF_PLAN.fullmatch(target) if isinstance(target, str) else None
        if found is None:
            raise DefinitionError(
                f"{place}: a reference names one of the plan's own, as #/$defs/money; nothing is fetched"
            )
        name = found[1]
        if name not in self.shared:
            raise DefinitionError(f"{place}: there is no such schema among $defs")
        if name in self.sizes:
            size = self.sizes[name]
            if size is None:
                raise DefinitionError(f"{place}: references form a circle")
            return size
        self.sizes[name] = None
        size = self.sizes[name] = self.size(self.shared[name], f"{_DEFS}.{name}", depth + 1)
        return size


def _parts(keyword: str, value: object, place: str) -> Iterator[tuple[object, str]]:
    """Yield the sub-schemas of a keyword, each with its place."""
    if keyword in _ONE:
        yield value, place
    elif keyword in _SOME and isinstance(value, list):
        yield from ((inner, f"{place}[{at}]") for at, inner in enumerate(value))
    elif keyword in _NAMED and isinstance(value, dict):
        for name, inner in value.items():
            if keyword == "patternProperties":
                _check_value("pattern", name, place)
            yield inner, f"{place}.{name}"
    elif keyword in _SOME | _NAMED:
        raise DefinitionError(f"{place}: this is a {'list' if keyword in _SOME else 'mapping'} of schemas")
    elif keyword == _DEFS:
        raise DefinitionError(f"{place}: $defs stand at the top of the plan or of an event's schema")
    else:
        raise DefinitionError(f"{place}: this is no keyword that a plan may use")


def _check_value(keyword: str, value: object, place: str) -> None:
    if keyword == "pattern" and isinstance(value, str) and len(value) > MAX_PATTERN:
        raise DefinitionError(f"{place}: a pattern has at most {MAX_PATTERN} characters")
    if keyword == "format" and value not in _FORMATS:
        raise DefinitionError(f"{place}: the formats are {', '.join(sorted(_FORMATS))}")
