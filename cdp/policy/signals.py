"""signals.yaml: what the signals of the outside world say about our purposes.

Invariants:

1. No signal speaks for an internal purpose.
2. What TCF, GPP, Google's consent mode and GPC say is about advertising and measuring: none is mapped to
   direct communication (a purpose with the channel email, sms or phone) or to a sensitive purpose, nor to
   one above such, whose restraint would cover it, or below (privacy.md, Consent, rule 8). Segment's and
   Rudder's categories are the controller's own and may stand for any.
3. ``vendors`` names every destination, so that a grant can say which of them it is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from cdp.policy import shapes
from cdp.policy.document import Document, Path
from cdp.policy.model import Destination, Gpc, GppChoice, Jurisdictions, Purpose, SourceSignals
from cdp.policy.names import covers, lineage

TCF_PURPOSES = 11
_DIRECT = frozenset({"email", "sms", "phone"})
_OWN = frozenset({"segment", "rudder", "notices"})
_Categories = dict[str, tuple[str, ...]] | tuple[dict[str, tuple[str, ...]], ...]
_FIX = "take it out, or map a category of `segment` or `rudder` to it"


def read_signals(
    document: Document,
    purposes: Mapping[str, Purpose],
    jurisdictions: Jurisdictions,
    destinations: Iterable[Destination],
) -> SourceSignals:
    """Return the mappings of the file, with the destinations' vendor ids beside them.

    :raises PolicyError: it names what is not declared, or maps a signal to what it cannot speak for.
    """
    file = document.read(shapes.SignalsFile)
    for choice in file.gpp:
        document.check(choice, get_args(GppChoice), "the choice", "gpp", choice)
    for path, purpose in _named(file):
        _check(document, purposes, purpose, path)
    _check_needs(document, file)
    for name, mapped in file.notices.items():
        for number, key in enumerate(mapped):
            if not purposes[key].notices:
                raise document.error(f"{key!r} has no notice that could be given", "notices", name, number)
    for number, name in enumerate(file.gpc.act_may_lift_in):
        path = ("gpc", "act_may_lift_in", number)
        document.check(name, jurisdictions.configured, "the jurisdiction", *path)
    return SourceSignals(
        segment=_tools(file.segment),
        rudder=_tools(file.rudder),
        google=file.google,
        tcf=file.tcf,
        gpp=file.gpp,
        notices=file.notices,
        gpc=Gpc(opts_out_of=file.gpc.opts_out_of, act_may_lift_in=frozenset(file.gpc.act_may_lift_in)),
        vendors={found.name: found.tcf_vendor_id for found in destinations},
    )


def _named(file: shapes.SignalsFile) -> Iterator[tuple[Path, str]]:
    """Yield (where it stands, purpose)."""
    lists: list[tuple[Path, Mapping[str, tuple[str, ...]]]] = [
        *_placed("segment", file.segment),
        *_placed("rudder", file.rudder),
        (("gpp",), {str(choice): mapped for choice, mapped in file.gpp.items()}),
        (("notices",), file.notices),
    ]
    for path, given in lists:
        for name, mapped in given.items():
            yield from (((*path, name, number), purpose) for number, purpose in enumerate(mapped))
    yield from ((("google", purpose), purpose) for purpose in file.google)
    yield from ((("tcf", purpose), purpose) for purpose in file.tcf)
    yield from ((("gpc", "opts_out_of", number), one) for number, one in enumerate(file.gpc.opts_out_of))


def _tools(given: _Categories) -> tuple[dict[str, tuple[str, ...]], ...]:
    """Return category → purposes of each consent tool."""
    return (given,) if isinstance(given, dict) else given


def _placed(part: str, given: _Categories) -> Iterator[tuple[Path, Mapping[str, tuple[str, ...]]]]:
    """Yield each consent tool with where it stands."""
    if isinstance(given, dict):
        yield (part,), given
    else:
        yield from (((part, number), tool) for number, tool in enumerate(given))


def _check_needs(document: Document, file: shapes.SignalsFile) -> None:
    """Refuse a purpose that needs nothing, which would always be granted, or what does not exist."""
    needs: dict[str, Mapping[str, tuple[object, ...]]] = {"google": file.google, "tcf": file.tcf}
    for part, given in needs.items():
        for purpose, needed in given.items():
            if not needed:
                raise document.error("name what the purpose needs, or leave the line out", part, purpose)
    for purpose, ids in file.tcf.items():
        if max(ids) > TCF_PURPOSES:
            raise document.error(f"the TCF has purposes 1 to {TCF_PURPOSES}", "tcf", purpose)


def _check(document: Document, purposes: Mapping[str, Purpose], name: str, path: Path) -> None:
    """Refuse a purpose that is not declared, or that its signal does not speak about."""
    document.check(name, purposes, "the purpose", *path)
    if purposes[name].internal:
        raise document.error(f"{name!r} is internal; no signal of a source grants it", *path)
    if path[0] in _OWN:
        return
    below = [purpose for key, purpose in purposes.items() if covers(name, key)]
    message = ""
    if any(_DIRECT & set(purpose.channels) for purpose in below):
        message = f"{name!r} is or covers direct communication"
    elif any(purpose.sensitive for purpose in (*below, *map(purposes.__getitem__, lineage(name)))):
        message = f"{name!r} is, covers or lies below a sensitive purpose"
    if message:
        raise document.error(f"{message}, which this signal does not speak about: {_FIX}", *path)
