"""recognise: what a message names → the identifiers by which it is somebody's, and whom else it restrains.

Invariants: a value that is blocked, or is no identifier any more, names nobody: no event is its, it links
nobody, and what tells that value is no trait of whoever said it. It can still say no: whatever restrains
reaches it, and every number that one without a country code may be, each by itself (``others``). Pure, but
that the regions in use are asked for such a number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from cdp.ingest.name import fail
from cdp.policy import IdentityRules

Pairs = tuple[tuple[str, str], ...]
"""(type, normalised value) of several identifiers."""


class Named(NamedTuple):
    """What is usable of what a message names.

    :param identifiers: highest priority first.
    :param earlier: as ``Event.earlier``.
    :param unnamed: types of which it gives a value that names nobody.
    """

    identifiers: Pairs
    earlier: tuple[tuple[int, str], ...] = ()
    unnamed: frozenset[str] = frozenset()


class Recogniser:
    """Reads identifiers under the rules of ``policies/identity.yaml``.

    :param normalise: of identifiers.
    :param regions: returns the regions that any source has.
    """

    def __init__(self, rules: IdentityRules, normalise: Any, regions: Callable[[], Collection[str]]) -> None:
        self._rules = rules
        self._normalise = normalise
        self._regions = regions
        self._recognised = normalise.remembering(self._read)

    def __call__(self, given: Collection[tuple[str, str]], region: str | None, *, restraining: bool) -> Named:
        """Return what is usable of the (type, value) pairs ``given``.

        :param restraining: all that is said restrains: it is heard of whom only ``others`` name, too.
        :raises InvalidEventError: it is nobody's.
        """
        named: Named = self._recognised(tuple(given), region)
        if named.identifiers:
            return named
        others = self.others(given, region) if restraining else ()
        if not others:
            fail("no_identifier", "every identifier is blocked by policies/identity.yaml or malformed")
        return Named(others[:1], unnamed=named.unnamed)

    def _read(self, given: Pairs, region: str | None) -> Named:
        """Return what is usable of the pairs, be it nothing; a person's events give the same ones."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        other: dict[tuple[str, str], set[str]] = {}
        unnamed: frozenset[str] = frozenset()
        for type_, value in given:
            if not value:
                continue
            normal = self._normalise(type_, value, region)
            if normal is None:
                unnamed |= {type_}
                continue
            rule = self._rules.of(type_)
            # Of two user ids, of which an alias tells, the first is the one that speaks.
            place = len(found) if type_ == "user_id" else 0
            found.setdefault((type_, normal), (rule.priority if rule else 0, place))
            earlier = self._normalise.earlier(type_, value, region)
            if earlier is not None:
                other.setdefault((type_, normal), set()).add(earlier)
        named = (
            tuple(found) if len(found) == 1 else tuple(sorted(found, key=lambda pair: (found[pair], pair)))
        )
        if not other:
            return Named(named, (), unnamed)
        places = enumerate(named)
        told = tuple((place, text) for place, pair in places for text in sorted(other.get(pair, ())))
        return Named(named, told, unnamed)

    def others(
        self, given: Iterable[tuple[str, str]], region: str | None, named: Collection[tuple[str, str]] = ()
    ) -> Pairs:
        """Return whom a restraint names beside ``named``."""
        found = dict.fromkeys(
            (type_, form)
            for type_, value in given
            if value
            for form in self._normalise.meant(type_, value, region, self._regions)
        )
        return tuple(pair for pair in found if pair not in named)
