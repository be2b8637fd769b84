"""Counts of people, as exact as the caller's role allows (privacy.md, "Counts").

An officer sees the number. Everybody else sees it with sticky noise, rounded to 10, a bounded number of
times an hour, and not at all for a definition that stands on a short list: a list of one would turn the
count into a look-up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyroaring import BitMap

from cdp.api.auth import Caller
from cdp.api.limits import Buckets
from cdp.api.services import Services
from cdp.errors import NotFoundError, NotPermittedError, OverloadedError
from cdp.segments import noised

_PER_HOUR = 300
_SHORT_LIST = 50
_SECRET = "counts"  # noqa: S105  # the name of the gate's secret, so that both give the same noise
_budget = Buckets(_PER_HOUR, _PER_HOUR / 3600)


def shown_count(services: Services, caller: Caller, members: BitMap) -> int:
    """Return how many ``members`` are, as this caller may see it.

    :raises OverloadedError: the key has used up its counts for now.
    """
    if caller.has("officer"):
        return len(members)
    if not _budget.take(caller.actor):
        raise OverloadedError(
            f"a key may ask for {_PER_HOUR} counts an hour", retry_after=_budget.wait(caller.actor)
        )
    return noised(members, services.keyring.secret(_SECRET))


def is_countable(services: Services, caller: Caller, source: object) -> bool:
    """Tell whether a caller may have a count of a definition: only officers count on a short list.

    :param source: the definition as plain data.
    """
    if caller.has("officer"):
        return True
    short = {held.name for held in services.segments.lists() if held.entries < _SHORT_LIST}
    return not short or not any(name in short for name in _lists(services, source, set()))


def check_countable(services: Services, caller: Caller, source: object) -> None:
    """Refuse what ``is_countable`` does not allow.

    :raises NotPermittedError: the definition stands on a short list, itself or through another segment.
    """
    if not is_countable(services, caller, source):
        raise NotPermittedError(f"a count on a list of fewer than {_SHORT_LIST} people is for officers")


def _lists(services: Services, source: object, seen: set[str]) -> Iterator[str]:
    if isinstance(source, Mapping):
        held: Mapping[str, Any] = source
        if isinstance(name := held.get("list"), str):
            yield name
        if isinstance(name := held.get("segment"), str) and name not in seen:
            seen.add(name)
            try:
                yield from _lists(services, services.segments.get(name).source, seen)
            except NotFoundError:
                return  # the definition is refused for it anyway
        for value in held.values():
            yield from _lists(services, value, seen)
    elif isinstance(source, list):
        for item in source:
            yield from _lists(services, item, seen)
