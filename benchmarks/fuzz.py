"""``python -m benchmarks.fuzz``: bytes chosen by coverage, put into whatever reads what others send.

The first byte of an input says what reads the rest (``TARGETS``). Steps: a call's body → messages → events or
rejects → what they restrain → their clear and sealed parts; identifiers; times; consent strings; definitions
of segments. An input fails when a reader raises anything but the errors it declares, takes longer than
``TIMEOUT`` seconds, or says in an error or a cause what was sent (``CANARY``, which the corpus is full of).

``tests/fuzz/corpus`` holds what to begin with, all of it made up, and every input that once failed
(``regression-*``); new finds go to ``--corpus``. libFuzzer (through atheris) wants a process of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["cdp.clock", "cdp.consent", "cdp.identity", "cdp.ingest", "cdp.plain_yaml", "cdp.segments"]
):
    from cdp import policy
    from cdp.access import Source
    from cdp.clock import parse_rfc3339
    from cdp.consent import MalformedSignalError
    from cdp.consent.signals import google, gpp, tcf, us_sections
    from cdp.errors import DefinitionError, InvalidInputError, MalformedBodyError, TooLargeError
    from cdp.identity import Normaliser
    from cdp.ingest import Classifier, Delivery, Event, Reject, Validator, read_body
    from cdp.segments import parse

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
TIMEOUT = 5
CANARY = "canary"
NOW = parse_rfc3339("2026-03-01T12:00:00Z")
BUNDLE = policy.load(ROOT / "policies")
KINDS = ("email", "phone", "user_id", "anonymous_id", "device_id", "external:crm")
SECTIONS = sorted({us_sections.USP, *us_sections.LAYOUTS})
SOURCES = [
    Source(source_id=1, name="shop", kind="server", enabled=True, default_region="DE"),
    Source(source_id=2, name="web", kind="browser", enabled=True),
]
_normalise = Normaliser(BUNDLE.identity)
_validate = Validator(BUNDLE, _normalise, b"k" * 32, 32_768, None, lambda: ("DE", "GB"))
_classify = Classifier(BUNDLE.fields)


class FoundError(Exception):
    """An input did what none may do."""


def _quiet(said: str) -> None:
    if CANARY in said.lower():
        raise FoundError("an error says what was sent")


def _call(data: bytes, *, single: bool) -> None:
    """Read a call, as the ingest routes do; the first byte says who sends it, and how."""
    how, raw = data[:1] or b"\0", data[1:]
    encoding = "gzip" if how[0] & 1 else ""
    limits = {"max_bytes": 65_536, "max_event_bytes": 32_768, "max_events": 100}
    try:
        body = read_body(raw, encoding=encoding, single=single, **limits)
    except (MalformedBodyError, TooLargeError) as error:
        _quiet(str(error))
        return
    delivery = Delivery(
        source=SOURCES[how[0] >> 1 & 1],
        messages=body.messages,
        received_at=NOW,
        type="identify" if single else "",
        sent_at=body.sent_at,
        context=body.context,
        sec_gpc=bool(how[0] & 4),
        nonce=1,
    )
    for message in delivery.each():
        found = _validate(message)
        if isinstance(found, Reject):
            _quiet(found.cause)
            _validate.restraints(message)
            continue
        _check(found)
        _classify(found)
        _validate.words(found)


def _check(event: Event) -> None:
    for kind, value in event.identifiers:  # None: version 1 made it, so it can only say no
        if _normalise(kind, value) not in (value, None):
            raise FoundError(f"normalising twice changes something of {kind}")


def _identifier(text: str) -> None:
    kind = KINDS[len(text) % len(KINDS)]
    found = _normalise(kind, text, "DE")
    if found is not None and _normalise(kind, found, "DE") != found:
        raise FoundError(f"normalising twice changes something of {kind}")
    _normalise.meant(kind, text, None, lambda: ("DE", "GB"))


def _time(text: str) -> None:
    try:
        parse_rfc3339(text)
    except ValueError:
        return


def _signal(read: Callable[[str], object]) -> Callable[[str], None]:
    def target(text: str) -> None:
        try:
            read(text)
        except MalformedSignalError as error:
            _quiet(str(error))

    return target


def _definition(text: str) -> None:
    try:
        parse(text, BUNDLE.fields, "")
    except (DefinitionError, InvalidInputError):
        return  # it repeats names of fields, which are nobody's


def _section(text: str) -> object:
    return us_sections.decode_section(SECTIONS[ord(text[:1] or "\0") % len(SECTIONS)], text[1:])


def _google(text: str) -> object:
    return google.modes(None, text, text)


def _of_text(target: Callable[[str], None], errors: str = "replace") -> Callable[[bytes], None]:
    return lambda data: target(data.decode("utf-8", errors))


TARGETS: tuple[Callable[[bytes], None], ...] = (
    lambda data: _call(data, single=False),
    lambda data: _call(data, single=True),
    _of_text(_identifier, "surrogateescape"),
    _of_text(_time, "surrogateescape"),
    _of_text(_signal(tcf.decode)),
    _of_text(_signal(gpp.decode)),
    _of_text(_signal(lambda text: gpp.hear(text, None, BUNDLE.signals))),
    _of_text(_signal(_section)),
    _of_text(_signal(_google)),
    _of_text(_definition),
)


def one(data: bytes) -> None:
    """Put one input into what its first byte names."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def main() -> None:
    """Fuzz until the runs or the seconds are over; a failing input ends it and is left in a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="0 is until --runs")
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--seed", type=int, default=0, help="0 draws one")
    parser.add_argument("--corpus", type=Path, help="where new inputs are kept, for the next time")
    parser.add_argument("--crashes", type=Path, default=Path(), help="where a failing input is left")
    given = parser.parse_args()
    kept = given.corpus or Path(tempfile.mkdtemp(prefix="fuzz-"))  # libFuzzer adds to the first it is given
    options = [
        f"-max_total_time={given.seconds}",
        f"-runs={given.runs}",
        f"-seed={given.seed}",
        f"-timeout={TIMEOUT}",
        f"-artifact_prefix={given.crashes}/",
        "-max_len=4096",
        "-rss_limit_mb=2048",
    ]
    atheris.Setup([sys.argv[0], *options, str(kept), str(CORPUS)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
