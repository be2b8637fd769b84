"""People who are erased, in what segments and lists keep of them."""

from cdp.segments.forget.queries import forget_listed, forget_members, forget_waiting

__all__ = ["forget_listed", "forget_members", "forget_waiting"]
