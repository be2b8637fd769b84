"""Identifiers as a person recognises their own: what a portrait shows of sealed values.

Invariants: a mask is the most that is ever made here, whatever the policies permit; what they do not let be
masked is absent. Values are opened in memory, for the profile that was decided about, and none is kept.
"""

from __future__ import annotations

from collections.abc import Collection

from cdp.crypto import Keyring
from cdp.gate.inside import CONTROLLER, View
from cdp.gate.opening import Opener
from cdp.gate.transform import REF, pseudonymiser
from cdp.store import Connection, read_head

Held = tuple[int, str, bytes]
"""An identifier: identity_no, type, sealed value."""


class Masker:
    """Opens identifiers and masks them."""

    def __init__(self, keyring: Keyring, opener: Opener) -> None:
        self._keyring = keyring
        self._opener = opener

    def __call__(
        self, connection: Connection, view: View, profile_no: int, held: Collection[Held]
    ) -> tuple[str, dict[int, str]]:
        """Return the profile's reference at the controller, and identity_no → mask where there may be one.

        :param view: what may be shown of the profile.
        :param held: identifiers of the profile.
        """
        self._keyring.observe_epoch(read_head(connection)[1])
        secrets = self._keyring.pseudonym_secrets([profile_no])
        if not secrets:
            return "", {}
        masks = {number: mask for number, kind, _ in held if (mask := view.mask(kind)) is not None}
        opened = self._opener.identifiers(row for row in held if row[0] in masks)
        shown = {no: masks[no](value) for no, value in opened.items() if isinstance(value, str)}
        made = {no: mask for no, mask in shown.items() if isinstance(mask, str)}
        reference = pseudonymiser(self._keyring.destination_key(CONTROLLER), REF)(secrets[profile_no])
        return reference, made
