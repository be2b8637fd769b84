"""The languages of the pages: small catalogues as data, one file each under ``languages/``.

Invariant: every language has the same keys with the same places to fill in (a test compares them), so
that a page never falls from one language into another half-way.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cdp.clock import SECOND, Micros

FOLDER = Path(__file__).parent / "languages"
DEFAULT = "en"


class Language:
    """The texts of one language.

    :param code: BCP 47, as in the page's ``lang``.
    """

    def __init__(self, code: str, texts: Mapping[str, Any]) -> None:
        self.code = code
        self._texts = texts

    def __call__(self, key: str, **values: str) -> str:
        """Return the text of a dotted key with ``values`` filled in."""
        text: Any = self._texts
        for part in key.split("."):
            text = text[part]
        return str(text).format(**values) if values else str(text)

    def has(self, key: str) -> bool:
        """True when there is a text of this dotted key."""
        group, _, name = key.rpartition(".")
        return name in (self._texts[group] if group else self._texts)

    def date(self, at: Micros) -> str:
        """Return the day of an instant, in UTC."""
        day = datetime.fromtimestamp(at / SECOND, UTC)
        month = self._texts["months"][day.month - 1]
        return self("date", day=str(day.day), month=month, number=str(day.month), year=str(day.year))

    def time(self, at: Micros) -> str:
        """Return an instant to the minute, in UTC."""
        moment = datetime.fromtimestamp(at / SECOND, UTC)
        return self("time", date=self.date(at), hour=f"{moment:%H}", minute=f"{moment:%M}")


@cache
def languages() -> dict[str, Language]:
    """Return every language by its code."""
    return {
        path.stem: Language(path.stem, yaml.safe_load(path.read_text(encoding="utf-8")))
        for path in sorted(FOLDER.glob("*.yaml"))
    }


def choose(*wishes: str) -> Language:
    """Return the language of the first wish that there is one for.

    :param wishes: language tags or ``Accept-Language`` values (RFC 9110, 12.5.4), the most binding
        first; the order in which tags stand counts, their weights do not.
    """
    known = languages()
    for wish in wishes:
        for tag in wish.split(","):
            code = tag.partition(";")[0].strip().partition("-")[0].lower()
            if code in known:
                return known[code]
    return known[DEFAULT]
