"""OpenDSR, put together: what signs, whom we call, what tells whom."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from cdp.clock import Clock
from cdp.crypto import Authorities, CertifiedSigner, Keyring
from cdp.errors import ConfigurationError
from cdp.gate import Gate
from cdp.identity import IdentityService
from cdp.policy import InForce
from cdp.rights import RightsService
from cdp.rights import opendsr as parts
from cdp.settings import Settings
from cdp.store import Committer


class OpenDsr(NamedTuple):
    """The three parts of it."""

    processor: parts.OpenDsrProcessor
    reports: parts.Reports
    fan_out: parts.OpenDsrFanOut


def open_dsr(
    settings: Settings,
    committer: Committer,
    keyring: Keyring,
    gate: Gate,
    identity: IdentityService,
    rights: RightsService,
    in_force: InForce,
    clock: Clock,
    results: parts.Results,
) -> OpenDsr:
    """Wire it, and have it follow requests.

    :param results: tells where what a request gave can be fetched.
    :raises ConfigurationError: the certificate, its key and the public address do not belong together.
    """
    domain = (urlsplit(settings.public_url).hostname or "").lower()
    authorities, loopback = Authorities(settings.opendsr_authorities), settings.webhook_loopback
    transport = parts.Transport(authorities, clock, loopback=loopback)
    trust = parts.Trust(transport, authorities, clock)
    reports = parts.Reports(
        committer,
        keyring,
        transport,
        in_force.refresh,
        clock,
        domain=domain,
        signer=_signer(settings, domain),
        results=results,
    )
    fan_out = parts.OpenDsrFanOut(
        committer,
        keyring,
        gate,
        identity,
        reports,
        parts.Dialogue(transport, trust, settings.opendsr_tokens),
        trust,
        in_force.current,
        clock,
        public_url=settings.public_url,
    )
    processor = parts.OpenDsrProcessor(
        committer,
        keyring,
        identity,
        rights,
        reports,
        in_force.refresh,
        clock,
        public_url=settings.public_url,
        loopback=loopback,
    )
    rights.on_change += [fan_out.changed, reports.report]
    return OpenDsr(processor, reports, fan_out)


def _signer(settings: Settings, domain: str) -> CertifiedSigner | None:
    certificate, key = settings.opendsr_certificate, settings.opendsr_key
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigurationError("CDP_OPENDSR_CERTIFICATE and CDP_OPENDSR_KEY are set together")
    if not settings.public_url.startswith("https://"):
        raise ConfigurationError("CDP_PUBLIC_URL: OpenDSR asks for an https address")
    try:
        signer = CertifiedSigner(certificate.read_bytes(), key.read_bytes())
    except OSError:
        raise ConfigurationError(
            "CDP_OPENDSR_CERTIFICATE or CDP_OPENDSR_KEY names a file that cannot be read"
        ) from None
    if not signer.is_for(domain):
        raise ConfigurationError(
            "CDP_OPENDSR_CERTIFICATE: it is not for the host of CDP_PUBLIC_URL (subject alternative name)"
        )
    return signer
