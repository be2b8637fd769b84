"""Where the root key lives: one narrow protocol, the file provider, and the choice among providers.

A provider wraps and unwraps a few short secrets (the KEKs and the workspace's named secrets); it
never sees a DEK or a field. What it answers is believed only after the caller has compared it with the
commitment beside the wrapped secret (``cdp/crypto/kek.py``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from cdp.errors import ConfigurationError, KeyAccessError, MissingExtraError
from cdp.store import flush

_ROOT_BYTES = 32


class KeyProvider(Protocol):
    """Wraps short secrets under a root key that never leaves it."""

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Return ``secret`` wrapped for ``context``.

        :raises KeyAccessError: the root cannot be reached, refuses, or answers what does not open again.
        """
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the secret.

        :raises KeyAccessError: the root cannot be reached, refuses, or is not the one that wrapped it.
        """
        ...

    def describe(self) -> str:
        """Return kind and place of the root for people, without anything secret."""
        ...


class FileKeyProvider:
    """The root key in a file of 32 random bytes as hex, readable by its owner only.

    Wrapping is AES-256-GCM-SIV (RFC 8452) with ``context`` as additional data.

    :raises ConfigurationError: the file is absent or does not hold a key.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            root = bytes.fromhex(path.read_text(encoding="ascii").strip())
        except FileNotFoundError:
            raise ConfigurationError(
                f"the key file {path} is missing; restore it from its backup "
                "(a new one cannot open what the old one sealed), or run `cdp init` in an empty folder"
            ) from None
        except (OSError, ValueError):
            raise ConfigurationError(f"the key file {path} cannot be read as a key") from None
        if len(root) != _ROOT_BYTES:
            raise ConfigurationError(f"the key file {path} does not hold 32 bytes of hex")
        self._cipher = AESGCMSIV(root)

    @staticmethod
    def create(path: Path) -> FileKeyProvider:
        """Make a new root key; an existing file is never overwritten."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(os.urandom(_ROOT_BYTES).hex() + "\n")
        return FileKeyProvider.kept(path)

    @staticmethod
    def kept(path: Path) -> FileKeyProvider:
        """Open a root key that is on the disk for good, whoever wrote it: nothing outlives its root."""
        made = FileKeyProvider(path)
        flush(path)
        flush(path.parent)
        return made

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Return ``nonce(12) | ciphertext``."""
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, secret, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the secret."""
        try:
            return self._cipher.decrypt(wrapped[:12], wrapped[12:], context)
        except (InvalidTag, ValueError):
            raise KeyAccessError(
                f"the key file {self.path} is not the one that wrapped this workspace's keys, or their row "
                "in the key database was altered; put the right key file and key database back "
                "(after `cdp keys move`: let CDP_KEYS name the root that they lie under now)"
            ) from None

    def describe(self) -> str:
        """Return the file's path."""
        return f"file {self.path}"


def open_provider(spec: str) -> KeyProvider:
    """Open the provider that ``CDP_KEYS`` names; its library is imported only when it is chosen.

    :param spec: ``file:PATH``, ``vault:https://HOST:PORT/MOUNT/KEY`` or ``awskms:ARN-OR-ALIAS``.
    :raises ConfigurationError: the kind is unknown, or its key cannot be read.
    :raises MissingExtraError: the provider's library is not installed.
    """
    kind, _, place = spec.partition(":")
    if kind == "file" and place:
        return FileKeyProvider(Path(place))
    if kind == "vault" and place:
        return _vault(place)
    if kind == "awskms" and place:
        return _aws(place)
    raise ConfigurationError(
        "CDP_KEYS must be file:PATH, vault:https://HOST:PORT/MOUNT/KEY or awskms:ARN-OR-ALIAS"
    )


def _vault(place: str) -> KeyProvider:
    try:
        from cdp.crypto.vault import VaultKeyProvider  # noqa: PLC0415  # an extra, needed only when chosen
    except ModuleNotFoundError as error:
        raise MissingExtraError("vault", "a root key in Vault") from error
    return VaultKeyProvider(place)


def _aws(place: str) -> KeyProvider:
    try:
        from cdp.crypto.awskms import AwsKmsKeyProvider  # noqa: PLC0415  # an extra, needed only when chosen
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "a root key in AWS KMS") from error
    return AwsKmsKeyProvider(place)
