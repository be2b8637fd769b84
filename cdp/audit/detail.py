"""Sealed detail: what an entry may not say in clear, one row for each subject, under that subject's key.

Invariants:

1. A detail is JSON sealed under the ``person`` DEK of its subject, bound to the entry's index and the
   subject. It dies with that key; ``forget`` deletes its row. Whoever has no key (any more) has no detail.
2. The entry holds the Merkle root over the ciphertexts (leaf ``SHA-256(0x00 ‖ envelope)``, in ascending order
   of these hashes), and the hashes lie beside it: they stay, so an entry verifies before and after an
   erasure.
3. Numbers of people under ten, which the entry hides, are in the detail of its subjects, where these are few
   enough (``FEW_SUBJECTS``) that it says something of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from cdp.audit.entry import FEW
from cdp.audit.merkle import HASH_BYTES, leaf_hash
from cdp.audit.model import Entry
from cdp.crypto import Keyring, Place, open_sealed, seal
from cdp.errors import TooLargeError

FEW_SUBJECTS = 100
_MAX_BYTES = 16_384
_TABLE = "audit_details"


class Sealing(NamedTuple):
    """The details of one entry as stored.

    :param rows: (leaf_index, identity_no, envelope).
    :param hashes: their leaf hashes, ascending.
    """

    rows: list[tuple[int, int, bytes]]
    hashes: list[bytes]


class Details:
    """Seals and opens details."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._prefix = Place(keyring.workspace, _TABLE, "detail").prefix()

    def seal(self, index: int, entry: Entry) -> Sealing:
        """Seal what ``entry`` says of each subject that has a key.

        :raises TooLargeError: a detail is over 16 KiB.
        """
        said = _said(entry)
        keys = self._keyring.openable(said, "person") if said else {}
        rows = []
        for number, detail in said.items():
            if number not in keys:
                continue
            plain = msgspec.json.encode(detail, order="sorted")
            if len(plain) > _MAX_BYTES:
                raise TooLargeError(
                    f"a detail of the audit entry of {entry.action} is over {_MAX_BYTES} bytes"
                )
            row_key = index.to_bytes(8)
            rows.append((index, number, seal(keys[number], self._prefix, row_key, number, plain)))
        return Sealing(rows, sorted(leaf_hash(envelope) for _, _, envelope in rows))

    def open(self, index: int, rows: Sequence[tuple[int, bytes]]) -> dict[int, dict[str, Any]]:
        """Return the details of an entry by identity number; those without a key are absent.

        :param rows: (identity_no, envelope).
        :raises SealError: one was altered or moved.
        """
        keys = self._keyring.openable([number for number, _ in rows], "person")
        opened: dict[int, dict[str, Any]] = {}
        for number, envelope in rows:
            if number in keys:
                plain = open_sealed(keys[number], self._prefix, index.to_bytes(8), number, envelope)
                opened[number] = msgspec.json.decode(plain, type=dict[str, Any])
        return opened


def _said(entry: Entry) -> Mapping[int, Mapping[str, Any]]:
    few = {name: count for name, count in entry.people.items() if count < FEW}
    subjects = dict.fromkeys(entry.subjects)
    if not few or len(subjects) > FEW_SUBJECTS:
        return entry.details
    return {
        number: {**entry.details.get(number, {}), "people": few}
        for number in dict.fromkeys([*subjects, *entry.details])
    }


def strangers(details: Iterable[tuple[int, bytes, bytes]]) -> Iterator[int]:
    """Yield the index of each detail that is not one of those that its entry has.

    :param details: (leaf_index, envelope, the entry's packed hashes).
    """
    for index, envelope, packed in details:
        hashes = {packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)}
        if leaf_hash(envelope) not in hashes:
            yield index
