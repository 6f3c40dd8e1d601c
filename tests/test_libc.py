# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The C library of popcorn-cc: the same program does the same on every ISA's kernel."""

import fcntl
import os
import re
import subprocess
import sys

import pytest

from conftest import TOP

sys.path[:0] = [str(TOP / "compiler/libc"), str(TOP / "tests/compiler/libc")]
import abi  # noqa: E402
import exact  # noqa: E402

ISAS = ("x86-64", "aarch64", "riscv64")
QEMU = {"aarch64": ["qemu-aarch64-static"], "riscv64": ["qemu-riscv64-static"], "x86-64": []}
PROGRAMS = TOP / "tests/compiler/libc"


def differing(per_isa):
    names = set().union(*per_isa.values())
    return {n for n in names if len({repr(per_isa[i].get(n)) for i in ISAS}) > 1}


def test_flags_that_differ_are_known():
    found = differing({i: abi.macros(i, abi.asm_headers()) for i in ISAS})
    assert found <= set(abi.MACROS), "the kernel's headers differ in more than compiler/libc/abi.py says"
    assert set(abi.OPEN_FLAGS) <= found


def test_structs_that_differ_are_known():
    found = differing({i: abi.structs(i) for i in ISAS})
    assert found <= set(abi.STRUCTS), "the kernel's headers differ in more than compiler/libc/abi.py says"
    assert {"struct stat", "struct epoll_event", "struct semid64_ds"} <= found


def test_numbers_of_system_calls():
    calls = {i: abi.syscalls(i) for i in ISAS}
    both = calls["aarch64"].keys() & calls["riscv64"].keys()
    assert all(calls["aarch64"][n] == calls["riscv64"][n] for n in both) and len(both) > 300
    assert calls["riscv64"].keys() - calls["x86-64"].keys() <= abi.ARCH_SYSCALLS
    assert calls["aarch64"].keys() ^ calls["riscv64"].keys() <= abi.ARCH_SYSCALLS
    # ours are the kernel's
    text = (TOP / "build/compiler/sysroot/include/bits/syscall.h").read_text()
    ours = {n: int(v) for n, v in re.findall(r"#define __NR_(\w+)\s+(\d+)", text)}
    assert {n for n, v in ours.items() if calls["riscv64"].get(n, v) != v} == set() and len(ours) > 250


def test_constants_of_the_headers(tmp_path):
    """What the library's headers define is what the generic kernel interface has."""
    kernel = abi.macros(abi.GENERIC, abi.asm_headers())
    text = "".join(f"#include <{h}>\n" for h in (
        "fcntl.h", "errno.h", "signal.h", "sys/mman.h", "sys/ioctl.h", "termios.h", "sys/socket.h", "poll.h", "sys/epoll.h",
        "sys/resource.h", "sys/stat.h", "sys/statfs.h", "sys/sem.h", "sys/shm.h", "sys/msg.h"))
    ours = subprocess.run(["clang-19", "--target=riscv64-linux-musl", "-nostdinc", "-D_GNU_SOURCE", "-E", "-dM", "-x", "c",
                           f"-isystem{TOP}/build/compiler/sysroot/include", "-"], input=text, capture_output=True,
                          text=True, check=True).stdout
    ours = {n: abi.value(v) for n, v in re.findall(r"(?m)^#define (\w+) (.+)$", ours)}
    both = {n for n, v in ours.items() if v is not None and n in kernel}
    own = set(abi.MACROS) - set(abi.OPEN_FLAGS) | {"O_LARGEFILE", "NCCS", "EPOLLEXCLUSIVE", "SIOCATMARK"}
    assert len(both) > 500
    assert {n: (ours[n], kernel[n]) for n in both - own if ours[n] & 0xffffffff != kernel[n] & 0xffffffff} == {}


def test_what_is_built_is_left_alone():
    """Tests call make beside compilers that have these files mapped: one that was cut to be written anew ended one."""
    def files():
        return {f: (s.st_ino, s.st_mtime_ns) for f in (TOP / "build/compiler").rglob("*")
                if f.is_file() and f.name != "lock" and "plain-musl" not in f.parts and (s := f.stat())}
    def make():
        subprocess.run(["make", "-s", "-C", TOP, "compiler"], check=True, timeout=280, stdout=subprocess.DEVNULL)
    make()
    before = files()
    make()
    assert files() == before


def test_another_build_of_the_library_waits():
    with open(TOP / "build/compiler/libc/lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen([TOP / "compiler/libc/build"], stdout=subprocess.PIPE, text=True) as second:
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(1)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert "0 to lower" in second.communicate(timeout=60)[0]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    made = {}

    def build(name):
        if name not in made:
            out = tmp_path_factory.mktemp(name) / name
            r = subprocess.run([TOP / "build/bin/popcorn-cc", "-O2", "-pthread", PROGRAMS / f"{name}.c", "-o", out, "-lm"],
                               capture_output=True, text=True, timeout=300)
            assert r.returncode == 0, r.stderr[-2000:]
            made[name] = out
        return made[name]

    return build


def run(program, isa, directory, **env):
    d = directory / isa
    d.mkdir()
    r = subprocess.run([*QEMU[isa], f"{program}_{isa}", d], capture_output=True, text=True, timeout=120, cwd=d,
                       env=os.environ | env)
    return r.returncode, r.stdout + r.stderr


@pytest.mark.parametrize("name", ("kernel", "fenv"))
def test_same_on_every_isa(built, tmp_path, name):
    program = built(name)
    results = {isa: run(program, isa, tmp_path) for isa in ISAS}
    for isa in ISAS:
        assert results[isa][0] == 0 and results[isa][1].endswith("ok\n"), f"{isa}: {results[isa][1]}"
    assert len(set(results.values())) == 1


@pytest.mark.parametrize("isa", ISAS)
def test_timeouts_of_interrupted_calls(built, tmp_path, isa):
    assert run(built("timeouts"), isa, tmp_path) == (0, "ok\n")


@pytest.mark.parametrize("isa,count", (("x86-64", 5000), ("aarch64", 1500), ("riscv64", 1500)))
def test_numbers_are_rounded_as_fractions_are(built, isa, count):
    cases = list(exact.cases(isa, count))
    r = subprocess.run([*QEMU[isa], f"{built('numbers')}_{isa}"], input="".join(f"{c}\n" for c, _ in cases),
                       capture_output=True, text=True, timeout=300)
    assert r.returncode == 0
    found = r.stdout.splitlines()
    assert len(found) == count
    wrong = [f"{c[:200]}: {f[:200]}, not {want[:200]}" for (c, want), f in zip(cases, found) if f != want]
    assert not wrong, f"{len(wrong)}, the first: {wrong[0]}"
