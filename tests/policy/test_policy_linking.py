"""identity.yaml: rules that contradict are refused with both places, and a version names one content."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest
from caller import Caller
from platform_fixtures import Shell

from cdp.errors import PolicyError
from cdp.policy import build, check, load, read_folder
from cdp.policy.patterns import trouble

SHIPPED = Path(__file__).parents[2] / "policies"
USER = "  user_id: {class: person, priority: 1, unique: true}"
DEVICE = "  device_id: {class: device, priority: 5, limit: {count: 50}}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(SHIPPED, tmp_path / "policies")


def edit(folder: Path, old: str, new: str) -> None:
    """Replace the only ``old`` in identity.yaml."""
    path = folder / "identity.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{text.count(old)} × {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def line(folder: Path, start: str) -> int:
    """Return the line of identity.yaml that begins so."""
    lines = (folder / "identity.yaml").read_text(encoding="utf-8").splitlines()
    return next(number for number, text in enumerate(lines, 1) if text.startswith(start))


# what is there, what stands there instead, where that is, where the other place is, how the error names it
CONTRADICTIONS = [
    (DEVICE, DEVICE.replace("5", "3", 1), "  device_id:", "  phone:", "types.phone.priority"),
    (USER, USER.replace("unique: true", "unique: true, limit: {count: 2}"), "  user_id:", "  user_id:",
     "types.user_id.unique"),
    (DEVICE, DEVICE.replace("count: 50", "count: 501"), "  device_id:", "profile_cap:", "profile_cap"),
    ("growth_alarm: 100", "growth_alarm: 501", "growth_alarm:", "profile_cap:", "profile_cap"),
    ("component_cap: 10000", "component_cap: 499", "profile_cap:", "component_cap:", "component_cap"),
    ("external: {class: person, priority: 4", "external: {class: person, priority: 5", "external:",
     "  device_id:", "types.device_id.priority"),
    (DEVICE, f"{DEVICE}\n  external: {{class: person, priority: 9}}", "  external:", "external:", "external"),
    (DEVICE, DEVICE.replace("}}", '}, blocked: {prefix: [""]}}'), "  device_id:", "  device_id:",
     "types.device_id"),
    (DEVICE, DEVICE.replace("}}", "}, blocked: {pattern: .*}}"), "  device_id:", "  device_id:",
     "types.device_id"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "here", "there", "name"), CONTRADICTIONS)
def test_a_contradiction_is_refused_with_both_places(
    folder: Path, old: str, new: str, here: str, there: str, name: str
) -> None:
    edit(folder, old, new)
    own, other = line(folder, here), line(folder, there)
    with pytest.raises(PolicyError) as caught:
        load(folder)
    assert caught.value.message.startswith(f"identity.yaml:{own}: ")
    assert f"{name} (identity.yaml:{other})" in caught.value.message
    (finding,) = check(read_folder(folder), date(2026, 11, 22))
    assert (finding.file, finding.line, finding.severity) == ("identity.yaml", own, "error")


def test_a_key_given_twice_names_both_lines(folder: Path) -> None:
    edit(folder, DEVICE, f"{DEVICE}\n{DEVICE}")
    first = line(folder, "  device_id:")
    with pytest.raises(PolicyError, match=rf"identity\.yaml:{first + 1}: .*first on line {first}"):
        load(folder)


def test_what_an_earlier_version_stored_stays_readable(folder: Path) -> None:
    """Without the newer keys, and with what only a new bundle may not say."""
    edit(folder, "growth_alarm: 100", "")
    edit(folder, "component_cap: 10000", "")
    edit(folder, "external: {class: person, priority: 4", "external: {class: person, priority: 5")
    edit(folder, '"[-x]+"]', '"(x+)+"]')
    rules = build(read_folder(folder)).identity
    assert (rules.growth_alarm, rules.component_cap) == (250, 10_000)
    edit(folder, "profile_cap: 500", "profile_cap: 20000")
    rules = build(read_folder(folder)).identity
    assert (rules.growth_alarm, rules.component_cap) == (10_000, 20_000)
    with pytest.raises(PolicyError):
        load(folder)


# -- patterns ---------------------------------------------------------------------------------------

BOUNDED = [
    r"[0\W_]+", "[-x]+", r"\+?\d{0,4}(\d)\1{5,}", "test.*@.*", r"(?:ab){3}(\d{2}-){2,3}", r"(a?)?",
    "[^]*+?]+", r"a\+\*\(b", "a{x}{,}", "foo|bar|baz", r"[\]+]*x", r"(?P<one>a)(?P=one)+", "(?=a)b",
]  # fmt: skip
ENDLESS = [
    "(a+)+", "(a*)*b", "(a|a)*", "(a|aa)+$", "((a?)b)*", ".*a.*b.*c", "a?" * 30 + "a" * 30, "(a{1,50}){1,50}",
    "(?i)x", "(?#)+)x", "(?:x+){2}", "(a|b)(a|b)(a|b)" * 10,
]  # fmt: skip


@pytest.mark.parametrize("pattern", BOUNDED)
def test_a_pattern_whose_work_is_bounded_is_taken_and_quick(pattern: str) -> None:
    assert trouble(pattern) == ""
    compiled = re.compile(pattern)
    began = time.process_time()
    for value in ("a" * 512, "0" * 511 + "x", "test@" * 100, "]" * 512, "ab" * 256):
        compiled.fullmatch(value)
    assert time.process_time() - began < 2  # an endless one would not be back this year


@pytest.mark.parametrize("pattern", ENDLESS)
def test_a_pattern_that_can_take_forever_is_refused(folder: Path, pattern: str) -> None:
    assert trouble(pattern)
    edit(folder, '"[-x]+"]', f"'{pattern}']")
    with pytest.raises(PolicyError, match=r"identity\.yaml:\d+: "):
        load(folder)


def broken(folder: Path, pattern: str) -> tuple[Path, str]:
    """Give an identity.yaml a pattern that is no regular expression; returns it, and what is said of it."""
    edit(folder, '"[-x]+"]', f"'{pattern}']")
    file = folder / "identity.yaml"
    lines = file.read_text(encoding="utf-8").splitlines()
    number = next(number for number, text in enumerate(lines, 1) if f"'{pattern}'" in text)
    return file, f"identity.yaml:{number}: not a regular expression: "


@pytest.mark.parametrize("pattern", ["(a", "a{99999999999}", "[z-a]"])
def test_a_preview_names_the_line_of_what_is_no_pattern(caller: Caller, folder: Path, pattern: str) -> None:
    file, told = broken(folder, pattern)
    body = {"identity": file.read_text(encoding="utf-8")}
    asked = caller.api("POST", "/identity/rules/preview", body, expect=400)
    assert asked["detail"].startswith(told)
    assert pattern not in asked["detail"]
    with pytest.raises(PolicyError, match=told):
        load(folder)


def test_the_command_names_it_on_one_line(shell: Shell, folder: Path) -> None:
    file, told = broken(folder, "(a")
    assert told in shell("identity", "rules", "--candidate", file, expect=1)


# -- the version names one content ------------------------------------------------------------------


def texts(changes: Mapping[str, str]) -> dict[str, str]:
    """Return the shipped files with these words of identity.yaml changed."""
    files = {name: content.decode() for name, content in read_folder(SHIPPED).items()}
    for old, new in changes.items():
        assert files["identity.yaml"].count(old) == 1
        files["identity.yaml"] = files["identity.yaml"].replace(old, new)
    return files


def test_other_rules_under_the_same_version_are_refused(caller: Caller) -> None:
    first, second = caller.officer("first"), caller.officer("second")

    def propose(changes: Mapping[str, str], expect: int = 200) -> dict[str, object]:
        body = {"files": texts(changes)}
        done: dict[str, object] = caller.api("POST", "/policies/activate", body, key=first, expect=expect)
        return done

    fewer = {"profile_cap: 500": "profile_cap: 400"}
    refused = propose(fewer, 409)
    assert "version 3" in str(refused["detail"])
    assert "the next number" in str(refused["detail"])
    propose({"growth_alarm: 100": "growth_alarm: 50", "server: 30": "server: 31"})
    sha256 = propose(fewer | {"version: 3": "version: 4"})["proposal"]["sha256"]  # type: ignore[index]  # JSON
    caller.api("POST", "/policies/activate", {"approve": sha256}, key=second)
    assert "version 4" in str(propose({"version: 3": "version: 4"}, 409)["detail"])
    propose({})  # those of before may come back under their own version
