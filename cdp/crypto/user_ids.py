"""Signed user ids: how a browser's message proves whose it is (HMAC identity verification).

The site's own server, which knows who is logged in, computes ``HMAC-SHA-256(secret, user id)`` in
lower-case hex, as Intercom's and others' identity verification do; the key is the text of the secret, the
message is the user id as it stands in ``userId``, both in UTF-8. The page sends it along as
``context.userIdSignature``.

A source's secret is derived from a root of the workspace, the source and a version number. So nothing has
to be stored but the number, a new number is a new secret, and it can be shown when it is made.
"""

from __future__ import annotations

import hmac
from functools import cache

from cdp.crypto.blind import derive


class UserIdSignatures:
    """Makes sources' signing secrets and checks signatures under them.

    :param root: a 32-byte secret of the workspace (``Keyring.secret("user-id-signing")``).
    """

    def __init__(self, root: bytes) -> None:
        self._secret = cache(
            lambda source_id, version: derive(
                root, b"cdp/user-id/v1", source_id.to_bytes(8), version.to_bytes(8)
            ).hex()
        )

    def secret(self, source_id: int, version: int) -> str:
        """Return the secret of a source as its site is given it: 64 hex digits."""
        return self._secret(source_id, version)

    def verify(self, source_id: int, version: int, user_id: str, signature: str) -> bool:
        """True when ``signature`` is the one of ``user_id``; takes as long for a wrong one."""
        key = self._secret(source_id, version).encode()
        expected = hmac.new(key, user_id.encode(errors="surrogatepass"), "sha256").hexdigest()
        return hmac.compare_digest(expected.encode(), signature.lower().encode(errors="surrogatepass"))

    def __repr__(self) -> str:
        return "<user id signatures>"
