"""Exports as their requesters see them: ask, look, fetch.

Whose export is whose: officers see all of them with exact counts; a marketer's key those that it asked
for, a destination's key those made for its destination, both with noised counts. Only the
destination fetches. What a key may not see does not exist for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

from cdp.access import Principal
from cdp.clock import Micros
from cdp.errors import ConflictError, InvalidInputError, NotFoundError, NotPermittedError
from cdp.export.formats import encode
from cdp.export.model import Export, Status
from cdp.export.names import without_cause
from cdp.gate import Authorisation, Format, Gate, Mode, Request

_FORMATS: tuple[Format, ...] = get_args(Format)


class ExportService:
    """Exports through the gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def request(
        self,
        principal: Principal,
        *,
        segment: str,
        destination: str,
        purpose: str,
        fields: Sequence[str] | None = None,
        format: str = "jsonl",  # noqa: A002  # the name that callers use
        mode: Mode = "full",
        dry_run: bool = False,
    ) -> Export:
        """Have an export decided and stored; a dry run says what it would be and stores nothing.

        :param mode: ``delta`` brings the feed of the audience up to date; it is read there, not fetched.
        :param fields: traits or identifier types by name; None for those that the rules name.
        :raises InvalidInputError: no purpose, an unknown format, or an undeclared field.
        :raises NotPermittedError: the key, the destination or the policies stand against it, or too few
            people remain.
        :raises NotFoundError: there is no such segment or destination.
        """
        if format not in _FORMATS:
            raise InvalidInputError(f"format is one of {', '.join(_FORMATS)}")
        asked = Request(
            segment=segment,
            destination=destination,
            purpose=purpose,
            principal=principal,
            fields=None if fields is None else tuple(fields),
            format=format,
            mode=mode,
        )
        with without_cause(principal):
            if mode == "delta" and not dry_run:
                return _export(self._gate.feed.decide(asked), principal)
            return _export(self._gate.authorise(asked, dry_run=dry_run), principal)

    def get(self, principal: Principal, export_id: str) -> Export:
        """Return one export.

        :raises NotFoundError: there is none, or the key may not know of it.
        """
        given = self._gate.find(export_id)
        if given is None or not _sees(principal, given):
            raise NotFoundError("there is no export with this id for this key")
        return _export(given, principal)

    def list(
        self, principal: Principal, *, limit: int = 100, before: tuple[Micros, str] | None = None
    ) -> list[Export]:
        """Return the exports that a key may know of, newest first.

        :param before: (``created_at``, ``id``) of the last one of the page before.
        :raises NotPermittedError: the key has no role that sees exports.
        """
        destination, requested_by = None, None
        if "officer" not in principal.roles:
            if principal.destination:
                destination = principal.destination
            elif "marketer" in principal.roles:
                requested_by = principal.key_id
            else:
                raise NotPermittedError("exports are for officers, marketers and destinations")
        found = self._gate.exports(
            limit=limit, before=before, destination=destination, requested_by=requested_by
        )
        return [_export(given, principal) for given in found]

    def data(self, principal: Principal, export_id: str) -> tuple[str, Iterator[bytes]]:
        """Begin a fetch; returns the media type and the bytes, which are rendered as they are taken.

        :raises NotFoundError: there is no such export for this destination.
        :raises NotPermittedError: the key's purposes, or the destination's state, stand against it.
        :raises UnavailableError: no published checkpoint covers the export yet.
        :raises ConflictError: it is of mode ``delta``.
        """
        given = self._gate.find(export_id)
        if given is not None and given.mode == "delta" and _sees(principal, given):
            raise ConflictError("this export is a delta: read the changes of its segment")
        rendering = self._gate.render(export_id, principal)
        return encode(rendering.format, rendering)


def _sees(principal: Principal, given: Authorisation) -> bool:
    if "officer" in principal.roles:
        return True
    if principal.destination:
        return principal.destination == given.destination
    return "marketer" in principal.roles and principal.key_id == given.requested_by


def _export(given: Authorisation, principal: Principal) -> Export:
    exact = "officer" in principal.roles
    # whoever may fetch the rows sees how many and what is in them; who was withheld, and why, is not theirs
    fetches = bool(principal.destination and given.export_id)
    counts = given.counts if exact else given.noised
    status: Status = "ready" if given.export_id else "refused" if given.refusal else "dry_run"
    return Export(
        id=given.export_id or None,
        status=status,
        segment=given.segment,
        segment_version=given.segment_version,
        destination=given.destination,
        purpose=given.purpose,
        format=given.format,
        mode=given.mode,
        created_at=given.created_at,
        as_of=given.ledger_position,
        members_as_of=given.segment_as_of,
        members=counts.members,
        released=given.counts.released if fetches else counts.released,
        withheld=counts.withheld,
        exact=exact,
        fields=given.plan if exact or fetches else given.noised.fields,
        bundle=given.bundle,
        audit_index=given.audit_index,
        manifest_root=given.manifest_root.hex(),
        reason="not_permitted" if given.refusal and principal.is_recipient else given.refusal,
    )
