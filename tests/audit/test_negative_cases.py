"""Bundles and proofs that somebody altered, as files: each is refused, with the place where it is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import bundles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp.audit import verifier_sha256, verify

HERE = Path(__file__).parent / "negative"
KEY = (HERE / "key").read_text(encoding="ascii").strip()
CASES = sorted(path.name for path in (HERE / "bundles").iterdir() if (path / "says").is_file())
PROOFS = sorted(path.name for path in (HERE / "proofs").iterdir())


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the verifier in this process."""

    def verifying(*arguments: str | Path) -> tuple[int, str]:
        code = verify.main([*map(str, arguments)])
        printed = capsys.readouterr()
        assert printed.err == ""
        return code, printed.out

    return verifying


def run_alone(*arguments: str | Path) -> tuple[int, str]:
    """Run the verifier as a regulator does: nothing installed, not even the site packages."""
    command = [sys.executable, "-I", "-S", str(verify.__file__), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


def laid_out(folder: Path, case: str = "") -> Path:
    """Return the folder of a bundle that checks, with a case laid over it."""
    shutil.copytree(HERE / "bundles" / "good", folder)
    shutil.copyfile(HERE / "bundles" / "pinned", folder / "pinned")
    if case:
        told = json.loads((HERE / "bundles" / case / "says").read_text())
        shutil.copytree(HERE / "bundles" / case, folder, dirs_exist_ok=True)
        (folder / "says").unlink()
        for name in told["gone"]:
            (folder / name).unlink()
    return folder


def test_the_guide_says_what_to_pin() -> None:
    assert verifier_sha256() in (Path(__file__).parents[2] / "docs/audit.md").read_text()


def test_the_bundle_that_nobody_altered_checks_with_no_package_installed(tmp_path: Path) -> None:
    code, said = run_alone(laid_out(tmp_path / "bundle"), "--key", KEY)
    assert (code, said.splitlines()[-1]) == (0, "RESULT:      everything checks"), said
    assert "the log extends size 12" in said


@pytest.mark.parametrize("case", CASES)
def test_an_altered_bundle_is_refused_and_the_place_is_named(case: str, tmp_path: Path, run: Run) -> None:
    says = json.loads((HERE / "bundles" / case / "says").read_text())["says"]
    code, said = run(laid_out(tmp_path / "bundle", case), "--key", KEY)
    assert code == 1, said
    assert any(says in line for line in said.splitlines() if line.startswith("WRONG")), said


@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_checks_only_as_it_was_made(name: str, run: Run) -> None:
    code, said = run("--proof", HERE / "proofs" / name, "--key", KEY)
    assert code == (0 if name.startswith("good") else 1), said
    shown = {
        "good-in.json": "WAS IN",
        "good-not-in.json": "was NOT in",
        "good-taken-out.json": "taken out of",
    }
    assert shown.get(name, "") in said


GOOD = {
    path.relative_to(HERE / "bundles" / "good").as_posix(): path.read_bytes()
    for path in sorted((HERE / "bundles" / "good").rglob("*"))
    if path.is_file()
}
BOUND = ("entries/", "references/", "details/", "tree", "manifests/")  # no byte of these may be another


@settings(max_examples=60)
@given(st.data())
def test_whatever_is_done_to_a_file_the_answer_is_a_line_and_an_exit_code(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(GOOD)))
    content = bytearray(GOOD[name])
    at = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "splice", "double"]))
    if how == "flip":
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "cut":
        del content[at:]
    elif how == "splice":
        content[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    else:
        content *= 2
    files = {**GOOD, name: bytes(content)}
    with TemporaryDirectory() as folder, redirect_stdout(StringIO()) as said:
        place = bundles.write(Path(folder), files if name == "SHA256SUMS" else bundles.indexed(files))
        code = verify.main([str(place), "--key", KEY, "--pinned", str(HERE / "bundles" / "pinned")])
    assert "cannot be read (" not in said.getvalue(), said.getvalue()  # main's last resort
    assert code == 1 or not name.startswith(BOUND), said.getvalue()


@settings(max_examples=60)
@given(st.data())
def test_whatever_a_proof_holds_the_answer_is_a_line_and_an_exit_code(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["good.tlog-proof", "good-in.json"]))
    text = (HERE / "proofs" / name).read_bytes()
    if name.endswith("json"):
        said = json.loads(text)
        values = st.one_of(st.none(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2))
        field = data.draw(st.sampled_from(sorted(said)))
        said[field] = data.draw(st.one_of(values, st.just({"siblings": 1})))
        text = json.dumps(said).encode()
    else:
        at = data.draw(st.integers(0, len(text) - 1))
        text = text[:at] + data.draw(st.binary(max_size=3)) + text[at + 1 :]
    with TemporaryDirectory() as folder, redirect_stdout(StringIO()) as printed:
        path = Path(folder, "proof")
        path.write_bytes(text)
        code = verify.main(["--proof", str(path), "--key", KEY])
    assert "cannot be read (" not in printed.getvalue(), printed.getvalue()
    assert code == 1 or text == (HERE / "proofs" / name).read_bytes(), text


def test_what_is_no_plain_file_is_not_followed(tmp_path: Path, run: Run) -> None:
    folder = laid_out(tmp_path / "bundle")
    (tmp_path / "elsewhere").write_bytes((folder / "tree").read_bytes())
    (folder / "tree").unlink()
    (folder / "tree").symlink_to(tmp_path / "elsewhere")
    code, said = run(folder, "--key", KEY)
    assert (code, "file tree: is no plain file" in said) == (1, True)


def test_a_bundle_leads_back_to_a_checkpoint_before_it(tmp_path: Path, run: Run) -> None:
    made = bundles.log_of(40)
    pinned = tmp_path / "mine"
    pinned.write_text(made.note(5), encoding="utf-8")
    files = bundles.files_of(made, 9, 33, signed=(10, 40), pinned=[5, 36])
    folder = bundles.write(tmp_path / "bundle", files)
    code, said = run(folder, "--key", KEY, "--pinned", pinned)
    assert code == 0, said
    assert "the log extends size 5" in said
    proofs = json.loads(files["consistency.json"])
    turned = json.dumps({**proofs, "5": proofs["36"]}).encode()
    bundles.write(folder, bundles.indexed({**files, "consistency.json": turned}))
    code, said = run(folder, "--key", KEY, "--pinned", pinned)
    assert "pinned checkpoint mine 5: the log does not extend it" in said
    del files["consistency.json"]
    folder = bundles.write(tmp_path / "without", bundles.indexed(files))
    code, said = run(folder, "--key", KEY, "--pinned", pinned)
    assert (code, "does not lead back to it" in said) == (1, True)


def test_without_a_key_of_ones_own_it_is_said_that_nothing_is_pinned(tmp_path: Path, run: Run) -> None:
    folder = laid_out(tmp_path / "bundle")
    (folder / "pinned").unlink()
    code, said = run(folder)
    assert code == 0
    assert "taken from this bundle" in said
    assert "nothing here shows that the log was not written anew" in said


def test_an_entry_may_say_anything_that_json_can(tmp_path: Path, run: Run) -> None:
    """The quick look at an entry and the slow one agree."""
    objects: list[dict[str, object]] = [
        {"ü": 1, "é": "\u2028", "😀": "x", "\ufb01": 2},
        {"a": 'quoted "text" \\ and\ttabs', "b": "\x7f"},
        {"a": ',"b":1', "b": -5, "c": 0},
        {"a,": "x", "a": "y", "": "z"},
    ]
    entries = [bundles.entry(number, object=held) for number, held in enumerate(objects)]
    made = bundles.Made(entries, [b""] * 4, [b""] * 4)
    folder = bundles.write(tmp_path / "bundle", bundles.files_of(made, 0, 4, signed=(4,)))
    assert run(folder, "--key", KEY)[0] == 0
    refused = ['{"b":1,"a":2}', '{"a":1,"a":2}', '{"a":1.0}', '{"a":1e2}', '{"a":-0}', '{"a" :1}']
    for number, wrong in enumerate(refused):
        data = bundles.entry(0, object={"a": 9}).replace(b'{"a":9}', wrong.encode())
        altered = made._replace(entries=[data, *made.entries[1:]])
        place = bundles.write(tmp_path / str(number), bundles.files_of(altered, 0, 4, signed=(4,)))
        code, said = run(place, "--key", KEY)
        assert (code, "entry 0: it is not" in said) == (1, True), (wrong, said)


def test_the_files_are_those_that_their_script_makes(tmp_path: Path) -> None:
    """So that nobody keeps a case whose maker was changed."""
    shutil.copytree(HERE, tmp_path / "tests" / "audit" / "negative")
    shutil.copyfile(HERE.parents[1] / "bundles.py", tmp_path / "tests" / "bundles.py")
    script = tmp_path / "tests" / "audit" / "negative" / "make_negative_cases.py"
    subprocess.run([sys.executable, script], check=True, timeout=60)
    made = {
        path.relative_to(script.parent): path.read_bytes()
        for path in script.parent.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    kept = {
        path.relative_to(HERE): path.read_bytes()
        for path in HERE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert made == kept
