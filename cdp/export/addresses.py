"""Where a webhook may go: never into a network of ours (server-side request forgery, OWASP).

Invariants: an address is checked *after* resolving and the connection goes to that very address, so that a
name that resolves anew cannot turn it; **every** address of a name must be public; an IPv6 address that wraps
an IPv4 one is judged by that one. ``loopback`` is a switch for tests: it allows http and the loopback only.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

import msgspec

from cdp.errors import InvalidInputError

_MAX_URL = 2000
_NAT64 = IPv6Network("64:ff9b::/96")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint, resolved.

    :param url: with the address in place of the host; ``host`` goes into the header, ``name`` into TLS.
    """

    url: str
    host: str
    name: str


def check_url(url: str, *, loopback: bool) -> None:
    """Refuse what can never be an endpoint; resolving comes at each attempt.

    :raises InvalidInputError: it is no https URL of a host, or carries a user or a fragment.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidInputError("url is not a URL") from None
    schemes = {"https", "http"} if loopback else {"https"}
    if len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInputError("url is too long, or has a character that URLs do not have")
    if parts.scheme not in schemes or not parts.hostname:
        raise InvalidInputError("url is an https URL with a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidInputError("url carries no user, password or fragment")
    if port == 0:
        raise InvalidInputError("url names port 0")


def resolve(url: str, *, loopback: bool) -> Target | None:
    """Resolve an endpoint to one address that may be called; None when there is none.

    :raises OSError: the name does not resolve now.
    """
    parts = urlsplit(url)
    name = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses or not all(_may_call(address, loopback=loopback) for address in addresses):
        return None
    chosen = addresses[0]
    place = f"[{chosen}]" if chosen.version == 6 else str(chosen)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    shown = f"[{name}]" if ":" in name else name
    host = shown if parts.port is None else f"{shown}:{parts.port}"
    return Target(url=f"{parts.scheme}://{place}:{port}{path}", host=host, name=name)


def _may_call(address: IPv4Address | IPv6Address, *, loopback: bool) -> bool:
    inner = _wrapped(address)
    if inner is not None:
        return _may_call(inner, loopback=loopback)
    if address.is_loopback:
        return loopback
    return address.is_global and not address.is_multicast and not address.is_reserved


def _wrapped(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address inside a mapped, 6to4, Teredo or NAT64 one."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
