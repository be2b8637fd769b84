"""E-mail addresses, so that two spellings of one mailbox become equal. Pure.

Steps: 1. NFKC, case and what nobody sees (``characters.fold``); space and ``mailto:`` around it go. 2. The
domain becomes the Unicode form of its IDNA 2008 name (RFC 5891, mapped by UTS #46), folded likewise. 3. The
form is checked: a dot-atom of RFC 5321 section 4.1.2 with the letters of RFC 6531; at most 64 octets before
the @, 254 in all (RFC 5321 section 4.5.3.1); quotes that need not be there go. 4. What the provider documents
is folded.

Providers, and where they say it:

- Gmail: dots do not matter (support.google.com/mail/answer/7436150), nor what follows a plus (answer/22370);
  googlemail.com is gmail.com.
- Fastmail: what follows a plus (fastmail.help/hc/en-us/articles/360060591053).
- Proton: likewise (proton.me/support/creating-aliases).

Nobody else. Microsoft documents plus addressing for Exchange Online, where an organisation may switch it off,
and Apple does not document it: two people taken for one do more harm than one taken for two.
"""

from __future__ import annotations

import re
import unicodedata

import idna

from cdp.identity.characters import fold

_MOST_OCTETS = 254
_LOCAL_OCTETS = 64
_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_ASCII_LOCAL = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]*")
_LABEL = r"(?!-)(?!..--)[a-z0-9-]{1,63}(?<!-)"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}(?<=[a-z])")
_QUOTED = re.compile(r'"((?:[^"\\]|\\[\x20-\x7e])*)"')  # RFC 5321 section 4.1.2, Quoted-string
_GMAIL = frozenset(("gmail.com", "googlemail.com"))
_PLUS = _GMAIL | {"fastmail.com", "fastmail.fm", "proton.me", "protonmail.com", "protonmail.ch", "pm.me"}
# A letter that only looks like one character: taken apart it holds a character that no address may have.
_UNSAFE = re.compile(r"[\x00-\x20\x7f\"(),:;<>@\[\]\\]")


def normalise(text: str) -> str:
    """Return the address, empty for what is none."""
    text = text.strip()
    if not text.isprintable() and any(unicodedata.category(one) == "Cc" for one in text):
        return ""
    local, at, domain = fold(text).strip().removeprefix("mailto:").rpartition("@")
    if not at:
        return ""
    quoted = _QUOTED.fullmatch(local)
    if quoted is not None:
        local = re.sub(r"\\(.)", r"\1", quoted[1])
    domain = _domain(domain)
    if not domain or not _fits(local, domain):
        return ""
    if domain in _PLUS:
        local = local.partition("+")[0]
        if domain in _GMAIL:
            local, domain = fold(local.replace(".", "")), "gmail.com"  # a mark behind a dot joins a letter
    return f"{local}@{domain}" if local else ""


def _fits(local: str, domain: str) -> bool:
    if _LOCAL.fullmatch(local) is None or len(local.encode(errors="replace")) > _LOCAL_OCTETS:
        return False
    wire = len(_ascii(domain)) if not domain.isascii() else len(domain)
    if len(local.encode()) + 1 + max(wire, len(domain.encode())) > _MOST_OCTETS:
        return False
    if local.isascii():
        return True
    apart = unicodedata.normalize("NFD", local)
    return _UNSAFE.search(apart) is None and not any(unicodedata.category(one)[0] in "CZ" for one in local)


def _domain(domain: str) -> str:
    """Return the Unicode form of a domain; empty for none, or one that is read otherwise twice."""
    found = _read(domain)
    return found if found == domain or _read(found) == found else ""


def _read(domain: str) -> str:
    if domain.isascii() and "xn--" not in domain:
        return domain if _DOMAIN.fullmatch(domain) else ""
    try:
        wire = _ascii(domain)
        top = wire.rpartition(".")[2]  # empty where a dot of another script ends the domain
        if top in ("", wire) or top.isdigit() or len(wire) > _MOST_OCTETS - 1:
            return ""
        return fold(idna.decode(wire))  # xn-- may hold what folding changes: the sharp s, the final sigma
    except (idna.IDNAError, UnicodeError, ValueError):
        return ""


def _ascii(domain: str) -> str:
    return idna.encode(domain, uts46=True).decode()
