"""Postal addresses as text, for comparing. Pure; an address identifies nobody: a household lives there.

What is folded: what ``characters.words`` folds; the common words of streets, units and directions, in
English, German, French, Spanish, Italian and Portuguese, become one short form; written ordinals become
numbers; what only announces a number (no., Nr., #) goes. Of Chinese: spaces, traditional characters of
addresses, different words for one thing (楼 樓 层; 号 號 #; 栋 幢), numerals before those words, 中国 in
front.

Nothing is parsed: which word is the city differs by country, and a wrong guess hurts more than none.
"""

from __future__ import annotations

import re
import unicodedata

from cdp.identity.characters import MAX_LENGTH, words

_SHORT = {
    long: short
    for short, longs in {
        "st": "street strt str saint sainte",
        "ave": "avenue av aven avn",
        "blvd": "boulevard boul bvd bd boulv",
        "rd": "road",
        "dr": "drive drv doctor",
        "ln": "lane",
        "ct": "court",
        "pl": "place plz plaza platz",
        "sq": "square",
        "ter": "terrace terr",
        "cres": "crescent cresc crs",
        "cl": "close calle",
        "cir": "circle circ",
        "pkwy": "parkway pky parkwy",
        "hwy": "highway hiway",
        "fwy": "freeway",
        "expy": "expressway expwy",
        "trl": "trail",
        "aly": "alley",
        "gdns": "gardens",
        "grv": "grove gr",
        "rte": "route",
        "mt": "mount",
        "ft": "fort",
        "apt": "apartment appartement apartamento apto appt flat",
        "ste": "suite",
        "unit": "un",
        "fl": "floor flr etage stock piso",
        "rm": "room",
        "bldg": "building bld gebaude edificio",
        "dept": "department",
        "n": "north norte nord",
        "s": "south sur sud",
        "e": "east este est",
        "w": "west oeste ouest",
        "ne": "northeast",
        "nw": "northwest",
        "se": "southeast",
        "sw": "southwest",
        "pobox": "postbox postfach apartado",
        "ch": "chemin",
        "imp": "impasse",
        "all": "allee",
    }.items()
    for long in longs.split()
}
_ORDINALS = {
    "first": "1st",
    "second": "2nd",
    "third": "3rd",
    "fourth": "4th",
    "fifth": "5th",
    "sixth": "6th",
    "seventh": "7th",
    "eighth": "8th",
    "ninth": "9th",
    "tenth": "10th",
    "eleventh": "11th",
    "twelfth": "12th",
}
_ANNOUNCING = frozenset(("no", "nr", "num", "number", "numero", "nummer"))
_ROUNDS = 6
_PO_BOX = re.compile(r"\b(?:p ?o|post(?: office)?) box\b")
_GERMAN = re.compile(r"(?<=[a-z]{3})(?:strasse|str)\b")
_LETTER = re.compile(r"(?<=\d) (?=[a-dfghijklmopqrtuvxyz]\b)")  # of a house number, and no direction
_NUMERO = str.maketrans({"№": " ", "#": " ", "\uff03": " ", "º": " ", "ª": " "})

_HAN = "\u4e00-\u9fff"
_CHINESE = re.compile(f"[{_HAN}]")
_GAP = re.compile(f"(?<=[{_HAN}]) | (?=[{_HAN}])")
_SAME = str.maketrans(
    "號樓層棟區縣鄉鎮臺灣廣東國華門單園廈蘇陝雲貴遼龍橋街幢層",
    "号楼楼栋区县乡镇台湾广东国华门单园厦苏陕云贵辽龙桥街栋楼",
)
_FLOOR = re.compile(r"(?<=\d)[层f](?![a-z])")
_HASH = re.compile(f"(?<=\\d)\\s*[#\uff03](?=\\s*[{_HAN}a-zA-Z\\d]|$)")
_NUMERAL = "\u3007零一二三四五六七八九十百"
_NUMERALS = re.compile(f"([{_NUMERAL}]+)(?=[号栋楼层室弄单])")
_COUNTRY = re.compile("^(?:中华人民共和国|中国)(?=[^ ]{2,3}[省市区])")


def normalise(text: str) -> str:
    """Return an address as it compares: "12 Fifth Avenue, Apt. #3" and "12 5th ave apt 3" become one."""
    for _ in range(_ROUNDS):  # what is folded may bring together what folds again
        folded = _folded(text)
        if folded == text:
            break
        text = folded
    return text


def _folded(text: str) -> str:
    given = unicodedata.normalize("NFC", text[:MAX_LENGTH])
    chinese = _CHINESE.search(given) is not None
    if chinese:
        given = _HASH.sub("号", given)
    folded = _LETTER.sub("", words(given.translate(_NUMERO)))
    if chinese:
        folded = _chinese(folded)
    folded = _PO_BOX.sub("pobox", folded)
    folded = _GERMAN.sub("str", folded)
    found = [_SHORT.get(word, _ORDINALS.get(word, word)) for word in folded.split()]
    kept = [word for word in found if word not in _ANNOUNCING] or found
    return " ".join(kept)


def _chinese(text: str) -> str:
    text = _GAP.sub("", text).translate(_SAME)
    text = _NUMERALS.sub(lambda found: _number(found[1]), text)
    return _COUNTRY.sub("", _GAP.sub("", _FLOOR.sub("楼", text)))


def _number(numeral: str) -> str:
    """Return a Chinese numeral below a thousand in digits; digits one after the other as they stand."""
    digits = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"\u3007": 0}
    if not set(numeral) & {"十", "百"}:
        return "".join(str(digits[one]) for one in numeral)
    total, last = 0, 1
    for one in numeral:
        if one in "十百":
            total += last * (10 if one == "十" else 100)
            last = 0
        else:
            last = digits[one]
    return str(total + last)
