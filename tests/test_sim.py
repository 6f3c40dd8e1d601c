# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The simulator: many seeds, many reconnects, and its own checks, which must catch seeded bugs."""

import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
SIM = TOP / "build" / "bin" / "popcorn-sim"
SEEDS = 1000
BUGS = ["free-on-timeout", "no-drain", "forget-replay", "dup-deliver", "over-consume",
        "slow-clock", "early-reuse", "lose-answer"]


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["make", "-s", "sim"], cwd=TOP, check=True, timeout=280)


def sim(*args, program=SIM, timeout=280):
    return subprocess.run([program, *map(str, args)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=timeout)


@pytest.mark.timeout(900)
def test_random_faults():
    r = sim("--seeds", f"1-{SEEDS}", timeout=880)
    assert r.returncode == 0, r.stdout + r.stderr
    assert r.stdout.endswith(f"{SEEDS} seeds, 0 failed\n")


def test_200_nodes():
    r = sim("--seed", 1, "--nodes", 200)
    assert r.returncode == 0, r.stdout
    assert ": 200 nodes" in r.stdout


@pytest.mark.timeout(900)
def test_random_faults_with_sanitizers():
    r = sim("--seeds", "2001-2040", program=f"{SIM}-san", timeout=880)
    assert r.returncode == 0, r.stdout + r.stderr


def test_10000_reconnects():
    r = sim("--scenario", "reconnect", "--seed", 1)
    assert r.returncode == 0, r.stdout
    m = re.search(r"(\d+) pages, (\d+) sessions", r.stdout)
    assert int(m[1]) > 100_000 and int(m[2]) >= 20_000


@pytest.mark.parametrize("bug", ["free-on-timeout", "no-drain", "forget-replay"])
def test_reconnects_catch(bug):
    r = sim("--scenario", "reconnect:2000", "--seed", 1, "--bug", bug)
    assert r.returncode == 1, r.stdout
    if bug != "forget-replay":
        assert "stale write" in r.stdout


@pytest.mark.parametrize("bug", BUGS)
def test_checks_catch(bug):
    r = sim("--seeds", "1-12", "--bug", bug)
    assert r.returncode == 1, r.stdout
    # A failing seed says how to run it again, and that does the same.
    m = re.search(r"^(seed (\d+): at .*)\nrun it again: build/bin/popcorn-sim (.*)$", r.stdout, re.M)
    again = sim(*m[3].split())
    assert again.returncode == 1
    assert again.stdout.startswith(m[1] + "\n")


def test_a_seed_is_a_run():
    a, b = (sim("--seed", 4711) for _ in range(2))
    assert a.returncode == 0 and a.stdout == b.stdout
    assert sim("--seed", 4712).stdout.split(":", 1)[1] != a.stdout.split(":", 1)[1]


def test_cut_for_ever():
    """Every waiter has its error although nothing heals."""
    r = sim("--seeds", "1-40", "--faults", "cut,oneway,split,forever")
    assert r.returncode == 0, r.stdout


def test_all_is_well_without_faults():
    r = sim("--seed", 3, "--faults", "none")
    assert r.returncode == 0, r.stdout
    assert re.search(r" 0 failed\), .* 0 faults, 0 crashes, 0 deaths, 0 leases lost", r.stdout)


def test_memory_is_bounded():
    """Ten times the time takes no more memory: nobody queues without end."""
    most = []
    for ms in (2000, 20000):
        r = sim("--seed", 5, "--nodes", 6, "--time", ms, "--faults", "slow,stop,pause")
        assert r.returncode == 0, r.stdout
        most.append(int(re.search(r"(\d+) KiB", r.stdout)[1]))
    assert most[1] < 3 * most[0] + 1024


@pytest.mark.parametrize("args", [["--seeds", "5"], ["--bug", "x"], ["--faults", "x"], ["--nodes", "1"],
                                  ["--scenario", "x"], ["--seed", "x"], ["x"], ["--no-such"]])
def test_wrong_use(args):
    r = sim(*args)
    assert r.returncode == 2 and r.stderr and not r.stdout
