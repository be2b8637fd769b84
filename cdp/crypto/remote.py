"""A root key behind a network: what is common to Vault and the cloud's key services.

The service is trusted to keep the root, not to be fast, up or right. Invariants:

1. A request ends in time: each attempt and all of them together have a limit, however slowly bytes
   come. A service that throttles, fails or does not answer is asked again a few times, after random,
   doubling pauses; one that refuses is not.
2. What it wraps is unwrapped and compared before anybody stores it: a service that answers garbage
   loses nothing.
3. The secret travels with a MAC over ``context`` under a key derived from the secret itself, so that an
   answer for another context, a truncated one or garbage is noticed even by a service without
   authenticated context. That the secret is *the* one is for the commitment beside it to say.
4. An error names the service and what to do; never an answer's content, which may be a key.
"""

from __future__ import annotations

import hmac
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import Empty, SimpleQueue

import msgspec

from cdp.crypto.sealed import pae
from cdp.errors import CdpError, KeyAccessError

_MAC_BYTES = 16
_LABEL = b"cdp/remote/v1"


class Patience(msgspec.Struct, frozen=True):
    """How long a service is waited for.

    :param total_s: seconds for one wrap or unwrap, pauses and repetitions included.
    :param attempt_s: seconds for one request.
    :param pause_s: the longest first pause; each later one may be twice as long.
    """

    total_s: float = 10.0
    attempt_s: float = 3.0
    pause_s: float = 0.2


class _AgainError(Exception):
    """The service cannot answer now; the message says why."""


class RemoteKeyProvider(ABC):
    """Wraps under a root key that a service keeps; a subclass speaks to one kind of service.

    :param place: kind and place of the root, for messages.
    """

    def __init__(self, place: str, patience: Patience) -> None:
        self._place = place
        self._patience = patience

    def describe(self) -> str:
        """Return kind and place of the root."""
        return self._place

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Return ``secret`` wrapped for ``context``, proven to open again."""
        wrapped = self._ask(lambda: self._encrypt(secret + _mac(secret, context), context))
        if not hmac.compare_digest(self.unwrap(wrapped, context), secret):
            raise KeyAccessError(f"{self._place} does not give back what it wrapped; nothing was stored")
        return wrapped

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the secret, if it is one that was wrapped for ``context``."""
        answer = self._ask(lambda: self._decrypt(wrapped, context))
        secret, mac = answer[:-_MAC_BYTES], answer[-_MAC_BYTES:]
        if not secret or not hmac.compare_digest(_mac(secret, context), mac):
            raise KeyAccessError(
                f"{self._place} answered something other than what was wrapped; nothing of it is used. "
                "Check that CDP_KEYS names the root that wrapped this workspace's keys, or to which "
                "`cdp keys move` moved them"
            )
        return secret

    @abstractmethod
    def _encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        """Ask the service once.

        :raises _AgainError: (through ``again``) it cannot answer now.
        :raises KeyAccessError: it refuses, or answers what cannot be read.
        """

    @abstractmethod
    def _decrypt(self, ciphertext: bytes, context: bytes) -> bytes:
        """Ask the service once, as for ``_encrypt``."""

    def _ask(self, request: Callable[[], bytes]) -> bytes:
        deadline = time.monotonic() + self._patience.total_s
        pause = self._patience.pause_s
        while True:
            left = deadline - time.monotonic()
            try:
                return _within(min(left, self._patience.attempt_s), request)
            except _AgainError as error:
                wait = random.uniform(0, pause)  # noqa: S311  # spreads requests, protects nothing
                pause *= 2
                if time.monotonic() + wait >= deadline:
                    raise KeyAccessError(f"{self._place} {error}; try again later") from None
                time.sleep(wait)
            except CdpError:
                raise
            except Exception as error:  # noqa: BLE001  # a library that chokes on the answer
                kind = type(error).__name__
                raise KeyAccessError(f"{self._place} answered what cannot be read ({kind})") from None


def again(reason: str) -> Exception:
    """Return the error with which a subclass says that the service cannot answer now."""
    return _AgainError(reason)


def _within(seconds: float, request: Callable[[], bytes]) -> bytes:
    """Run ``request`` for at most ``seconds``; socket timeouts alone never end a trickle of bytes."""
    done: SimpleQueue[bytes | Exception] = SimpleQueue()

    def run() -> None:
        try:
            done.put(request())
        except Exception as error:  # noqa: BLE001  # it is raised in the thread that waits
            done.put(error)

    threading.Thread(target=run, name="key-service", daemon=True).start()
    try:
        answer = done.get(timeout=max(seconds, 0.001))
    except Empty:
        raise _AgainError("does not answer in time") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _mac(secret: bytes, context: bytes) -> bytes:
    return hmac.digest(secret, pae(_LABEL, context), "sha256")[:_MAC_BYTES]
