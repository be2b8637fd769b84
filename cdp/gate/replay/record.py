"""What an export keeps so that it can be decided again: pure.

Facts that are only ever appended to are read again as they stood at the export's ledger position. Kept here
is what is not: who the segment's people were and which identities each of them had, the instant and the code
that decided, who was withheld for which reason, and in which jurisdictions and how young people were known to
be, as retention may delete what told of it. Who stood on a black list, whose links had changed since
the members were found and whose keys did not open is told by nothing else.

The packed record is compressed, and its SHA-256 stands in the audit entry of the decision; the salt in it
keeps anybody from finding out by trying whom a small one is about. Sizes: some bytes a person at most, as
numbers that lie beside each other take a bit each.
"""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

import cdp
from cdp.clock import Micros
from cdp.errors import IntegrityError
from cdp.gate.model import Condition, FactSets

_SALT_BYTES = 16
_MOST = 1 << 30  # bytes of a record unpacked: forty million people
_DECIDING = ("access", "consent", "gate", "identity", "policy")
_ALTERED = "an export is not as it was stored: its record cannot be read"
NOT_MINOR = Condition("not_minor")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The record of one decision.

    :param decided_at: the instant at which ages were reckoned.
    :param code: what decided (``code_version``).
    :param identities: a BitMap: every identity of the segment's people.
    :param owners: for each of ``identities``, ascending, how far below it the number of its profile lies:
        32-bit numbers, little endian.
    :param withheld: reason → a BitMap of profile numbers; disjoint.
    :param places: jurisdiction → a BitMap of those with a recorded place in it; ``minors`` of known minors,
        where that was asked. These facts are the only ones that retention may delete.
    """

    salt: bytes
    decided_at: Micros
    code: str
    identities: bytes
    owners: bytes
    withheld: dict[str, bytes]
    places: dict[str, bytes] = {}
    minors: bytes = BitMap().serialize()

    @staticmethod
    def of(
        decided_at: Micros,
        members: Mapping[int, Sequence[int]],
        withheld: Mapping[str, BitMap],
        facts: FactSets | None,
    ) -> Record:
        """Make the record of a decision.

        :param members: profile_no → its identity numbers, of everybody in the segment.
        :param facts: what they were decided by.
        """
        owner_of = {number: no for no, numbers in members.items() for number in numbers}
        identities = BitMap(owner_of)
        owners = array("I", (number - owner_of[number] for number in identities))
        return Record(
            salt=os.urandom(_SALT_BYTES),
            decided_at=decided_at,
            code=code_version(),
            identities=identities.serialize(),
            owners=np.array(owners, "<u4").tobytes(),
            withheld=_stored(withheld),
            places={} if facts is None else _stored(facts.places),
            minors=(BitMap() if facts is None else minors_of(facts)).serialize(),
        )

    def pack(self) -> bytes:
        """Return the record as it is stored."""
        return zlib.compress(msgspec.msgpack.encode(self), 6)

    def members(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (identity_no, profile_no) of everybody, sorted by profile.

        :raises IntegrityError: they are not as they were stored.
        """
        numbers = np.array(self.people_of(self.identities).to_array(), np.int64)
        owners = numbers - np.frombuffer(self.owners, "<u4").astype(np.int64)
        order = np.argsort(owners, kind="stable")
        return numbers[order], owners[order]

    def sets(self, stored: Mapping[str, bytes]) -> dict[str, BitMap]:
        """Return sets that are stored so.

        :raises IntegrityError: one is none.
        """
        return {name: self.people_of(people) for name, people in stored.items()}

    def withheld_for(self, reason: str) -> BitMap:
        """Return the profiles that were withheld for a reason."""
        return self.people_of(self.withheld[reason]) if reason in self.withheld else BitMap()

    @staticmethod
    def people_of(stored: bytes) -> BitMap:
        """Return a set that is stored so.

        :raises IntegrityError: it is none.
        """
        try:
            return BitMap.deserialize(stored)
        except ValueError:
            raise IntegrityError(_ALTERED) from None


def digest(packed: bytes) -> str:
    """Return what the audit entry says of a packed record, hex."""
    return sha256(packed).hexdigest()


def unpack(packed: bytes) -> Record:
    """Return the record that was packed.

    :raises IntegrityError: it is none.
    """
    opened = zlib.decompressobj()
    try:
        data = opened.decompress(packed, _MOST)
        record = msgspec.msgpack.decode(data, type=Record)
    except (zlib.error, msgspec.DecodeError):
        raise IntegrityError(_ALTERED) from None
    if not opened.eof or len(record.owners) != 4 * len(Record.people_of(record.identities)):
        raise IntegrityError(_ALTERED)
    return record


@cache
def code_version() -> str:
    """Return the version of this code, with a digest of the files that decisions follow from."""
    root = Path(cdp.__file__).parent
    files = sorted(path for part in _DECIDING for path in (root / part).rglob("*.py"))
    read = sha256()
    for path in files:
        read.update(path.relative_to(root).as_posix().encode() + b"\0" + sha256(path.read_bytes()).digest())
    return f"{cdp.__version__}+{read.hexdigest()[:12]}"


def pack_sets(sets: Mapping[str, BitMap]) -> bytes:
    """Return named sets as they are stored beside an export."""
    return msgspec.msgpack.encode(_stored(sets))


def unpack_sets(stored: bytes) -> dict[str, BitMap]:
    """Return the sets that were stored so.

    :raises IntegrityError: they are none.
    """
    try:
        held = msgspec.msgpack.decode(stored, type=dict[str, bytes])
    except msgspec.DecodeError:
        raise IntegrityError(_ALTERED) from None
    return {name: Record.people_of(people) for name, people in held.items()}


def minors_of(facts: FactSets) -> BitMap:
    """Return the known minors, where that was asked."""
    return facts.people - facts.true[NOT_MINOR] if NOT_MINOR in facts.true else BitMap()


def _stored(sets: Mapping[str, BitMap]) -> dict[str, bytes]:
    return {name: people.serialize() for name, people in sets.items() if people}
