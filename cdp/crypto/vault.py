"""The root key in HashiCorp Vault or OpenBao: the Transit secrets engine (HTTP API v1).

The transit key must be of an authenticated type (``aes256-gcm96`` or ``chacha20-poly1305``), because the
context is sent as ``associated_data``. The token is ``VAULT_TOKEN``, else the content of the file that
``VAULT_TOKEN_FILE`` names, else of ``~/.vault-token``; a file is read at each request, so that an agent
may renew it. ``VAULT_NAMESPACE`` and ``VAULT_CACERT`` count as for Vault's own tools.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hvac
from hvac import exceptions

from cdp.crypto.remote import Patience, RemoteKeyProvider, again
from cdp.errors import ConfigurationError, KeyAccessError

_LOCAL = {"127.0.0.1", "::1", "localhost"}
_BUSY: dict[type[Exception], str] = {
    exceptions.VaultDown: "is sealed or down (503); unseal it",
    exceptions.RateLimitExceeded: "throttles requests (429)",
    exceptions.InternalServerError: "failed (500)",
    exceptions.BadGateway: "failed (502)",
    exceptions.PreconditionFailed: "has not caught up yet (412)",
}
_REFUSED: dict[type[Exception], str] = {
    exceptions.Unauthorized: "refuses the token (401); renew it",
    exceptions.Forbidden: "refuses the token (403); its policy must allow update on encrypt/ and decrypt/",
    exceptions.InvalidPath: "has no such transit key (404); check mount and name in CDP_KEYS",
    exceptions.InvalidRequest: "cannot open or wrap this (400): it was wrapped elsewhere or for another "
    "context, its key version was removed, or the transit key is of no authenticated type",
    exceptions.VaultNotInitialized: "is not initialised (501)",
}


class VaultKeyProvider(RemoteKeyProvider):
    """Wraps with ``POST /v1/MOUNT/encrypt/KEY`` and unwraps with ``POST /v1/MOUNT/decrypt/KEY``.

    :param place: ``https://HOST:PORT/MOUNT/KEY``; plain ``http`` only to this machine.
    :raises ConfigurationError: the place cannot be understood, or there is no token.
    """

    def __init__(self, place: str, patience: Patience | None = None) -> None:
        url = urlsplit(place)
        mount, _, self._key = url.path.strip("/").rpartition("/")
        if url.scheme not in {"http", "https"} or not url.hostname or not mount or not self._key:
            raise ConfigurationError("CDP_KEYS must be vault:https://HOST:PORT/MOUNT/KEY")
        if url.scheme == "http" and url.hostname not in _LOCAL:
            raise ConfigurationError("CDP_KEYS: Vault is asked over https only; http is for this machine")
        if "@" in url.netloc:
            raise ConfigurationError("CDP_KEYS: no credentials in the address; set VAULT_TOKEN")
        patience = patience or Patience()
        super().__init__(f"Vault {url.netloc} {mount}/{self._key}", patience)
        self._mount = mount
        self._client = hvac.Client(
            url=f"{url.scheme}://{url.netloc}",
            token=_token(),
            timeout=patience.attempt_s,
            allow_redirects=False,
            namespace=os.environ.get("VAULT_NAMESPACE"),
        )

    def _encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        transit = self._client.secrets.transit
        answer = self._once(
            lambda: transit.encrypt_data(
                self._key, _text(plaintext), mount_point=self._mount, associated_data=_text(context)
            )
        )
        ciphertext = _field(answer, "ciphertext")
        if not ciphertext.startswith("vault:"):
            raise KeyAccessError(f"{self.describe()} answered no ciphertext")
        return ciphertext.encode()

    def _decrypt(self, ciphertext: bytes, context: bytes) -> bytes:
        transit = self._client.secrets.transit
        answer = self._once(
            lambda: transit.decrypt_data(
                self._key,
                ciphertext.decode("ascii", "replace"),
                mount_point=self._mount,
                associated_data=_text(context),
            )
        )
        try:
            return base64.b64decode(_field(answer, "plaintext"), validate=True)
        except (binascii.Error, ValueError):
            raise KeyAccessError(f"{self.describe()} answered no plaintext") from None

    def _once(self, request: Callable[[], Any]) -> Any:
        self._client.token = _token()
        try:
            return request()
        except tuple(_BUSY) as error:
            raise again(_BUSY[type(error)]) from None
        except tuple(_REFUSED) as error:
            raise KeyAccessError(f"{self.describe()} {_REFUSED[type(error)]}") from None
        except exceptions.VaultError as error:
            raise again(f"failed ({type(error).__name__})") from None
        except OSError as error:  # as every error of the HTTP library is
            raise again(f"cannot be reached ({type(error).__name__})") from None


def _token() -> str:
    if token := os.environ.get("VAULT_TOKEN"):
        return token
    path = Path(os.environ.get("VAULT_TOKEN_FILE") or Path.home() / ".vault-token")
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise ConfigurationError(
            "there is no token for Vault: set VAULT_TOKEN, or VAULT_TOKEN_FILE to a file that holds it"
        ) from None


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _field(answer: Any, name: str) -> str:
    """Return a text of the answer's ``data``; empty where there is none."""
    data = answer.get("data") if isinstance(answer, dict) else None
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""
