"""The judgement of events by a bundle, as every process makes it that prepares them."""

from __future__ import annotations

from cdp.access import AccessService
from cdp.crypto import Keyring, UserIdSignatures
from cdp.identity import Normaliser
from cdp.ingest import Validator
from cdp.policy import Bundle
from cdp.settings import Settings
from cdp.store import Store


def user_id_signatures(keyring: Keyring) -> UserIdSignatures:
    """Return what makes and verifies signatures of user ids."""
    return UserIdSignatures(keyring.secret("user-id-signing"))


def judge_by(
    bundle: Bundle, settings: Settings, keyring: Keyring, normalise: Normaliser, store: Store
) -> Validator:
    """Return what judges events by a bundle."""

    def regions() -> list[str]:
        with store.reading() as connection:
            return AccessService.regions(connection)

    signatures = user_id_signatures(keyring)
    secret = keyring.secret("event-key")
    return Validator(bundle, normalise, secret, settings.max_event_bytes, signatures, regions)
