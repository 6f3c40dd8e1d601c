# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Page coherence: the core's unit tests, many nodes in the simulator, seeded bugs, and a fuzzer."""

import re
import subprocess
from pathlib import Path

import pytest

import tap

TOP = Path(__file__).resolve().parent.parent
SIM = TOP / "build" / "bin" / "popcorn-dsm-sim"
TABLE = TOP / "dsm-proto" / "sim" / "transitions.txt"
PROGRAMS = sorted(p.stem for p in (TOP / "tests" / "dsm").glob("test_*.c"))
SEEDS = 1000
BUGS = ["drop-ack", "stale-grant", "early-write", "early-done", "silent-supplier", "early-ack",
        "no-protect", "short-notice"]


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["make", "-s", "dsm-sim", "dsm-tests", "dsm-fuzzer"], cwd=TOP, check=True,
                   timeout=280)


def sim(*args, program=SIM, timeout=280):
    return subprocess.run([program, *map(str, args)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize("program", PROGRAMS)
def test_core(program):
    tap.run(TOP / "build" / "bin" / f"dsm-{program}")


def test_core_needs_nothing_of_an_engine():
    """Sans-I/O: the objects call nothing but memory and string functions."""
    sources = sorted((TOP / "dsm-proto" / "core").glob("*.c"))
    objs = [TOP / "build" / "obj" / "dsm" / "core" / f"{s.stem}.o" for s in sources]
    nm = subprocess.run(["nm", *objs], capture_output=True, text=True, check=True).stdout
    wanted = {m for m in re.findall(r"^ +U (\S+)", nm, re.M) if not m.startswith("pd_")}
    assert wanted <= {"memcpy", "memset", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}


@pytest.mark.timeout(600)
def test_random_faults():
    """Every check, every seed, and no transition that the table doesn't list."""
    r = sim("--seeds", f"1-{SEEDS}", "--table", TABLE, timeout=580)
    assert r.returncode == 0, r.stdout[-4000:] + r.stderr
    assert r.stdout.endswith(f"{SEEDS} seeds, 0 failed\n")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("args", [
    ["--seeds", "1-10000", "--ops", 60, "--pages", 1],
    ["--seeds", "1-5000", "--ops", 200, "--nodes", 3, "--faults", "crash,drop"],
    ["--seeds", "1-20", "--nodes", 64, "--regions", 5],
], ids=["short", "deaths", "320 nodes"])
def test_corners(args):
    r = sim(*args, "--table", TABLE, timeout=580)
    assert r.returncode == 0, r.stdout[-4000:] + r.stderr


@pytest.mark.timeout(600)
def test_random_faults_with_sanitizers():
    r = sim("--seeds", "2001-2060", program=f"{SIM}-san", timeout=580)
    assert r.returncode == 0, r.stdout + r.stderr


@pytest.mark.parametrize("bug", BUGS)
def test_checks_catch(bug):
    r = sim("--seeds", "1-20", "--bug", bug)
    assert r.returncode == 1, r.stdout
    # A failing seed says how to run it again, and that does the same.
    m = re.search(r"^(seed \d+: at .*)\nrun it again: build/bin/popcorn-dsm-sim (.*)$", r.stdout,
                  re.M)
    again = sim(*m[2].split())
    assert again.returncode == 1
    assert again.stdout.startswith(m[1] + "\n")


def test_a_transition_that_is_not_in_the_table(tmp_path):
    lines = TABLE.read_text().splitlines(keepends=True)
    gone = next(line for line in lines if line.startswith("node S inv "))
    short = tmp_path / "table"
    short.write_text("".join(line for line in lines if line != gone))
    r = sim("--seeds", "1-20", "--table", short)
    assert r.returncode == 1
    assert f"not in the table: {gone}" in r.stdout


def test_a_seed_is_a_run():
    a, b = (sim("--seed", 4711) for _ in range(2))
    assert a.returncode == 0 and a.stdout == b.stdout
    assert sim("--seed", 4712).stdout.split(":", 1)[1] != a.stdout.split(":", 1)[1]


def test_two_writers_both_progress():
    """Two nodes that do nothing but write to one page: each has a quarter of the work at least."""
    r = sim("--seeds", "1-100", "--fair", "--faults", "none")
    assert r.returncode == 0, r.stdout
    least = min(int(m) for m in re.findall(r"least share (\d+) %", r.stdout))
    assert least >= 25


def test_barriers():
    """Any order, loss, nodes that join, leave and die: exactly as many go as come."""
    r = sim("--barriers", "--seeds", "1-20000")
    assert r.returncode == 0, r.stdout[-4000:]
    r = sim("--barriers", "--seeds", "1-300", program=f"{SIM}-san")
    assert r.returncode == 0, r.stdout[-4000:] + r.stderr


def test_what_a_barrier_costs_the_home():
    """Eight messages, however many nodes meet; two a node in all."""
    r = sim("--barriers", "--seed", 0)
    told = re.findall(r"(\d+) nodes: the home gets (\d+) and sends (\d+) messages, all nodes (\d+)\n", r.stdout)
    assert [tuple(map(int, t)) for t in told] == [
        (n, min(n - 1, 8), min(n - 1, 8), 2 * (n - 1)) for n in (2, 4, 8, 16, 32, 64)], r.stdout


def test_all_is_well_without_faults():
    r = sim("--seed", 3, "--faults", "none")
    assert r.returncode == 0 and " 0 deaths, 0 lost\n" in r.stdout


@pytest.mark.timeout(120)
def test_fuzz():
    """What was found once is never wrong again; nor are some thousand inputs made from it."""
    r = subprocess.run(["make", "-s", "dsm-fuzz-check"], cwd=TOP,
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110)
    assert r.returncode == 0, r.stderr[-6000:]
    assert "Done " in r.stderr


@pytest.mark.parametrize("args", [["--seeds", "5"], ["--bug", "x"], ["--faults", "x"],
                                  ["--nodes", "1"], ["--nodes", "65"], ["--seed", "x"],
                                  ["--table", "/nonexistent"], ["x"], ["--no-such"]])
def test_wrong_use(args):
    r = sim(*args)
    assert r.returncode == 2 and r.stderr and not r.stdout
