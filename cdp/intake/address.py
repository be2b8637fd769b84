"""``CDP_INTAKE``: which servers, as whom, and the name of the stream.

``nats://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…][/NAME]``, or ``tls://…``, by which the servers show a
certificate; ``CDP_INTAKE_CA`` names its authority, ``CDP_INTAKE_CERTIFICATE`` and ``CDP_INTAKE_KEY`` what we
show ourselves. An error never repeats the address, as it may hold a password.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from urllib.parse import unquote

import msgspec

from cdp.errors import ConfigurationError

_FORM = re.compile(
    r"(?P<scheme>nats|tls)://(?:(?P<user>[^:@/]+):(?P<password>[^:@/]+)@)?"
    r"(?P<hosts>[^@/?#\s]+)(?:/(?P<name>[A-Za-z0-9_-]{1,64}))?/?"
)
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}")
_WRONG = "CDP_INTAKE must be direct or nats://[USER:PASSWORD@]HOST:PORT,HOST:PORT/NAME (tls://… likewise)"


class Address(msgspec.Struct, frozen=True):
    """Where a stream is.

    :param servers: addresses, without who we are.
    :param name: of the stream, which begins its subjects, too.
    """

    servers: tuple[str, ...]
    name: str
    user: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<stream {self.name} on {len(self.servers)} servers>"


def read_address(
    given: str, *, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> Address:
    """Return what ``CDP_INTAKE`` and its files say.

    :raises ConfigurationError: it has another form, or a file cannot be read.
    """
    found = _FORM.fullmatch(given)
    if found is None:
        raise ConfigurationError(_WRONG)
    hosts = found["hosts"].split(",")
    if not all(map(_HOST.fullmatch, hosts)):
        raise ConfigurationError(_WRONG)
    secure = found["scheme"] == "tls"
    if not secure and (ca or certificate or key):
        raise ConfigurationError("CDP_INTAKE_CA, _CERTIFICATE and _KEY go with a CDP_INTAKE of tls://…")
    if (certificate is None) != (key is None):
        raise ConfigurationError("CDP_INTAKE_CERTIFICATE and CDP_INTAKE_KEY are set together")
    return Address(
        servers=tuple(f"{found['scheme']}://{host}" for host in hosts),
        name=found["name"] or "cdp",
        user=None if found["user"] is None else unquote(found["user"]),
        password=None if found["password"] is None else unquote(found["password"]),
        tls=_context(ca, certificate, key) if secure else None,
    )


def _context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    try:
        made = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            made.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        kind = type(error).__name__
        raise ConfigurationError(f"CDP_INTAKE_CA, _CERTIFICATE or _KEY cannot be read: {kind}") from None
    return made
