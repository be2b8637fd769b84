"""signals.yaml: what it may map to what."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cdp.errors import PolicyError
from cdp.policy import load

SHIPPED = Path(__file__).parents[2] / "policies"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(SHIPPED, tmp_path / "policies")


def write(folder: Path, **parts: str) -> None:
    """Write a file of empty parts, but for those given."""
    empty = dict.fromkeys(("segment", "rudder", "google", "tcf", "gpp"), "{}")
    given = {**empty, "gpc": "{opts_out_of: []}", **parts}
    text = "".join(f"{name}: {value}\n" for name, value in given.items())
    (folder / "signals.yaml").write_text(text, encoding="utf-8")


def test_what_is_shipped_maps_every_signal() -> None:
    bundle = load(SHIPPED)
    signals = bundle.signals
    assert all((signals.segment, signals.rudder, signals.google, signals.tcf, signals.gpp))
    assert signals.gpc.opts_out_of
    assert signals.vendors.keys() == bundle.destinations.keys()
    assert {name for name, vendor in signals.vendors.items() if vendor is not None} == {"adnet"}


def test_nothing_need_be_mapped(folder: Path) -> None:
    write(folder)
    assert load(folder).signals.tcf == {}


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("tcf", "{marketing.communications.email: [1]}", "direct communication"),
        ("tcf", "{marketing.communications: [1]}", "direct communication"),
        ("tcf", "{marketing: [1]}", "direct communication"),
        ("google", "{marketing.communications.sms: [ad_storage]}", "direct communication"),
        ("gpp", "{sale: [marketing]}", "direct communication"),
        ("gpc", "{opts_out_of: [marketing.communications.phone]}", "direct communication"),
        ("tcf", "{segmentation: [1]}", "is internal"),
        ("rudder", "{C0001: [rights]}", "is internal"),
        ("tcf", "{analytics: []}", "name what the purpose needs"),
        ("google", "{analytics: []}", "name what the purpose needs"),
        ("tcf", "{analytics: [12]}", "purposes 1 to 11"),
        ("tcf", "{analytics: [0]}", "at least 1"),
        ("google", "{analytics: [analytic_storage]}", "did you mean 'analytics_storage'"),
        ("gpp", "{sales: [analytics]}", "did you mean 'sale'"),
        ("segment", "{Email: [marketing.communication.email]}", "did you mean"),
        ("segment", "[{Email: [analytics]}, {Email: [rights]}]", "is internal"),
        ("rudder", "[C0002]", "a mapping"),
        ("gpc", "{opts_out_of: [], act_may_lift_in: [USA]}", "the jurisdiction"),
    ],
)
def test_a_wrong_mapping_is_refused_in_its_place(folder: Path, part: str, value: str, message: str) -> None:
    write(folder, **{part: value})
    with pytest.raises(PolicyError, match=message) as refused:
        load(folder)
    assert str(refused.value).startswith("signals.yaml:")


def test_no_signal_of_the_outside_speaks_about_a_sensitive_purpose(folder: Path) -> None:
    purposes = folder / "purposes.yaml"
    text = purposes.read_text(encoding="utf-8")
    assert text.count("  analytics:\n") == 1
    purposes.write_text(
        text.replace("  analytics:\n", "  analytics:\n    sensitive: true\n"), encoding="utf-8"
    )
    write(folder, segment="{Analytics: [analytics]}", rudder="{C0002: [analytics]}")
    assert load(folder).signals.segment == ({"Analytics": ("analytics",)},)
    for part, value in (
        ("tcf", "{analytics: [1]}"),
        ("google", "{analytics: [analytics_storage]}"),
        ("gpp", "{sensitive_data: [analytics]}"),
        ("gpc", "{opts_out_of: [analytics]}"),
    ):
        write(folder, **{part: value})
        with pytest.raises(PolicyError, match=r"sensitive purpose.*take it out") as refused:
            load(folder)
        assert (refused.value.file, refused.value.line is None) == ("signals.yaml", False)


def test_segments_categories_may_stand_for_direct_communication(folder: Path) -> None:
    write(folder, segment="{Email: [marketing.communications.email]}")
    assert load(folder).signals.segment == ({"Email": ("marketing.communications.email",)},)


def test_the_categories_of_several_consent_tools_stand_apart(folder: Path) -> None:
    write(folder, segment="[{A: analytics}, {a: [analytics]}]", rudder="[]")
    signals = load(folder).signals
    assert (signals.segment, signals.rudder) == (({"A": ("analytics",)}, {"a": ("analytics",)}), ())
