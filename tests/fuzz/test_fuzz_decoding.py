"""A short, repeatable run of the coverage-guided fuzz (``benchmarks/fuzz.py``), with all that ever failed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris is made for Linux and Python < 3.14")
ROOT = Path(__file__).parents[2]
RUNS, SEED = 2_000, 7


def test_whatever_is_sent_nothing_raises_hangs_or_repeats_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.fuzz", f"--runs={RUNS}", f"--seed={SEED}", "--seconds=0"]
    found = tmp_path / "outside"  # what it sends is the fuzzer's, not the platform's
    found.mkdir()
    command += ["--corpus", str(found), "--crashes", str(found)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0, said[-3_000:]
    assert f"Done {RUNS} runs" in said
