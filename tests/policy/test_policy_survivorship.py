"""What fields.yaml may say of survivorship, and each contradiction refused at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdp.errors import PolicyError
from cdp.policy import Bundle, build, read_folder

POLICIES = Path(__file__).parents[2] / "policies"
PLAIN = "category: user.account, protection: clear"
FLAG = f"  checked: {{{PLAIN}, type: boolean}}\n"


def with_traits(text: str, part: str = "traits") -> Bundle:
    """Return the shipped bundle with more fields."""
    files = read_folder(POLICIES)
    fields = files["fields.yaml"].decode()
    assert fields.count(f"\n{part}:\n") == 1
    files["fields.yaml"] = fields.replace(f"\n{part}:\n", f"\n{part}:\n{text}").encode()
    return build(files)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        pytest.param("category: user.name, survivorship: most_frequent", "sealed", id="equality"),
        pytest.param("category: user.name, type: number, survivorship: max", "sealed", id="order"),
        pytest.param("category: user.name, type: list, survivorship: union", "sealed", id="union"),
        pytest.param(f"{PLAIN}, survivorship: sum", "for type number, and this is string", id="sum of text"),
        pytest.param(f"{PLAIN}, type: time, survivorship: sum", "for type number", id="sum of times"),
        pytest.param(f"{PLAIN}, type: boolean, survivorship: min", "for type number or time", id="min"),
        pytest.param(f"{PLAIN}, type: number, survivorship: union", "string or list", id="union type"),
        pytest.param(f"{PLAIN}, survivorship: validated", "needs the key validated_by", id="by nothing"),
        pytest.param(f"{PLAIN}, validated_by: checked", "validated only", id="validated by the way"),
        pytest.param(
            f"{PLAIN}, survivorship: validated, validated_by: chekced", "did you mean 'checked'", id="typo"
        ),
        pytest.param(
            f"{PLAIN}, survivorship: validated, validated_by: plan", "clear boolean trait", id="no boolean"
        ),
        pytest.param(
            f"{PLAIN}, type: boolean, survivorship: validated, validated_by: new", "itself", id="itself"
        ),
        pytest.param(f"{PLAIN}, trust: {{shop: 3}}", "most_trusted only", id="trust without its rule"),
        pytest.param(f"{PLAIN}, survivorship: newest", "'newest' is not one of", id="no rule"),
        *(
            pytest.param(f"{PLAIN}, expires: {text}", "such as 365d", id=f"expires {text}")
            for text in ("0d", "30", "30h", "-1d", "1.5d", "100000d")
        ),
    ],
)
def test_a_contradiction_is_refused_at_its_line(said: str, problem: str) -> None:
    for part, extra in (("traits", ""), ("inferences", ", basis: a guess")):
        text = f"  new: {{{said}{extra}}}\n"
        if part == "inferences" and "validated_by: ch" in said:
            continue
        with pytest.raises(PolicyError) as refused:
            with_traits(text + (FLAG if part == "traits" else ""), part)
        assert problem in refused.value.message
        fields = (POLICIES / "fields.yaml").read_text(encoding="utf-8").splitlines()
        assert (refused.value.file, refused.value.line) == ("fields.yaml", fields.index(f"{part}:") + 2)


@pytest.mark.parametrize(
    "said", ["survivorship: sum, type: number", "expires: 3d", "trust: {shop: 1}", "validated_by: checked"]
)
def test_only_traits_are_folded(said: str) -> None:
    with pytest.raises(PolicyError, match="only traits are folded"):
        with_traits(f"  new: {{category: user.behavior, protection: clear, {said}}}\n", "properties")


def test_what_earlier_versions_wrote_is_still_read() -> None:
    text = "  new: {category: user.behavior, protection: clear, survivorship: most_trusted}\n"
    assert with_traits(text, "properties").fields.properties["new"].clear


def test_everything_that_may_be_said_is_read() -> None:
    found = with_traits(
        FLAG
        + f"  code: {{{PLAIN}, survivorship: most_trusted, trust: {{register: 9, gone: 1000000}}}}\n"
        + "  mail: {category: user.name, survivorship: validated, validated_by: checked, expires: 9d}\n"
        + "  long: {category: user.name, survivorship: longest_lived}\n"
    ).fields
    assert found.traits["code"].trust == {"register": 9, "gone": 10**6}
    assert (found.traits["mail"].expires, found.traits["mail"].validated_by) == (9, "checked")
    assert found.folded_from(["mail", "code", "user_id"]) == {"mail", "code", "user_id", "checked"}
    inferred = with_traits(
        "  risk: {category: user.inferred.churn_risk, protection: clear, basis: x, expires: 90d}\n",
        "inferences",
    ).fields
    assert inferred.traits["risk"].expires == 90
