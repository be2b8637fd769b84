"""Sealed tokens for links that are sent to a person: capabilities that say nothing to anybody else.

Token: base64url, without padding, of ``version(1) | nonce(12) | ciphertext | tag(16)``; AES-256-GCM-SIV
(RFC 8452) under a key derived from the workspace's ``links`` secret, whose additional data bind the
workspace and the *kind*. The clear text is filled up to whole blocks (ISO/IEC 7816-4), so that a link
to somebody known and one to nobody have the same length.

Invariants: a token opens only as the kind that it was made as, and only in the one spelling that was
made; everything else (forged, cut, altered, of another workspace or kind) is the same None, and no
comparison of secrets is ours: the tag is checked in constant time by the library.
"""

from __future__ import annotations

import base64
import binascii
import os
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from cdp.crypto.blind import derive
from cdp.crypto.sealed import pae

VERSION = 1
MAX_TOKEN = 2048
_BLOCK = 64
_NONCE = 12
_SHORTEST = 1 + _NONCE + _BLOCK + 16
_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")


class LinkTokens:
    """Makes and opens the tokens of one workspace.

    :param root: the 32-byte secret named ``links``.
    """

    def __init__(self, root: bytes, workspace: str) -> None:
        self._workspace = workspace.encode()
        self._cipher = AESGCMSIV(derive(root, b"cdp/link/v1", self._workspace))

    def seal(self, kind: str, content: bytes) -> str:
        """Return a token of ``kind`` that holds ``content``."""
        filled = content + b"\x80"
        filled += bytes(-len(filled) % _BLOCK)
        nonce = os.urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, filled, self._context(kind))
        return _text(bytes([VERSION]) + nonce + sealed)

    def open(self, kind: str, token: str) -> bytes | None:
        """Return what a token of ``kind`` holds; None when this workspace made no such token."""
        if len(token) > MAX_TOKEN or not _ALPHABET.fullmatch(token):
            return None
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except binascii.Error:
            return None
        if len(raw) < _SHORTEST or raw[0] != VERSION or _text(raw) != token:
            return None
        try:
            filled = self._cipher.decrypt(raw[1 : 1 + _NONCE], raw[1 + _NONCE :], self._context(kind))
        except InvalidTag:
            return None
        return filled.rstrip(b"\0")[:-1]

    def _context(self, kind: str) -> bytes:
        return pae(b"cdp/link/v1", bytes([VERSION]), self._workspace, kind.encode())


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
