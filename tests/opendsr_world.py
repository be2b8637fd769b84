"""OpenDSR over real connections: a private authority, TLS on the loopback, names that lead there.

Signatures are checked here by arithmetic alone (RFC 8017, 8.2.2), not by the code that made them.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
FROM, UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2045, 1, 1, tzinfo=UTC)


@cache
def rsa_key(name: str) -> RSAPrivateKey:
    """Return a key of the tests, made once a run."""
    assert name
    return generate_private_key(65537, 2048)


class Authority:
    """A private certificate authority.

    :param name: whose key it has: two of one name are the same to nobody, as they are made anew.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = rsa_key(name)
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Test {name}")])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        public = self._key.public_key()
        made = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(FROM)
            .not_valid_after(UNTIL)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(usage, critical=True)
            .sign(self._key, SHA256())
        )
        self.file = folder / "authority.pem"
        self.file.write_bytes(made.public_bytes(Encoding.PEM))

    def issue(
        self, *domains: str, key: str = "leaf", since: datetime = FROM, until: datetime = UNTIL
    ) -> tuple[Path, Path]:
        """Return the files of a certificate for some domains, and of its key."""
        private = rsa_key(key)
        public = private.public_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domains[0])])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(until)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(one) for one in domains]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, SHA256())
        )
        place = self.folder / f"{domains[0]}-{key}-{made.serial_number:x}"
        certificate, file = place.with_suffix(".pem"), place.with_suffix(".key")
        certificate.write_bytes(made.public_bytes(Encoding.PEM))
        file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, file


def signed_by(certificate: bytes, body: bytes, header: str) -> bool:
    """Tell by arithmetic whether a header is the signature of a body under a PEM certificate."""
    key = x509.load_pem_x509_certificates(certificate)[0].public_key()
    assert isinstance(key, RSAPublicKey)
    public, size = key.public_numbers(), key.key_size // 8
    signature = base64.b64decode(header, validate=True)
    encoded = pow(int.from_bytes(signature), public.e, public.n).to_bytes(size)
    told = _SHA256_INFO + hashlib.sha256(body).digest()
    return encoded == b"\x00\x01" + b"\xff" * (size - len(told) - 3) + b"\x00" + told


class Answer(msgspec.Struct, frozen=True):
    """What a server of the tests answers."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}


Handle = Callable[[str, str, Mapping[str, str], bytes], Answer]
"""(method, path, headers with names in lower case, body) → answer."""


@contextmanager
def serving(handle: Handle, certificate: Path | None = None, key: Path | None = None) -> Iterator[int]:
    """Serve HTTPS on the loopback, or HTTP without a certificate; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            given = {name.lower(): value for name, value in self.headers.items()}
            answer = handle(self.command, self.path, given, body)
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # the names that the server looks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that goes away is part of it
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def lead_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have names in ``.example`` lead to this machine; numbers lead where they say."""

    def answer(name: str, port: int, **_: object) -> list[object]:
        address = "127.0.0.1" if name.endswith("example") else name
        return [(2, 1, 6, "", (address, port))]

    monkeypatch.setattr("cdp.export.addresses.socket.getaddrinfo", answer)


class Processor:
    """A recipient that speaks OpenDSR: strict, and as wrong as a test wants it.

    :param domain: the one that it says to be; ``key`` that it signs with.
    """

    def __init__(self, domain: str, key: RSAPrivateKey, certificate: Path) -> None:
        self.domain = domain
        self.key = key
        self.certificate = certificate.read_bytes()
        self.said_domain = domain
        self.signature = ""
        self.url = ""
        self.certificate_url = ""
        self.calls: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.requests: dict[str, dict[str, Any]] = {}
        self.status = "pending"
        self.fails: list[Answer] = []
        self.spoils: Callable[[bytes], bytes] = bytes
        self.kinds = ["erasure"]

    def signed(self, status: int, said: object) -> Answer:
        """Return an answer, signed; ``spoils`` changes its body after that."""
        body = msgspec.json.encode(said)
        return Answer(status, self.spoils(body), self.headers(body))

    def headers(self, body: bytes) -> dict[str, str]:
        """Return the headers of a body of this processor."""
        told = _SHA256_INFO + hashlib.sha256(body).digest()
        numbers = self.key.private_numbers()
        n, size = numbers.public_numbers.n, self.key.key_size // 8
        padded = b"\x00\x01" + b"\xff" * (size - len(told) - 3) + b"\x00" + told
        signature = pow(int.from_bytes(padded), numbers.d, n).to_bytes(size)
        return {
            "Content-Type": "application/json",
            "X-OpenDSR-Processor-Domain": self.said_domain,
            "X-OpenDSR-Signature": self.signature or base64.b64encode(signature).decode(),
        }

    def __call__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.calls.append((method, path, headers, body))
        if path == "/v2/discovery":
            return self.signed(
                200,
                {
                    "api_version": "2.0",
                    "supported_identities": [
                        {"identity_type": "controller_customer_id", "identity_format": "raw"}
                    ],
                    "supported_subject_request_types": self.kinds,
                    "processor_certificate": self.certificate_url,
                },
            )
        if path == "/v2/certificate.pem":
            return Answer(200, self.certificate)
        if self.fails:
            return self.fails.pop(0)
        if (method, path) == ("POST", "/v2/requests"):
            asked = msgspec.json.decode(body)
            self.requests[asked["subject_request_id"]] = asked
            return self.signed(
                201,
                {
                    "controller_id": "c-1",
                    "expected_completion_time": "2026-03-08T12:00:00Z",
                    "received_time": "2026-03-01T12:00:00Z",
                    "encoded_request": base64.b64encode(body).decode(),
                    "subject_request_id": asked["subject_request_id"],
                },
            )
        number = path.rpartition("/")[2]
        if method == "GET" and number in self.requests:
            return self.signed(200, self.told(number))
        return Answer(404)

    def told(self, number: str, **more: str) -> dict[str, str]:
        """Return where a request stands here."""
        return {
            "controller_id": "c-1",
            "expected_completion_time": "2026-03-08T12:00:00Z",
            "subject_request_id": number,
            "request_status": self.status,
            **more,
        }

    def posted(self) -> list[dict[str, Any]]:
        """Return the requests that were posted, each as often as it was."""
        return [msgspec.json.decode(body) for method, path, _, body in self.calls if method == "POST"]


def days(count: int) -> timedelta:
    """Return so many days."""
    return timedelta(days=count)
