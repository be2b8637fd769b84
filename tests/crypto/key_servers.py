"""Local servers that speak as Vault's Transit engine and AWS KMS do, and can be made to fail and to lie.

Written after the HTTP API of Vault (Transit secrets engine) and the JSON 1.1 protocol of KMS
(``X-Amz-Target: TrentService.*``), with their own words for errors.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.local"
ARN = "arn:aws:kms:eu-central-1:111122223333:key/0d9f6c1e-1111-4222-8333-444455556666"
Answer = tuple[int, dict[str, Any]]


class KeyServer(ABC):
    """One service with one root key, on a free port of this machine.

    :ivar errors: what it answers to the next requests instead of working.
    :ivar lie: applied to each plaintext that it gives back.
    :ivar garble: applied to each ciphertext that it gives out.
    :ivar raw: bytes that it answers, with status 200, whatever was asked.
    :ivar pause_s: seconds before it answers.
    :ivar trickle_s: seconds between two bytes of its answer.
    """

    content_type: ClassVar[str] = "application/json"

    def __init__(self) -> None:
        self.errors: deque[Answer] = deque()
        self.lie: Callable[[bytes], bytes] | None = None
        self.garble: Callable[[bytes], bytes] | None = None
        self.raw: bytes | None = None
        self.pause_s = self.trickle_s = 0.0
        self.asked: list[str] = []
        self.seen: list[bytes] = []
        self._root = AESGCM(os.urandom(32))
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service.handle(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.port = int(self._http.server_address[1])
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        time.sleep(self.pause_s)
        status, answer = self.errors.popleft() if self.errors else self.answer(request, json.loads(body))
        content = self.raw if self.raw is not None and status == 200 else json.dumps(answer).encode()
        try:
            request.send_response(status)
            request.send_header("Content-Type", self.content_type)
            request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            for byte in range(len(content)) if self.trickle_s else ():
                request.wfile.write(content[byte : byte + 1])
                request.wfile.flush()
                time.sleep(self.trickle_s)
            if not self.trickle_s:
                request.wfile.write(content)
        except OSError:
            request.close_connection = True  # the client has given up

    @abstractmethod
    def answer(self, request: BaseHTTPRequestHandler, body: Any) -> Answer:
        """Return (status, body) to a request that no fault was set for."""

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        self.seen.append(plaintext)
        nonce = os.urandom(12)
        made = nonce + self._root.encrypt(nonce, plaintext, context)
        return self.garble(made) if self.garble else made

    def decrypt(self, ciphertext: bytes, context: bytes) -> bytes:
        plaintext = self._root.decrypt(ciphertext[:12], ciphertext[12:], context)
        return self.lie(plaintext) if self.lie else plaintext


class VaultServer(KeyServer):
    """Transit at ``transit/``, with one ``aes256-gcm96`` key named ``cdp``."""

    def answer(self, request: BaseHTTPRequestHandler, body: Any) -> Answer:
        *_, operation, key = request.path.split("/")
        self.asked.append(operation)
        if request.headers.get("X-Vault-Token") != TOKEN:
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
        if not request.path.startswith("/v1/transit/"):
            return 404, {"errors": [f"no handler for route {request.path[4:]!r}"]}
        if key != "cdp":
            return 400, {"errors": ["encryption key not found"]}
        return self._transit(operation, body)

    def _transit(self, operation: str, body: Any) -> Answer:
        context = base64.b64decode(body.get("associated_data", ""))
        if operation == "encrypt":
            made = self.encrypt(base64.b64decode(body["plaintext"]), context)
            return self._data({"ciphertext": "vault:v1:" + base64.b64encode(made).decode(), "key_version": 1})
        version, _, text = body["ciphertext"].removeprefix("vault:").partition(":")
        if version != "v1":
            return 400, {"errors": ["invalid ciphertext: no prefix"]}
        try:
            opened = self.decrypt(base64.b64decode(text), context)
        except (InvalidTag, ValueError):
            return 400, {"errors": ["cipher: message authentication failed"]}
        return self._data({"plaintext": base64.b64encode(opened).decode()})

    @staticmethod
    def _data(data: dict[str, Any]) -> Answer:
        return 200, {
            "request_id": "7f9e7a5e-0000-4000-8000-000000000000",
            "lease_id": "",
            "renewable": False,
            "lease_duration": 0,
            "data": data,
            "wrap_info": None,
            "warnings": None,
            "auth": None,
        }


class KmsServer(KeyServer):
    """One symmetric key, known by its ARN, its id and ``alias/cdp``."""

    content_type = "application/x-amz-json-1.1"

    def answer(self, request: BaseHTTPRequestHandler, body: Any) -> Answer:
        operation = request.headers["X-Amz-Target"].removeprefix("TrentService.")
        self.asked.append(operation.lower())
        if not request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
            return 400, {"__type": "MissingAuthenticationTokenException", "message": "no signature"}
        if body.get("KeyId") not in {ARN, ARN.rpartition("/")[2], "alias/cdp"}:
            return 400, {"__type": "NotFoundException", "message": f"Alias {body.get('KeyId')} is not found."}
        context = json.dumps(body.get("EncryptionContext", {}), sort_keys=True).encode()
        named = {"KeyId": ARN, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
        if operation == "Encrypt":
            made = self.encrypt(base64.b64decode(body["Plaintext"]), context)
            return 200, {**named, "CiphertextBlob": base64.b64encode(made).decode()}
        try:
            opened = self.decrypt(base64.b64decode(body["CiphertextBlob"]), context)
        except (InvalidTag, ValueError):
            return 400, {"__type": "InvalidCiphertextException"}
        return 200, {**named, "Plaintext": base64.b64encode(opened).decode()}


def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what the clients take from the environment."""
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
