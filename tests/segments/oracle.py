"""A second evaluator of segment definitions: slow, plain, and written from ``api.md`` alone.

It works on lists of dicts and on the definition as plain data; it shares no code with ``cdp.segments``.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

FUNCTIONS = ["count", "sum", "avg", "min", "max", "distinct", "first", "last", "most_frequent"]
UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


class World:
    """What is known: ``profile_of`` maps identities, ``events`` and ``traits`` are lists of dicts."""

    def __init__(
        self,
        profile_of: dict[int, int],
        events: list[dict[str, Any]],
        traits: list[dict[str, Any]],
        trust: dict[int, int],
        trusted: set[str],
        now: int,
        zone: str = "UTC",
    ) -> None:
        self.profile_of = profile_of
        self.events = events
        self.traits = traits
        self.trust = trust
        self.trusted = trusted
        self.now = now
        self.zone = zone
        self.segments: dict[str, Any] = {}
        self.tags: dict[str, Any] = {}
        self.lists: dict[str, list[int]] = {}

    def forget(self, profile: int) -> list[int]:
        """Have a person never have been there; returns their identities."""
        gone = [number for number, held in self.profile_of.items() if held == profile]
        for number in gone:
            del self.profile_of[number]
        self.events = [event for event in self.events if event["identity"] in self.profile_of]
        self.traits = [item for item in self.traits if item["identity"] in self.profile_of]
        return gone

    def members(self, where: Any, salt: str = "") -> set[int]:
        """Return the profiles for which ``where`` holds."""
        return {profile for profile in set(self.profile_of.values()) if self.holds(profile, where, salt)}

    def holds(self, profile: int, where: Any, salt: str) -> bool:  # noqa: C901, PLR0911  # one per kind
        if "all" in where:
            return all(self.holds(profile, part, salt) for part in where["all"])
        if "any" in where:
            return any(self.holds(profile, part, salt) for part in where["any"])
        if "not" in where:
            return not self.holds(profile, where["not"], salt)
        if "trait" in where:
            return compare(self.trait(profile, where["trait"]), where["op"], where.get("value", True))
        if "event" in where:
            return self.event(profile, where)
        if "sequence" in where:
            return self.sequence(profile, where)
        if "ratio" in where:
            comparison = {key: value for key, value in where.items() if key != "ratio"}
            ((op, value),) = comparison.items()
            return compare(self.ratio(profile, where["ratio"]), op, value)
        if "tag" in where:
            return compare(self.tag(profile, where["tag"]), where["op"], where.get("value", True))
        if "segment" in where:
            return self.holds(profile, self.segments[where["segment"]], where["segment"])
        if "list" in where:
            return profile in {self.profile_of.get(number, number) for number in self.lists[where["list"]]}
        drawn = hashlib.md5(f"{where.get('salt', salt)}:{profile}".encode(), usedforsecurity=False).digest()
        return int.from_bytes(drawn[:8]) < int(where["sample"] * 2**64)

    def trait(self, profile: int, name: str) -> Any:
        seen = [t for t in self.traits if t["name"] == name and self.profile_of[t["identity"]] == profile]
        if not seen:
            return None
        by_trust = name in self.trusted

        def rank(item: dict[str, Any]) -> tuple[int, int, bytes]:
            trust = self.trust.get(item["source"], 0) if by_trust else 0
            return trust, item["at"], item["event_id"]

        return max(seen, key=rank)["value"]

    def tag(self, profile: int, name: str) -> Any:
        tag = self.tags[name]
        if "cases" in tag:
            held = (case["value"] for case in tag["cases"] if self.holds(profile, case["where"], name))
            return next(held, tag.get("otherwise"))
        if "ratio" in tag:
            return self.ratio(profile, tag["ratio"])
        if "amount" in tag:
            return self.amount(profile, tag["amount"])
        counts = not {"sum", "min"} & tag["score"].keys()
        if counts and not self.seen(profile, {**tag["score"]}):
            return None
        amount = self.amount(profile, tag["score"])
        if amount is None:
            return None
        above = sum(amount > bound for bound in tag["thresholds"])
        return len(tag["thresholds"]) + 1 - above if tag.get("best") == "low" else above + 1

    def ratio(self, profile: int, sides: Any) -> float | None:
        of, to = (self.amount(profile, sides[side]) for side in ("of", "to"))
        if not to:
            return None
        if of is None and "sum" in sides["of"]:
            of = 0
        return None if of is None else rounded(of / to)

    def event(self, profile: int, leaf: Any) -> bool:
        function = next((name for name in FUNCTIONS if name in leaf), None)
        if function is None:
            return bool(self.seen(profile, leaf))
        ((op, value),) = ((key, item) for key, item in leaf[function].items() if key != "property")
        return compare(self.amount(profile, leaf), op, value)

    def property(self, event: Any, name: str) -> Any:
        here = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event["at"])
        here = here.astimezone(ZoneInfo(self.zone))
        special = {
            "event.time": lambda: event["at"],
            "event.age": lambda: Fraction(self.now - event["at"], 86_400_000_000),
            "event.hour": lambda: here.hour,
            "event.weekday": here.isoweekday,
        }
        return special[name]() if name in special else event["properties"].get(name)

    def fits(self, event: Any, condition: Any) -> bool:
        name, value = condition["property"], condition.get("value", True)
        if name == "event.time":
            value = instant(value, self.now, self.zone)
        return compare(self.property(event, name), condition["op"], value)

    def seen(self, profile: int, leaf: Any) -> list[dict[str, Any]]:
        return [
            event
            for event in self.events
            if self.profile_of[event["identity"]] == profile
            and event["name"] == leaf["event"]
            and event["type"] == leaf.get("type", "track")
            and self.in_window(event["at"], leaf)
            and all(self.fits(event, c) for c in leaf.get("where", []))
        ]

    def amount(self, profile: int, leaf: Any) -> Any:
        """Return what a profile's events amount to; None where that is not known."""
        seen = self.seen(profile, leaf)
        function = next((name for name in FUNCTIONS if name in leaf), "count")
        if function == "count":
            return len(seen)
        name = leaf[function]["property"]
        known = [(e["at"], value) for e in seen if (value := self.property(e, name)) is not None]
        values = [value for _, value in known]
        if function == "distinct":
            return len(set(values))
        if not values:
            return None
        known_amounts: dict[str, Callable[[], Any]] = {
            "sum": lambda: round(math.fsum(values), 6),
            "avg": lambda: round(math.fsum(values) / len(values), 6),
            "min": lambda: min(values),
            "max": lambda: max(values),
            "first": lambda: min(known)[1],
            "last": lambda: max(known)[1],
            "most_frequent": lambda: max(
                (values.count(value), max(at for at, one in known if one == value), value) for value in values
            )[2],
        }
        return known_amounts[function]()

    def sequence(self, profile: int, leaf: Any) -> bool:
        """Try every chain of events, one for each step that happens."""
        span = length(leaf["within"]) if "within" in leaf else None
        seen = [
            event
            for event in self.events
            if self.profile_of[event["identity"]] == profile
            and event["at"] <= self.now
            and (span is None or event["at"] >= self.now - span)
        ]

        def fits(event: dict[str, Any], step: Any) -> bool:
            step = step.get("not", step)
            return (
                event["name"] == step["event"]
                and event["type"] == step.get("type", "track")
                and all(self.fits(event, c) for c in step.get("where", []))
            )

        def absent(step: Any, after: int, before: int | None) -> bool:
            """True when nothing that the step forbids happens after ``after``, in its window, until then."""
            until = after + length(step["within"]) if "within" in step else None
            if before is None and (until is None or until >= self.now):
                return False  # the window has not closed
            return not any(
                fits(event, step)
                and event["at"] > after
                and (before is None or event["at"] < before)
                and (until is None or event["at"] <= until)
                for event in seen
            )

        def rest(steps: list[Any], at: int) -> bool:
            ahead = next((place for place, step in enumerate(steps) if "not" not in step), None)
            if ahead is None:
                return all(absent(step, at, None) for step in steps)
            step = steps[ahead]
            return any(
                fits(event, step)
                and event["at"] > at
                and ("within" not in step or event["at"] <= at + length(step["within"]))
                and all(absent(no, at, event["at"]) for no in steps[:ahead])
                and rest(steps[ahead + 1 :], event["at"])
                for event in seen
            )

        first, *others = leaf["sequence"]
        return any(fits(event, first) and rest(others, event["at"]) for event in seen)

    def in_window(self, at: int, leaf: Any) -> bool:
        if "within" in leaf:
            return self.now - length(leaf["within"]) <= at <= self.now
        if "from" in leaf and at < instant(leaf["from"], self.now, self.zone):
            return False
        return not ("to" in leaf and at >= instant(leaf["to"], self.now, self.zone))


def rounded(number: float) -> float:
    """Round to six decimals, ties away from zero."""
    return math.copysign(math.floor(abs(number) * 1e6 + 0.5) / 1e6, number)


def length(text: str) -> int:
    """Return microseconds of a window."""
    return int(text[:-1]) * UNITS[text[-1]] * 1_000_000


def instant(text: str, now: int, zone: str) -> int:
    """Return microseconds since 1970 of a time, or of a point of the calendar that days are counted from."""
    if text[0] == "t":  # today, this_week, this_month, this_quarter, this_year
        anchor, shift, unit = re.fullmatch(r"([a-z_]+)(?:([+-]\d+)([a-z]+))?", text).groups()  # type: ignore[union-attr]  # text is one
        day = datetime.fromtimestamp(now / 1e6, ZoneInfo(zone)).date()
        first = {"this_month": range(1, 13), "this_quarter": (1, 4, 7, 10), "this_year": (1,)}

        def begins(day: date) -> bool:
            if anchor in {"today", "this_week"}:
                return anchor == "today" or day.weekday() == 0
            return day.day == 1 and day.month in first[anchor]

        while not begins(day):
            day -= timedelta(days=1)
        moment = datetime.combine(moved(day, int(shift or 0), unit or "d"), time(), ZoneInfo(zone))
    else:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + moment.microsecond


def moved(day: date, count: int, unit: str) -> date:
    """Return a day so many days, weeks, months, quarters or years on; of one that is not, the one before."""
    if unit in {"d", "w"}:
        return day + timedelta(days=count * {"d": 1, "w": 7}[unit])
    year, month = divmod(day.year * 12 + day.month - 1 + count * {"mo": 1, "q": 3, "y": 12}[unit], 12)
    while True:
        try:
            return date(year, month + 1, day.day)
        except ValueError:
            day -= timedelta(days=1)


def compare(found: Any, op: str, value: Any) -> bool:  # noqa: PLR0911  # one per operator
    """Compare; nothing but ``exists: false`` is true of what is not there."""
    if op == "exists":
        return (found is not None) is value
    if found is None:
        return False
    if op == "contains":
        return bool(value in found)
    if op == "starts_with":
        return bool(found.startswith(value))
    if op == "in":
        return found in value
    if op == "between":
        return bool(value[0] <= found <= value[1])
    return {
        "eq": lambda: bool(found == value),
        "ne": lambda: bool(found != value),
        "lt": lambda: bool(found < value),
        "lte": lambda: bool(found <= value),
        "gt": lambda: bool(found > value),
        "gte": lambda: bool(found >= value),
    }[op]()
