"""What two bundles say differently: pure, about the files alone.

What that means for people is counted by ``cdp.gate`` (``differ.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from cdp.policy.model import Bundle, Purpose

What = Literal["added", "removed", "changed"]


class Change(msgspec.Struct, frozen=True, order=True):
    """One thing that differs.

    :param section: where it stands: ``rules``, ``purposes``, ``fields.traits``…
    :param name: its key there; empty for the section itself.
    :param details: of something changed: the attributes that differ.
    """

    section: str
    name: str
    what: What
    details: tuple[str, ...] = ()


def compare(old: Bundle, new: Bundle) -> tuple[Change, ...]:
    """Return everything that differs, by section and name."""
    before, after = dict(_parts(old)), dict(_parts(new))
    changes = []
    for section, name in sorted(before.keys() | after.keys()):
        one, other = before.get((section, name)), after.get((section, name))
        if one == other:
            continue
        what: What = "added" if one is None else "removed" if other is None else "changed"
        changes.append(Change(section, name, what, _details(one, other)))
    return tuple(changes)


def stale_notices(old: Bundle, new: Bundle) -> dict[str, tuple[str, ...]]:
    """Return purpose → ids of notices with a new material version: older consents become stale."""
    found = {}
    for key, purpose in new.purposes.items():
        before = old.purposes.get(key)
        if before is None:
            continue
        known = _material(before)
        fresh = sorted({notice for notice, version in _material(purpose) - known})
        if fresh:
            found[key] = tuple(fresh)
    return found


def sealed_now(old: Bundle, new: Bundle) -> tuple[str, ...]:
    """Return the fields that were clear and are no longer: values stored in clear are still there."""
    return tuple(
        f"{part}.{name}"
        for part in ("traits", "properties", "context")
        for name, rule in sorted(getattr(old.fields, part).items())
        if rule.clear and ((now := getattr(new.fields, part).get(name)) is None or not now.clear)
    )


def _material(purpose: Purpose) -> set[tuple[str, int]]:
    return {(notice.id, notice.version) for notice in purpose.notices if notice.material}


def _parts(bundle: Bundle) -> Iterator[tuple[tuple[str, str], Any]]:
    """Yield ((section, name), value) of everything that has a name of its own."""
    for section in bundle.__struct_fields__:
        value = getattr(bundle, section)
        if section == "sha256":
            continue
        if section == "rules":
            yield from ((("rules", rule.id), rule) for rule in value)
        elif isinstance(value, Mapping):
            yield from (((section, str(name)), held) for name, held in value.items())
        elif isinstance(value, msgspec.Struct):
            yield from _attributes(section, value)
        else:
            yield (section, ""), value


def _attributes(section: str, whole: msgspec.Struct) -> Iterator[tuple[tuple[str, str], Any]]:
    for attribute in whole.__struct_fields__:
        value = getattr(whole, attribute)
        if isinstance(value, Mapping):
            yield from (((f"{section}.{attribute}", str(name)), held) for name, held in value.items())
        else:
            yield (section, attribute), value


def _details(one: Any, other: Any) -> tuple[str, ...]:
    """Return the attributes in which two records of one kind differ."""
    if not isinstance(one, msgspec.Struct) or type(one) is not type(other):
        return ()
    return tuple(name for name in one.__struct_fields__ if getattr(one, name) != getattr(other, name))
