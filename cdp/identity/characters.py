"""What is done to the characters of any text before two spellings of it are compared. Pure.

Invariants: nothing raises, whatever is sent; doing it twice changes nothing; what cannot be seen (controls,
bidirectional and zero-width marks, fillers, lone surrogates) does not tell two texts apart.
"""

from __future__ import annotations

import re
import unicodedata
from unicodedata import category

MAX_LENGTH = 1000
"""Characters of a text that are looked at; the rest is left out."""

_ROUNDS = 4
# General categories Cc, Cs and Cf are told by unicodedata; these fillers and selectors count as letters and
# marks, and show nothing (Unicode, DerivedCoreProperties.txt, Default_Ignorable_Code_Point).
_FILLERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_BELOW_CYRILLIC = "\u0400"
# Latin letters that Unicode does not take apart, and who writes without them writes these.
_WITHOUT_MARKS = str.maketrans(
    {"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ħ": "h", "\u0131": "i", "ŧ": "t", "ŋ": "n", "ə": "e"}
    | {"æ": "ae", "œ": "oe", "þ": "th"}
)
_APOSTROPHES = str.maketrans(dict.fromkeys("'`\u00b4\u02b9\u02bb\u02bc\u02bf\u2018\u2019\u201b\u2032\uff07"))


def visible(text: str) -> str:
    """Return ``text`` without the characters that nobody sees; white space becomes a space."""
    if text.isascii() and text.isprintable():
        return text
    kept = []
    for character in _FILLERS.sub("", text):
        if character.isspace():
            kept.append(" ")
        elif category(character) not in ("Cc", "Cf", "Cs"):
            kept.append(character)
    return "".join(kept)


def fold(text: str) -> str:
    """Return ``text`` without case, compatibility forms (NFKC) and invisible characters.

    Case folding may make something that NFKC changes again, and the other way round: until nothing changes.
    """
    if text.isascii() and text.isprintable():
        return text.lower()
    for _ in range(_ROUNDS):
        folded = unicodedata.normalize("NFKC", visible(unicodedata.normalize("NFKC", text)).casefold())
        if folded == text:
            break
        text = folded
    return text


def words(text: str) -> str:
    """Return the words of ``text``, folded, without accents (Latin, Greek), apostrophes and punctuation.

    A mark of another script is part of the letter (Cyrillic й, Devanagari vowels), and stays.
    """
    text = fold(text[:MAX_LENGTH].translate(_APOSTROPHES)).translate(_APOSTROPHES)
    if not text.isascii():
        text = _unaccented(text)
    kept: list[str] = []
    for one in text:
        if one.isalnum() or (category(one)[0] == "M" and kept and kept[-1] != " "):
            kept.append(one)
        elif not category(one).startswith("M"):
            kept.append(" ")  # a mark without a letter before it belongs to nothing, and goes
    return " ".join("".join(kept).split())[:MAX_LENGTH].rstrip()


def listed(text: str) -> frozenset[str]:
    """Return a list of words, kept as a text with spaces, as a set."""
    return frozenset(text.split())


def _unaccented(text: str) -> str:
    kept: list[str] = []
    base = " "
    for character in unicodedata.normalize("NFD", text):
        if unicodedata.combining(character):
            if base >= _BELOW_CYRILLIC:
                kept.append(character)
        else:
            base = character
            kept.append(character)
    return unicodedata.normalize("NFKC", "".join(kept).translate(_WITHOUT_MARKS))
