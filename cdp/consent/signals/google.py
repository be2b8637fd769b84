"""Google Consent Mode v2 → statements (specs: consent-signals.md §4). Pure.

Invariants:

1. Only ``granted`` and ``denied`` are values. A signal that is absent was not set, which is not denied, and
   not granted either.
2. A purpose of ours is granted when all the signals it needs are granted, refused when one is denied, and
   not spoken of otherwise.
3. The mode is a browser's: it binds the device.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from cdp.consent.model import Statement
from cdp.consent.signals.bits import MalformedSignalError
from cdp.consent.signals.gpc import UNDATED
from cdp.policy import GoogleSignal

_SIGNALS: tuple[GoogleSignal, ...] = get_args(GoogleSignal)
_IN_GCS: tuple[GoogleSignal, ...] = ("ad_storage", "analytics_storage")
_IN_GCD: tuple[GoogleSignal, ...] = ("ad_storage", "analytics_storage", "ad_user_data", "ad_personalization")
_GCS = re.compile(r"G1([01-])([01-])")
_GCD = re.compile(r"\d+([a-z])\d+([a-z])\d+([a-z])\d+([a-z])\d*", re.ASCII)
_GRANTED, _DENIED, _UNSET = frozenset("nrtv"), frozenset("mpqu"), frozenset("l")
_MAX_WIRE = 64

Modes = dict[GoogleSignal, bool]


def modes(given: object, gcs: object, gcd: object) -> Modes:
    """Return what was said in any of the three forms; where they differ, denied.

    :param given: ``{ad_storage: granted, …}``, or such under ``default`` and ``update``.
    :param gcs: the parameter ``G1`` and two digits.
    :param gcd: the parameter of digits, and a letter a signal.
    :raises MalformedSignalError: one of them is of another form.
    """
    parts = [_from_object(given)] if isinstance(given, dict) else []
    if gcs is not None:
        parts.append(_from_gcs(str(gcs)))
    if gcd is not None:
        parts.append(_from_gcd(str(gcd)))
    found: Modes = {}
    for part in parts:
        for name, value in part.items():
            found[name] = value and found.get(name, True)
    return found


def _from_object(given: Mapping[str, Any]) -> Modes:
    found: Modes = {}
    for part in (given.get("default"), given.get("update"), given):  # the latest wins
        if isinstance(part, dict):
            said = ((name, part.get(name)) for name in _SIGNALS)
            found.update({name: value == "granted" for name, value in said if value in ("granted", "denied")})
    return found


def _from_gcs(text: str) -> Modes:
    found = _GCS.fullmatch(text[:_MAX_WIRE])
    if found is None:
        raise MalformedSignalError("not a gcs parameter of Google Consent Mode")
    return {name: digit == "1" for name, digit in zip(_IN_GCS, found.groups(), strict=True) if digit != "-"}


def _from_gcd(text: str) -> Modes:
    found = _GCD.fullmatch(text[:_MAX_WIRE])
    letters = found.groups() if found else ()
    if not letters or not set(letters) <= _GRANTED | _DENIED | _UNSET:
        raise MalformedSignalError("not a gcd parameter of Google Consent Mode")
    return {
        name: letter in _GRANTED
        for name, letter in zip(_IN_GCD, letters, strict=True)
        if letter not in _UNSET
    }


def statements(said: Modes, needed: Mapping[str, tuple[GoogleSignal, ...]]) -> list[Statement]:
    """Return what the signals say about our purposes.

    :param needed: purpose → signals, all of which it needs.
    """
    if not said:
        return []
    evidence = msgspec.json.encode({"googleConsentMode": said}, order="sorted")
    found = []
    for purpose, names in needed.items():
        values = [said.get(name) for name in names]
        if False in values or None not in values:  # one denied, or all granted
            found.append(
                Statement(
                    purpose=purpose,
                    state="refused" if False in values else "granted",
                    act=False,
                    event_time=UNDATED,
                    signal="google_consent_mode",
                    method="stamp",
                    evidence=evidence,
                    device_only=True,
                )
            )
    return found
