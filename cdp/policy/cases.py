"""policies/tests/*.yaml: what the policies are expected to decide, read and resolved.

They lie beside the policies and are no part of a bundle: another test does not make another version.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from cdp.errors import PolicyError
from cdp.policy.document import Document
from cdp.policy.load import TESTS
from cdp.policy.model import Bundle, Transform
from cdp.policy.rules import transform
from cdp.policy.shapes import CaseShape, ConsentCase

PERMITTED = "permitted"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One case: a question and a person, and what is to be decided.

    :param file: where it stands, relative to the policies folder; ``line`` from 1.
    :param inputs: categories that the segment's definition reads.
    :param asked: fields asked for; None for those that the rules name.
    :param reason: ``permitted``, or why not.
    :param fields: every field that leaves, by name; None when it is not looked at.
    """

    file: str
    line: int
    name: str
    destination: str
    purpose: str
    inputs: frozenset[str]
    asked: tuple[str, ...] | None
    countries: tuple[str, ...]
    states: tuple[str, ...]
    consent: ConsentCase
    notice: str
    minor: bool
    restraints: tuple[str, ...]
    reason: str
    fields: Mapping[str, Transform] | None


def read_tests(directory: Path) -> dict[str, bytes]:
    """Return the content of every test file of a policies folder, by its name relative to the folder.

    :raises PolicyError: the folder cannot be read.
    """
    try:
        return {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in sorted((directory / TESTS).glob("*.yaml"))
        }
    except OSError as error:
        raise PolicyError(f"cannot be read: {error.strerror}", file=TESTS) from error


def read_cases(name: str, content: bytes, bundle: Bundle) -> list[Case]:
    """Return the cases of one file.

    :raises PolicyError: it has another shape, or names what the policies do not declare.
    """
    document = Document(name, content)
    return [
        _case(document, number, shape, bundle) for number, shape in enumerate(document.read_each(CaseShape))
    ]


def _case(document: Document, number: int, shape: CaseShape, bundle: Bundle) -> Case:
    document.check(shape.destination, bundle.destinations, "the destination", number, "destination")
    document.check(shape.purpose, bundle.purposes, "the purpose", number, "purpose")
    for place, category in enumerate(shape.inputs):
        document.check(category, bundle.categories, "the category", number, "inputs", place)
    outputs = {**bundle.fields.traits, **bundle.fields.identifiers}
    for place, field in enumerate(shape.fields):
        document.check(field, outputs, "the field", number, "fields", place)
    fields = None
    if shape.expect.fields is not None:
        for field in shape.expect.fields:
            document.check(field, outputs, "the field", number, "expect", "fields", field)
        fields = {
            field: transform(document, (number, "expect", "fields", field), outputs[field].category, given)
            for field, given in shape.expect.fields.items()
        }
    permitted = shape.expect.decision == "permit"
    if permitted == bool(shape.expect.reason):
        message = "a case that is denied names its reason; one that is permitted has none"
        raise document.error(message, number, "expect")
    if fields is not None and not permitted:
        raise document.error("nothing leaves of whoever is denied", number, "expect", "fields")
    return Case(
        file=document.file,
        line=document.line(number),
        name=shape.name,
        destination=shape.destination,
        purpose=shape.purpose,
        inputs=frozenset(shape.inputs),
        asked=shape.fields or None,
        countries=shape.facts.countries,
        states=shape.facts.states,
        consent=shape.facts.consent,
        notice=shape.facts.notice,
        minor=shape.facts.minor,
        restraints=shape.facts.restraints,
        reason=PERMITTED if permitted else shape.expect.reason,
        fields=fields,
    )
