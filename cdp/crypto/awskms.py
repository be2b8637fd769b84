"""The root key in AWS KMS: ``Encrypt`` and ``Decrypt`` of a symmetric key (KMS API 2014-11-01).

The context goes along as ``EncryptionContext``, which KMS authenticates and CloudTrail shows; it names
workspace, KEK version or secret, never a person. ``Decrypt`` names the key too, so that a ciphertext of
another key is refused. Credentials, region and endpoint come from where the AWS tools take them
(``AWS_PROFILE``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``…); the region of an ARN goes first.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from cdp.crypto.remote import Patience, RemoteKeyProvider, again
from cdp.errors import ConfigurationError, KeyAccessError

_REFUSED = {
    "AccessDeniedException": "refuses these credentials; they need kms:Encrypt and kms:Decrypt",
    "DisabledException": "has the key disabled; enable it",
    "ExpiredTokenException": "refuses credentials that have expired",
    "IncorrectKeyException": "did not wrap this; check the key in CDP_KEYS",
    "InvalidCiphertextException": "did not wrap this, or it was wrapped for another context",
    "InvalidGrantTokenException": "refuses the grant",
    "InvalidKeyUsageException": "has a key of another usage; it must be ENCRYPT_DECRYPT",
    "InvalidSignatureException": "refuses the signature of the credentials",
    "KMSInvalidStateException": "has the key in a state that cannot be used, perhaps pending deletion",
    "NotFoundException": "has no such key; check CDP_KEYS and the region",
    "UnrecognizedClientException": "does not know these credentials",
    "ValidationException": "cannot take this request",
}


class AwsKmsKeyProvider(RemoteKeyProvider):
    """Wraps with ``Encrypt`` and unwraps with ``Decrypt``.

    :param key: the key's ARN or id, or ``alias/NAME``.
    :raises ConfigurationError: no region is known.
    """

    def __init__(self, key: str, patience: Patience | None = None) -> None:
        patience = patience or Patience()
        super().__init__(f"AWS KMS {key}", patience)
        self._key = key
        parts = key.split(":")
        region = parts[3] if key.startswith("arn:") and len(parts) > 3 else os.environ.get("AWS_REGION")
        config = Config(
            connect_timeout=patience.attempt_s,
            read_timeout=patience.attempt_s,
            retries={"total_max_attempts": 1},  # asking again is ours, within one total
        )
        try:
            self._client: Any = boto3.client("kms", region_name=region, config=config)
        except NoRegionError:
            raise ConfigurationError(
                "AWS KMS: no region; name the key by its ARN or set AWS_REGION"
            ) from None

    def _encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        answer = self._once(
            lambda: self._client.encrypt(
                KeyId=self._key, Plaintext=plaintext, EncryptionContext=_context(context)
            )
        )
        return _field(answer, "CiphertextBlob")

    def _decrypt(self, ciphertext: bytes, context: bytes) -> bytes:
        answer = self._once(
            lambda: self._client.decrypt(
                KeyId=self._key, CiphertextBlob=ciphertext, EncryptionContext=_context(context)
            )
        )
        return _field(answer, "Plaintext")

    def _once(self, request: Callable[[], Any]) -> Any:
        try:
            return request()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _REFUSED:
                raise KeyAccessError(f"{self.describe()} {_REFUSED[code]}") from None
            raise again("throttles requests" if "Throttl" in code else "failed") from None
        except NoCredentialsError:
            raise KeyAccessError(f"{self.describe()}: there are no AWS credentials") from None
        except BotoCoreError as error:
            raise again(f"cannot be reached ({type(error).__name__})") from None


def _context(context: bytes) -> dict[str, str]:
    return {"cdp": base64.b64encode(context).decode()}


def _field(answer: Any, name: str) -> bytes:
    """Return a blob of the answer; empty where there is none."""
    value = answer.get(name) if isinstance(answer, dict) else None
    return value if isinstance(value, bytes) else b""
