"""The primitives, in the form in which we use them, against C2SP's Wycheproof vectors."""

from __future__ import annotations

import gzip
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cdp.audit.verify import verify_ed25519
from cdp.crypto import verify_signature


def vectors(shared: Path, name: str, *, expected: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (group, test) of a file that must hold ``expected`` tests."""
    path = shared / "vectors" / "wycheproof" / f"{name}_test.json.gz"
    document = json.loads(gzip.decompress(path.read_bytes()))
    pairs = [(group, test) for group in document["testGroups"] for test in group["tests"]]
    assert len(pairs) == document["numberOfTests"] == expected
    assert {test["result"] for _, test in pairs} == {"valid", "invalid"}
    yield from pairs


def raw(test: dict[str, Any], *names: str) -> list[bytes]:
    """Return the hex fields of a test as bytes."""
    return [bytes.fromhex(test[name]) for name in names]


@pytest.mark.parametrize(
    ("name", "cipher", "expected"), [("aes_gcm", AESGCM, 316), ("aes_gcm_siv", AESGCMSIV, 202)]
)
def test_authenticated_encryption(
    shared: Path, name: str, cipher: type[AESGCM | AESGCMSIV], expected: int
) -> None:
    ran = 0
    for group, test in vectors(shared, name, expected=expected):
        if group["ivSize"] != 96:
            continue  # every nonce of ours has 96 bits
        ran += 1
        key, nonce, additional, message, text, tag = raw(test, "key", "iv", "aad", "msg", "ct", "tag")
        tool = cipher(key)
        try:
            opened: bytes | None = tool.decrypt(nonce, text + tag, additional)
        except InvalidTag:
            opened = None
        if test["result"] == "valid":
            assert opened == message, test["tcId"]
            assert tool.encrypt(nonce, message, additional) == text + tag, test["tcId"]
        else:
            assert opened is None, test["tcId"]
    assert ran > 150


def test_hkdf_sha256(shared: Path) -> None:
    for _, test in vectors(shared, "hkdf_sha256", expected=86):
        material, salt, info, output = raw(test, "ikm", "salt", "info", "okm")
        if test["result"] == "valid":
            assert HKDF(SHA256(), test["size"], salt, info).derive(material) == output, test["tcId"]
        else:
            with pytest.raises(ValueError, match="larger"):
                HKDF(SHA256(), test["size"], salt, info)


def test_hmac_sha256(shared: Path) -> None:
    for group, test in vectors(shared, "hmac_sha256", expected=174):
        key, message, tag = raw(test, "key", "msg", "tag")
        made = hmac.digest(key, message, "sha256")[: group["tagSize"] // 8]
        assert hmac.compare_digest(made, tag) == (test["result"] == "valid"), test["tcId"]


def test_ed25519(shared: Path) -> None:
    for group, test in vectors(shared, "ed25519", expected=151):
        message, signature = raw(test, "msg", "sig")
        key = bytes.fromhex(group["publicKey"]["pk"])
        for check in (verify_signature, verify_ed25519):  # the product's, and the offline verifier's own
            assert check(key, message, signature) == (test["result"] == "valid"), test["tcId"]
