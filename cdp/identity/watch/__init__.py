"""What stewards look at: pairs that the rules keep apart, and profiles that grew."""

from cdp.identity.watch.queries import SetAside, large, set_aside

__all__ = ["SetAside", "large", "set_aside"]
