"""What two bundles say differently: pure, about the files alone.

What that means for people is counted by ``cdp.gate`` (``differ.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from cdp.policy.model import Bundle, Purpose

What = Literal["added", "removed", "changed"]


class Changed(msgspec.Struct, frozen=True):
    """One value that differs.

    :param attribute: the way to it, ``require.max_age_days``; empty for the thing itself.
    :param before: JSON, as is ``after``.
    """

    attribute: str
    before: str
    after: str


class Change(msgspec.Struct, frozen=True):
    """One thing that differs.

    :param section: where it stands: ``rules``, ``purposes``, ``fields.traits``…
    :param name: its key there; empty for the section itself.
    :param details: of something changed: the attributes that differ.
    :param values: of something changed: what it said and what it says.
    """

    section: str
    name: str
    what: What
    details: tuple[str, ...] = ()
    values: tuple[Changed, ...] = ()


def compare(old: Bundle, new: Bundle) -> tuple[Change, ...]:
    """Return everything that differs, by section and name."""
    before, after = dict(_parts(old)), dict(_parts(new))
    changes = []
    for section, name in sorted(before.keys() | after.keys()):
        one, other = before.get((section, name)), after.get((section, name))
        if one == other:
            continue
        what: What = "added" if one is None else "removed" if other is None else "changed"
        values = tuple(_values("", one, other)) if what == "changed" else ()
        changes.append(Change(section, name, what, _details(one, other), values))
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


def _values(path: str, one: Any, other: Any) -> Iterator[Changed]:
    """Yield the values in which two records of one kind differ, and those within them."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        pairs = [(name, one.get(name), other.get(name)) for name in names]
    elif isinstance(one, msgspec.Struct) and type(one) is type(other):
        pairs = [(name, getattr(one, name), getattr(other, name)) for name in _details(one, other)]
    else:
        yield Changed(path, _shown(one), _shown(other))
        return
    for name, before, after in pairs:
        yield from _values(f"{path}.{name}".lstrip("."), before, after)


def _shown(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()
