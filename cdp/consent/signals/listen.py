"""Everything that one message says about consent → statements. Pure.

Where a signal may stand (docs/consent-signals.md): ``context.consent``, ``context.consentManagement``,
``context.gpc``, the request's ``Sec-GPC`` header, and the address of a page. The name of a track event
may tell that a notice was given (``signals.yaml``, ``notices``).

Invariants:

1. A message without any of them costs a few look-ups and says nothing: nearly all messages are so.
2. A malformed signal grants and restrains nothing, is counted, and leaves the others and the event alone; of
   too many categories the refused ones restrain all the same.
3. What stands in an address may restrain and never grants: whoever made the link wrote it.
4. Where the signals of one message contradict each other about a purpose, all go on record and the restraint
   decides (the ledger takes it as the later one, and it wins ties); a contradiction is counted.
5. TCF, GPP and Google's mode are stamps even on an act of the person: they bind the device and lift nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

import msgspec

from cdp.clock import DAY, Micros
from cdp.consent.model import RESTRAINING, Statement
from cdp.consent.notices import INFORMED
from cdp.consent.signals import categories, google, gpc, gpp, tcf
from cdp.consent.signals.bits import MalformedSignalError
from cdp.consent.signals.gpp import Heard
from cdp.policy import SourceSignals

_SILENCE = Heard()
_CACHED = 2_000
_MAX_CACHED = 2_048  # characters; a longer string is decoded each time
_MAX_SEARCH = 8_192
_MAX_SECTIONS = 64
_AHEAD = DAY

_TCF = ("tcfString", "tcf", "gdpr_consent", "IABTCF_TCString")
_GDPR_APPLIES = ("gdprApplies", "gdpr", "IABTCF_gdprApplies")
_GPP = ("gpp", "gppString", "IABGPP_HDR_GppString")
_GPP_SECTIONS = ("gppSid", "gpp_sid", "IABGPP_GppSID")
_US_PRIVACY = ("usPrivacy", "us_privacy", "IABUSPrivacy_String")
_GOOGLE = ("googleConsentMode", "google_consent_mode")
_NO = (False, 0, "0", "false")
_NOT_ACTED = "cmpuishown"  # of TCF's eventStatus: the string is older than the answer that is being given


class Listener:
    """Hears consent in messages.

    :param mapping: what each signal says about our purposes.
    """

    def __init__(self, mapping: SourceSignals) -> None:
        self._mapping = mapping
        self._segment, self._rudder = categories.needs(mapping.segment), categories.needs(mapping.rudder)
        self._kept = lru_cache(_CACHED)(self._read)  # a browser sends the same string with every event

    def __call__(
        self,
        message_type: str,
        name: str,
        context: Mapping[str, Any],
        event_time: Micros,
        *,
        received_at: Micros,
        sec_gpc: bool = False,
    ) -> Heard:
        """Return what a message says.

        :param message_type: ``track``, ``identify``…
        :param name: a track event's name.
        :param context: the message's ``context``.
        :param event_time: when it was said, by the client's clock.
        :param sec_gpc: it came from a browser in a request with ``Sec-GPC: 1``.
        """
        consent, management = context.get("consent"), context.get("consentManagement")
        page = context.get("page") if message_type == "page" else None
        search = page.get("search") if isinstance(page, dict) else None
        address = (
            search if isinstance(search, str) and ("gdpr_consent=" in search or "gpp=" in search) else ""
        )
        notices = self._mapping.notices.get(name, ()) if message_type == "track" else ()
        if not (consent or management or sec_gpc or address or notices or "gpc" in context):
            return _SILENCE
        spoken = consent if isinstance(consent, dict) else {}
        act = message_type == "track" and name == categories.PREFERENCE_UPDATED
        parts = [self._categories("segment", categories.segment(spoken), act=act)]
        if isinstance(management, dict):
            parts.append(self._categories("rudder", categories.rudder(management), act=act))
        parts += self._strings(spoken)
        parts.append(self._google(spoken))
        if notices:
            parts.append(Heard(tuple(_informed(purpose, event_time) for purpose in notices)))
        if address:
            given = {key: values[-1] for key, values in parse_qs(address[:_MAX_SEARCH].lstrip("?")).items()}
            parts += [_restraining(part) for part in self._strings(given)]
        if sec_gpc:
            parts.append(Heard(tuple(gpc.statements(self._mapping.gpc, gpc.HEADER))))
        elif context.get("gpc") is True:
            parts.append(Heard(tuple(gpc.statements(self._mapping.gpc, gpc.CONTEXT))))
        return _together(parts, event_time, received_at)

    def _categories(self, signal: str, given: Mapping[str, bool], *, act: bool) -> Heard:
        mapping = self._segment if signal == "segment" else self._rudder
        notes = [(signal, "unmapped") for name in given if name not in mapping]
        if len(given) > categories.MAX_CATEGORIES:
            given = {name: value for name, value in given.items() if not value}
            notes = [(signal, "malformed")]
        said = categories.statements(given, mapping, signal=signal, act=act)
        return Heard(tuple(said), tuple(notes))

    def _strings(self, given: Mapping[str, Any]) -> list[Heard]:
        """Return what the consent strings in ``given`` say."""
        parts = []
        answered = given.get("eventStatus") != _NOT_ACTED and _first(given, _GDPR_APPLIES) not in _NO
        if answered and (text := _first(given, _TCF)):
            parts.append(self._string("tcf", text, None))
        if text := _first(given, _GPP):
            parts.append(self._string("gpp", text, _sections(_first(given, _GPP_SECTIONS))))
        if text := _first(given, _US_PRIVACY):
            parts.append(self._string("us_privacy", text, None))
        return parts

    def _string(self, signal: str, text: object, sections: frozenset[int] | None) -> Heard:
        if not isinstance(text, str):
            return _malformed(signal)
        read = self._kept if len(text) <= _MAX_CACHED else self._read
        return read(signal, text, sections)

    def _read(self, signal: str, text: str, sections: frozenset[int] | None) -> Heard:
        try:
            if signal == "tcf":
                return Heard(tcf.statements(text, self._mapping.tcf, self._mapping.vendors))
            if signal == "gpp":
                return gpp.hear(text, sections, self._mapping)
            return gpp.us_privacy(text, self._mapping)
        except MalformedSignalError:
            return _malformed(signal)

    def _google(self, given: Mapping[str, Any]) -> Heard:
        try:
            modes = google.modes(_first(given, _GOOGLE), given.get("gcs"), given.get("gcd"))
        except MalformedSignalError:
            return _malformed("google_consent_mode")
        return Heard(tuple(google.statements(modes, self._mapping.google)))


def _together(parts: list[Heard], event_time: Micros, received_at: Micros) -> Heard:
    """Return all parts as one, each statement dated; a grant that has ended, or of the future, is none."""
    notes = [note for part in parts for note in part.notes]
    found: list[Statement] = []
    for statement in (statement for part in parts for statement in part.statements):
        if statement.event_time == gpc.UNDATED:
            found.append(msgspec.structs.replace(statement, event_time=event_time))
        elif statement.state == "granted" and statement.event_time > received_at + _AHEAD:
            notes.append((statement.signal, "malformed"))
        elif statement.expires_at is not None and statement.expires_at <= received_at:
            notes.append((statement.signal, "expired"))  # the next string may give the first grant
        else:
            found.append(statement)
    restrained = {statement.purpose for statement in found if statement.state in RESTRAINING}
    granted = {statement.purpose for statement in found if statement.state == "granted"}
    if restrained & granted:
        notes.append(("any", "contradiction"))
    return Heard(tuple(found), tuple(notes))


def _informed(purpose: str, at: Micros) -> Statement:
    """Return that the notice in force at an instant was given."""
    return Statement(purpose=purpose, state=INFORMED, act=True, event_time=at, method="event")


def _restraining(part: Heard) -> Heard:
    return Heard(tuple(said for said in part.statements if said.state in RESTRAINING), part.notes)


def _malformed(signal: str) -> Heard:
    return Heard(notes=((signal, "malformed"),))


def _first(given: Mapping[str, Any], names: tuple[str, ...]) -> object:
    """Return the first value that is there under one of the names its carriers use."""
    return next((value for name in names if (value := given.get(name)) is not None), None)


def _sections(given: object) -> frozenset[int] | None:
    """Return the ids of ``gpp_sid``: a list, a number, or text with commas or underscores between them.

    None when nobody said, nothing readable, or that it is not known yet (an empty list, 0): then every
    section applies, and any of them restrains. −1 says that none does.
    """
    parts = given if isinstance(given, list) else str(given).replace("_", ",").split(",")
    try:
        return frozenset(number for part in parts[:_MAX_SECTIONS] if (number := int(part))) or None
    except (ValueError, TypeError, OverflowError):
        return None
