"""Telephone numbers in E.164 (ITU-T), by ``phonenumbers``. Pure.

A number says its country by a plus, or gets that of the source it comes from. One without either stays what
it is, digits: which line it reaches nobody knows. It has no plus, so it never equals a number that is known.

An extension is part of the number (``;ext=`` of RFC 3966 section 5.3): it reaches somebody else than the
number without. A number that its numbering plan cannot have is none; one that is merely not assigned, as far
as is known here, is one: plans grow faster than releases of the library. What can be dialled within one town
only is no number of anybody, nor is one with national prefixes behind each other, of which each reading would
make another number.

What ``phonenumbers`` makes of a number may change with its release: tests hold it against a list, and where a
release changes what is made of a number that somebody has, that is a new version of the normalisation.
"""

from __future__ import annotations

import re
import unicodedata

import phonenumbers
from phonenumbers import NumberParseException, ValidationResult

from cdp.identity.characters import visible

_MOST = 250  # characters, as the library has it
_NOT_DIGIT = re.compile(r"[^0-9]")
_FEWEST_DIGITS, _MOST_DIGITS = 7, 15  # of a number whose country is unknown; E.164 has at most 15


def normalise(text: str, region: str | None = None) -> str:
    """Return the number, empty for what is none.

    :param region: ISO 3166 code of the country that a number without a country code belongs to.

    >>> normalise("+44 (0)20 8765 4321"), normalise("020 8765 4321", "GB"), normalise("020 8765 4321")
    ('+442087654321', '+442087654321', '02087654321')
    """
    given = visible(unicodedata.normalize("NFKC", text)).strip()
    if not given or len(given) > _MOST:
        return ""
    found = _read(given, region)
    if found in ("", given):
        return found
    again = _read(found)  # a national prefix that was behind the country code goes
    return again if again == found or _read(again) == again else ""


def _read(text: str, region: str | None = None) -> str:
    """Return what one reading makes of a text: each takes away one national prefix."""
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException as error:
        if error.error_type != NumberParseException.INVALID_COUNTRY_CODE or "+" in text or region:
            return ""
        return _digits(text)
    if phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE and (
        not phonenumbers.is_valid_number(number)
    ):
        return ""
    return _written(number)


def _written(number: phonenumbers.PhoneNumber) -> str:
    found = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return f"{found};ext={number.extension}" if number.extension else found


def _digits(text: str) -> str:
    ascii_ = "".join(str(unicodedata.digit(one, one)) for one in text)
    digits = _NOT_DIGIT.sub("", ascii_)
    return digits if _FEWEST_DIGITS <= len(digits) <= _MOST_DIGITS else ""
