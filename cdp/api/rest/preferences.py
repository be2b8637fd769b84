"""Links to the preference page, for whoever sends them to the person.

Invariants: the answer for an identifier that nobody has looks like any other; a browser's write key, which
stands in a page, gets no link, because a link is what proves that somebody reads that address. A manage link
is a look at one person: it is for officers who carry the purpose ``rights`` and for sources that were made
with ``links``; every server gets withdraw links, which show nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import post
from litestar.params import JSONBody

from cdp.access import Source
from cdp.api.auth import Caller, Denials, allow
from cdp.api.injected import InjectedCaller, InjectedDenials, InjectedServices
from cdp.api.rest.identifiers import IdentifierBody
from cdp.api.services import Services
from cdp.clock import Micros, rfc3339
from cdp.consent import Statement
from cdp.errors import InvalidInputError, NotPermittedError, noted
from cdp.rights import Pending

PURPOSE = "rights"
Language = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", max_length=35)]


class LinkBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What link is wanted, for whom.

    :param purposes: of a withdraw link: what one click withdraws from.
    :param language: of the message that will carry it.
    :param destination: who sends that message.
    """

    identifier: IdentifierBody
    kind: Literal["manage", "withdraw"]
    purposes: tuple[str, ...] = ()
    language: Language | None = None
    destination: str | None = None


@post("/preferences/links", opt=allow("source", "officer"), sync_to_thread=True)
def make_link(
    services: InjectedServices, caller: InjectedCaller, denials: InjectedDenials, data: JSONBody[LinkBody]
) -> dict[str, Any]:
    """Make a link, to be sent to that very address and to nobody else."""
    require_sender(caller, denials, "preferences.links")
    if data.kind == "manage":
        _require_manager(caller, denials)
    if (data.kind == "withdraw") != bool(data.purposes):
        raise InvalidInputError("a withdraw link names its purposes, a manage link names none")
    if not set(data.purposes) <= services.bundle.purposes.keys():
        raise InvalidInputError("a purpose is not declared in policies/purposes.yaml")
    if len(data.purposes) > 20:
        raise InvalidInputError("a link names at most 20 purposes")
    if data.destination is not None and data.destination not in services.bundle.destinations:
        raise InvalidInputError("the destination is none of policies/destinations")
    url, expires_at = services.links.mint(
        caller.actor,
        data.kind,
        (data.identifier.type, data.identifier.value),
        source=caller.source,
        purposes=data.purposes,
        language=data.language or "",
        destination=data.destination or "",
    )
    answer: dict[str, Any] = {"url": url, "expires_at": rfc3339(expires_at)}
    if data.kind == "withdraw":
        answer["headers"] = {
            "List-Unsubscribe": f"<{url}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
    return answer


class Confirmation(msgspec.Struct, frozen=True):
    """The link by which a person confirms a consent."""

    url: str
    expires_at: Micros


def ask_confirmation(
    services: Services,
    caller: Caller,
    denials: Denials,
    identifiers: tuple[tuple[str, str], ...],
    statement: Statement,
    source: Source,
) -> Confirmation:
    """Return the link that records a grant once its person has confirmed it; nothing is recorded yet.

    :param identifiers: (type, value), checked; the link is sent to the first.
    :raises NotPermittedError: a browser's or an import's key; the refusal is recorded.
    :raises InvalidInputError: it is no grant.
    """
    require_sender(caller, denials, "consent.ask_confirmation")
    if statement.state != "granted":
        raise InvalidInputError("only `granted` is confirmed; every no counts at once")
    now = services.clock.now()
    purpose = services.bundle.purposes[statement.purpose]
    named, version = statement.notice_id, statement.notice_version
    notice = purpose.notice_named(named, version, now) if named else purpose.notice_at(now)
    if named and notice is None:
        raise InvalidInputError("the notice is not declared for this purpose in policies/purposes.yaml")
    with services.store.reading() as connection:
        known = services.identity.find(connection, *identifiers[0], source)
    pending = Pending(
        identifiers=identifiers,
        purpose=statement.purpose,
        asked_at=now,
        source_id=source.source_id,
        source_kind=source.kind,
        # whoever presses the button of a message was asked about nothing else, so it is explicit at least
        event_type="separate" if statement.event_type == "separate" else "explicit",
        notice_id=notice.id if notice else "",
        notice_version=notice.version if notice else None,
        language=statement.language,
        jurisdiction=statement.jurisdiction,
        recipients=statement.recipients,
        expires_at=statement.expires_at,
    )
    return Confirmation(*services.links.issue_pending(caller.actor, pending, known))


def _require_manager(caller: Caller, denials: Denials) -> None:
    """Let pass who may look at a person's choices.

    :raises NotPermittedError: nobody else; the refusal is recorded.
    """
    allowed = caller.principal.may_state(PURPOSE) if caller.source is None else caller.source.links
    if not allowed:
        denials.record(caller.actor, "preferences.links", "preferences")
        raise noted(
            NotPermittedError(
                "a manage link shows one person's choices: it is made for officers whose key carries the "
                "purpose `rights`, and for sources made with `links`"
            )
        )


def require_sender(caller: Caller, denials: Denials, action: str) -> None:
    """Let server sources and officers pass: they send what they get to the address that it is for.

    :raises NotPermittedError: a browser's or an import's key; the refusal is recorded.
    """
    if caller.source is not None and caller.source.kind != "server":
        denials.record(caller.actor, action, "preferences")
        raise noted(NotPermittedError("links are made for server sources and officers only"))


HANDLERS = [make_link]
