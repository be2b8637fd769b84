"""Certificates and the signatures under them: whose word counts, and whose does not."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from opendsr_world import FROM, UNTIL, Authority, days, rsa_key, signed_by

from cdp.clock import micros
from cdp.crypto import Authorities, CertifiedSigner, UntrustedError
from cdp.errors import ConfigurationError

NOW = micros(FROM + days(2251))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_what_is_signed_verifies_and_nothing_else_does(authority: Authority) -> None:
    certificate, key = authority.issue("a.example")
    signer = CertifiedSigner(certificate.read_bytes(), key.read_bytes())
    signature = signer.sign(b"said")
    assert signed_by(signer.certificate, b"said", base64.b64encode(signature).decode())
    believed = Authorities(authority.file).believe(signer.certificate, "a.example", NOW)
    assert believed.verify(b"said", signature)
    assert not believed.verify(b"Said", signature)
    for flip in range(0, len(signature), 17):
        changed = bytearray(signature)
        changed[flip] ^= 1
        assert not believed.verify(b"said", bytes(changed))
    for other in (b"", b"\x00", signature[:-1], signature + b"\x00", b"\xff" * len(signature)):
        assert not believed.verify(b"said", other)
    assert repr(signer) == "<certified signer>"
    assert believed.until == micros(UNTIL)


def test_names_and_wildcards(authority: Authority) -> None:
    certificate, key = authority.issue("*.a.example", "b.example")
    signer = CertifiedSigner(certificate.read_bytes(), key.read_bytes())
    assert [signer.is_for(name) for name in ("x.a.example", "b.example", "a.example", "x.y.a.example")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "case", ["host", "none", "before", "after", "authority", "itself", "long", "garbage", "name", "weak"]
)
def test_what_is_not_vouched_for_is_not_believed(authority: Authority, tmp_path: Path, case: str) -> None:
    trusted, domain, at = Authorities(authority.file), "a.example", NOW
    chain = authority.issue(domain)[0].read_bytes()
    if case == "host":
        domain = "b.example"
    elif case == "before":
        at = micros(FROM - days(1))
    elif case == "after":
        at = micros(UNTIL + days(1))
    elif case == "authority":
        trusted = Authorities(Authority(tmp_path / "other", "stranger").file)
    elif case == "itself":
        chain = authority.file.read_bytes()
    elif case == "long":
        chain += authority.file.read_bytes() * 11
    elif case == "weak":
        chain = _weak(authority)
    else:
        chain = {"none": b"", "garbage": b"-----BEGIN CERTIFICATE-----\n", "name": chain}[case]
        domain = "a..example" if case == "name" else domain
    with pytest.raises(UntrustedError) as caught:
        trusted.believe(chain, domain, at)
    assert "example" not in caught.value.message


def _weak(authority: Authority) -> bytes:
    weak = generate_private_key(65537, 1024)  # noqa: S505  # that is what it is about
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("opendsr_world.rsa_key", lambda _: weak)
        return authority.issue("a.example")[0].read_bytes()


def test_the_authorities_of_the_system_are_read() -> None:
    assert Authorities()._store is not None
    assert Authorities().context().get_ca_certs() is not None


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_of_authorities_that_cannot_be_read_is_said(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError):
        Authorities(file).context()
    with pytest.raises(ConfigurationError):
        Authorities(file).believe(_own(tmp_path), "a.example", NOW)


def _own(folder: Path) -> bytes:
    assert rsa_key("leaf")
    shutil.rmtree(folder / "made", ignore_errors=True)
    return Authority(folder / "made").issue("a.example")[0].read_bytes()
