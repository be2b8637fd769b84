"""A second evaluator of segment definitions: slow, plain, and written from ``api.md`` alone.

It works on lists of dicts and on the definition as plain data; it shares no code with ``cdp.segments``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

UNITS = {"m": 60, "h": 3600, "d": 86400}


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
    ) -> None:
        self.profile_of = profile_of
        self.events = events
        self.traits = traits
        self.trust = trust
        self.trusted = trusted
        self.now = now
        self.segments: dict[str, Any] = {}
        self.lists: dict[str, list[int]] = {}

    def members(self, where: Any, salt: str = "") -> set[int]:
        """Return the profiles for which ``where`` holds."""
        return {profile for profile in set(self.profile_of.values()) if self.holds(profile, where, salt)}

    def holds(self, profile: int, where: Any, salt: str) -> bool:  # noqa: PLR0911  # one per kind
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

    def event(self, profile: int, leaf: Any) -> bool:
        seen = [
            event
            for event in self.events
            if self.profile_of[event["identity"]] == profile
            and event["name"] == leaf["event"]
            and event["type"] == leaf.get("type", "track")
            and self.in_window(event["at"], leaf)
            and all(
                compare(event["properties"].get(c["property"]), c["op"], c.get("value", True))
                for c in leaf.get("where", [])
            )
        ]
        functions = ["count", "sum", "avg", "min", "max", "distinct", "first", "last"]
        function = next((name for name in functions if name in leaf), None)
        if function is None:
            return bool(seen)
        wanted = dict(leaf[function])
        name = wanted.pop("property", None)
        ((op, value),) = wanted.items()
        if function == "count":
            return compare(len(seen), op, value)
        known = [e for e in seen if e["properties"].get(name) is not None]
        values = [e["properties"][name] for e in known]
        if function == "distinct":
            return compare(len(set(values)), op, value)
        if not values:
            return False
        known_amounts: dict[str, Callable[[], Any]] = {
            "sum": lambda: round(math.fsum(values), 6),
            "avg": lambda: round(math.fsum(values) / len(values), 6),
            "min": lambda: min(values),
            "max": lambda: max(values),
            "first": lambda: min((e["at"], e["properties"][name]) for e in known)[1],
            "last": lambda: max((e["at"], e["properties"][name]) for e in known)[1],
        }
        return compare(known_amounts[function](), op, value)

    def in_window(self, at: int, leaf: Any) -> bool:
        if "within" in leaf:
            span = int(leaf["within"][:-1]) * UNITS[leaf["within"][-1]] * 1_000_000
            return self.now - span <= at <= self.now
        if "from" in leaf and at < instant(leaf["from"]):
            return False
        return not ("to" in leaf and at >= instant(leaf["to"]))


def instant(text: str) -> int:
    """Return microseconds since 1970."""
    moment = datetime.fromisoformat(text)
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + moment.microsecond


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
