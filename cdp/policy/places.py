"""jurisdictions.yaml: which law follows from which place."""

from __future__ import annotations

from collections import defaultdict

from cdp.policy import shapes
from cdp.policy.document import Document
from cdp.policy.model import Jurisdictions


def read_jurisdictions(document: Document) -> tuple[Jurisdictions, dict[str, str]]:
    """Return the jurisdictions, and country code → region.

    :raises PolicyError: a name is not declared, a place stands under two jurisdictions or names nowhere,
        or a jurisdiction could never apply.
    """
    file = document.read(shapes.JurisdictionsFile)
    for number, name in enumerate(file.controller):
        document.check(name, file.jurisdictions, "the jurisdiction", "controller", number)
    if not file.controller:
        raise document.error("the controller is established somewhere; name it", "controller")
    document.check(file.other, file.jurisdictions, "the jurisdiction", "other")
    nowhere = frozenset(value.casefold() for value in file.nowhere)
    countries: dict[str, str] = {}
    home: dict[str, str] = {}
    for key, shape in file.jurisdictions.items():
        if not shape.countries and not shape.states and key not in {file.other, *file.controller}:
            message = f"{key!r} has no place, so nobody could ever fall under it; list countries or states"
            raise document.error(message, "jurisdictions", key)
        for code, names in shape.countries.items():
            path = ("jurisdictions", key, "countries", code)
            if home.setdefault(code, key) != key:
                raise document.error(f"{code!r} is a country of {home[code]!r} already", *path)
            _claim(document, path, countries, (code, *names), code, nowhere)
    states = _states(document, file, home, nowhere)
    found = Jurisdictions(
        controller=frozenset(file.controller),
        countries=countries,
        laws={code: frozenset({key, *states.get(code, {}).values()}) for code, key in home.items()},
        states=states,
        configured=frozenset(file.jurisdictions),
        other=file.other,
        nowhere=nowhere,
    )
    return found, {code: file.jurisdictions[key].region for code, key in home.items()}


def _states(
    document: Document, file: shapes.JurisdictionsFile, home: dict[str, str], nowhere: frozenset[str]
) -> dict[str, dict[str, str]]:
    """Return country code → state code or name → jurisdiction."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for key, shape in file.jurisdictions.items():
        for country, states in shape.states.items():
            path = ("jurisdictions", key, "states", country)
            document.check(country, home, "the country", *path)
            for code, names in states.items():
                _claim(document, (*path, code), found[country], (code, *names), key, nowhere)
    return dict(found)


def _claim(
    document: Document,
    path: tuple[str, ...],
    held: dict[str, str],
    names: tuple[str, ...],
    owner: str,
    nowhere: frozenset[str],
) -> None:
    """Enter every name of a place under its owner."""
    for value in {name.casefold() for name in names}:
        if held.setdefault(value, owner) != owner:
            raise document.error(f"{value!r} is a place of {held[value]!r} already", *path)
        if value in nowhere:
            raise document.error(f"{value!r} stands under nowhere, too", *path)
