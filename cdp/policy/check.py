"""Everything that can be said against a folder of policies, with file, line and fix.

Order: the files by name; the shape of each file, so that all mistakes of form are named at once; what
``load`` refuses, where a rules file that is refused is set aside to look at the others; then, of a bundle
that holds together, what contradicts itself (``contradictions.py``) and what is missing (``gaps.py``).

An *error* cannot be meant: it does not load, or could never do what it says. A *warning* may be meant, and a
lawyer should look at it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from cdp.errors import PolicyError
from cdp.policy.contradictions import contradictions
from cdp.policy.document import Document
from cdp.policy.findings import Finding
from cdp.policy.gaps import gaps
from cdp.policy.load import FOLDERS, admit, check_names, read, shape_of


def check(contents: Mapping[str, bytes], today: date) -> list[Finding]:
    """Return what is wrong with policy files, errors first, each at its file and line.

    :param contents: file name relative to the folder → its bytes, as ``read_folder`` returns.
    :param today: the day on which contracts are looked at.
    """
    found = list(_form(contents))
    if not found:
        found = list(_meaning(dict(contents), today))
    return sorted(found, key=lambda one: (one.severity, one.file, one.line or 0, one.message))


def _form(contents: Mapping[str, bytes]) -> Iterator[Finding]:
    try:
        check_names(contents)
    except PolicyError as error:
        yield Finding.of(error)
    for name, content in sorted(contents.items()):
        shape = shape_of(name)
        if shape is None:
            continue
        try:
            document = Document(name, content)
            if name.startswith(tuple(f"{folder}/" for folder in FOLDERS)):
                document.read_each(shape)
            else:
                document.read(shape)
        except PolicyError as error:
            yield Finding.of(error)


def _meaning(contents: dict[str, bytes], today: date) -> Iterator[Finding]:
    refused = False
    while True:
        try:
            reading = read(contents)
            admit(contents)
        except PolicyError as error:
            yield Finding.of(error)
            refused = True
            if contents.pop(error.file if error.file.startswith("rules/") else "", None) is None:
                return
        else:
            if not refused:  # what is left of a bundle contradicts itself in ways that nobody wrote
                yield from contradictions(reading)
                yield from gaps(reading, today)
            return
