"""What became of one person's data: what was concluded, who received it, who used it, what waits.

Invariants:

1. Staff are named by their role, and nothing of an entry is shown that may be about somebody else.
2. A conclusion about the whole profile is here only where the whole profile is theirs: else it may be drawn
   from somebody else's data.
3. Of the quarantine only what names the person by an identifier that is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from pyroaring import BitMap

from cdp.audit import AuditEntry, AuditFilter
from cdp.clock import rfc3339
from cdp.portrait import evaluated
from cdp.rights import queries as requests
from cdp.rights.archive import model
from cdp.rights.archive.context import Context

MOST_QUARANTINED = 200_000
"""Quarantined messages that are looked through for those that name the person."""
_AT_ONCE = 1000
_TELLING = frozenset({"fields", "export", "request", "kind", "refused", "masked", "statements", "records"})
"""What of an audit entry is about the person it concerns, and never about another."""


class Around:
    """What became of the person's data."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def conclusions(self, traits: Sequence[model.Trait]) -> list[model.Conclusion]:
        """Return what was concluded: traits that are conclusions, computed tags, segments."""
        fields = self._context.bundle.fields.traits
        found = [
            model.Conclusion(
                kind="trait",
                name=one.name,
                value=one.value,
                basis=fields[one.name].basis,
                categories=(fields[one.name].category,),
                at=one.observed_at,
            )
            for one in traits
            if one.inferred
        ]
        if not self._context.scope.whole:
            self._context.left_out.append(
                "Tags and groups that were computed for your profile as a whole: it may hold identifiers "
                "that you have not proved, so a conclusion may be drawn from somebody else's data."
            )
            return found
        now = rfc3339(self._context.stages.clock.now())
        tags = self._context.stages.segments.tags.values(
            self._context.connection, BitMap(self._context.scope.members)
        )
        held = evaluated(self._context.connection, self._context.stages.segments, self._context.scope.numbers)
        for profile_no, numbers in self._context.scope.members.items():
            for tag in tags.get(profile_no, ()):
                answer = self._context.subject.concluded(numbers[0], tag.name, tag.value, tag.reads)
                if answer.values and isinstance(answer.values[0], str):
                    rule = fields[tag.name]
                    told = msgspec.json.decode(answer.values[0])
                    found.append(
                        model.Conclusion(
                            kind="tag",
                            name=tag.name,
                            value=told,
                            basis=rule.basis,
                            categories=tuple(sorted(tag.reads)),
                            version=tag.version,
                            at=now,
                        )
                    )
                    self._context.note("trait", tag.name, None)
            for one, read in held.within(profile_no, numbers):
                if self._context.subject.chosen(numbers[0], read):
                    found.append(
                        model.Conclusion(
                            kind="segment",
                            name=one.segment,
                            value=True,
                            basis="",
                            categories=tuple(sorted(read)),
                            version=one.version,
                            at=rfc3339(one.evaluated_at),
                        )
                    )
        return found

    def recipients(self) -> list[model.Recipient]:
        """Return the releases that held the person, the newest first."""
        found = []
        for one in self._context.stages.gate.delivered(self._context.connection, self._context.scope.numbers):
            known = self._context.bundle.destinations.get(one.destination)
            shown = self._context.subject.chosen(self._context.scope.numbers[0], one.inputs)
            found.append(
                model.Recipient(
                    export=one.export_id,
                    recipient=one.destination,
                    name=one.destination if known is None else known.title,
                    role="" if known is None else known.role,
                    country="" if known is None else known.country,
                    transfer_tool="" if known is None else known.transfer_tool,
                    purpose=one.purpose,
                    purpose_name=self._context.purpose(one.purpose),
                    segment=one.segment if shown else "",
                    decided_at=rfc3339(one.decided_at),
                    fields={} if one.taken_out else one.fields,
                    received=tuple(map(rfc3339, one.fetched)),
                )
            )
        return found

    def uses(self) -> list[model.Use]:
        """Return every entry of the audit log about the person, the newest first."""
        roles = {
            key.actor: " and ".join(sorted(key.roles)) for key in self._context.stages.access.list_keys()
        }
        about, found = AuditFilter(identity_nos=self._context.scope.numbers), list[model.Use]()
        after: int | None = None
        while entries := self._context.stages.audit.search(self._context.connection, about, _AT_ONCE, after):
            after = entries[-1].index
            found += [self._use(entry, roles.get) for entry in entries]
        return found

    def _use(self, entry: AuditEntry, role_of: Callable[[str], str | None]) -> model.Use:
        by = entry.actor
        kind, _, number = by.partition(":")
        if kind == "key":
            by = role_of(by) or "a key that was revoked"
        elif kind == "source":
            by = f"source {self._context.source(int(number)) or number}" if number.isdigit() else "source"
        return model.Use(
            index=entry.index,
            at=rfc3339(entry.at),
            action=entry.action,
            by=by,
            purpose=entry.purpose,
            recipient=entry.destination,
            outcome=entry.outcome,
            about={key: value for key, value in entry.object.items() if key in _TELLING},
        )

    # -- the rest -------------------------------------------------------------------------------

    def requests(self) -> list[model.Asked]:
        """Return the requests that the person made, the newest first."""
        held = {
            one.request_id: one
            for number in self._context.scope.numbers
            for one in requests.of_identity(self._context.connection, number)
        }
        return [
            model.Asked(
                id=one.request_id,
                kind=one.kind,
                state=one.state,
                since=rfc3339(one.state_at),
                channel=one.channel,
                opened_at=rfc3339(one.opened_at),
                due_at=rfc3339(one.due_at),
            )
            for one in sorted(held.values(), key=lambda one: one.opened_at, reverse=True)
        ]

    def lists(self) -> list[model.Listed]:
        """Return the lists that an identifier of the person stands on, black ones too.

        Whether one may be told is for the policies: a list has a data category, and what the rule of the
        purpose ``rights`` drops is not shown.
        """
        held = self._context.stages.segments.lists.holding(
            self._context.connection, self._context.scope.numbers
        )
        return [
            model.Listed(
                list=one.name, kind=one.kind, category=one.category, identifier=self._context.ids[number]
            )
            for number, one in held
            if self._context.subject.listed(number, one.category)
        ]

    def waiting(self) -> list[model.Waiting]:
        """Return the messages in quarantine that name the person, as sent; after ``Facts.identifiers``."""
        held, whole = self._context.stages.quarantine.messages_of(
            self._context.connection,
            self._context.named,
            self._context.stages.identity.normalise.known,
            self._context.sources,
            MOST_QUARANTINED,
        )
        if not whole:
            self._context.left_out.append(
                f"Messages in quarantine beyond the first {MOST_QUARANTINED}: they were not looked through."
            )
        answers = self._context.subject.messages(self._context.scope.numbers[0], (raw for _, raw in held))
        return [
            model.Waiting(
                received_at=rfc3339(item.received_at),
                source=self._context.source(item.source_id),
                kind=item.kind,
                cause=item.cause,
                message=str(answer.values[0]),
            )
            for (item, _), answer in zip(held, answers, strict=True)
            if answer.values
        ]
