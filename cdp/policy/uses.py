"""purposes.yaml and destinations/*.yaml: what data may be used for, and by whom."""

from __future__ import annotations

from datetime import date
from urllib.parse import urlsplit

from cdp.clock import parse_rfc3339
from cdp.policy import shapes
from cdp.policy.document import Document
from cdp.policy.model import DEFAULT_LANGUAGE, Destination, Jurisdictions, Notice, OpenDsr, Purpose, Words
from cdp.policy.names import DOTTED, lineage


def read_purposes(document: Document, jurisdictions: Jurisdictions) -> dict[str, Purpose]:
    """Return the purposes.

    :raises PolicyError: a name is not declared, or a purpose contradicts itself.
    """
    file = document.read(shapes.PurposesFile)
    for key, shape in file.purposes.items():
        if shape.variant:
            _check_variant(document, key, shape, file.purposes)
    return {
        key: _purpose(document, key, shape, file.purposes, jurisdictions)
        for key, shape in file.purposes.items()
    }


def _purpose(
    document: Document,
    key: str,
    shape: shapes.PurposeShape,
    others: dict[str, shapes.PurposeShape],
    jurisdictions: Jurisdictions,
) -> Purpose:
    path = ("purposes", key)
    if not DOTTED.fullmatch(key):
        raise document.error(f"{key!r} is not a dotted name in snake_case", *path)
    for above in lineage(key)[1:]:
        document.check(above, others, "the purpose above,", *path)
    for name in shape.basis:
        document.check(name, {*jurisdictions.configured, "*"}, "the jurisdiction", *path, "basis", name)
    for name in {*shape.basis, *shape.source}:
        if name not in shape.source:
            raise document.error(f"source names no law for the basis in {name}", *path, "source")
        if name not in shape.basis:
            raise document.error(f"there is no basis for {name}", *path, "source", name)
    if shape.validity_days is not None and not shape.validity_source:
        raise document.error("validity_days has no validity_source", *path, "validity_days")
    _check_consent(document, path, shape, jurisdictions)
    return Purpose(
        key=key,
        name=shape.name,
        description=shape.description,
        basis=shape.basis,
        channels=shape.channels,
        validity_days=shape.validity_days,
        separate_consent=shape.separate_consent,
        double_opt_in=shape.double_opt_in,
        double_opt_in_source=shape.double_opt_in_source,
        notices=_notices(document, path, shape.notices),
        internal=shape.internal,
        restrainable=shape.restrainable,
        sensitive=shape.sensitive,
        source=shape.source,
        validity_source=shape.validity_source,
        non_personalised=shape.non_personalised,
        variant=shape.variant,
        translations={
            language: Words(words.name, words.description, words.non_personalised)
            for language, words in shape.translations.items()
        },
    )


def _check_variant(
    document: Document, key: str, shape: shapes.PurposeShape, others: dict[str, shapes.PurposeShape]
) -> None:
    path = ("purposes", key, "variant")
    document.check(shape.variant, others, "the purpose", *path)
    other = others[shape.variant]
    if shape.variant == key or other.variant or other.internal:
        raise document.error("the variant is another purpose, neither internal nor with a variant", *path)
    if set(other.channels) != set(shape.channels):
        raise document.error("the variant uses the same channels", *path)


def _check_consent(
    document: Document, path: tuple[str, str], shape: shapes.PurposeShape, jurisdictions: Jurisdictions
) -> None:
    """Refuse what is asked of a consent where none is needed, or without a law that asks it."""
    if shape.double_opt_in and not shape.double_opt_in_source:
        raise document.error("double_opt_in has no double_opt_in_source", *path, "double_opt_in")
    for kind, names in (
        ("separate_consent", shape.separate_consent),
        ("double_opt_in", shape.double_opt_in),
    ):
        for number, name in enumerate(names):
            place: tuple[str | int, ...] = (*path, kind, number)
            document.check(name, jurisdictions.configured, "the jurisdiction", *place)
            if shape.basis.get(name, shape.basis.get("*")) != "consent":
                word = kind.replace("_", " ")
                raise document.error(f"a {word} needs the basis consent in {name}", *place)


def _notices(
    document: Document, path: tuple[str, ...], given: tuple[shapes.NoticeShape, ...]
) -> tuple[Notice, ...]:
    latest: dict[str, Notice] = {}
    notices = []
    for number, shape in enumerate(given):
        place: tuple[str | int, ...] = (*path, "notices", number)
        try:
            since = parse_rfc3339(date.fromisoformat(shape.in_force_from).isoformat())
        except ValueError:
            raise document.error("not a date; write YYYY-MM-DD", *place, "in_force_from") from None
        texts = {DEFAULT_LANGUAGE: shape.text} if isinstance(shape.text, str) else dict(shape.text)
        if DEFAULT_LANGUAGE not in texts:
            raise document.error(f"the text in {DEFAULT_LANGUAGE!r} is missing", *place, "text")
        if not all(text.strip() for text in texts.values()):
            raise document.error("a text is empty; archive what people were shown", *place, "text")
        notice = Notice(
            id=shape.id,
            version=shape.version,
            material=shape.material,
            text=texts.pop(DEFAULT_LANGUAGE),
            in_force_from=since,
            translations={language.lower(): text for language, text in texts.items()},
        )
        before = latest.get(notice.id)
        if before is not None and (before.version >= notice.version or before.in_force_from >= since):
            raise document.error(
                "versions of a notice stand in order, each later than the one before", *place
            )
        if notice.version != (1 if before is None else before.version + 1):
            message = f"version {notice.version} of {notice.id!r} has a gap before it; archive every version"
            raise document.error(message, *place, "version")
        latest[notice.id] = notice
        notices.append(notice)
    return tuple(notices)


def read_destination(
    document: Document, purposes: dict[str, Purpose], regions: dict[str, str]
) -> Destination:
    """Return a destination.

    :param regions: country code → region.
    :raises PolicyError: a name is not declared, or the destination contradicts itself.
    """
    file = document.read(shapes.DestinationFile)
    if document.file != f"destinations/{file.name}.yaml":
        raise document.error(f"the file of this destination must be named {file.name}.yaml", "name")
    document.check(file.country, regions, "the country (jurisdictions.yaml)", "country")
    inside = file.role == "controller"
    if inside and file.minimum_audience:
        raise document.error("the controller itself has no minimum audience", "minimum_audience")
    for number, name in enumerate(file.purposes):
        document.check(name, purposes, "the purpose", "purposes", number)
        if purposes[name].internal and not inside:
            raise document.error(f"{name!r} is internal; only the controller uses it", "purposes", number)
    if file.contract_expires is not None:
        try:
            date.fromisoformat(file.contract_expires)
        except ValueError:
            raise document.error("not a date; write YYYY-MM-DD or null", "contract_expires") from None
    return Destination(
        name=file.name,
        title=file.title,
        type=file.type,
        role=file.role,
        country=file.country,
        region=regions[file.country],
        contract=file.contract,
        contract_expires=file.contract_expires,
        transfer_tool=file.transfer_tool,
        purposes=frozenset(file.purposes),
        minimum_audience=file.minimum_audience,
        enabled=file.enabled,
        tcf_vendor_id=file.tcf_vendor_id,
        recall_within_hours=file.recall_within_hours,
        unsubscribe_url=file.unsubscribe_url,
        opendsr=None if file.opendsr is None else _opendsr(document, file.opendsr),
    )


def _opendsr(document: Document, shape: shapes.OpenDsrShape) -> OpenDsr:
    wrong = document.error("an https URL of a host, without user, query and fragment", "opendsr", "url")
    try:
        parts = urlsplit(shape.url)
        port = parts.port
    except ValueError:
        raise wrong from None
    plain = shape.url.isascii() and shape.url.isprintable() and not parts.query and not parts.fragment
    if not plain or parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or port == 0:
        raise wrong
    return OpenDsr(url=shape.url.rstrip("/"), domain=parts.hostname, within_days=shape.within_days)
