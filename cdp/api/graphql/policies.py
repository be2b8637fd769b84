"""``explainDecision``: one decision about one person, explained."""

from __future__ import annotations

import strawberry
from strawberry.scalars import JSON

from cdp.api.auth import roles
from cdp.api.graphql.guard import Context, declared, guarded
from cdp.api.rest.decisions import decision
from cdp.api.rest.policies import ExplainBody, explained

Info = strawberry.Info[Context, None]
_PERSONAL = roles("officer", purpose=True)


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


@declared(_PERSONAL)
@strawberry.type
class Decision:
    """An explanation; its parts are as ``POST /policies/explain`` shows them."""

    outcome: str
    reason: str
    destination: str
    purpose: str
    bundle: str
    at: str
    ledger_position: int
    jurisdictions: JSON
    restraints: list[str]
    rules: JSON
    inputs: JSON
    fields: JSON
    consent: JSON
    in_segment: bool | None
    recorded: JSON | None
    not_reproduced: list[str]


@strawberry.type
class PolicyQuery:
    """What can be asked about decisions."""

    @guarded(_PERSONAL)
    def explain_decision(self, info: Info, input: DecisionInput) -> Decision:  # noqa: A002  # as the schema names it
        """Explain one decision about one person."""
        body = ExplainBody(
            profile=str(input.profile_id),
            destination=input.destination,
            purpose=input.purpose,
            segment=input.segment,
            fields=None if input.fields is None else tuple(input.fields),
            export=str(input.export or ""),
            as_of=input.as_of,
        )
        found = decision(explained(info.context.services, info.context.caller, body))
        return Decision(**{name: found[name] for name in Decision.__annotations__})
