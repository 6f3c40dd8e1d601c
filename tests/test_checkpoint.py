# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""
The compiler's runtime: threads captured and resumed, and processes in files, between the three ISAs. The program is
made by hand (tests/compiler/rt/frames.c): neither the plugin nor the libc takes part.
"""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

import tap

TOP = Path(__file__).resolve().parent.parent
POPCORN = TOP / "build/bin/popcorn"
RUNNERS = {"x86-64": [], "aarch64": ["qemu-aarch64-static"], "riscv64": ["qemu-riscv64-static"]}
ISAS = list(RUNNERS)
WRITTEN = 75        # exit status of a process that has written POPCORN_FILE
DONE = 7            # of the program itself
UNIT = sorted(p.stem for p in (TOP / "tests/compiler/rt").glob("test_*.c"))


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["make", "-s", "rt-tests", "build/bin/popcorn"], cwd=TOP, check=True, timeout=280)


def command(isa, *args):
    return [*RUNNERS[isa], str(TOP / f"build/bin/rt-frames_{isa}"), *map(str, args)]


def run(isa, *args, status=DONE, **env):
    r = subprocess.run(command(isa, *args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                       env={**os.environ, **{f"POPCORN_{k.upper()}": str(v) for k, v in env.items()}})
    assert r.returncode == status, (r.returncode, r.stdout, r.stderr)
    return r


def stats(file):
    return {k: int(v) for k, v in re.findall(r"(\w+) (\d+)", Path(file).read_text())}


@pytest.fixture(scope="module")
def reference(built):
    return {n: run("x86-64", n).stdout for n in (1, 3)}


@pytest.mark.parametrize("program", UNIT)
def test_unit(program):
    tap.run(TOP / "build/bin" / f"rt-{program}")


def test_fuzz_image():
    r = subprocess.run(["make", "-s", "image-fuzz-check"], cwd=TOP, stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=280)
    assert r.returncode == 0, r.stderr[-6000:]
    assert "Done " in r.stderr


@pytest.mark.parametrize("isa", ISAS)
def test_captured_and_resumed_in_place(isa, reference, tmp_path):
    for threads, every in ((1, 1), (1, 7), (3, 2)):
        out = run(isa, threads, every=every, stats=tmp_path / f"s{every}").stdout
        assert out == reference[threads]
        s = stats(tmp_path / f"s{every}")
        assert s["moves"] >= s["points"] // every - threads and not s["refused"]


@pytest.mark.parametrize("threads,every", [(1, 19), (3, 31)])
def test_round_the_isas_through_files(threads, every, reference, tmp_path):
    """The output is a file: each process goes on in it where the one before has stopped."""
    out, image, old = tmp_path / "out", tmp_path / "image", tmp_path / "old"
    env = {**os.environ, "POPCORN_EVERY": str(every), "POPCORN_FILE": str(image), "POPCORN_STATS": str(tmp_path / "s"),
           "POPCORN_WAIT_MS": "20000"}      # nobody is refused because the machine is slow
    with open(out, "w", encoding="ascii") as f:
        status = subprocess.run(command("x86-64", threads), stdin=subprocess.DEVNULL, stdout=f, env=env,
                                timeout=60).returncode
    legs = 0
    while status == WRITTEN and legs < 100:
        legs += 1
        image.rename(old)
        status = subprocess.run(command(ISAS[legs % 3]), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                env={**env, "POPCORN_RESTORE": str(old)}, timeout=60).returncode
    assert status == DONE
    assert out.read_text() == reference[threads]
    s = stats(tmp_path / "s")
    assert s["images"] == legs >= 4 and not s["refused"]


@pytest.mark.parametrize("isa", ISAS)
def test_the_first_thread_ends_first(isa, tmp_path):
    """Its number is the process's: the kernel keeps it until all have ended. Everyone else is still written."""
    r = run(isa, 3, "/", 0, 1, status=WRITTEN, every=100, file=tmp_path / "image", stats=tmp_path / "s")
    assert not r.stderr
    image = restore(tmp_path / "image", "x86-64")
    assert image.returncode == DONE and image.stdout == run("x86-64", 3, "/", 0, 1).stdout, image.stderr


def test_pinned_threads_stay(reference, tmp_path):
    out = run("x86-64", 1, 3, every=1, stats=tmp_path / "s").stdout
    assert out == reference[1]
    s = stats(tmp_path / "s")
    assert s["refused"] == 30 and s["moves"] == s["points"] - 30


def start(tmp_path, *args, isa="x86-64"):
    """A process whose output is a file, some rounds on."""
    out = tmp_path / "out"
    with open(out, "w", encoding="ascii") as f:
        p = subprocess.Popen(command(isa, *args), stdin=subprocess.DEVNULL, stdout=f)
    end = time.monotonic() + 20
    while "round 0" not in out.read_text() and args[0] == 1 and time.monotonic() < end:
        time.sleep(0.01)
    return p, out


def checkpoint(pid, file, *options):
    return subprocess.run([POPCORN, "checkpoint", *options, str(pid), file], capture_output=True, text=True,
                          timeout=60, stdin=subprocess.DEVNULL)


def restore(file, isa, *options, **kw):
    with_ = ["--with", RUNNERS[isa][0]] if RUNNERS[isa] else []
    return subprocess.run([POPCORN, "restore", *with_, "--isa", isa, *options, file], capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL, **kw)


@pytest.mark.parametrize("threads", [1, 3])
def test_checkpoint_of_a_running_process(threads, tmp_path):
    """It goes on after it was written, then ends when it is written again; both files go on elsewhere."""
    want = run("x86-64", threads).stdout
    p, out = start(tmp_path, threads, "/", 1)
    try:
        for n, option in enumerate(([], ["--exit"])):
            r = checkpoint(p.pid, tmp_path / f"image{n}", *option)
            assert r.returncode == 0, r.stderr
        assert p.wait(20) == WRITTEN
    finally:
        p.kill()
        p.wait()
    for n, isa in enumerate(("aarch64", "riscv64")):
        r = restore(tmp_path / f"image{n}", isa)
        assert r.returncode == DONE, r.stderr
        assert out.read_text() == want


def until(text, file):
    end = time.monotonic() + 30
    while text not in file.read_text() and time.monotonic() < end:
        time.sleep(0.02)


@pytest.fixture(scope="module")
def ticks(built, tmp_path_factory):
    """A program of popcorn-cc and the C library, all of whose threads are blocked nearly always."""
    subprocess.run(["make", "-s", "compiler"], cwd=TOP, check=True, timeout=900)
    prog = tmp_path_factory.mktemp("ticks") / "ticks"
    subprocess.run([TOP / "build/bin/popcorn-cc", "-O2", "-pthread", TOP / "tests/compiler/rt/ticks.c", "-o", prog],
                   check=True, timeout=120)
    return prog


TICKED = "".join(f"tick {i}\n" for i in range(20)) + "sum 193 27.571\n"


def test_blocked_threads_of_a_real_program(ticks, tmp_path):
    """From x86-64 over aarch64 to riscv64."""
    prog, out = ticks, tmp_path / "out"
    with open(out, "w", encoding="ascii") as f:
        p = subprocess.Popen([f"{prog}_x86-64"], stdin=subprocess.DEVNULL, stdout=f)
    try:
        until("tick 2\n", out)
        assert checkpoint(p.pid, tmp_path / "one", "-x").returncode == 0
        assert p.wait(20) == WRITTEN
        p = subprocess.Popen([POPCORN, "restore", "-i", "aarch64", "-w", "qemu-aarch64-static", tmp_path / "one"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until("tick 7\n", out)
        assert checkpoint(p.pid, tmp_path / "two", "-x", "-s", "37").returncode == 0
        assert p.wait(20) == WRITTEN
    finally:
        p.kill()
        p.wait()
    assert restore(tmp_path / "two", "riscv64").returncode == DONE
    assert out.read_text() == TICKED


def test_between_real_kernels(cluster, ticks, tmp_path):
    """Asked by signal 35 on a machine with an amd64 kernel, goes on on one with an arm64 kernel."""
    c = cluster(2, arch="mixed", kernel="6.1")
    a, b = sorted(c, key=lambda node: node.arch)
    for node, isa in ((a, "x86-64"), (b, "aarch64")):
        node.sh("mkdir -p /tmp/ticks")
        node.put(f"{ticks}_{isa}", f"/tmp/ticks/ticks_{isa}")
    first = a.spawn("cd /tmp/ticks && exec ./ticks_x86-64 >out </dev/null", timeout=60)
    a.wait_for("grep -q 'tick 2' /tmp/ticks/out")
    a.sh("/build/bin/popcorn checkpoint -x $(pidof ticks_x86-64) /tmp/ticks/image")
    assert first.wait().status == WRITTEN
    for name in ("out", "image"):
        a.get(f"/tmp/ticks/{name}", tmp_path / name)
        b.put(tmp_path / name, f"/tmp/ticks/{name}")
    assert "tick 19" not in (tmp_path / "out").read_text()
    assert b.run("cd /tmp/ticks && POPCORN_RESTORE=image ./ticks_aarch64").status == DONE
    b.get("/tmp/ticks/out", tmp_path / "out")
    assert (tmp_path / "out").read_text() == TICKED


@pytest.fixture(scope="module")
def kept(built, tmp_path_factory):
    """A program that looks after a move at all that the kernel keeps for it."""
    subprocess.run(["make", "-s", "compiler"], cwd=TOP, check=True, timeout=900)
    prog = tmp_path_factory.mktemp("kept") / "kept"
    subprocess.run([TOP / "build/bin/popcorn-cc", "-O2", TOP / "tests/compiler/rt/kept.c", "-o", prog, "-lm"],
                   check=True, timeout=120)
    return prog


def run_kept(prog, isa, cwd, *args, **env):
    return subprocess.run([*RUNNERS[isa], f"{prog}_{isa}", *args], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, cwd=cwd,
                          env={**os.environ, **{f"POPCORN_{k.upper()}": str(v) for k, v in env.items()}})


# Under QEMU a signal that waits isn't seen: it keeps that to itself.
@pytest.mark.parametrize("what,isas", [("pending", ["x86-64", "aarch64"]), ("pending", ["x86-64", "riscv64"]),
                                       ("", ["aarch64", "riscv64", "x86-64", "aarch64"])])
def test_what_the_kernel_keeps(what, isas, kept, tmp_path):
    """Signals on their way, timers, rounding, umask, working directory, descriptors that share or append."""
    rest, moved = tmp_path / "rest", tmp_path / "moved"
    rest.mkdir()
    moved.mkdir()
    want = run_kept(kept, "x86-64", rest, what)
    assert want.returncode == 0 and " 0\n" not in want.stdout
    out = ""
    for n, isa in enumerate(isas):
        more = {"restore": tmp_path / f"image{n - 1}"} if n else {}
        more |= {"every": 150, "file": tmp_path / f"image{n}"} if n + 1 < len(isas) else {}
        r = run_kept(kept, isa, moved, what, **more)
        out += r.stdout
        assert r.returncode == (WRITTEN if n + 1 < len(isas) else 0), (isa, r.returncode, r.stderr)
    assert out == want.stdout


@pytest.mark.parametrize("what,why", [
    ("pipe", "a descriptor is neither a file nor a directory: 6"), ("eventfd", "neither a file nor a directory: 6"),
    ("socket", "a descriptor is neither a file nor a directory: 6"), ("mapping", "a file is mapped shared"),
    ("timer", "it has a timer of timer_create()"), ("unlinked", "the file of a descriptor has no name any more: 3")])
def test_what_no_file_can_carry(what, why, kept, tmp_path):
    """It is said, and the program runs on to its end."""
    r = run_kept(kept, "x86-64", tmp_path, what, every=150, file=tmp_path / "image", stats=tmp_path / "s")
    assert r.returncode == 0 and why in r.stderr, r.stderr
    assert stats(tmp_path / "s")["refused"] and stats(tmp_path / "s")["images"] == 0


def test_restore_finds_the_program(tmp_path):
    p, out = start(tmp_path, 1, "/", 1)
    try:
        assert checkpoint(p.pid, tmp_path / "image", "-x").returncode == 0
    finally:
        p.kill()
        p.wait()
    r = restore(tmp_path / "image", "x86-64", "--program", TOP / "build/bin/rt-frames_aarch64",
                "--with", "qemu-aarch64-static")
    assert r.returncode == DONE
    assert restore(tmp_path / "image", "x86-64", "--program", "/nowhere/prog").stderr == \
        "popcorn: restore: /nowhere/prog: No such file or directory\n"
    (tmp_path / "foreign").write_bytes(b"\x7fELF of no machine")
    (tmp_path / "foreign").chmod(0o755)
    assert restore(tmp_path / "image", "x86-64", "--program", tmp_path / "foreign").stderr == \
        f"popcorn: restore: {tmp_path}/foreign: not for this machine; --with qemu-riscv64-static, say, runs it\n"


def test_a_pinned_thread_refuses_and_all_go_on(reference, tmp_path, monkeypatch):
    """Round 3 is pinned, and sleeps longer than a checkpoint waits."""
    monkeypatch.setenv("POPCORN_WAIT_MS", "300")
    p, out = start(tmp_path, 1, 3, 8, isa="x86-64")
    try:
        while "round 2" not in out.read_text():
            assert checkpoint(p.pid, tmp_path / "image").returncode == 0
        r = checkpoint(p.pid, tmp_path / "image")
        one_line(r, "can't move: pinned by the test")
        assert p.wait(60) == DONE
    finally:
        p.kill()
        p.wait()
    assert out.read_text() == reference[1]


def test_who_is_not_ours_is_left_alone(tmp_path):
    p = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL)
    try:
        r = checkpoint(p.pid, tmp_path / "image")
        assert r.returncode == 1
        assert r.stderr == f"popcorn: checkpoint: process {p.pid} was not built by popcorn-cc\n"
        assert p.poll() is None
    finally:
        p.send_signal(signal.SIGKILL)
        p.wait()
    assert not list(tmp_path.iterdir())


def test_who_ends_meanwhile_isn_t_waited_for(tmp_path):
    """A process that ends before it answers, and stays a zombie."""
    catches = "import os, signal; signal.signal(35, lambda *_: os._exit(0)); print(flush=True); signal.pause()"
    p = subprocess.Popen(["/usr/bin/python3", "-c", catches], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        p.stdout.readline()
        began = time.monotonic()
        one_line(checkpoint(p.pid, tmp_path / "image"), "doesn't answer: No such process")
        assert time.monotonic() - began < 8     # not the ten seconds that a slow one is given
    finally:
        p.kill()
        p.communicate()


def one_line(r, *words):
    assert r.returncode == 1
    assert r.stderr.count("\n") == 1 and all(w in r.stderr for w in words), r.stderr


@pytest.fixture(scope="module")
def image(built, tmp_path_factory):
    d = tmp_path_factory.mktemp("image")
    run("x86-64", 1, every=50, file=d / "image", status=WRITTEN)
    return (d / "image").read_bytes()


def test_damaged_files_are_refused(image, tmp_path):
    """Every byte counts: wherever one is wrong, the process isn't touched."""
    file = tmp_path / "image"
    for at in [*range(0, 200, 7), *range(200, len(image), len(image) // 40), len(image) - 1]:
        bad = bytearray(image)
        bad[at] ^= 0x10
        file.write_bytes(bad)
        one_line(restore(file, "x86-64"), str(file))
    for isa in ISAS:
        one_line(run(isa, restore=file, status=1), str(file), "damaged")


def test_truncated_files_are_refused(image, tmp_path):
    file = tmp_path / "image"
    for n in (0, 1, 63, 64, 80, len(image) // 2, len(image) - 1):
        file.write_bytes(image[:n])
        one_line(restore(file, "x86-64"), str(file))
        one_line(run("aarch64", restore=file, status=1), str(file))
    file.write_bytes(image + b"\0" * 16)
    one_line(restore(file, "x86-64"), "damaged")


def test_other_programs_files_are_refused(image, tmp_path):
    file = tmp_path / "image"
    file.write_bytes(b"\x7fELF" + bytes(1000))
    one_line(restore(file, "x86-64"), "not a checkpoint")
    other = bytearray((TOP / "build/bin/rt-frames_x86-64").read_bytes())
    at = other.index(b"frames" + bytes(26))
    other[at:at + 6] = b"otherp"
    (tmp_path / "other").write_bytes(other)
    (tmp_path / "other").chmod(0o755)
    file.write_bytes(image)
    one_line(restore(file, "x86-64", "-p", tmp_path / "other"), "another program")


def test_a_missing_file_is_named(tmp_path):
    p, out = start(tmp_path, 1, "/", 1)
    try:
        assert checkpoint(p.pid, tmp_path / "image", "-x").returncode == 0
    finally:
        p.kill()
        p.wait()
    out.unlink()
    one_line(restore(tmp_path / "image", "x86-64"), "can't be opened", str(out))
