"""The log's public face over HTTP and the command line: tiles, notes, proofs as files, bundles."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from caller import Caller
from platform_fixtures import Shell

from cdp.audit import Entry, leaf_hash, open_checkpoint, parse_verifier, root, verifier_sha256
from cdp.audit.merkle import unpack
from cdp.audit.outside.tiles import tile_paths
from cdp.clock import DAY, SECOND, FixedClock, rfc3339
from cdp.crypto import verify_signature

PERSON = "dora@people.example"


def raw(caller: Caller, path: str, *, expect: int = 200, key: str = "", **headers: str) -> httpx.Response:
    """Return the whole answer of the REST API."""
    given = {"Authorization": f"Bearer {key or caller.operator_key}", **headers}
    answer = caller.http.get(f"/api/v1{path}", headers=given)
    assert answer.status_code == expect, answer.text
    return answer


def record(caller: Caller, count: int) -> None:
    """Have the log grow."""
    with caller.services.committer.batch() as batch:
        for number in range(count):
            batch.record(Entry(action="test.happened", actor="system", object={"number": number}))


def unpacked(content: bytes, folder: Path) -> Path:
    """Unpack a bundle."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
    return folder


def verified(folder: Path, *arguments: str | Path) -> tuple[int, str]:
    """Run the verifier of a bundle in its folder, with no package installed."""
    command = [sys.executable, "-I", "-S", "verify.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_tiles_add_up_to_the_signed_tree(caller: Caller) -> None:
    record(caller, 600)
    signed = caller.api("POST", "/audit/checkpoint")
    size = signed["size"]
    record(caller, 1)
    tiles = {path: raw(caller, f"/audit/tile/{path}").content for path in tile_paths(size)}
    leaves = [leaf for path in tiles if path.startswith("0/") for leaf in unpack(tiles[path])]
    assert len(leaves) == size
    note = raw(caller, "/audit/checkpoint", accept="text/plain").text
    said = open_checkpoint(note, parse_verifier(signed["verifier"]), verify_signature)
    assert (said.size, root(leaves)) == (size, said.root)
    assert unpack(tiles["1/000.p/2"]) == [root(leaves[:256]), root(leaves[256:512])]
    entries = []
    for path, content in tiles.items():
        at = 0
        while path.startswith("entries/") and at < len(content):
            length = int.from_bytes(content[at : at + 2])
            entries.append(content[at + 2 : at + 2 + length])
            at += 2 + length
    assert [leaf_hash(entry) for entry in entries] == leaves
    assert raw(caller, "/audit/tile/0/000.p/7").content == tiles["0/000"][: 7 * 32]  # of an earlier size
    turned = bytearray(tiles["0/001"])
    turned[99] ^= 1
    assert root([*leaves[:256], *unpack(bytes(turned)), *leaves[512:]]) != said.root


def test_nothing_goes_out_that_is_not_signed_for(caller: Caller) -> None:
    raw(caller, "/audit/tile/0/000", expect=404)
    size = caller.api("POST", "/audit/checkpoint")["size"]
    record(caller, 1)
    raw(caller, f"/audit/tile/0/000.p/{size}")
    for path in (
        f"0/000.p/{size + 1}",
        "0/000",
        "1/000.p/1",
        "9/000",
        f"entries/000.p/{size + 1}",
        "x",
        "0/0",
    ):
        raw(caller, f"/audit/tile/{path}", expect=404)
    raw(caller, f"/audit/proof/file?index={size}", expect=404)
    raw(caller, "/audit/proof/file?index=-1", expect=404)


@pytest.mark.parametrize("path", ["tile/0/000.p/1", "proof/file?index=0", "bundle", "verifier"])
def test_only_officers_take_anything_out(caller: Caller, path: str) -> None:
    marketer = caller.officer("Mara", roles=("marketer",))
    raw(caller, f"/audit/{path}", key=marketer, expect=403)


def test_a_proof_of_an_entry_is_a_file(caller: Caller, tmp_path: Path) -> None:
    record(caller, 9)
    signed = caller.api("POST", "/audit/checkpoint")
    proof = tmp_path / "entry.tlog-proof"
    proof.write_bytes(raw(caller, f"/audit/proof/file?index={signed['size'] - 2}").content)
    assert proof.read_text().startswith("c2sp.org/tlog-proof@v1\nextra ")
    folder = unpacked(raw(caller, "/audit/bundle").content, tmp_path / "bundle")
    code, said = verified(folder, "--proof", proof, "--key", signed["verifier"])
    assert (code, "test.happened" in said) == (0, True), said
    proof.write_text(proof.read_text().replace("index ", "index 1"))
    assert verified(folder, "--proof", proof, "--key", signed["verifier"])[0] == 1


def test_a_bundle_of_a_period_leads_back_to_what_was_pinned(
    caller: Caller, clock: FixedClock, tmp_path: Path
) -> None:
    clock.advance(400 * DAY)  # what the fixtures made is of now
    caller.send({"type": "identify", "userId": "u1", "messageId": "m1", "traits": {"email": PERSON}})
    caller.lookup("email", PERSON)
    pinned = caller.api("POST", "/audit/checkpoint")
    record(caller, 20)
    instants = []
    for _ in range(6):
        clock.advance(100 * SECOND)
        instants.append(rfc3339(clock.now()))
        caller.lookup("email", PERSON)
        record(caller, 30)
        caller.api("POST", "/audit/checkpoint")
    query = f"/audit/bundle?from={instants[1]}&to={instants[4]}&pinned={pinned['size']}"
    content = raw(caller, query).content
    folder = unpacked(content, tmp_path / "bundle")
    (folder / "pinned").write_text(pinned["note"], encoding="utf-8")
    code, said = verified(folder, "--key", pinned["verifier"])
    assert code == 0, said
    assert f"the log extends size {pinned['size']}" in said
    assert f"period:      {instants[1]} to {instants[4]}" in said
    assert re.search(r"with [1-9][0-9]* references to subjects", said)
    assert PERSON.encode() not in content
    (entry,) = caller.api("GET", "/audit?action=audit.bundle")["items"]
    assert entry["object"] == {"from": instants[1], "to": instants[4]}
    for wrong in ("from=yesterday", f"from={instants[2]}&to={instants[2]}", "pinned=99999", "pinned=-1"):
        raw(caller, f"/audit/bundle?{wrong}", expect=400)
    empty = raw(caller, "/audit/bundle?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z").content
    code, said = verified(unpacked(empty, tmp_path / "empty"), "--key", pinned["verifier"])
    assert (code, "entries:     1 of" in said) == (0, True), said


def test_a_bundle_without_limits_has_the_whole_log_and_the_same_bytes_again(
    caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdp.audit.outside.bundle.ENTRIES_A_FILE", 16)
    record(caller, 70)
    bundles: Any = caller.services.bundles
    plan = bundles.request("key:1", None, None)
    whole = b"".join(bundles.write(plan))
    record(caller, 5)
    assert b"".join(bundles.write(bundles.plan(plan.size, None, None))) == whole
    folder = unpacked(whole, tmp_path / "bundle")
    assert len(list((folder / "entries").iterdir())) > 4
    code, said = verified(folder)
    assert (code, f"{plan.size} of the log's {plan.size}" in said) == (0, True), said


def test_the_command_writes_a_bundle_and_says_what_to_pin(shell: Shell, tmp_path: Path) -> None:
    pinned = tmp_path / "checkpoint"
    shell("source", "create", "shop")
    first = tmp_path / "first.zip"
    said = shell("audit", "bundle", "--out", first)
    assert verifier_sha256() in said
    key = next(line.split()[-1] for line in said.splitlines() if line.startswith("the log's key"))
    folder = unpacked(first.read_bytes(), tmp_path / "first")
    shell("audit", "proof", "1", "--out", tmp_path / "proof")
    pinned.write_text((tmp_path / "proof").read_text().partition("\n\n")[2], encoding="utf-8")
    shell("source", "create", "second-shop")
    shell("audit", "bundle", "--from", "2090-01-01", "--pinned", pinned, "--out", tmp_path / "second.zip")
    second = unpacked((tmp_path / "second.zip").read_bytes(), tmp_path / "second")
    code, said = verified(second, "--key", key, "--pinned", pinned)
    assert (code, "the log extends size" in said) == (0, True), said
    assert verified(folder, "--key", key, "--pinned", pinned)[0] == 0
    shell("audit", "proof", "1", "--out", tmp_path / "later")
    pinned.write_text((tmp_path / "later").read_text().partition("\n\n")[2], encoding="utf-8")
    code, said = verified(folder, "--key", key, "--pinned", pinned)
    assert (code, "or this bundle is older than it" in said) == (1, True), said
    assert "exists" in shell("audit", "bundle", "--out", first, expect=1)
    pinned.write_text("nonsense", encoding="utf-8")
    shell("audit", "bundle", "--pinned", pinned, "--out", tmp_path / "third.zip", expect=1)
    assert not (tmp_path / "third.zip").exists()
    assert verifier_sha256() in shell("doctor")
