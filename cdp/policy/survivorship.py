"""Which observation of a trait holds, as ``fields.yaml`` says it: held against the rest of the file.

What a rule needs of its trait, refused at load where it is missing:

====================  =============================================================================
most_recent           nothing
most_trusted          nothing; ``trust`` (source or kind: n) stands over ``source_trust``
longest_lived         nothing; of a sealed trait each observation counts as a value of its own
validated             ``validated_by``, a clear boolean trait
most_frequent         clear values: which of them are equal
min, max              clear values that are numbers or times
sum                   clear values that are numbers
union                 clear values that are text or lists
====================  =============================================================================

``expires`` goes with every rule. Sources come and go, so ``trust`` may name one that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cdp.policy import field_shapes
from cdp.policy.declared import FieldRule, Survivorship, ValueType
from cdp.policy.document import Document

_COMPARED: dict[Survivorship, tuple[ValueType, ...]] = {
    "most_frequent": ("string", "number", "boolean", "time", "list"),
    "min": ("number", "time"),
    "max": ("number", "time"),
    "sum": ("number",),
    "union": ("string", "list"),
}
_DAYS = re.compile(r"([1-9]\d{0,4})d")


def days_of(document: Document, text: str | None, *path: str) -> int | None:
    """Return the days of ``365d``; None for nothing."""
    if text is None:
        return None
    found = _DAYS.fullmatch(text)
    if found is None:
        raise document.error("this is a number of days from 1d to 99999d, such as 365d", *path)
    return int(found[1])


def check_part(document: Document, part: str, name: str, shape: field_shapes.FieldShape) -> None:
    """Refuse what only a trait can say of a property, a context value or an identifier."""
    if part == "traits":
        return
    asked = {"trust": shape.trust, "expires": shape.expires, "validated_by": shape.validated_by}
    for key, value in asked.items():
        if value:
            raise document.error("only traits are folded; take this away", part, name, key)
    if shape.survivorship not in {"most_recent", "most_trusted"}:  # which earlier versions let stand
        raise document.error("only traits are folded; take this away", part, name, "survivorship")


def check_rule(document: Document, path: tuple[str, str], rule: FieldRule) -> None:
    """Refuse a trait that its rule cannot be applied to.

    :param path: where the trait stands.
    :raises PolicyError: the rule and the rest of the declaration contradict each other.
    """
    kinds = _COMPARED.get(rule.survivorship)
    if kinds is not None and not rule.clear:
        message = (
            f"{rule.survivorship} compares values, and this one is sealed; use most_recent, most_trusted, "
            "longest_lived or validated, or declare it clear"
        )
        raise document.error(message, *path, "survivorship")
    if kinds is not None and rule.type not in kinds:
        wanted = " or ".join(kinds)
        message = f"{rule.survivorship} is for type {wanted}, and this is {rule.type}"
        raise document.error(message, *path, "survivorship")
    if rule.trust and rule.survivorship != "most_trusted":
        message = f"trust decides under survivorship most_trusted only, and this is {rule.survivorship}"
        raise document.error(message, *path, "trust")
    if rule.validated_by and rule.survivorship != "validated":
        message = f"this decides under survivorship validated only, and this is {rule.survivorship}"
        raise document.error(message, *path, "validated_by")
    if rule.survivorship == "validated" and not rule.validated_by:
        message = "validated needs the key validated_by: the boolean trait that says so"
        raise document.error(message, *path, "survivorship")


def check_validated(
    document: Document, paths: Mapping[str, tuple[str, str]], traits: Mapping[str, FieldRule]
) -> None:
    """Refuse a trait that is validated by what is no clear boolean trait.

    :param paths: where each trait stands.
    """
    for name, path in paths.items():
        flag = traits[name].validated_by
        if not flag:
            continue
        document.check(flag, traits, "the trait", *path, "validated_by")
        if not traits[flag].clear or traits[flag].type != "boolean":
            raise document.error("what validates is a clear boolean trait", *path, "validated_by")
        if flag == name:
            raise document.error("a trait cannot validate itself", *path, "validated_by")
