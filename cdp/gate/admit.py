"""What is refused before anybody's data is looked at: pure.

A refusal has a short, stable reason code for the audit log and an error for the caller. Neither holds
a word of the caller's: names that the bundle does not know are not repeated.
"""

from __future__ import annotations

import msgspec

from cdp.access import Principal
from cdp.clock import Micros, day
from cdp.errors import CdpError, InvalidInputError, NotFoundError, NotPermittedError
from cdp.gate.counts import MARGIN
from cdp.policy import Bundle, Destination, Purpose


class Refusal(msgspec.Struct, frozen=True):
    """Why not."""

    reason: str
    error: CdpError


def admit(
    bundle: Bundle, principal: Principal, destination: str, purpose: str, now: Micros
) -> Refusal | tuple[Destination, Purpose]:
    """Return the destination and purpose when nothing stands against data going there at all."""
    if not purpose:
        return Refusal("no_purpose", InvalidInputError("state a purpose; policies/purposes.yaml lists them"))
    stated = bundle.purposes.get(purpose)
    if stated is None:
        return Refusal(
            "unknown_purpose",
            InvalidInputError("there is no such purpose; policies/purposes.yaml lists those that exist"),
        )
    if not principal.may_state(purpose):
        return Refusal(
            "key_lacks_purpose", NotPermittedError(f"this key may not use data for the purpose {stated.key}")
        )
    target = bundle.destinations.get(destination)
    if target is None:
        return Refusal(
            "unknown_destination",
            NotFoundError("there is no such destination; policies/destinations/ holds those that exist"),
        )
    if principal.destination and principal.destination != target.name:
        return Refusal("other_destination", NotPermittedError("this key belongs to another destination"))
    return barred(target, stated, now) or (target, stated)


def barred(target: Destination, stated: Purpose, now: Micros) -> Refusal | None:
    """Return what stands against anybody's data going to ``target`` for a purpose; None for nothing."""
    refusal = _closed(target, now)
    if refusal is None and stated.key not in target.purposes:
        refusal = Refusal(
            "purpose_not_for_destination",
            NotPermittedError(f"the destination {target.name} may not receive data for {stated.key}"),
        )
    return refusal


def _closed(destination: Destination, now: Micros) -> Refusal | None:
    if not destination.enabled:
        return Refusal(
            "destination_off", NotPermittedError(f"the destination {destination.name} is switched off")
        )
    if destination.contract_ended(day(now)):
        return Refusal(
            "contract_expired",
            NotPermittedError(f"the contract with the destination {destination.name} has expired"),
        )
    return None


def too_few(destination: Destination) -> Refusal:
    """Return the refusal of an audience under the destination's minimum: one text, however far under it."""
    return Refusal(
        "minimum_audience",
        NotPermittedError(
            f"too few people may be released to {destination.name}: its minimum audience is "
            f"{destination.minimum_audience}, and {MARGIN} more for a key that sees counts with noise; "
            "a dry run names how many were withheld and why"
        ),
    )


def unread_inputs(categories: frozenset[str]) -> Refusal:
    """Return the refusal of a definition that reads what no rule lists."""
    return Refusal(
        "input_not_permitted",
        NotPermittedError(
            f"the segment's definition reads {', '.join(sorted(categories))}, which no rule lists under "
            "inputs for this purpose and destination; take it out of the definition or have the rule list it"
        ),
    )
