"""What kind of field a column is, told by its name: the default where nobody says it."""

from __future__ import annotations

import re

from cdp.matching.model import FieldKind, MatchField

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_]+")
# The first that fits holds: a name that has every word of one of the alternatives; "=first" is that alone.
_KINDS: tuple[tuple[FieldKind, str], ...] = (
    (FieldKind.full_name, ("full name|fullname|first and surname|first and last|person name|display name|"
                           "姓名|名称|全名")),
    (FieldKind.email, "email|mail|e mail|mailbox|emailaddress|correo|courriel|邮箱|电子邮件|电子邮箱|邮件"),
    (FieldKind.number, "street number|house number|building number|house no|street no|hausnummer|门牌号"),
    (FieldKind.street, "street name|streetname"),
    (FieldKind.phone, ("phone|telephone|tel|mobile|cell|cellphone|fax|msisdn|phone number|phonenumber|"
                       "homephone|workphone|mobilephone|handy|telefon|telefono|teléfono|电话|手机|手机号|手机号码|电话号码|"
                       "联系电话|移动电话|contact number|contact no")),
    (FieldKind.birth_year, ("birth year|year birth|birthyear|yob|byear|dob year|dob y|=by|year born|"
                            "geburtsjahr|出生年|出生年份")),
    (FieldKind.birth_month, "birth month|month birth|birthmonth|bmonth|dob month|dob m|=bm|出生月|出生月份"),
    (FieldKind.birth_day, "day birth|dob day|dob d|=bd|出生日"),
    (FieldKind.birth_date, ("dob|birth date|birthdate|dateofbirth|date birth|birthday|bday|born|"
                            "birth day|birth dt|d o b|geburtsdatum|naissance|nacimiento|"
                            "出生日期|生日|出生年月|出生年月日")),
    (FieldKind.given_name, ("given name|given|first name|firstname|forename|christian name|fname|givenname|"
                            "f name|first nm|=first|gname|vorname|prenom|prénom|nombre|名字|名")),
    (FieldKind.family_name, ("family name|surname|last name|lastname|lname|family|familyname|sname|l name|"
                             "last nm|=last|nachname|familienname|nom famille|apellido|apellidos|姓|姓氏")),
    (FieldKind.city, "city name|town name|place name|birth place|city birth|place birth"),
    (FieldKind.region, "state name|county name|province name"),
    (FieldKind.full_name, "name|nom"),
    (FieldKind.postal_code, ("postal code|postcode|zip|zipcode|post code|zip code|plz|postal|postleitzahl|"
                             "code postal|邮编|邮政编码")),
    (FieldKind.street, ("street|address|addr|address line|road|addr 1|strasse|straße|adresse|rue|direccion|"
                        "dirección|calle|地址|住址|街道|详细地址")),
    (FieldKind.city, ("city|town|suburb|place|locality|municipality|village|birthplace|ort|stadt|ville|"
                      "ciudad|城市|市|所在城市")),
    (FieldKind.region, "state|region|province|county|country|prefecture|canton|bundesland|省|省份|国家|地区"),
    (FieldKind.id_number, ("ssn|sin|nino|passport|tax id|national id|soc sec id|social security|soc sec|"
                           "id number|id card|nhs|licence number|license number|personal number|身份证|"
                           "身份证号|身份证号码|护照号")),
    (FieldKind.number, "number|year|age|amount|price|quantity|count|年龄"),
)  # fmt: skip


def kind_of(name: str) -> FieldKind:
    """Return the kind of a field called ``name`` (``first_name``, ``dateOfBirth``); ``text`` if none fits."""
    found = {word.lower() for word in _WORDS.findall(name)}
    for kind, alternatives in _KINDS:
        if any(
            found == {one[1:]} if one[0] == "=" else found.issuperset(one.split())
            for one in alternatives.split("|")
        ):
            return kind
    return FieldKind.text


def fields_of(names: list[str]) -> list[MatchField]:
    """Return a field for each name, each of the kind that its name tells.

    Beside a year of birth, a "birth day" is the day of the month and no date.
    """
    fields = [MatchField(name, kind_of(name)) for name in names]
    if not any(field.kind is FieldKind.birth_year for field in fields):
        return fields
    return [
        MatchField(field.name, FieldKind.birth_day)
        if field.kind is FieldKind.birth_date and "day" in field.name.casefold()
        else field
        for field in fields
    ]
