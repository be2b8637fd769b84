"""A witness as C2SP tlog-witness describes it, strict, over https under an authority of its own.

It is written from the specification and shares nothing with what asks it: it parses what it gets by itself,
holds the newest checkpoint that it signed, and verifies the consistency proof by its own means before it
signs another.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

NAME = "witness.example"
_SIGNATURE = re.compile("\N{EM DASH} ([^ \n]+) ([A-Za-z0-9+/=]+)")


Answer = tuple[int, str, bytes]
"""Status, content type, body."""


class WitnessServer:
    """What the witness knows, and what a test has it do instead.

    :param log_key: verifier key of the only log that it knows: ``name+id+base64``.
    """

    def __init__(self, log_key: str) -> None:
        self.origin, _, rest = log_key.partition("+")
        self._log_id, _, encoded = rest.partition("+")
        self._log = Ed25519PublicKey.from_public_bytes(b64decode(encoded)[1:])
        self._key = Ed25519PrivateKey.from_private_bytes(b"\x55" * 32)
        self.held: tuple[int, bytes] = (0, sha256().digest())
        self.asked: list[int] = []  # what was given as the old size
        self.instead: Answer | None = None
        self.seconds = 0.0
        self.now = 1_767_225_600
        self.url = ""
        self.ca = Path()

    @property
    def key(self) -> str:
        """The key under which it cosigns, as it is pinned."""
        kind = b"\x04" + self._key.public_key().public_bytes_raw()
        key_id = sha256(NAME.encode() + b"\n" + kind).digest()[:4]
        return f"{NAME}+{key_id.hex()}+{b64encode(kind).decode()}"

    def answer(self, body: str) -> Answer:
        """Return status, content type and body for one ``add-checkpoint``."""
        text, old, proof, refused = self._read(body)
        if refused is not None:
            return refused
        size, root = int(text.split("\n")[1]), b64decode(text.split("\n")[2], validate=True)
        if old > size:
            return 400, "text/plain", b"old is larger"
        if old != self.held[0]:
            return 409, "text/x.tlog.size", f"{self.held[0]}\n".encode()
        if not consistent(old, size, self.held[1], root, proof):
            return 422, "text/plain", b"inconsistent"
        self.held = size, root
        return 200, "text/plain", self.cosign(text).encode()

    def _read(self, body: str) -> tuple[str, int, list[bytes], Answer | None]:
        """Return the checkpoint's text, the old size, the proof, or what is refused of them."""
        head, _, note = body.partition("\n\n")
        first, *proof = head.split("\n")
        if not re.fullmatch("old (0|[1-9][0-9]*)", first) or len(proof) > 63:
            return "", 0, [], (400, "text/plain", b"malformed")
        old = int(first.removeprefix("old "))
        self.asked.append(old)
        text, _, signatures = note.rpartition("\n\n")
        text += "\n"
        refused: Answer | None = None
        if text.split("\n")[0] != self.origin:
            refused = 404, "text/plain", b"unknown origin"
        elif not self._signed(text, signatures):
            refused = 403, "text/plain", b"not signed"
        return text, old, [b64decode(line, validate=True) for line in proof], refused

    def cosign(self, text: str) -> str:
        """Return a cosignature line (``cosignature/v1``)."""
        signed = f"cosignature/v1\ntime {self.now}\n{text}".encode()
        raw = bytes.fromhex(self.key.split("+")[1]) + self.now.to_bytes(8) + self._key.sign(signed)
        return f"\N{EM DASH} {NAME} {b64encode(raw).decode()}\n"

    def _signed(self, text: str, signatures: str) -> bool:
        for line in signatures.rstrip("\n").split("\n"):
            found = _SIGNATURE.fullmatch(line)
            raw = b64decode(found[2], validate=True) if found else b""
            if found and found[1] == self.origin and raw[:4].hex() == self._log_id:
                try:
                    self._log.verify(raw[4:], text.encode())
                except InvalidSignature:
                    return False
                return True
        return False


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: list[bytes]) -> bool:
    """RFC 9162 section 2.1.4.2, and nothing to prove from the empty tree."""
    if old in (0, new):
        return not proof and (old == 0 or old_root == new_root)
    path = [old_root, *proof] if old & (old - 1) == 0 else proof
    if not proof:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = sha256(b"\x01" + c + fr).digest(), sha256(b"\x01" + c + sr).digest()
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = sha256(b"\x01" + sr + c).digest()
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr, sn) == (old_root, new_root, 0)


@contextmanager
def witnessing(log_key: str, folder: Path) -> Iterator[WitnessServer]:
    """Run a witness on the loopback; its authority's certificate lies in ``folder``."""
    witness = WitnessServer(log_key)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            time.sleep(witness.seconds)
            known = self.path == "/of/ours/add-checkpoint"
            status, kind, content = witness.answer(body) if known else (404, "text/plain", b"")
            status, kind, content = witness.instead or (status, kind, content)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if 300 <= status < 400:
                self.send_header("Location", self.path)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(folder))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    witness.url, witness.ca = f"https://127.0.0.1:{server.server_port}/of/ours", folder / "ca.pem"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield witness
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def certificate(folder: Path) -> Path:
    """Return a file with key and certificate of 127.0.0.1, made by an authority whose own lies beside it."""
    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Plainly Fictional Authority")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)

    def signed(name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
            )
        )
        return made.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / "ca.pem").write_bytes(signed(issuer, authority, ca=True))
    secret = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "witness.pem").write_bytes(secret + signed(subject, own, ca=False))
    return folder / "witness.pem"
