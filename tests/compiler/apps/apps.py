# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Programs that others wrote, from Debian's sources, built with popcorn-cc, and moved while they run."""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent.parent
sys.path.insert(0, str(TOP / "tests" / "compiler"))

import moved    # noqa: E402

SOURCE = TOP / "build" / "source"
OUT = TOP / "build" / "apps"
POPCORN = TOP / "build" / "bin" / "popcorn"
# What sqlite's own test programs are made of (one program here, so that the library is compiled once), and the options
# that its Makefile has for fuzzcheck.
SQLITE_PROGRAMS = ("speedtest1", "fuzzcheck", "threadtest3")
SQLITE_PARTS = ("src/test_multiplex.c", "test/ossfuzz.c", "test/fuzzinvariants.c", "test/vt02.c",
                "ext/recover/dbdata.c", "ext/recover/sqlite3recover.c")
SQLITE_OPTIONS = ("-DSQLITE_THREADSAFE=1", "-DSQLITE_OMIT_LOAD_EXTENSION", "-DSQLITE_ENABLE_MEMSYS5",
                  "-DSQLITE_OSS_FUZZ", "-DSQLITE_PRINTF_PRECISION_LIMIT=100000", "-DSQLITE_ENABLE_FTS4",
                  "-DSQLITE_ENABLE_FTS3_PARENTHESIS",
                  "-DSQLITE_ENABLE_FTS5", "-DSQLITE_ENABLE_RTREE", "-DSQLITE_ENABLE_GEOPOLY",
                  "-DSQLITE_ENABLE_DBSTAT_VTAB", "-DSQLITE_ENABLE_BYTECODE_VTAB", "-DSQLITE_ENABLE_COLUMN_METADATA")
SQLITE_MAIN = """
#include <string.h>
int main_speedtest1(int, char **), main_fuzzcheck(int, char **), main_threadtest3(int, char **);
int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	return (!strcmp(argv[1], "speedtest1") ? main_speedtest1 : !strcmp(argv[1], "fuzzcheck") ? main_fuzzcheck :
		main_threadtest3)(argc - 1, argv + 1);
}
"""


def run(*cmd, timeout=1800, **kw):
    r = subprocess.run(list(map(str, cmd)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                       **kw)
    if r.returncode:
        raise moved.MoveError(f"{' '.join(map(str, cmd))}\n{(r.stderr + r.stdout)[-3000:]}")
    return r.stdout


def source(package):
    run(TOP / "cluster" / "fetch", f"source-{package}")
    return SOURCE / package


def newest_tool():
    """When what builds programs was last made."""
    files = [TOP / "build/compiler/popcorn.so", *(TOP / "build/compiler/sysroot/lib").glob("*/*.a"),
             *(TOP / "compiler/driver").glob("*.py")]
    return max(f.stat().st_mtime for f in files)


def fresh(name, package, *results):
    """(directory of its own, with the source in src/; whether the results are there and up to date)."""
    d = OUT / name
    mark = d / "made"
    if mark.exists() and mark.stat().st_mtime > newest_tool() and all((d / r).exists() for r in results):
        return d, True
    shutil.rmtree(d, ignore_errors=True)
    d.mkdir(parents=True)
    shutil.copytree(source(package), d / "src", ignore=shutil.ignore_patterns("debian", ".pc", "www", "*.db"))
    return d, False


def timed(d, what):
    """Builds by what(), and leaves the seconds that took in the directory's "made"."""
    began = time.monotonic()
    what()
    (d / "made").write_text(f"{time.monotonic() - began:.0f}\n")


def zlib():
    """Its own configure and make, as for any compiler; example is its test, minigzip its smallest user."""
    d, done = fresh("zlib", "zlib", "src/example", "src/minigzip")

    def build():
        run("sh", "./configure", "--static", cwd=d / "src", env={**os.environ, "CC": str(moved.CC), "CFLAGS": "-O2 -w"})
        run("make", "-j2", "example", "minigzip", cwd=d / "src")
    if not done:
        timed(d, build)
    return d / "src" / "example", d / "src" / "minigzip"


def bzip2():
    d, done = fresh("bzip2", "bzip2", "bzip2")
    parts = "bzip2 blocksort huffman crctable randtable compress decompress bzlib"
    if not done:
        timed(d, lambda: moved.build([d / "src" / f"{p}.c" for p in parts.split()], d / "bzip2", "-O2", "-w",
                                     "-D_FILE_OFFSET_BITS=64"))
    return d / "bzip2"


def lua():
    d, done = fresh("lua", "lua5.4", "lua")
    if not done:
        (d / "src/src/lua5.4-deb-multiarch.h").write_text('#define DEB_HOST_MULTIARCH "none"\n')
        parts = [f for f in sorted((d / "src/src").glob("*.c")) if f.name != "luac.c"]
        timed(d, lambda: moved.build(parts, d / "lua", "-O2", "-w", "-DLUA_USE_POSIX", "-lm"))
    return d / "lua"


def amalgamate(d):
    """sqlite's library as one file, made by its own Makefile in DIRECTORY/obj."""
    (d / "obj").mkdir()
    run("sh", d / "src/configure", "--disable-tcl", "--disable-shared", "--disable-readline", "CC=gcc", cwd=d / "obj")
    run("make", "sqlite3.c", cwd=d / "obj")
    return d / "obj" / "sqlite3.c"


def small_sqlite():
    """speedtest1 on the library as it is without options, for two ISAs: what is built in little time."""
    d, done = fresh("sqlite-small", "sqlite3", "speedtest1_x86-64", "speedtest1_riscv64")

    def build():
        moved.build([d / "src/test/speedtest1.c", amalgamate(d)], d / "speedtest1", "-Os", "-w",
                    "-DSQLITE_THREADSAFE=0", "-DSQLITE_OMIT_LOAD_EXTENSION", f"-I{d}/obj", "-lm",
                    "--targets=x86-64,riscv64")
    if not done:
        timed(d, build)
    return d / "speedtest1"


def sqlite(level):
    """sqlite with its own test programs: the first argument names one."""
    d, done = fresh(f"sqlite{level}", "sqlite3", "sqlite")
    src, obj = d / "src", d / "obj"

    def compile_one(job):
        source, *options = job
        out = obj / f"{source.stem}.o"
        run(moved.CC, level, "-w", *SQLITE_OPTIONS, *options, f"-I{obj}", f"-I{src}/test", f"-I{src}/src",
            f"-I{src}/ext/recover", "-c", source, "-o", out)
        return out

    def build():
        amalgamate(d)
        (obj / "main.c").write_text(SQLITE_MAIN)
        jobs = [(src / "test" / f"{p}.c", f"-Dmain=main_{p}") for p in SQLITE_PROGRAMS]
        jobs += [(src / p,) for p in SQLITE_PARTS] + [(obj / "sqlite3.c",), (obj / "main.c",)]
        with ThreadPoolExecutor(2) as pool:
            moved.build(list(pool.map(compile_one, jobs)), d / "sqlite", level, "-lm", "-pthread")
    if not done:
        timed(d, build)
    return d / "sqlite"


class Travels(moved.Moved):
    """A program that goes round the ISAs at random."""

    def __init__(self, prog, *args, strip=None, isas=moved.ISAS):
        super().__init__(prog, *args)
        self.strip, self.isas = strip, isas

    def end(self, status, hops=0):
        got = super().end(status, hops)
        if self.strip:
            got.output = re.sub(self.strip, b"", got.output)
        return got

    def at_points(self, seed, points, hops):
        """To an ISA drawn by lot, after a number of points drawn by lot, hops times; then to the end."""
        rng = random.Random(seed)
        with self.begin() as out:
            given = {}
            for n in range(hops + 1):
                written = self.dir / f"image{n & 1}"
                moving = {"every": moved.prime(rng.randint(1, max(2 * points // (hops + 1), 2))), "file": written}
                status = self.process(rng.choice(self.isas), out, **(moving if n < hops else {}), **given)
                if status != moved.WRITTEN:
                    break
                given = {"restore": written}
            return self.end(status, n)

    def start(self, isa, out, given):
        env = {k: v for k, v in os.environ.items() if not k.startswith("POPCORN_")}
        if given:
            env["POPCORN_RESTORE"] = str(given)
        with open(self.dir / "err", "ab") as err:
            p = subprocess.Popen([*moved.runner(isa), f"{self.prog}_{isa}", *self.args], stdin=subprocess.DEVNULL,
                                 stdout=out, stderr=err, env=env, cwd=self.dir)
        while p.poll() is None and "\n14000" not in Path(f"/proc/{p.pid}/maps").read_text():
            time.sleep(0.001)       # QEMU takes the signal before the program does
        return p

    def from_outside(self, seed, seconds, hops):
        """`popcorn checkpoint` at moments drawn by lot within so many seconds each, at most hops times."""
        rng = random.Random(seed)
        done = refused = n = 0
        with self.begin() as out:
            isa, given = self.isas[1], None      # the slower ones leave more time
            while True:
                p = self.start(isa, out, given)
                try:
                    while n < hops:
                        n += 1
                        try:
                            p.wait(rng.uniform(0, seconds))
                            break
                        except subprocess.TimeoutExpired:
                            pass
                        written = self.dir / f"image{n & 1}"
                        r = subprocess.run([POPCORN, "checkpoint", "-x", *(["-s", "37"] if moved.runner(isa) else []),
                                            str(p.pid), written], capture_output=True, text=True, timeout=90)
                        if r.returncode == 0:
                            done, given = done + 1, written
                            break
                        if p.poll() is not None:
                            break
                        refused += 1
                        with open(self.dir / "err", "a", encoding="utf-8") as err:
                            err.write(r.stderr)
                    status = p.wait(moved.LIMIT)
                except subprocess.TimeoutExpired:
                    status = "none: too slow, or it hangs"
                finally:
                    p.kill()
                    p.wait()
                if status != moved.WRITTEN:
                    break
                isa = rng.choice(self.isas)
            got = self.end(status, done)
            got.images, got.refused = done, refused
            return got

    def caught(self, seed, seconds, hops):
        """From outside, sooner if the program was over too soon for that."""
        while True:
            got = self.from_outside(seed, seconds, hops)
            if got.images or got.refused or got.status or seconds < 0.001:
                return got
            seconds /= 4


def check(name, prog, *args, want=None, seed=1, moves=200, hops=6, seconds=0.0, outside=0, share=90,
          strip=None, isas=moved.ISAS, ends=b""):
    """Natively, moved in place, round the ISAs at random points, and from outside. Returns a line that tells of it.

    want: bytes that it must print; otherwise what the run at rest has printed. ends: the end
    of it. strip: a pattern of what may differ.
    """
    with Travels(prog, *args, strip=strip, isas=isas) as m:
        rest = m.points()
        if want is not None and rest.output != want or rest.status or not rest.output.endswith(ends):
            raise moved.MoveError(f"{name} at rest: status {rest.status}, {rest.output[:300]!r} {rest.told[-1000:]}")
        told = [f"{name}: {rest.points} points"]
        tries = [("in place", lambda: m.within(isas[0], moved.prime(rest.points // moves)))] if moves else []
        tries += [("at random points", lambda: m.at_points(seed, rest.points, hops))] if hops else []
        tries += [("from outside", lambda: m.caught(seed, seconds, outside))] if outside else []
        for what, go in tries:
            got = go()
            moved.same(f"{name} {what}", got, rest)
            moved.enough(f"{name} {what}", got, share)
            if not got.moves + got.images:
                raise moved.MoveError(f"{name} {what}: has not moved at all")
            told.append(f"{what} {got.tried - got.refused} moves, {got.refused} refused")
    return ", ".join(told)
