"""build: one archive, from what was gathered to its last chunk.

Files, in this order: ``events/NNNN.json`` and ``.html`` with their portable counterparts, page by page, so
that
no more than a page of events is ever in memory; then everything else; ``manifest.json``, which names every
file before it with its SHA-256, is the last but one, ``index.html`` the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from cdp.clock import rfc3339
from cdp.consent import receipt_jwk
from cdp.gate import Subject
from cdp.policy import Bundle
from cdp.rights.archive import model, portable, reading
from cdp.rights.archive.around import Around
from cdp.rights.archive.context import Context, Scope, Stages
from cdp.rights.archive.gather import Facts, receipt_name
from cdp.rights.archive.meanings import Portable, meanings
from cdp.rights.archive.schema import schema
from cdp.rights.archive.write import ZipWriter
from cdp.store import Connection, read_head

SCOPE = (
    "This holds what is kept under the identifiers that you proved to be yours, and under those that a "
    "system we trust, or our staff, connected with them."
)
BY_BROWSER = (
    "What is kept under identifiers that only a browser connected with yours: anybody can type an address "
    "into one. The same goes for a device that somebody else was seen on. If such an identifier is yours, "
    "prove it and ask again."
)
STAFF = "The names of members of our staff: uses name their role."
ONLY_PROVIDED = (
    "What was concluded about you, who received your data, and what is kept on another basis than your "
    "consent or a contract: ask for access to have all of it."
)
LOST = (
    "{count} values could not be opened: the key that they are sealed under is lost, or they were altered. "
    "They are marked as unreadable where they would stand; all else is here."
)
Flush = Callable[[list[bytes], int, int], None]
"""Stores chunks: (the chunks, events done, events in all)."""


class Built(NamedTuple):
    """What came of it."""

    bytes: int
    sha256: str


class Builder:
    """Builds the archive of one person.

    :param flush: is given each chunk as it is full, and told how far the work is.
    """

    def __init__(
        self,
        stages: Stages,
        connection: Connection,
        scope: Scope,
        subject: Subject,
        bundle: Bundle,
        archive: model.Archive,
        flush: Flush,
    ) -> None:
        self._stages = stages
        self._context = Context(stages, connection, scope, subject, bundle)
        self._archive = archive
        self._flush = flush
        self._facts, self._around = Facts(self._context), Around(self._context)
        self._wanted = Portable(bundle)
        self._zip = ZipWriter(stages.clock.now())

    def __call__(self) -> Built:
        """Build it, and hand over its last chunk."""
        whole = self._archive.kind == "access"
        total, pages = self._facts.pages()
        done = 0
        for number, (earliest, latest) in enumerate(pages, 1):
            events = self._facts.events(earliest, latest)
            if whole:
                self._zip.add_json(f"events/{number:04d}.json", events)
                self._zip.add(f"events/{number:04d}.html", reading.events_page(events, number, len(pages)))
            kept = portable.events(events, self._wanted)
            self._zip.add_json(f"portable/events-{number:04d}.json", kept)
            self._zip.add(f"portable/events-{number:04d}.csv", portable.events_csv(kept))
            done += len(events)
            self._flush(self._zip.take(), done, total)
        held = self._gathered(whole=whole)
        told = portable.profile(held.identifiers, held.traits, held.observations, self._wanted)
        self._zip.add_json("portable/profile.json", told)
        self._zip.add("portable/profile.csv", portable.profile_csv(told))
        seen = self._context.seen
        if not whole:
            seen = {place: sources for place, sources in seen.items() if self._wanted(*place)}
        meant = meanings(self._context.bundle, seen)
        self._zip.add_json("meanings.json", meant)
        self._zip.add("schema.json", msgspec.json.format(msgspec.json.encode(schema()), indent=1) + b"\n")
        contents = self._contents(held, total, whole=whole)
        self._zip.add_json("manifest.json", contents)
        if whole:
            self._zip.add("index.html", reading.overview(contents, held, meant, len(pages)))
        else:
            own = held._replace(traits=told.traits, identifiers=told.identifiers)
            self._zip.add("index.html", reading.short(contents, own))
        chunks, size, digest = self._zip.close()
        self._flush(chunks, total, total)
        return Built(size, digest)

    def _gathered(self, *, whole: bool) -> reading.Gathered:
        identifiers = self._facts.identifiers()
        traits, observations = self._facts.traits()
        if not whole:
            empty = model.Consents(states=(), records=())
            return reading.Gathered(identifiers, traits, observations, empty, (), (), (), (), (), ())
        consents, receipts = self._facts.consents()
        self._receipts(receipts)
        around = self._around
        held = reading.Gathered(
            identifiers=identifiers,
            traits=traits,
            observations=observations,
            consents=consents,
            conclusions=around.conclusions(traits),
            recipients=around.recipients(),
            uses=around.uses(),
            requests=around.requests(),
            lists=around.lists(),
            waiting=around.waiting(),
        )
        profile = portable.Profile(
            identifiers=(), traits=tuple(held.traits), observations=tuple(held.observations)
        )
        self._zip.add_json("identifiers.json", held.identifiers)
        self._zip.add_json("profile.json", profile)
        self._zip.add_json("consents.json", held.consents)
        for name in ("conclusions", "recipients", "uses", "requests", "lists", "waiting"):
            self._zip.add_json(f"{name}.json", getattr(held, name))
        return held

    def _receipts(self, receipts: Iterator[bytes]) -> None:
        for place, receipt in enumerate(receipts, 1):
            self._zip.add(receipt_name(place), receipt)
        key = receipt_jwk(self._stages.receipts.public_key)
        self._zip.add("receipts/key.json", msgspec.json.encode(key))

    def _contents(self, held: reading.Gathered, events: int, *, whole: bool) -> model.Contents:
        context, archive = self._context, self._archive
        left_out = [BY_BROWSER, STAFF if whole else ONLY_PROVIDED, *context.left_out]
        if context.unreadable:
            left_out.append(LOST.format(count=context.unreadable))
        counted = {
            name: len(part) for name, part in held._asdict().items() if not isinstance(part, model.Consents)
        }
        return model.Contents(
            schema=model.SCHEMA,
            kind=archive.kind,
            request=archive.request_id,
            controller=self._stages.ledger.controller,
            made_at=rfc3339(self._stages.clock.now()),
            as_of=read_head(context.connection)[0],
            scope=SCOPE,
            left_out=tuple(left_out),
            counts={**counted, "consents": len(held.consents.records), "events": events},
            files=tuple(self._zip.files),
        )
