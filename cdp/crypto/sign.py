"""Signatures: Ed25519 (RFC 8032) by default, RSA with a certificate where a standard asks for it.

The second kind is PKCS #1 v1.5 with SHA-256 (RFC 8017, 8.2; FIPS 186-4) under the key of a certificate.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cdp.errors import ConfigurationError

MIN_RSA_BITS = 2048


class Signer:
    """Signs with one Ed25519 key; it cannot print itself.

    :param seed: the 32-byte private key (``Keyring.secret("audit-signing")``).
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        """The 32-byte public key."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of ``message``."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return "<signer>"


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether ``signature`` is one of ``message`` under a 32-byte Ed25519 public key."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


class CertifiedSigner:
    """Signs with the RSA key of a certificate; it cannot print itself.

    :param certificate: PEM, the signer's own first, then those that it was issued under.
    :param key: its private key, PEM without a passphrase.
    :raises ConfigurationError: one of them cannot be read, they do not belong together, or the key is no RSA
        key of at least 2048 bits.
    """

    def __init__(self, certificate: bytes, key: bytes) -> None:
        try:
            own = x509.load_pem_x509_certificates(certificate)[0]
            private = load_pem_private_key(key, password=None)
        except (ValueError, TypeError):
            raise ConfigurationError("the certificate or its key is no PEM without a passphrase") from None
        if not isinstance(private, RSAPrivateKey) or private.key_size < MIN_RSA_BITS:
            raise ConfigurationError(f"the certificate has no RSA key of {MIN_RSA_BITS} bits or more")
        if own.public_key() != private.public_key():
            raise ConfigurationError("the certificate and the private key do not belong together")
        self._key = private
        self.certificate = certificate
        """The chain, PEM."""
        self._domains = frozenset(_domains(own))

    def is_for(self, domain: str) -> bool:
        """Tell whether the certificate was issued for a domain, given in lower case; wildcards count."""
        return not self._domains.isdisjoint({domain, "*." + domain.partition(".")[2]})

    def sign(self, message: bytes) -> bytes:
        """Return the signature of ``message``: as long as the key."""
        return self._key.sign(message, PKCS1v15(), SHA256())

    def __repr__(self) -> str:
        return "<certified signer>"


def verify_certified(key: RSAPublicKey, message: bytes, signature: bytes) -> bool:
    """Tell whether ``signature`` is one of ``message`` under the key of a certificate."""
    try:
        key.verify(signature, message, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _domains(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
