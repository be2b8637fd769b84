"""What policies and standings say, as the preference page shows it: pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import msgspec

from cdp.clock import Micros
from cdp.consent import RESTRAINING, Record, RecordState, Standing
from cdp.console.model import Always, Answer, Choice, Named, Past
from cdp.policy import Bundle, Purpose, covers, lineage

ASKED = frozenset({"consent", "opt_out"})
"""Bases under which a person is asked; what rests on others they may object to, or not refuse at all."""


def asked(bundle: Bundle) -> list[str]:
    """Return the purposes that a person is asked about: those with nothing below them."""
    return [
        key
        for key, purpose in bundle.purposes.items()
        if ASKED & set(purpose.basis.values())
        and purpose.restrainable
        and not any(other != key and covers(key, other) for other in bundle.purposes)
    ]


def choice(
    bundle: Bundle, key: str, standing: Standing, said: Standing, language: str, now: Micros
) -> Choice:
    """Return the question about one purpose, with what stands.

    :param said: what would stand without any restriction.
    """
    purpose = bundle.purposes[key]
    above = lineage(key)[1:]
    answer: Answer = "yes" if said.state == "granted" else "no" if said.state in RESTRAINING else ""
    return Choice(
        purpose=key,
        **of_purpose(purpose, language),
        group=bundle.purposes[above[-1]].words(language).name if above else "",
        instead=purpose.words(language).non_personalised,
        variant=bundle.purposes[purpose.variant].words(language).name if purpose.variant else "",
        basis=basis(purpose),
        notice=notice(purpose, language, now),
        state=standing.reason if standing.state == "stale" else standing.state,
        since=standing.since,
        answer=answer,
        fixed=standing.state == "restricted",
        names=tuple(
            bundle.destinations[name].title for name in standing.recipients if name in bundle.destinations
        ),
    )


def always(purpose: Purpose, standing: Standing, said: Standing, language: str) -> Always:
    """Return a purpose that nobody is asked about, with what restrains it.

    :param said: what would stand without any restriction.
    """
    restrained = standing.state in RESTRAINING
    act: Literal["object", "lift", ""] = ""
    if said.state in RESTRAINING:
        act = "" if standing.state == "restricted" else "lift"
    elif purpose.restrainable and basis(purpose) == "legitimate_interest":
        act = "object"
    return Always(
        purpose=purpose.key,
        **of_purpose(purpose, language),
        basis=basis(purpose),
        state=standing.state if restrained else "",
        since=standing.since,
        act=act,
    )


def past(bundle: Bundle, record: Record, language: str) -> Past:
    """Return one line of the history."""
    return Past(
        record_id=record.record_id,
        at=record.received_at,
        purpose=bundle.purposes[record.purpose].words(language).name,
        state=record.state,
        method=record.method,
    )


def of_purpose(purpose: Purpose, language: str) -> dict[str, str]:
    """Return name and description of a purpose."""
    words = purpose.words(language)
    return {"name": words.name, "description": words.description}


def notice(purpose: Purpose, language: str, now: Micros) -> str:
    """Return the text in force: what is agreed to with a yes."""
    found = purpose.notice_at(now)
    return "" if found is None else found.shown(language)


def named(bundle: Bundle, purposes: Collection[str], language: str, now: Micros) -> Named:
    """Return what a link that names ``purposes`` is about; those that policies have given up are left out."""
    known = [bundle.purposes[key] for key in purposes if key in bundle.purposes]
    return Named(
        purposes=tuple(
            (
                purpose.words(language).name,
                purpose.words(language).description,
                notice(purpose, language, now),
            )
            for purpose in known
        ),
        language=language,
    )


def texts(
    bundle: Bundle, asked: Sequence[str], shown: Iterable[Choice | Always], language: str, now: Micros
) -> str:
    """Return a name for all that a yes on a page answers, texts and what holds; of another page another."""
    said = [(key, notice(bundle.purposes[key], language, now), language) for key in asked]
    held = [(one.purpose, one.state, one.since) for one in shown]
    return hashlib.sha256(msgspec.json.encode((said, held))).hexdigest()[:32]


def basis(purpose: Purpose) -> str:
    """Return the key of the text for the bases of a purpose: which law binds a person is not asked here."""
    found = set(purpose.basis.values())
    if found >= ASKED:
        return "mixed"
    order = ("consent", "opt_out", "legitimate_interest", "contract", "legal_obligation")
    return next(basis for basis in order if basis in found)


def refusal(purpose: Purpose | None) -> RecordState:
    """Return the word for no: the strictest basis names it, and it binds under every other.

    :param purpose: None where policies do not declare it, and nobody knows its basis.
    """
    if purpose is None:
        return "withdrawn"
    found = set(purpose.basis.values())
    return "withdrawn" if "consent" in found else "opted_out" if "opt_out" in found else "objected"
