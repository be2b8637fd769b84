"""One exchange with a recipient: what it is asked, and what counts as its answer.

Invariants: nobody is named to a recipient whose discovery and certificate are not believed; an answer counts
when it is signed and about the request that was asked about; what went wrong is a short code.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from cdp.clock import Micros
from cdp.crypto import UntrustedError
from cdp.errors import InvalidInputError
from cdp.policy import OpenDsr
from cdp.rights.opendsr.model import Child
from cdp.rights.opendsr.read import Told, read_told
from cdp.rights.opendsr.transport import Answer, Call, Transport
from cdp.rights.opendsr.trust import Trust

_REFUSALS = frozenset({400, 404, 410, 422})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an exchange gave.

    :param told: the recipient's signed word; None where there is none, for ``error``.
    :param refused: it is not to be tried again.
    :param wait: microseconds that the recipient asks to wait.
    """

    told: Told | None = None
    error: str = ""
    refused: bool = False
    wait: Micros = 0


class Dialogue:
    """Talks to recipients.

    :param tokens: folder with a file for each recipient that wants a bearer token, named like it.
    """

    def __init__(self, transport: Transport, trust: Trust, tokens: Path | None) -> None:
        self._transport = transport
        self._trust = trust
        self._tokens = tokens

    def post(self, child: Child, recipient: OpenDsr, body: bytes) -> Outcome:
        """Hand a request over."""
        try:
            if "erasure" not in self._trust.kinds(recipient):
                return Outcome(error="unsupported")
        except UntrustedError:
            return Outcome(error="untrusted")
        outcome = self._said(child, recipient, "POST", f"{recipient.url}/requests", body)
        if outcome.refused and child.attempts:  # the answer of before may be lost: it may have it already
            asked = self.ask(child, recipient)
            return outcome if asked.told is None else asked
        return outcome

    def ask(self, child: Child, recipient: OpenDsr) -> Outcome:
        """Ask where a request stands."""
        return self._said(child, recipient, "GET", f"{recipient.url}/requests/{child.child_id}")

    def _said(self, child: Child, recipient: OpenDsr, method: str, url: str, body: bytes = b"") -> Outcome:
        headers = self._token(child.destination)
        answer = self._transport.call(Call(method=method, url=url, headers=headers, body=body, reads=True))
        if answer.error:
            return Outcome(error=answer.error, refused=answer.status in _REFUSALS, wait=answer.wait)
        return self._signed(child, recipient, answer)

    def _signed(self, child: Child, recipient: OpenDsr, answer: Answer) -> Outcome:
        try:
            self._trust.check(recipient, answer.headers, answer.body)
            told = read_told(answer.body)
        except UntrustedError:
            return Outcome(error="untrusted")
        except InvalidInputError:
            return Outcome(error="bad_answer")
        return (
            Outcome(told=told) if told.subject_request_id == child.child_id else Outcome(error="bad_answer")
        )

    def _token(self, destination: str) -> dict[str, str]:
        if self._tokens is None:
            return {}
        try:
            token = (self._tokens / destination).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return {}
        return {"authorization": f"Bearer {token}"}
