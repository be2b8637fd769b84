"""What a replay says. Numbers and codes only: it names nobody."""

from __future__ import annotations

from typing import Literal

import msgspec

from cdp.clock import Micros

ReplayState = Literal["running", "done", "failed", "interrupted"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of deciding an export again.

    :param people: in the segment, as recorded; each is reproduced, erased or unexplained.
    :param erased: people of whom facts were erased since, so that their leaves are carried.
    :param unexplained: differences that nothing explains: people, and what is wrong beside them.
    :param explained: code → people; ``problems``: code → differences that are unexplained.
    :param leaves: of M and D as stored; ``carried`` those of erased people.
    :param root_equal: the replayed root(M) is the one in the audit log; ``changed_root_equal`` that of D.
    :param decided_at: the instant at which ages were reckoned.
    :param code: what decided then (``record.code_version``), empty when it is not known; ``code_now`` now.
    :param lacks: codes of what the export does not have on record.
    """

    people: int
    reproduced: int
    erased: int
    unexplained: int
    explained: dict[str, int]
    problems: dict[str, int]
    leaves: int
    carried: int
    root_equal: bool
    changed_root_equal: bool
    bundle: str
    ledger_position: int
    decided_at: Micros
    code: str
    code_now: str
    lacks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when everything was reproduced or is explained, and both roots are equal."""
        return not self.unexplained and self.root_equal and self.changed_root_equal

    def verdict(self) -> str:
        """Return it in one line."""
        equal = self.root_equal and self.changed_root_equal
        return (
            f"{self.reproduced} reproduced, {self.erased} erased, {self.unexplained} unexplained, "
            f"root {'equal' if equal else 'different'}"
        )


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """One replay, in the order of its table's columns.

    :param state: ``interrupted`` of one whose process ended before it.
    :param report: once it is ``done``.
    """

    replay_no: int
    export_id: str
    state: ReplayState
    actor: str
    started_at: Micros
    finished_at: Micros | None = None
    report: Report | None = None


class Progress(msgspec.Struct, frozen=True):
    """How far a replay has come: people decided again, and how many there are."""

    done: int
    total: int
