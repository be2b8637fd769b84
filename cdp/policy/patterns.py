"""How much work a regular expression may make, told from its text: pure.

Blocked patterns run over values that anybody may send, and an engine that backtracks can take forever on a
short one. Its tries are at most the product of how often each part may repeat. A repeat inside a repeat has
no such bound worth naming, so it is refused; all others multiply.

What is read is the syntax of ``re`` without inline flags and comments, of a pattern that compiles.
"""

from __future__ import annotations

import re

MOST = 300_000
"""About what two open repeats cost on the longest value; milliseconds."""
_LONGEST = 512  # characters of an identifier, ``cdp.identity.identifiers``
_REPEAT = re.compile(r"[*+?]|\{(\d*)(,?)(\d*)\}")
_OPEN = re.compile(r"\((\?(:|=|!|<=|<!|>|P<\w+>|P=\w+)?)?")


def trouble(pattern: str) -> str:
    """Return what is wrong with a pattern that compiles; empty when its work is bounded.

    >>> trouble(r"(a+)+")
    'a repeat inside a repeat can take forever on a value that somebody makes up'
    """
    work = 1
    stack: list[bool] = []  # of each open group: does anything in it vary?
    varies = atom = False  # does the group at hand, and what stands before a repeat?
    place = 0
    while place < len(pattern):
        sign = pattern[place]
        if sign == "(":
            opened = _OPEN.match(pattern, place)
            if opened is None or opened.group(1) == "?":
                return "inline flags and comments are not allowed; values are compared without case"
            stack.append(varies)
            varies = atom = False
            place = opened.end()
        elif sign == ")":
            atom = varies
            varies = stack.pop() or varies
            place += 1
        elif sign == "|":
            if stack:  # alternatives of the whole pattern are tried one after another
                work *= 2
                varies = True
            place += 1
        elif (repeat := _REPEAT.match(pattern, place)) and (tries := _tries(repeat)):
            if atom and repeat.group() != "?":
                return "a repeat inside a repeat can take forever on a value that somebody makes up"
            work *= tries
            varies = varies or tries > 1
            atom = False
            place = repeat.end() + (pattern[repeat.end() : repeat.end() + 1] in ("?", "+"))
        else:
            atom = False
            place += _length(pattern, place)
    return "" if work <= MOST else "its repeats can take too long together; use fewer, or bound them: {0,20}"


def _tries(repeat: re.Match[str]) -> int:
    """Return in how many ways a part may repeat; 0 for braces that are none."""
    sign = repeat.group()
    if sign[0] != "{":
        return 2 if sign == "?" else _LONGEST
    least, comma, most = repeat.groups()
    if not (least or most):
        return 0
    if not comma:
        return 1
    return max(min(int(most or _LONGEST), _LONGEST) - int(least or 0), 0) + 1


def _length(pattern: str, place: int) -> int:
    """Return how long the character, escape or class at a place is."""
    if pattern[place] == "\\":
        return 2
    if pattern[place] != "[":
        return 1
    end = place + 1
    end += pattern[end] == "^"
    end += pattern[end] == "]"
    while pattern[end] != "]":
        end += 2 if pattern[end] == "\\" else 1
    return end + 1 - place
