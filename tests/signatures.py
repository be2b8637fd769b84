"""What Litestar reads of the signatures of handlers, remembered: it is the same in each application of a run.

An application reads two hundred of them, half of the time that making it takes, and a run makes thousands.
What is remembered follows from a function's code, annotations and defaults, and nobody changes it.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

import pytest
from litestar._signature import SignatureModel
from litestar.utils.signature import ParsedSignature

_reading = pytest.MonkeyPatch()


def pytest_configure() -> None:
    """Have each signature read, and each model of one made, a single time."""
    parse, create = ParsedSignature.from_fn, SignatureModel.create
    parsed: dict[object, ParsedSignature] = {}
    kept = set[int]()  # where these lie: they stay, so nothing else comes to lie there
    models: dict[object, type[SignatureModel]] = {}

    def parse_once(fn: Any, signature_namespace: dict[str, Any]) -> ParsedSignature:
        if not isinstance(fn, FunctionType) or hasattr(fn, "__wrapped__") or fn.__kwdefaults__:
            return parse(fn, signature_namespace)
        said = (fn.__module__, fn.__code__, fn.__defaults__, *fn.__annotations__.items())
        key = (said, *sorted(signature_namespace.items()))
        if key not in parsed:
            parsed[key] = parse(fn, signature_namespace)
            kept.add(id(parsed[key]))
        return parsed[key]

    def create_once(
        dependency_name_set: set[str], fn: Any, parsed_signature: ParsedSignature, **more: Any
    ) -> type[SignatureModel]:
        if id(parsed_signature) not in kept:
            return create(dependency_name_set, fn, parsed_signature, **more)
        called = getattr(fn, "__name__", ""), getattr(fn, "__module__", "")
        key = (*called, id(parsed_signature), frozenset(dependency_name_set), *map(repr, more.items()))
        if key not in models:
            models[key] = create(dependency_name_set, fn, parsed_signature, **more)
        return models[key]

    _reading.setattr(ParsedSignature, "from_fn", parse_once)
    _reading.setattr(SignatureModel, "create", create_once)


def pytest_unconfigure() -> None:
    """Leave the framework as it was."""
    _reading.undo()
