# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""
gdb on what popcorn-cc builds with -g: each ISA's binary shows frames and locals, those on the shadow stack too, and the
same ones when the frames were resumed, in place or from another ISA's image.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
RUNNERS = {"x86-64": [], "aarch64": ["qemu-aarch64-static"], "riscv64": ["qemu-riscv64-static"]}
ISAS = list(RUNNERS)
WRITTEN = 75
STOPS = 5
LOOK = ["echo STOP\\n", "bt", "frame function sum", "info locals", "up", "info locals", "continue"]


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    subprocess.run(["make", "-s", "compiler"], cwd=TOP, check=True, timeout=280)
    where = tmp_path_factory.mktemp("debug")
    for level in "02":
        subprocess.run([TOP / "build/bin/popcorn-cc", "-g", f"-O{level}", "-o", where / f"o{level}", "debugged.c"],
                       cwd=TOP / "tests/compiler", check=True, timeout=60)
    return where


def gdb(program, isa, tmp_path, function, commands, **env):
    """What gdb prints after the program has come to function."""
    env = {f"POPCORN_{k.upper()}": str(v) for k, v in env.items()}
    sock, script, emulator = tmp_path / "gdb.sock", tmp_path / "gdb.script", None
    begin = [*(f"set environment {k} {v}" for k, v in env.items()), "run >/dev/null"]
    if RUNNERS[isa]:
        sock.unlink(missing_ok=True)
        emulator = subprocess.Popen([*RUNNERS[isa], "-g", sock, f"{program}_{isa}"], env={**os.environ, **env},
                                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begin = ["python import os, time", f"python while not os.path.exists('{sock}'): time.sleep(.01)",
                 f"target remote {sock}", "continue"]
    script.write_text("\n".join(["set pagination off", "set print address off", f"break {function}", *begin,
                                 *commands]))
    try:
        r = subprocess.run(["gdb-multiarch", "-nx", "-q", "-batch", "-x", script, f"{program}_{isa}"],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    finally:
        if emulator:
            emulator.kill()
            emulator.wait()
    return r.stdout


def looked_at(program, isa, tmp_path, **env):
    """
    What gdb prints at each stop in shown(), whose callers are sum(), as often as it recurses, and main(): sorted lines.
    Behind a main() that was resumed, gdb goes on to the runtime's frames: left out.
    """
    text = gdb(program, isa, tmp_path, "shown", LOOK * STOPS, **env)
    seen = [sorted(stop.partition("\n\n")[0].splitlines()) for stop in text.split("STOP\n")[1:]]
    seen = [[line for line in lines if "at debugged.c" in line or not line.startswith(("#", "[", "Backtrace stopped"))]
            for lines in seen]
    assert len(seen) == STOPS, text
    return seen


@pytest.mark.parametrize("isa", ISAS)
def test_locals_before_and_after_a_move(isa, programs, tmp_path):
    """Line for line what gdb says of the thread that hasn't moved."""
    still = looked_at(programs / "o0", isa, tmp_path)
    for n, lines in enumerate(still):
        frames = re.findall(r"^#\d+ +(\w+ \(.*?\)) at debugged.c", "\n".join(lines), re.M)
        depths = sorted(set(range(n, STOPS)) | {n})
        want = {f"sum (n=, depth={d})" for d in depths} | {"main (argc=1, argv=)"}
        assert set(frames[1:]) == want, lines
        for depth in depths[:2]:
            assert f"here = {{value = {depth}, next = }}" in lines and f"half = {depth / 2:g}" in lines, lines
            assert any(line.startswith(f'name = "depth {depth}') for line in lines), lines
    stats = tmp_path / "stats"
    assert looked_at(programs / "o0", isa, tmp_path, every=1, stats=stats) == still
    assert int(re.search(r"moves (\d+)", stats.read_text())[1]) > STOPS


@pytest.mark.parametrize("isa", ISAS)
def test_of_another_isa(isa, programs, tmp_path):
    """The image is written before the first stop, by a process of the ISA before."""
    image, before = tmp_path / "image", ISAS[ISAS.index(isa) - 1]
    still = looked_at(programs / "o0", isa, tmp_path)
    r = subprocess.run([*RUNNERS[before], f"{programs / 'o0'}_{before}"], stdin=subprocess.DEVNULL, capture_output=True,
                       env={**os.environ, "POPCORN_EVERY": str(STOPS), "POPCORN_FILE": str(image)}, timeout=30)
    assert r.returncode == WRITTEN, r
    assert looked_at(programs / "o0", isa, tmp_path, restore=image) == still


def test_optimized(programs, tmp_path):
    """Variables may be optimized away; the frames are the same."""
    still, moved = ([re.findall(r"#\d+ +(\w+) ", " ".join(lines))
                     for lines in looked_at(programs / "o2", "x86-64", tmp_path, **env)] for env in ({}, {"every": 1}))
    assert still == moved
    assert sorted(set(still[0])) == ["main", "shown", "sum"] and still[0].count("sum") >= STOPS


@pytest.mark.parametrize("isa", ISAS)
def test_inside_the_libc(isa, programs, tmp_path):
    """A backtrace finds its way through functions that were compiled without -g."""
    frames = re.findall(r"^#\d+ .*?(\w+) \(", gdb(programs / "o2", isa, tmp_path, "__stdio_write", ["bt"]), re.M)
    assert "vfprintf" in frames and frames[-1] == "main"
