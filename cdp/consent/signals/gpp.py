"""The IAB GPP string → its sections, and those as statements. Pure.

Source: IAB Tech Lab, *Global Privacy Platform*, Consent string (specs: consent-signals.md §2).

Invariants:

1. Only the sections that ``gpp_sid`` names apply; without it all do, and any "opted out" wins.
2. A US section opts out of the purposes mapped to what it restrains, on the device. That somebody did *not*
   opt out is no grant: it says nothing.
3. A section that reports the Global Privacy Control counts as ``Sec-GPC: 1`` itself would.
4. A US section is of the country or state that it is named for, which the gate takes as a hint of where its
   person is: it may add a law and takes none away.
5. The EU section is a TCF string and follows its rules (``tcf.py``). Canada's, and sections unknown here,
   are ignored and counted; one malformed section does not silence the others.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from cdp.clock import Micros
from cdp.consent.model import Statement
from cdp.consent.signals import gpc, tcf
from cdp.consent.signals.bits import MAX_LENGTH, Bits, MalformedSignalError
from cdp.consent.signals.us_sections import LAYOUTS, USP, UsSection, decode_section
from cdp.policy import SourceSignals

TCF_EU = 2
_TYPE, _VERSION = 3, 1
_WHOLE = frozenset({"uspv1", "usnat"})


class Heard(msgspec.Struct, frozen=True):
    """What a signal said, and what is worth counting about it: (signal, outcome)."""

    statements: tuple[Statement, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()


def decode(text: str) -> dict[int, str]:
    """Return section id → the section's text; a bare TCF string is its own section.

    :raises MalformedSignalError: the header cannot be read, or names other sections than there are.
    """
    if len(text) > MAX_LENGTH:
        raise MalformedSignalError(f"a consent string of more than {MAX_LENGTH} characters")
    if text.startswith("C"):
        return {TCF_EU: text}
    header, *sections = text.split("~")
    bits = Bits(header)
    if bits.take(6) != _TYPE or bits.take(6) != _VERSION:
        raise MalformedSignalError("not a GPP string of version 1")
    ids = bits.ids()
    if len(ids) != len(sections):
        raise MalformedSignalError("the header of the GPP string names other sections than there are")
    return dict(zip(ids, sections, strict=True))


def hear(text: str, applicable: Collection[int] | None, mapping: SourceSignals) -> Heard:
    """Return what a string says about our purposes; statements are undated but for the TCF's.

    :param applicable: the section ids that apply; None when nobody said.
    :raises MalformedSignalError: it is no GPP string.
    """
    found: list[Statement] = []
    notes: list[tuple[str, str]] = []
    for number, section in decode(text).items():
        if applicable is not None and number not in applicable:
            continue
        try:
            if number == TCF_EU:
                found.extend(tcf.statements(section, mapping.tcf, mapping.vendors))
            elif number == USP or number in LAYOUTS:
                found.extend(_of_section(decode_section(number, section), text, mapping))
            else:
                notes.append(("gpp", "ignored"))
        except MalformedSignalError:
            notes.append(("gpp", "malformed"))
    return Heard(tuple(found), tuple(notes))


def us_privacy(text: str, mapping: SourceSignals) -> Heard:
    """Return what a US Privacy string on its own says.

    :raises MalformedSignalError: it is none.
    """
    return Heard(tuple(_of_section(decode_section(USP, text), text, mapping)))


def place_of(section: str) -> str:
    """Return the country, or the state of it (ISO 3166-2), that a US section is named for."""
    return "US" if section in _WHOLE else f"US-{section.removeprefix('us').upper()}"


def _of_section(said: UsSection, text: str, mapping: SourceSignals) -> list[Statement]:
    evidence = msgspec.json.encode(
        {
            "gpp": text,
            "section": said.name,
            "version": said.version,
            "notices": said.notices,
            "restrained": sorted(said.restrained),
            "gpc": said.gpc,
        }
    )
    purposes = dict.fromkeys(
        purpose for choice in sorted(said.restrained) for purpose in mapping.gpp.get(choice, ())
    )
    found = [
        Statement(
            purpose=purpose,
            state="opted_out",
            act=False,
            event_time=UNDATED,
            signal=f"gpp:{said.name}",
            method="stamp",
            jurisdiction=place_of(said.name),
            evidence=evidence,
            device_only=True,
        )
        for purpose in purposes
    ]
    return found + (gpc.statements(mapping.gpc, evidence) if said.gpc else [])


UNDATED: Micros = gpc.UNDATED
