"""Pages that the server renders itself. The preference page: a person's own choices, without an account."""

from cdp.console.confirmation import Confirmations
from cdp.console.pages import Site, router
from cdp.console.preferences import PreferencePage

__all__ = ["Confirmations", "PreferencePage", "Site", "router"]
