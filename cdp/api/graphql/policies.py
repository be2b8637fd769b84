"""The officer's verbs on policies, and one decision explained: as REST has them (``cdp/api/policies.py``).

A decision has types (``decisions.py``); what REST answers of whole bundles is JSON here, too.
"""

from __future__ import annotations

import msgspec
import strawberry
from strawberry.scalars import JSON

from cdp.api import policies as verbs
from cdp.api.auth import roles
from cdp.api.graphql.decisions import PERSONAL, Decision, typed
from cdp.api.graphql.guard import Context, guarded
from cdp.api.rest.decisions import decision
from cdp.errors import InvalidInputError

Info = strawberry.Info[Context, None]
_OFFICER = roles("officer")


@strawberry.input
class DecisionInput:
    """What to explain: a destination and a purpose now, at an instant, or a past export."""

    profile_id: strawberry.ID
    destination: str = ""
    purpose: str = ""
    segment: str = ""
    fields: list[str] | None = None
    export: strawberry.ID | None = None
    as_of: str | None = None


@strawberry.type
class PolicyQuery:
    """What can be asked about policies and decisions."""

    @guarded(roles("officer", query="policy.read"))
    def policies(self, info: Info) -> JSON:
        """Show what is in force, proposals, past activations and switches."""
        return JSON(verbs.overview(info.context.services))

    @guarded(_OFFICER)
    def check_policies(self, info: Info, files: JSON | None = None, tests: JSON | None = None) -> JSON:
        """Name every mistake of a candidate with file, line and fix, and run its tests."""
        return JSON(verbs.check(info.context.services, _texts(files), _texts(tests)))

    @guarded(_OFFICER)
    def diff_policies(self, info: Info, files: JSON | None = None, tests: JSON | None = None) -> JSON:
        """Say what a candidate would change, in rules, people and fields."""
        return JSON(verbs.diff(info.context.services, info.context.caller, _texts(files), _texts(tests)))

    @guarded(roles("officer", query="policy.suggest"))
    def suggest_fields(self, info: Info) -> JSON:
        """Propose declarations for fields that sources send and nobody declared."""
        return JSON(verbs.suggestions(info.context.services))

    @guarded(PERSONAL)
    def explain_decision(self, info: Info, input: DecisionInput) -> Decision:  # noqa: A002  # as the schema names it
        """Explain one decision about one person."""
        body = verbs.ExplainBody(
            profile=str(input.profile_id),
            destination=input.destination,
            purpose=input.purpose,
            segment=input.segment,
            fields=None if input.fields is None else tuple(input.fields),
            export=str(input.export or ""),
            as_of=input.as_of,
        )
        return typed(decision(verbs.explained(info.context.services, info.context.caller, body)))


@strawberry.type
class PolicyMutation:
    """What officers do with policies."""

    @guarded(_OFFICER)
    def propose_policies(self, info: Info, files: JSON | None = None, tests: JSON | None = None) -> JSON:
        """Propose a candidate, which shows its difference; nothing is in force yet."""
        return JSON(verbs.propose(info.context.services, info.context.caller, _texts(files), _texts(tests)))

    @guarded(_OFFICER)
    def approve_policies(self, info: Info, proposal: str) -> JSON:
        """Put in force what another officer proposed: its id, or the SHA-256 of its bundle."""
        return JSON(verbs.approve(info.context.services, info.context.caller, proposal))

    @guarded(_OFFICER)
    def reject_policies(self, info: Info, proposal: str) -> JSON:
        """Reject a proposal: nobody can approve it any more."""
        return JSON(verbs.reject(info.context.services, info.context.caller, proposal))

    @guarded(_OFFICER)
    def switch_destination(self, info: Info, destination: str, enabled: bool, reason: str) -> JSON:  # noqa: FBT001  # an argument of the schema
        """Switch a destination off at once, in running exports too; or on again."""
        done = verbs.switch(
            info.context.services, info.context.caller, destination, enabled=enabled, reason=reason
        )
        return JSON(done)


def _texts(given: JSON | None) -> dict[str, str] | None:
    """Return files as they were sent.

    :raises InvalidInputError: they are not texts by name.
    """
    try:
        return None if given is None else msgspec.convert(given, dict[str, str])
    except msgspec.ValidationError:
        raise InvalidInputError("files and tests map a name to a text") from None
