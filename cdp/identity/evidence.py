"""All that was told and decided of whole components, read once: links and consent follow from it."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence

from cdp.consent import Member
from cdp.identity import members, queries
from cdp.identity.model import Candidate, Judged, Pair, Resolution
from cdp.identity.resolve import resolve
from cdp.policy import IdentityRules
from cdp.store import Connection


class Evidence:
    """Some components; what the rules make of them may be asked again and again.

    :ivar suppressed: pairs that stand revoked → who revoked them.
    """

    def __init__(self, connection: Connection, component: Collection[int], rules: IdentityRules) -> None:
        self.candidates = sorted(queries.candidates_among(connection, component))
        self.suppressed = queries.suppressed_by(connection, component)
        self._judged = queries.judged(connection, component)
        self._seen = queries.seen(connection, component)
        self._rules = rules

    def resolution(self, suppressed: Container[Pair], extra: Collection[Candidate] = ()) -> Resolution:
        """Return what the rules make of it; ``extra`` are candidates that are not stored."""
        types = {number: one.type for number, one in self._seen.items()}
        return resolve(types, [*self.candidates, *extra], suppressed, self._rules)

    def last(self, pair: Pair) -> Judged | None:
        """Return what was decided last about the link of a pair."""
        told = self._judged.get(pair)
        return told[-1] if told else None

    def linked(self) -> set[Pair]:
        """Return the pairs whose links stand."""
        return {pair for pair, told in self._judged.items() if told[-1].accepted}

    def judge(self, decisions: Iterable[tuple[Pair, Judged]]) -> None:
        """Take note of decisions that were made since it was read."""
        for pair, judged in decisions:
            self._judged.setdefault(pair, []).append(judged)

    def members(self, by_profile: Mapping[int, Sequence[int]]) -> dict[int, list[Member]]:
        """Return profile_no → its members, of profiles given as identity numbers."""
        return members.related(
            by_profile, self._seen, self.candidates, self.suppressed, self._judged, self._rules.is_device
        )
