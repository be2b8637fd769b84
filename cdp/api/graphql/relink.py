"""A steward's merge and split: the same verbs and answers as REST."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry.scalars import JSON

from cdp.api.auth import roles
from cdp.api.graphql.guard import Context, declared, guarded
from cdp.api.rest.relink import MergeBody, SplitBody, link_profiles, relinked, take_apart
from cdp.errors import InvalidInputError
from cdp.portrait import Relinked

Info = strawberry.Info[Context, None]
_STEWARD = roles("steward")
_PAIR = 2


@declared(_STEWARD)
@strawberry.type
class ProfileGroup:
    """A profile and the identities in it, by the ids under which they answer on their own."""

    id: strawberry.ID
    identities: list[strawberry.ID]
    events: int
    traits: int


@declared(_STEWARD)
@strawberry.type
class SetAside:
    """A link that the identity rules refuse, and why."""

    link: list[strawberry.ID]
    reason: str


@declared(_STEWARD)
@strawberry.type
class ConsentOf:
    """What consent for a purpose is in one profile."""

    id: strawberry.ID
    state: str


@declared(_STEWARD)
@strawberry.type
class ConsentChange:
    """A purpose for which the profiles do not all stand alike, before and after."""

    purpose: str
    before: list[ConsentOf]
    after: list[ConsentOf]


@declared(_STEWARD)
@strawberry.type
class Holder:
    """A destination that holds these people, and is told what the change means for them."""

    destination: str
    purpose: str
    segment: str | None
    references: int


@declared(_STEWARD)
@strawberry.type
class MergePlan:
    """What linking profiles would do, or did."""

    dry_run: bool
    before: list[ProfileGroup]
    after: list[ProfileGroup]
    links: list[list[strawberry.ID]]
    links_gone: list[list[strawberry.ID]]
    links_made: list[list[strawberry.ID]]
    set_aside: list[SetAside]
    refused: JSON
    consents: list[ConsentChange]
    destinations: list[Holder]


@declared(_STEWARD)
@strawberry.type
class SplitPlan(MergePlan):
    """What taking identifiers out of a profile, or a link away, would do, or did."""


@strawberry.type
class RelinkMutation:
    """A steward's merge and split; ``dryRun`` only says what it would do."""

    @guarded(_STEWARD)
    def merge_profiles(
        self,
        info: Info,
        ids: list[strawberry.ID],
        dry_run: bool | None = True,  # noqa: FBT001, FBT002  # a GraphQL argument
        reason: str | None = None,
    ) -> MergePlan:
        """Link profiles by a steward's word; the identity rules still bind."""
        asked = MergeBody(tuple(map(str, ids)), dry_run is not False, reason)
        return MergePlan(**_shown(link_profiles(info.context.services, info.context.caller, asked), info))

    @guarded(_STEWARD)
    def split_profile(
        self,
        info: Info,
        id: strawberry.ID,  # noqa: A002  # the contract's name
        dry_run: bool | None = True,  # noqa: FBT001, FBT002  # a GraphQL argument
        identities: list[strawberry.ID] | None = None,
        link: list[strawberry.ID] | None = None,
        reason: str | None = None,
    ) -> SplitPlan:
        """Take back the last merge of this id, else its identifier out; or those named; or revoke a link."""
        if link is not None and len(link) != _PAIR:
            raise InvalidInputError("link takes two ids")
        asked = SplitBody(
            dry_run=dry_run is not False,
            identities=None if identities is None else tuple(map(str, identities)),
            link=None if link is None else (str(link[0]), str(link[1])),
            reason=reason,
        )
        done = take_apart(info.context.services, info.context.caller, str(id), asked)
        return SplitPlan(**_shown(done, info))


def _shown(done: Relinked, info: Info) -> dict[str, Any]:
    shown = relinked(done, info.context.services.profile_ids.encode)
    return {
        **shown,
        "before": [ProfileGroup(**group) for group in shown["before"]],
        "after": [ProfileGroup(**group) for group in shown["after"]],
        "set_aside": [SetAside(**one) for one in shown["set_aside"]],
        "refused": JSON(shown["refused"]),
        "consents": [
            ConsentChange(
                purpose=one["purpose"],
                before=[ConsentOf(**state) for state in one["before"]],
                after=[ConsentOf(**state) for state in one["after"]],
            )
            for one in shown["consents"]
        ],
        "destinations": [Holder(**one) for one in shown["destinations"]],
    }
