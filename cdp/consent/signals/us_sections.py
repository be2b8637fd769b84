"""The US sections of the GPP: their bits → what was opted out of. Pure.

Source: IAB Tech Lab, *Global Privacy Platform*, Sections (specs: consent-signals.md §2).

Every choice is two bits: 0 not applicable; of notices 1 given; of opt-outs **1 opted out**, 2 did not; of
consents **1 no consent**, 2 consent. So 1 restrains whatever it stands for, and nothing here grants. A
section is a core and, after ".", further segments: in the older layout two bits of type and, for type 1, one
bit of Global Privacy Control; in the newer one what its own row says.

Invariant: a section that is shorter than its layout, of an unknown version, or holds a 3 is malformed as a
whole: half a section could have lost the half that restrains.
"""

from __future__ import annotations

from typing import get_args

import msgspec

from cdp.consent.signals.bits import Bits, MalformedSignalError
from cdp.policy import GppChoice

USP = 6
NATIONAL = 7
_GPC_SEGMENT = 1
_OPTED_OUT = 1
_INVALID = 3
_SHORT_NATIONAL = 60  # bits after the version: what version 1 has, padded
_MSPA = ("mspa", 3)
_OPT_OUTS: tuple[tuple[str, int], ...] = (("sale", 1), ("targeted_advertising", 1))

Field = tuple[str, int]
"""What some entries of two bits stand for (a ``GppChoice``, ``notice``, ``mspa``), and how many they are."""


class UsSection(msgspec.Struct, frozen=True, kw_only=True):
    """What one US section says.

    :param notices: the entries for notices, in their order: 0 not applicable, 1 given, 2 not given.
    :param restrained: what was opted out of, or not consented to.
    :param gpc: the section reports the Global Privacy Control.
    """

    name: str
    version: int
    notices: tuple[int, ...]
    restrained: frozenset[GppChoice]
    gpc: bool = False


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How a section is laid out.

    :param cores: version → its fields.
    :param sensitive: for the newer layout: entries for sensitive data in a segment of their own.
    """

    name: str
    cores: dict[int, tuple[Field, ...]]
    newer: bool = False
    sensitive: int = 0


def _national(sensitive: int, children: int) -> tuple[Field, ...]:
    return (
        ("notice", 6),
        ("sale", 1),
        ("sharing", 1),
        ("targeted_advertising", 1),
        ("sensitive_data", sensitive),
        ("known_child", children),
        ("additional_processing", 1),
        _MSPA,
    )


def _state(name: str, sensitive: int, children: int, *, additional: bool = False, notices: int = 3) -> Layout:
    core = (
        ("notice", notices),
        *_OPT_OUTS,
        ("sensitive_data", sensitive),
        ("known_child", children),
        ("additional_processing", int(additional)),
        _MSPA,
    )
    return Layout(name=name, cores={1: core})


def _newer(name: str, *, children: int = 1, sensitive: int = 8) -> Layout:
    core = (
        ("mspa", 2),
        ("notice", 3),
        *_OPT_OUTS,
        ("known_child", children),
        ("additional_processing", 1),
    )
    return Layout(name=name, cores={1: core}, newer=True, sensitive=sensitive)


_CALIFORNIA = (
    ("notice", 3),
    ("sale", 1),
    ("sharing", 1),
    ("sensitive_data", 9),
    ("known_child", 2),
    ("additional_processing", 1),
    _MSPA,
)
LAYOUTS: dict[int, Layout] = {
    NATIONAL: Layout(name="usnat", cores={1: _national(12, 2), 2: _national(16, 3)}),
    8: Layout(name="usca", cores={1: _CALIFORNIA}),
    9: _state("usva", 8, 1),
    10: _state("usco", 7, 1),
    11: _state("usut", 8, 1, notices=4),
    12: _state("usct", 8, 3),
    13: _state("usfl", 8, 3, additional=True),
    14: _state("usmt", 8, 3, additional=True),
    15: _state("usor", 11, 3, additional=True),
    16: _state("ustx", 8, 1, additional=True),
    17: _state("usde", 9, 5, additional=True),
    18: _state("usia", 8, 1, notices=4),
    19: _state("usne", 8, 1, additional=True),
    20: _state("usnh", 8, 3, additional=True),
    21: _state("usnj", 10, 5, additional=True),
    22: _state("ustn", 8, 1, additional=True),
    23: _state("usmn", 8, 1, additional=True),
    24: _newer("usmd", children=0, sensitive=0),
    25: _newer("usin"),
    26: _newer("usky"),
    27: _newer("usri"),
}


def decode_section(number: int, text: str) -> UsSection:
    """Return what the US section ``number`` says.

    :raises MalformedSignalError: it cannot be read.
    """
    if number == USP:
        return _us_privacy(text)
    layout = LAYOUTS[number]
    core, *segments = text.split(".")
    bits = Bits(core)
    if layout.newer and bits.peek(6) == number:  # the texts put a header here, the circulating encoder none
        bits.take(12)
        bits.ids()
    version = bits.take(6)
    fields = layout.cores.get(version)
    if number == NATIONAL and version == 2 and bits.left <= _SHORT_NATIONAL:
        fields = layout.cores[
            1
        ]  # written by encoders of the time of the change, and read so by the reference
    if fields is None:
        raise MalformedSignalError(f"a version of the GPP section {layout.name} that is not known")
    entries = _entries(bits, fields)
    gpc = False
    for segment in segments:
        further = Bits(segment)
        if layout.sensitive:
            entries["sensitive_data"] = _pairs(further, layout.sensitive)
        elif further.take(2) == _GPC_SEGMENT:
            gpc = further.flag()
    return UsSection(
        name=layout.name,
        version=version,
        notices=entries["notice"],
        restrained=frozenset(
            choice for choice in get_args(GppChoice) if _OPTED_OUT in entries.get(choice, ())
        ),
        gpc=gpc,
    )


def _entries(bits: Bits, fields: tuple[Field, ...]) -> dict[str, tuple[int, ...]]:
    return {name: _pairs(bits, count) for name, count in fields}


def _pairs(bits: Bits, count: int) -> tuple[int, ...]:
    values = tuple(bits.take(2) for _ in range(count))
    if _INVALID in values:
        raise MalformedSignalError("a choice of a GPP section that is none of 0, 1 and 2")
    return values


def _us_privacy(text: str) -> UsSection:
    """Read the US Privacy string, four characters: version, notice, opted out of sale, LSPA."""
    if len(text) != 4 or text[0] != "1" or not set(text[1:]) <= set("YN-"):
        raise MalformedSignalError("not a US Privacy string of version 1")
    notice = {"Y": 1, "N": 2, "-": 0}[text[1]]
    restrained: frozenset[GppChoice] = frozenset({"sale"}) if text[2] == "Y" else frozenset()
    return UsSection(name="uspv1", version=1, notices=(notice,), restrained=restrained)
