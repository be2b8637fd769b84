"""What is on record about bundles: proposals, activations, switches."""

from __future__ import annotations

from typing import Any

import msgspec

from cdp.clock import Micros


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that an officer wants in force.

    :param base: SHA-256 of the bundle that was in force, with which ``summary`` compares it.
    :param summary: the difference that was shown, in numbers, and what its check had found (``check``).
    """

    proposal_id: str
    sha256: str
    base: str
    proposed_by: str
    proposed_at: Micros
    summary: dict[str, Any]

    def is_named(self, named: str) -> bool:
        """True for the proposal's id and for its bundle's whole SHA-256.

        Some of the digits name nothing: whoever proposes can make two bundles that share those.
        """
        return named == self.proposal_id or named.lower() == self.sha256

    @property
    def failed(self) -> int | None:
        """How many mistakes and failed tests its check named; None when it was made without."""
        return _failed(self.summary)


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle put in force.

    :param proposal_id: empty for one of the system: the first, or one that a new version had to replace.
    :param four_eyes: whether a second officer was asked for.
    """

    activation_no: int
    sha256: str
    proposal_id: str
    proposed_by: str
    proposed_at: Micros
    approved_by: str
    activated_at: Micros
    four_eyes: bool
    summary: dict[str, Any]

    @property
    def failed(self) -> int | None:
        """As of its proposal."""
        return _failed(self.summary)


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """A destination switched off, or on again.

    :param reason: a short code.
    """

    destination: str
    enabled: bool
    reason: str
    switched_by: str
    switched_at: Micros


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on record.

    :param proposals: those that can still be approved, oldest first.
    :param history: activations, newest first.
    :param switches: the newest of each destination that was ever switched, by name.
    """

    four_eyes: bool
    proposals: tuple[Proposal, ...]
    history: tuple[Activation, ...]
    switches: tuple[Switch, ...]


def _failed(summary: dict[str, Any]) -> int | None:
    checked = summary.get("check")
    return None if checked is None else int(checked["failed"])
