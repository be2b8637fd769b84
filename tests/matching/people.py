"""Plainly fictional people of whom two systems hold records that nobody linked."""

from __future__ import annotations

import random
from typing import Any

from caller import Caller

_FIRST = (
    "Ada",
    "Bruno",
    "Clara",
    "Dario",
    "Edda",
    "Fabio",
    "Greta",
    "Hugo",
    "Ilse",
    "Jonas",
    "Karla",
    "Mirja",
)
_LAST = ("Quillfeather", "Bramblethorpe", "Nightjar", "Oakenshaw", "Thistlewood", "Larkspur")
_STREETS = ("Heron Alley", "Willow Row", "Lantern Street", "Copper Lane", "Mill Yard")
_CITIES = ("Ravenmoor", "Elderby", "Stonewick")


class Person:
    """Somebody: the traits that a shop knows, and those that a newsletter knows, with a slip of the pen."""

    def __init__(self, number: int) -> None:
        draw = random.Random(number)  # noqa: S311  # fictional people, the same each time
        self.number = number
        self.first, self.last = draw.choice(_FIRST), draw.choice(_LAST) + chr(97 + number % 26)
        self.traits: dict[str, Any] = {
            "firstName": self.first,
            "lastName": self.last,
            "birthday": f"{draw.randint(1950, 2000)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}",
            "phone": f"+4420794{number:05}",
            "address": {
                "street": f"{draw.randint(1, 99)} {draw.choice(_STREETS)}",
                "city": draw.choice(_CITIES),
                "postalCode": f"{draw.randint(10000, 99999)}",
            },
        }

    @property
    def email(self) -> str:
        """Where the shop writes to."""
        return f"{self.first}.{self.last}.{self.number}@people.example".lower()

    def shop(self) -> dict[str, Any]:
        """Return what the shop sends."""
        return {
            "type": "identify",
            "userId": f"shop-{self.number}",
            "traits": {**self.traits, "email": self.email},
        }

    def newsletter(self, **changed: Any) -> dict[str, Any]:
        """Return what the newsletter sends, which knows no user id; the last name has a slip."""
        slip = self.last[:-2] + self.last[-1] + self.last[-2]
        known = {**self.traits, "lastName": slip} | changed
        known.pop("phone")
        return {"type": "identify", "anonymousId": f"letter-{self.number}", "traits": known}


def profile(caller: Caller, kind: str, value: str) -> str:
    """Return the id of the profile of an identifier."""
    found = caller.lookup(kind, value)["id"]
    assert isinstance(found, str)
    return found


def are_one(caller: Caller, number: int) -> bool:
    """Return whether both records of a person are one profile."""
    shop, letter = (("user_id", f"shop-{number}"), ("anonymous_id", f"letter-{number}"))
    return profile(caller, *shop) == profile(caller, *letter)


def run(caller: Caller, *, full: bool = False, dry_run: bool = False) -> dict[str, Any]:
    """Run matching to its end."""
    started = caller.api("POST", "/match/runs", {"full": full, "dry_run": dry_run}, expect=202)
    caller.services.matching.wait()
    ended: dict[str, Any] = caller.api("GET", f"/match/runs/{started['run']}")
    return ended
