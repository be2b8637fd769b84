"""A witness: another party's server that countersigns each checkpoint, once it saw that the log only grew.

C2SP tlog-witness, ``add-checkpoint``; its word is a cosignature (tlog-cosignature, ``cosignature/v1``).
Whoever pins the witness's key knows that a checkpoint which carries it was shown to somebody else, who would
not have signed another one of the same size. A turn of the worker:

1. Claim the attempt when the newest checkpoint is not countersigned and the last failure is long enough ago:
   of several processes one asks.
2. Send the size that the witness holds, the consistency proof from there, and the checkpoint. Where it holds
   another size it says so (409), and is asked once more from that.
3. Verify the answer under the pinned key, and store the signature line beside the checkpoint.
4. A failure sets the next attempt, later each time. It is on record when it begins and when it ends, and no
   sooner again: an entry makes the log grow, which makes another checkpoint.

Invariants: signing and exports never wait for a witness. It is reached by https alone, at the address that
the process's environment gives, under a private authority's certificate where one is given; no redirect is
followed, and its answer is bounded in time and length.
"""

from __future__ import annotations

import base64
import ssl
import time
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
from prometheus_client import Gauge

from cdp.audit.checkpoint import COSIGNATURE, NoteKey, open_cosignature, parse_verifier
from cdp.audit.model import Checkpoint, Entry
from cdp.audit.outside import queries
from cdp.audit.outside.queries import WitnessState
from cdp.audit.service import AuditLog
from cdp.clock import SECOND, Clock
from cdp.crypto import verify_signature
from cdp.errors import AuditError, ConfigurationError
from cdp.store import Committer, Store, retrying

_TIMEOUT_SECONDS = 10.0
_CLAIMED = 60 * SECOND  # longer than an attempt lasts
_FIRST_PAUSE = 5 * SECOND
_MAX_ANSWER = 64 * 1024
_SIZE_TYPE = "text/x.tlog.size"
_TROUBLES = {
    400: "refused_size",
    403: "refused_signature",
    404: "unknown_origin",
    422: "refused_proof",
}
_COSIGNED = Gauge("cdp_audit_witness_size", "Entries that the newest countersigned checkpoint covers")
_FAILING = Gauge("cdp_audit_witness_failing", "1 while the audit log's witness does not countersign")


class WitnessAt(msgspec.Struct, frozen=True, kw_only=True):
    """Where a witness is and how it is known.

    :param ca: file of the authority that signed its certificate; None: those of the system.
    """

    url: str
    key: NoteKey
    ca: Path | None = None


class _RefusedError(AuditError):
    """The witness did not countersign; the message is a short code."""


def open_witness(url: str, key: str, ca: Path | None = None) -> WitnessAt | None:
    """Return the witness that the settings name; None when they name none.

    :raises ConfigurationError: they are incomplete or wrong.
    """
    if not url and not key:
        return None
    if not url or not key:
        raise ConfigurationError("CDP_WITNESS_URL and CDP_WITNESS_KEY are set together or not at all")
    try:
        parts = urlsplit(url)
        fine = parts.scheme == "https" and parts.hostname and parts.username is None and parts.port != 0
    except ValueError:
        fine = False
    if not fine or parts.query or parts.fragment or not url.isascii() or not url.isprintable():
        raise ConfigurationError("CDP_WITNESS_URL is an https URL without user, query and fragment")
    try:
        known = parse_verifier(key, COSIGNATURE)
    except AuditError as error:
        raise ConfigurationError(f"CDP_WITNESS_KEY: {error.message}") from None
    if ca is not None:
        try:
            ssl.create_default_context(cafile=ca)
        except OSError:
            raise ConfigurationError(f"CDP_WITNESS_CA: no certificates can be read from {ca}") from None
    return WitnessAt(url=url.rstrip("/"), key=known, ca=ca)


def witness_state(store: Store, key: str) -> WitnessState:
    """Return how it is with the witness of this key, whichever process asks it."""
    with store.reading() as connection:
        return queries.witness_state(connection, key)


class Witness:
    """Asks one witness to countersign.

    :param at: None when there is none: a turn then does nothing.
    """

    def __init__(
        self, store: Store, committer: Committer, audit: AuditLog, clock: Clock, at: WitnessAt | None
    ) -> None:
        self._store = store
        self._committer = committer
        self._audit = audit
        self._clock = clock
        self._at = at

    def turn(self) -> bool:
        """Have the newest checkpoint countersigned; returns whether it is."""
        if self._at is None:
            return False
        name = self._at.key.verifier_text()
        with self._store.reading() as connection:
            newest = self._audit.latest_checkpoint(connection)
            state = queries.witness_state(connection, name)
            held = newest is not None and bool(queries.cosignatures(connection, newest.size, newest.size))
        self._show(state)
        if newest is None or held:
            return held
        if not retrying(partial(self._claim, name)):  # 1
            return False
        line, trouble = "", ""
        try:
            size, line = self._ask(self._at, newest, state.size)  # 2, 3
        except _RefusedError as error:
            size, trouble = state.size, error.message
        self._show(retrying(partial(self._settle, name, newest, size, line, trouble)))  # 4
        return not trouble

    def _claim(self, name: str) -> bool:
        now = self._clock.now()
        with self._committer.batch() as batch:
            return queries.claim_witness(batch.connection, name, now, now + _CLAIMED)

    def _ask(self, at: WitnessAt, newest: Checkpoint, old: int) -> tuple[int, str]:
        """Return (size that it holds now, its signature line).

        :raises _RefusedError: it does not countersign, or nobody answers.
        """
        status, kind, body = self._post(at, newest, min(old, newest.size))
        if status == 409:
            held = body.decode("ascii", "replace").removesuffix("\n")
            if kind != _SIZE_TYPE or not held.isdigit() or len(held) > 18:
                raise _RefusedError("malformed_answer")
            if int(held) > newest.size:
                raise _RefusedError("holds_a_longer_log")
            status, _, body = self._post(at, newest, int(held))
        if status != 200:
            raise _RefusedError(_TROUBLES.get(status, f"http_{status}"))
        text = newest.note.partition("\n\n")[0] + "\n"
        try:
            for line in body.decode().removesuffix("\n").split("\n"):
                if open_cosignature(text, line, at.key, verify_signature) is not None:
                    return newest.size, line
        except (AuditError, UnicodeDecodeError):
            raise _RefusedError("bad_cosignature") from None
        raise _RefusedError("no_cosignature")

    def _post(self, at: WitnessAt, newest: Checkpoint, old: int) -> tuple[int, str, bytes]:
        """Return (status, content type, body) of one ``add-checkpoint``."""
        with self._store.reading() as connection:
            proof = self._audit.consistency(connection, old, newest.size)
        lines = [f"old {old}", *(base64.b64encode(node).decode() for node in proof), "", newest.note]
        context = ssl.create_default_context(cafile=at.ca)
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        body = b""
        try:
            with (
                httpx.Client(verify=context, trust_env=False, timeout=_TIMEOUT_SECONDS) as client,
                client.stream("POST", f"{at.url}/add-checkpoint", content="\n".join(lines)) as answer,
            ):
                for piece in answer.iter_raw():
                    body += piece
                    if len(body) > _MAX_ANSWER or time.monotonic() > deadline:
                        raise _RefusedError("endless_answer")
                return answer.status_code, answer.headers.get("content-type", ""), body
        except httpx.TimeoutException:
            raise _RefusedError("timeout") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            raise _RefusedError("no_connection") from None

    def _settle(self, name: str, newest: Checkpoint, size: int, line: str, trouble: str) -> WitnessState:
        now = self._clock.now()
        with self._committer.batch() as batch:
            before = queries.witness_state(batch.connection, name)
            failures = before.failures + 1 if trouble else 0
            pause = min(_FIRST_PAUSE << min(failures - 1, 20), queries.LONGEST_PAUSE) if trouble else 0
            turned = bool(trouble) != bool(before.trouble)
            state = WitnessState(
                witness=name,
                size=size,
                trouble=trouble,
                since=now if turned else before.since,
                failures=failures,
                next_at=now + pause,
            )
            queries.put_witness_state(batch.connection, state)
            if line:
                queries.add_cosignature(batch.connection, newest.size, name, line, now)
            if turned:
                about: dict[str, str | int] = {"size": newest.size, "witness": name}
                batch.record(
                    Entry(
                        action="audit.witness",
                        actor="system",
                        outcome="failed" if trouble else "allowed",
                        object={**about, "trouble": trouble} if trouble else about,
                    )
                )
        return state

    @staticmethod
    def _show(state: WitnessState) -> None:
        _COSIGNED.set(state.size)
        _FAILING.set(bool(state.trouble))
