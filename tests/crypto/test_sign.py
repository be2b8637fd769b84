"""Ed25519 (RFC 8032 section 7.1)."""

from __future__ import annotations

import pytest

from cdp.crypto import Signer, verify_signature

RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_the_vectors_of_the_rfc(seed: str, public: str, message: str, signature: str) -> None:
    signer = Signer(bytes.fromhex(seed))
    assert signer.public_key.hex() == public
    assert signer.sign(bytes.fromhex(message)).hex() == signature
    assert verify_signature(signer.public_key, bytes.fromhex(message), bytes.fromhex(signature))


def test_a_signature_of_something_else_is_refused() -> None:
    signer, other = Signer(b"\x01" * 32), Signer(b"\x02" * 32)
    signature = signer.sign(b"message")
    assert not verify_signature(signer.public_key, b"massage", signature)
    assert not verify_signature(other.public_key, b"message", signature)
    assert not verify_signature(signer.public_key, b"message", signature[:-1])
    assert not verify_signature(signer.public_key, b"message", b"")
    assert not verify_signature(b"short", b"message", signature)


def test_a_signer_cannot_print_itself() -> None:
    assert repr(Signer(b"\x01" * 32)) == str(Signer(b"\x01" * 32)) == "<signer>"


def test_a_seed_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32"):
        Signer(b"\x01" * 31)
