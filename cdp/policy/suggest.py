"""Declarations proposed for fields that nobody declared: pure, from names and types alone.

Whoever pastes them answers for them: each category is a guess from words in the name and marked so. What is
proposed is ``sealed`` but for numbers and truth values whose guessed category is not sensitive; text is never
proposed clear, as nobody here has seen it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from cdp.policy.model import Bundle

_CLEAR_TYPES = frozenset({"number", "boolean"})
_GUESSES: tuple[tuple[str, str], ...] = (
    (r"e?_?mail", "user.contact.email"),
    (r"phone|mobile|tel|fax|whatsapp", "user.contact.phone_number"),
    (r"birth|birthday|dob", "user.demographic.date_of_birth"),
    (r"age", "user.demographic.age_range"),
    (r"gender|sex", "user.demographic.gender"),
    (r"religio\w*|church", "user.demographic.religious_belief"),
    (r"ethnic\w*|race", "user.demographic.race_ethnicity"),
    (r"health|disease|diagnos\w*|medica\w*|symptom\w*|allerg\w*|pregnan\w*|disab\w*", "user.health"),
    (r"genetic|dna", "user.health.genetic"),
    (r"fingerprint|face|voice|iris|biometric\w*", "user.biometrics"),
    (r"passport|ssn|tax|licen[cs]e|national_id", "user.government_id"),
    (r"iban|bic|bank|account_number", "user.financial.bank_account"),
    (r"card|cvv|pan", "user.financial.credit_card"),
    (r"income|salary|credit|debt|wealth", "user.financial"),
    (r"criminal|convict\w*|offen[cs]e", "user.criminal_history"),
    (r"child\w*|kid\w*|son|daughter", "user.children"),
    (r"score|propensity|predict\w*|likely|churn|ltv|clv|lifetime", "user.inferred"),
    (r"street|house|address", "user.contact.address.street"),
    (r"city|town", "user.contact.address.city"),
    (r"zip|postal|postcode|plz", "user.contact.address.postal_code"),
    (r"lat|lon|lng|latitude|longitude|gps|geo", "user.location.precise"),
    (r"country|region|state|province|timezone", "user.location.coarse"),
    (r"first|given", "user.name.first"),
    (r"last|surname|family", "user.name.last"),
    (r"username|login|nick|nickname|handle", "user.account.username"),
    (r"ip", "user.device.ip_address"),
    (r"cookie", "user.device.cookie_id"),
    (r"device|browser|os|screen|agent|sdk", "user.device"),
    (r"language|lang|locale", "user.demographic.language"),
    (r"job|title|role|position", "user.professional_information.job_title"),
    (r"company|employer|industry|department", "user.professional_information"),
    (r"order|product|products|sku|cart|checkout|coupon|discount|brand", "user.behavior.purchase_history"),
    (r"price|revenue|amount|total|quantity|currency|payment|shipping", "user.behavior.purchase_history"),
    (r"search|query|keyword", "user.behavior.search_history"),
    (r"page|url|path|referrer|click|view|viewed|visit|session", "user.behavior.browsing_history"),
    (r"video|song|track|episode|played", "user.behavior.media_consumption"),
    (r"plan|tier|subscription|account|signup|member|created", "user.account"),
    (r"consent|optin|opt_in|newsletter|privacy", "user.privacy_preferences"),
    (r"setting|settings|theme|preference|enabled", "user.settings"),
    (r"name", "user.name"),
    (r"id|uuid|guid|number", "user.unique_id"),
)  # fmt: skip
_PATTERNS = tuple((re.compile(rf"(?:^|_|\.)(?:{words})(?:$|_|\.)"), key) for words, key in _GUESSES)
_FALLBACK = {"traits": "user.account", "properties": "user.behavior"}


class Seen(Protocol):
    """A field as ingest counted it."""

    @property
    def part(self) -> str:
        """``traits`` or ``properties``."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def types(self) -> Mapping[str, int]:
        """JSON type → how often."""


def suggest(bundle: Bundle, seen: Iterable[Seen]) -> str:
    """Return declarations as YAML, to be pasted into ``fields.yaml`` once somebody has looked at each."""
    parts: dict[str, list[str]] = {}
    for item in seen:
        parts.setdefault(item.part, []).append(_line(bundle, item))
    lines = ["# Guessed from names alone: look at each before you paste it into fields.yaml."]
    for part in ("traits", "properties"):
        if part in parts:
            lines += [f"{part}:", *parts[part]]
    return "\n".join(lines) + "\n" if parts else ""


def guess(bundle: Bundle, part: str, name: str) -> tuple[str, bool]:
    """Return the category guessed for a name, and whether a word in the name spoke for it."""
    for pattern, category in _PATTERNS:
        if category in bundle.categories and pattern.search(name):
            return category, True
    return _FALLBACK[part], False


def _line(bundle: Bundle, item: Seen) -> str:
    category, spoken = guess(bundle, item.part, item.name)
    kind = next(iter(item.types)) if len(item.types) == 1 else "string"
    said = [f"category: {category}"]
    if kind in _CLEAR_TYPES and spoken and not bundle.is_sensitive(category):
        said.append("protection: clear")
    if kind in {"number", "boolean", "list"}:
        said.append(f"type: {kind}")
    total = sum(item.types.values())
    kinds = "/".join(sorted(item.types))
    why = "guessed" if spoken else "nothing in the name tells"
    return f"  {item.name}: {{{', '.join(said)}}}  # review: {why}; seen {total} times as {kinds}"
