"""What the reading view shows of what was gathered: one page over all, and pages of events. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cdp.rights.archive import model, page

_MOST = 1_000
"""Lines of one table; the JSON file has them all."""
_CUT = "The first {shown} of {all}; {file} has all of them."


class Gathered(NamedTuple):
    """Everything but the events, which are written as they are read."""

    identifiers: Sequence[model.Identifier]
    traits: Sequence[model.Trait]
    observations: Sequence[model.Observation]
    consents: model.Consents
    conclusions: Sequence[model.Conclusion]
    recipients: Sequence[model.Recipient]
    uses: Sequence[model.Use]
    requests: Sequence[model.Asked]
    lists: Sequence[model.Listed]
    waiting: Sequence[model.Waiting]


def events_page(events: Sequence[model.Event], number: int, pages: int) -> bytes:
    """Return one page of events."""
    near = [("../index.html", "Overview")]
    near += [(f"{other:04d}.html", said) for other, said in ((number - 1, "Newer"), (number + 1, "Older"))
             if 0 < other <= pages]  # fmt: skip
    rows = [(one.occurred_at, one.type, one.name, one.source, _detail(one)) for one in events]
    told = page.table(("When", "Kind", "Name", "Source", "All that was sent"), rows)
    return page.page(f"Events, page {number} of {pages}", page.links(near) + told)


def _detail(one: model.Event) -> dict[str, Any]:
    parts = {"properties": one.properties, "context": one.context, "traits": one.traits, "other": one.other}
    held: dict[str, Any] = {key: part for key, part in parts.items() if part}
    if one.unreadable:
        held["unreadable"] = "part of this event could not be opened"
    return held


def overview(contents: model.Contents, held: Gathered, meanings: model.Meanings, pages: int) -> bytes:
    """Return the page that one opens first."""
    about = page.paragraphs([contents.scope, f"Made {contents.made_at} by {contents.controller}."])
    parts = [
        ("about", "What this is", about + page.paragraphs(contents.left_out)),
        ("identifiers", "By what you are known", _table(held.identifiers, "identifiers.json")),
        ("profile", "What is known of you now", _table(held.traits, "profile.json")),
        ("observations", "Everything that was said of you", _table(held.observations, "profile.json")),
        ("events", "What happened", _events(contents, pages)),
        ("consents", "What you agreed to, and did not", _consents(held.consents)),
        ("conclusions", "What was concluded about you", _table(held.conclusions, "conclusions.json")),
        ("recipients", "Who received data of yours", _table(held.recipients, "recipients.json")),
        ("uses", "Who used data of yours, and for what", _table(held.uses, "uses.json")),
        ("requests", "What you asked for", _table(held.requests, "requests.json")),
        ("lists", "Lists that you are on", _table(held.lists, "lists.json")),
        (
            "waiting",
            "What was sent about you and could not be taken in",
            _table(held.waiting, "waiting.json"),
        ),
        ("meanings", "What the fields mean", _table(meanings.fields, "meanings.json")),
        ("purposes", "What data may be used for", _table(meanings.purposes, "meanings.json")),
        ("rights", "What you may ask for", page.paragraphs(meanings.rights)),
    ]
    index = page.links((f"#{place}", title) for place, title, _ in parts)
    body = "".join(page.section(place, title, content) for place, title, content in parts)
    return page.page("Your data", index + body)


def short(contents: model.Contents, held: Gathered) -> bytes:
    """Return the page of an archive that holds the portable part only."""
    body = page.paragraphs([contents.scope, f"Made {contents.made_at} by {contents.controller}."])
    body += page.paragraphs(contents.left_out)
    body += page.section("identifiers", "By what you are known", _table(held.identifiers, "profile.json"))
    body += page.section("profile", "What you told", _table(held.traits, "profile.json"))
    files = page.table(
        ("File", "Bytes", "SHA-256"), ((one.name, one.bytes, one.sha256) for one in contents.files)
    )
    return page.page("Your data, to take with you", body + page.section("files", "Files", files))


def _events(contents: model.Contents, pages: int) -> str:
    count = contents.counts.get("events", 0)
    near = ((f"events/{number:04d}.html", f"Page {number}") for number in range(1, pages + 1))
    return page.paragraphs([f"{count} events, the newest first."]) + page.links(near)


def _consents(held: model.Consents) -> str:
    return _table(held.states, "consents.json") + _table(held.records, "consents.json")


def _table(held: Sequence[Any], file: str) -> str:
    if not held:
        return page.NOTHING
    names = held[0].__struct_fields__
    rows = ([getattr(one, name) for name in names] for one in held[:_MOST])
    cut = _CUT.format(shown=_MOST, all=len(held), file=file) if len(held) > _MOST else ""
    return page.table([name.replace("_", " ") for name in names], (map(_shown, row) for row in rows), cut)  # type: ignore[misc]  # an iterator of cells will do


def _shown(one: Any) -> Any:
    if isinstance(one, tuple) and one and isinstance(one[0], model.Kept):
        return [f"{kept.days} days for {kept.purpose}: {kept.source}" for kept in one]
    return one
