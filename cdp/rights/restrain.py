"""What binds at once: restriction and objection (GDPR Art. 18 and 21).

Invariants: the transaction that opens a request restrains each topmost of the purposes that may be restrained
and do not rest on contract or legal obligation alone, and so those below; for an objection to one purpose,
that one. It binds every identity that was named and everybody then in the profile. Until it is known who
asked, an objection is recorded as a restriction, which binds as much and which an officer may lift after
telling the person; an objection is the person's own word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cdp.clock import Clock, Micros
from cdp.consent import RecordState, Statement
from cdp.errors import InvalidInputError
from cdp.policy import Bundle, lineage
from cdp.rights.acts import Acts
from cdp.rights.model import RequestKind, RightsRequest
from cdp.store import Batch

AT_ONCE: dict[RequestKind, RecordState] = {"restriction": "restricted", "objection": "objected"}
_OWED = {"contract", "legal_obligation"}


def restrained(bundle: Bundle, request: RightsRequest) -> list[str]:
    """Return the topmost purposes that a request restrains.

    :raises InvalidInputError: the one that it names cannot be restrained.
    """
    open_to = {
        key
        for key, purpose in bundle.purposes.items()
        if purpose.restrainable and not set(purpose.basis.values()) <= _OWED
    }
    if not request.purpose:
        return [key for key in sorted(open_to) if open_to.isdisjoint(lineage(key)[1:])]
    if request.purpose not in open_to or request.kind != "objection":
        raise InvalidInputError(
            "nobody can object to this purpose, or it is not declared, or it is no objection"
        )
    return [request.purpose]


class Restraints:
    """Records and lifts what restrains."""

    def __init__(self, acts: Acts, clock: Clock, policy: Callable[[], Bundle]) -> None:
        self._acts = acts
        self._clock = clock
        self._policy = policy

    def bind(
        self,
        batch: Batch,
        actor: str,
        request: RightsRequest,
        *,
        verified: bool,
        language: str = "",
        evidence: bytes | None = None,
    ) -> None:
        """Restrain whom a request names, if its kind does that."""
        if request.kind not in AT_ONCE:
            return
        state = AT_ONCE[request.kind] if verified else "restricted"
        self._say(batch, actor, request, state, self._clock.now(), language, evidence)

    def confirm(self, batch: Batch, actor: str, request: RightsRequest) -> None:
        """Record as the person's own what was restrained before anybody knew that it was."""
        if request.kind != "objection":
            return
        now = self._clock.now()
        self._say(batch, actor, request, "objected", now)
        self._say(batch, actor, request, "restriction_lifted", now)

    def lift(self, batch: Batch, actor: str, request: RightsRequest, told_at: Micros) -> None:
        """Record that a restriction has ended, and when the person was told (GDPR Art. 18(3))."""
        self._say(batch, actor, request, "restriction_lifted", told_at)

    def _say(
        self,
        batch: Batch,
        actor: str,
        request: RightsRequest,
        state: RecordState,
        at: Micros,
        language: str = "",
        evidence: bytes | None = None,
    ) -> None:
        method = "preference_page" if request.channel == "preference_page" else "rights_request"
        said: Sequence[Statement] = [
            Statement(
                purpose=key,
                state=state,
                act=True,
                event_time=at,
                language=language,
                method=method,
                evidence=evidence,
            )
            for key in restrained(self._policy(), request)
        ]
        for number in request.identity_nos:
            self._acts.say(batch, number, said, actor)
