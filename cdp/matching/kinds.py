"""What kind of field a column is, told by its name: the default where nobody says it."""

from __future__ import annotations

import re

from cdp.matching.model import FieldKind, MatchField

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_]+")
# The first that fits holds: a name of which every word of one of the alternatives is a word, or that is one.
_KINDS: tuple[tuple[FieldKind, str], ...] = (
    (FieldKind.full_name, "full name|fullname|first and surname|first and last|person name|display name"),
    (FieldKind.number, "street number|house number|building number"),
    (FieldKind.email, "email|mail|e mail|mailbox"),
    (FieldKind.phone, "phone|telephone|tel|mobile|cell|cellphone|fax|msisdn|phone number"),
    (FieldKind.birth_date, "dob|birth date|birthdate|date birth|birthday|born|birth day|d o b"),
    (FieldKind.given_name, "given name|given|first name|firstname|forename|christian name|fname|givenname"),
    (FieldKind.family_name, "family name|surname|last name|lastname|lname|family|familyname|sname"),
    (FieldKind.full_name, "name"),
    (FieldKind.postal_code, "postal code|postcode|zip|zipcode|post code|zip code|plz|postal"),
    (FieldKind.street, "street|address|addr|address line|road|addr 1"),
    (FieldKind.city, "city|town|suburb|place|locality|municipality|village|birthplace"),
    (FieldKind.region, "state|region|province|county|country|prefecture|canton"),
    (FieldKind.id_number, ("ssn|sin|nino|passport|tax id|national id|soc sec id|social security|soc sec|"
                           "id number|id card|nhs|licence number|license number|personal number")),
    (FieldKind.number, "number|year|age|amount|price|quantity|count"),
)  # fmt: skip


def kind_of(name: str) -> FieldKind:
    """Return the kind of a field called ``name`` (``first_name``, ``dateOfBirth``); ``text`` if none fits."""
    found = {word.lower() for word in _WORDS.findall(name)}
    for kind, alternatives in _KINDS:
        if any(found.issuperset(alternative.split()) for alternative in alternatives.split("|")):
            return kind
    return FieldKind.text


def fields_of(names: list[str]) -> list[MatchField]:
    """Return a field for each name, each of the kind that its name tells."""
    return [MatchField(name, kind_of(name)) for name in names]
