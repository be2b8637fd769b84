"""What is left of clear values in files and tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from people import Person
from sqlalchemy import create_engine, inspect, text


def files(*folders: Path) -> dict[str, bytes]:
    """Return path → content of every file below some folders."""
    return {
        str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()
    }


def tables(url: str) -> dict[str, bytes]:
    """Return name → everything in it, of every table of a database."""
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {
            name: b"\n".join(
                bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                for row in connection.execute(text(f"SELECT * FROM {name}"))  # noqa: S608  # our own names
                for value in row
            )
            for name in inspect(connection).get_table_names()
        }
    engine.dispose()
    return found


def left(haystack: dict[str, bytes], people: Iterable[Person]) -> set[tuple[str, str]]:
    """Return (value, place) for whatever can be read of people."""
    lowered = {place: content.lower() for place, content in haystack.items()}
    needles = {needle.casefold() for person in people for needle in _needles(person)}
    return {
        (needle, place)
        for needle in needles
        for place, content in lowered.items()
        if needle.encode() in content
    }


def _needles(person: Person) -> set[str]:
    """Return what nobody may be able to read of somebody."""
    told = person.newsletter()["traits"]
    address = told["address"]
    return {person.last, told["lastName"], person.email, person.traits["phone"], address["street"]} | {
        told["birthday"]
    }
