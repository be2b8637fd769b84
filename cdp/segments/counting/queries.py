"""Reads and writes of the answers that each key was given about numbers of people."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select

from cdp.segments.tables import counts_shown
from cdp.store import insert_ignoring


def charge(connection: Connection, actor: str, day: int, answers: Sequence[str]) -> int:
    """Note the answers that a key was given on a day; returns how many all keys have been given on it."""
    connection.execute(delete(counts_shown).where(counts_shown.c.day < day))
    rows = [(actor, day, answer) for answer in answers]
    insert_ignoring(connection, counts_shown, ("actor", "day", "answer"), rows)
    return charged(connection, day)


def give_back(connection: Connection, actor: str, day: int, answers: Sequence[str]) -> None:
    """Forget that a key was given answers on a day."""
    c = counts_shown.c
    mine = (c.actor == actor) & (c.day == day)
    connection.execute(delete(counts_shown).where(mine, c.answer.in_(sorted(answers))))


def charged(connection: Connection, day: int) -> int:
    """Return how many answers all keys together were given on a day; one given to two keys is one."""
    c = counts_shown.c
    query = select(func.count(c.answer.distinct())).where(c.day == day)
    return int(connection.execute(query).scalar_one())
