# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The model of page coherence: what spin proves, the seeded mistakes it must find, the document."""

import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
MODEL = TOP / "dsm-proto" / "model"
BUGS = ["ack", "stale", "early", "done", "next", "drop", "gone", "hold"]
PROOFS = ["2-crash", "3", "3-crash", "progress-home", "progress-node"]


def check(*names):
    return subprocess.run([MODEL / "check", *names], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=280)


@pytest.mark.parametrize("name", PROOFS)
def test_proof(name):
    r = check(name)
    assert r.returncode == 0, r.stdout + r.stderr
    states = int(re.search(r"(\d+) states", r.stdout)[1])
    assert states > {"3": 100_000, "3-crash": 1_000_000}.get(name, 1000)
    assert "  holds: " in r.stdout


@pytest.mark.parametrize("name", BUGS)
def test_seeded_bug_is_found(name):
    r = check("bug-" + name)
    assert r.returncode == 0 and " found: " in r.stdout, r.stdout + r.stderr


def test_document_says_what_the_core_does():
    r = subprocess.run([MODEL / "table"], stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=120)
    assert r.returncode == 0, r.stdout + r.stderr
