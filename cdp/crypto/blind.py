"""Look-up by equality without the value: blind indexes, event keys and opaque profile ids.

Blind index: HMAC-SHA-256 (RFC 2104) under HKDF-SHA-256 (RFC 5869) of (index root, workspace,
identifier type, normaliser version), the first 128 bits kept. Two types, two workspaces or two
normaliser versions never share an index.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from functools import cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cdp.crypto.sealed import pae
from cdp.errors import NotFoundError


def derive(root: bytes, *context: bytes, length: int = 32) -> bytes:
    """Derive a key from ``root`` for one use (HKDF-SHA-256, no salt, info = PAE of ``context``)."""
    return HKDF(SHA256(), length, None, pae(*context)).derive(root)


class BlindIndex:
    """Computes blind indexes for one workspace.

    :param root: the 32-byte index root.
    """

    def __init__(self, root: bytes, workspace: str) -> None:
        self._key = cache(
            lambda kind, version: derive(
                root, b"cdp/blind/v1", workspace.encode(), kind.encode(), b"%d" % version
            )
        )

    def __call__(self, kind: str, value: str, version: int = 1) -> bytes:
        """Return the 16-byte index of a normalised ``value`` of identifier type ``kind``."""
        return hmac.digest(self._key(kind, version), value.encode(), "sha256")[:16]


class ProfileIds:
    """Opaque, stable, unguessable profile ids: one AES block over the identity number.

    :param root: the 32-byte index root (another key is derived from it).
    """

    def __init__(self, root: bytes, workspace: str) -> None:
        key = derive(root, b"cdp/profile-id/v1", workspace.encode())
        # One block of one secret key with a fixed zero half is a pseudorandom permutation with a
        # 64-bit check, which is what an id needs; there is no second block for ECB to betray.
        self._cipher = Cipher(algorithms.AES256(key), modes.ECB())  # noqa: S305  # a single block, see above

    def encode(self, identity_no: int) -> str:
        """Return the id of the profile whose smallest identity is ``identity_no``."""
        encryptor = self._cipher.encryptor()
        block = encryptor.update(bytes(8) + identity_no.to_bytes(8)) + encryptor.finalize()
        return "p_" + base64.b32encode(block).decode().rstrip("=").lower()

    def decode(self, profile_id: str) -> int:
        """Return the identity number in an id.

        :raises NotFoundError: the text is not an id that this workspace made.
        """
        try:
            block = base64.b32decode(profile_id.removeprefix("p_").upper() + "======")
        except (binascii.Error, ValueError):
            block = b""
        if len(block) == 16 and profile_id.startswith("p_"):
            decryptor = self._cipher.decryptor()
            plain = decryptor.update(block) + decryptor.finalize()
            number = int.from_bytes(plain[8:])
            # The last character has bits to spare: only the one spelling that we make is an id.
            if plain[:8] == bytes(8) and self.encode(number) == profile_id:
                return number
        raise NotFoundError("there is no profile with this id")
