"""Whose certificates are believed: X.509 chains up to an authority (RFC 5280), for one domain (RFC 6125).

Invariants: a certificate counts only with a chain to a trusted authority, at the time asked about, for a
domain that its subject alternative names list; never by itself. Its key is RSA of at least 2048 bits.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from cdp.clock import SECOND, Micros
from cdp.crypto.sign import MIN_RSA_BITS, verify_certified
from cdp.errors import ConfigurationError, NotAuthenticatedError

_MOST = 10  # certificates of one chain


class UntrustedError(NotAuthenticatedError):
    """A certificate, or whoever shows it, is not to be believed."""


class CertifiedKey:
    """The key of a certificate that was believed."""

    def __init__(self, key: RSAPublicKey, until: Micros) -> None:
        self._key = key
        self.until = until
        """When its certificate expires."""

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether ``signature`` is one of ``message``."""
        return verify_certified(self._key, message, signature)


class Authorities:
    """The certificate authorities that are trusted.

    :param file: PEM file of them; None for those of the operating system.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    def context(self) -> ssl.SSLContext:
        """Return what connections are made under, to servers that these authorities vouch for.

        :raises ConfigurationError: the file cannot be read.
        """
        try:
            return ssl.create_default_context(cafile=self._file)
        except (OSError, ssl.SSLError):
            raise ConfigurationError("the file of trusted authorities cannot be read") from None

    def believe(self, chain: bytes, domain: str, at: Micros) -> CertifiedKey:
        """Return the key of a certificate, once all of it is checked.

        :param chain: PEM, the certificate first, then those that it was issued under.
        :raises UntrustedError: it cannot be read, or is not to be believed.
        :raises ConfigurationError: the trusted authorities cannot be read.
        """
        try:
            own, *issuers = x509.load_pem_x509_certificates(chain)
            subject = x509.DNSName(domain)
        except ValueError:
            raise UntrustedError("the certificate cannot be read, or its domain is none") from None
        if len(issuers) > _MOST:
            raise UntrustedError("the chain of the certificate is too long")
        trusted = PolicyBuilder().store(self._store).time(datetime.fromtimestamp(at // SECOND, UTC))
        try:
            trusted.build_server_verifier(subject).verify(own, issuers)
        except (VerificationError, ValueError):
            raise UntrustedError("no trusted authority vouches for the certificate, here and now") from None
        key = own.public_key()
        if not isinstance(key, RSAPublicKey) or key.key_size < MIN_RSA_BITS:
            raise UntrustedError(f"the certificate has no RSA key of {MIN_RSA_BITS} bits or more")
        return CertifiedKey(key, int(own.not_valid_after_utc.timestamp()) * SECOND)

    @cached_property
    def _store(self) -> Store:
        try:
            if self._file is not None:
                return Store(x509.load_pem_x509_certificates(self._file.read_bytes()))
            return Store(list(_readable(_of_the_system())))
        except (OSError, ValueError):
            raise ConfigurationError("the trusted authorities cannot be read") from None


def _of_the_system() -> set[bytes]:
    """Return the authorities of the operating system, DER; a folder of them is not loaded by itself."""
    context, paths = ssl.create_default_context(), ssl.get_default_verify_paths()
    if not context.get_ca_certs() and paths.capath is not None:
        for file in sorted(Path(paths.capath).glob("*.[0-9]")):
            context.load_verify_locations(cafile=file)
    return set(context.get_ca_certs(binary_form=True))


def _readable(ders: Iterable[bytes]) -> Iterator[x509.Certificate]:
    """Yield those certificates that can be read: an old authority of the system may break today's rules."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for der in ders:
            try:
                yield x509.load_der_x509_certificate(der)
            except (ValueError, Warning):
                continue
