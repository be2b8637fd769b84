"""The folder of policies beside those in force: it is the candidate, and nothing else reads it."""

from __future__ import annotations

import structlog

from cdp import policy
from cdp.errors import PolicyError
from cdp.policy import Bundle
from cdp.settings import Settings

log = structlog.get_logger()


def compare_folder(settings: Settings, bundle: Bundle) -> None:
    """Log when the folder is not what is in force: it is the candidate, and nothing else reads it."""
    try:
        candidate = policy.digest(policy.read_folder(settings.policies_dir))
    except PolicyError:
        candidate = ""
    if candidate != bundle.sha256:
        log.warning(
            "the policies folder is not what is in force; `cdp policy activate` proposes it",
            in_force=bundle.sha256[:12],
            folder=candidate[:12],
        )
