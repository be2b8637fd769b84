"""Deciding exports again, from what was recorded and from the facts as they stood then."""
