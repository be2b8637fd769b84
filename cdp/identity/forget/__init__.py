"""Identities that are erased: what finds and links them goes first, their own rows last."""

from cdp.identity.forget.queries import created_at, forget_identities, forget_links

__all__ = ["created_at", "forget_identities", "forget_links"]
