# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The core against libFuzzer: the corpus, and the same thousands of inputs made from it each time."""

import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
TARGETS = ["frames", "handshake", "events"]


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["make", "-s", "fuzzers"], cwd=TOP, check=True, timeout=280)


@pytest.mark.parametrize("target", TARGETS)
def test_corpus(target):
    """What was found once is never wrong again."""
    files = sorted((TOP / "tests" / "fuzz" / "corpus" / target).iterdir())
    assert files
    r = subprocess.run([TOP / "build" / "bin" / f"fuzz_{target}", "-timeout=10", *files],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280)
    assert r.returncode == 0, r.stderr[-4000:]


@pytest.mark.parametrize("target", TARGETS)
def test_fuzz(target):
    r = subprocess.run(["make", "-s", f"fuzz-check-{target}"], cwd=TOP,
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280)
    assert r.returncode == 0, r.stderr[-6000:]
    assert "Done " in r.stderr
