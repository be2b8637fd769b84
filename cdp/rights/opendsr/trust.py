"""Whose word counts: what a recipient says is signed under the certificate that its discovery names.

To check something that a recipient said:

1. The domain that it says to be is the one that its policy file declares.
2. Its certificate: the one found before, for an hour; else ``GET /discovery`` names an https URL on the same
   host (section 4), from which it is fetched, and a trusted authority vouches for it and for that domain.
3. The signature is over the bytes as they came, before anything of them is read. Where it is wrong and the
   certificate is an old one, it is found anew, once: it may have been renewed.

Invariant: whoever sends us rubbish in a recipient's name makes us ask that recipient once a minute at most.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from cdp.clock import SECOND, Clock, Micros
from cdp.crypto import Authorities, CertifiedKey, UntrustedError
from cdp.errors import CdpError, InvalidInputError
from cdp.policy import OpenDsr
from cdp.rights.opendsr import say
from cdp.rights.opendsr.read import read_discovered, read_signature
from cdp.rights.opendsr.transport import Call, Transport

_KEPT = 3600 * SECOND
_PAUSE = 60 * SECOND


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, or why not, and when."""

    at: Micros
    key: CertifiedKey | None = None
    kinds: tuple[str, ...] = ()
    reason: str = ""


class Trust:
    """Checks what recipients say."""

    def __init__(self, transport: Transport, authorities: Authorities, clock: Clock) -> None:
        self._transport = transport
        self._authorities = authorities
        self._clock = clock
        self._found: dict[str, _Found] = {}
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}  # one each: a recipient that is slow holds up no other

    def kinds(self, recipient: OpenDsr) -> tuple[str, ...]:
        """Return the types of request that a recipient takes.

        :raises UntrustedError: its discovery or certificate is not to be believed, or not to be had.
        """
        found = self._known(recipient, self._clock.now() - _KEPT)
        self._key(found)
        return found.kinds

    def check(self, recipient: OpenDsr, headers: Mapping[str, str], body: bytes) -> None:
        """Let pass what a recipient signed.

        :param headers: names in lower case.
        :raises UntrustedError: another domain is named, or its certificate is not to be believed.
        :raises InvalidInputError: it is not signed by that recipient.
        """
        if say.header(headers, "Processor-Domain").strip().lower() != recipient.domain:  # 1
            raise UntrustedError("the domain that is named is not the one declared for this recipient")
        signature, now = read_signature(say.header(headers, "Signature")), self._clock.now()
        found = self._known(recipient, now - _KEPT)  # 2
        if self._key(found).verify(body, signature):  # 3
            return
        again = self._known(recipient, now - _PAUSE)
        if again is found or not self._key(again).verify(body, signature):
            raise InvalidInputError("the signature is not one of this body under the domain's certificate")

    def _key(self, found: _Found) -> CertifiedKey:
        if found.key is None or found.key.until <= self._clock.now():
            raise UntrustedError(found.reason or "the certificate has expired")
        return found.key

    def _known(self, recipient: OpenDsr, since: Micros) -> _Found:
        """Return what was found since an instant, or look anew; what failed counts for a minute."""
        with self._lock:
            mine = self._locks.setdefault(recipient.url, threading.Lock())
        with mine:
            now, known = self._clock.now(), self._found.get(recipient.url)
            if known is not None and known.key is None:
                since = max(since, now - _PAUSE)
            if known is not None and since < known.at <= now:
                return known
            try:
                found = self._discover(recipient, now)
            except CdpError as error:
                found = _Found(at=now, reason=error.message)
            self._found[recipient.url] = found
            return found

    def _discover(self, recipient: OpenDsr, now: Micros) -> _Found:
        said = read_discovered(self._get(f"{recipient.url}/discovery"))
        place = urlsplit(said.processor_certificate)
        if place.scheme != "https" or place.hostname != recipient.domain:
            raise UntrustedError("the certificate does not lie on the host whose discovery names it")
        chain = self._get(said.processor_certificate)
        key = self._authorities.believe(chain, recipient.domain, now)
        return _Found(at=now, key=key, kinds=said.supported_subject_request_types)

    def _get(self, url: str) -> bytes:
        answer = self._transport.call(Call(method="GET", url=url, reads=True))
        if answer.error:
            raise UntrustedError("discovery or certificate cannot be had")
        return answer.body
