# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Suite compiler: programs of popcorn-cc that don't migrate, beside clang -O2 -flto on the same musl, x86-64.

instructions are callgrind's; time is the process's CPU time, the two in turns; text is the program's and the C
library's code, gaps between functions with it; text-all is all that is executable in the binary, the runtime with it;
build is the CPU time from the front end's bitcode to binaries, for three ISAs against one. Row "geomean" sums up the
rest but for "lua", which is Debian's with a script of ours. frame, warm and cold are what
microbench/compiler/moves/handover.c prints: capture and resumption of one more frame, and of a stack of 10.
"""

import math
import os
import re
import resource
import statistics
import struct
import subprocess
import tempfile
from pathlib import Path

import libfloor
import libplan
import libprint
import libresult
from libresult import TOP, ResultError

CC = TOP / "build" / "bin" / "popcorn-cc"
PLAIN = TOP / "build" / "compiler" / "plain-musl"
RUNTIME = TOP / "build" / "compiler" / "sysroot" / "lib" / "x86-64" / "libpopcorn.a"
LUA = TOP / "build" / "source" / "lua5.4" / "src"
SOURCES = TOP / "microbench" / "compiler"
COMPARED = ("instructions", "time", "text", "text-all", "build")
MOVES = ("frame", "warm", "cold")
ROWS = COMPARED + MOVES
BIG = "lua"
SCRIPT = SOURCES / "script.lua"
FLOOR = "clang -O2 -flto"
LIMIT = 600         # seconds of one process
WHOLE = "geomean"

# At -O2 the code of every ISA starts as riscv64's, so these say the same for the bitcode that both sides start from.
LANGUAGE = ("-fsigned-char", "-ffp-contract=off")


def run(cmd, **options):
    """Returns the process and the CPU time in seconds that it and its children took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        r = subprocess.run(list(map(str, cmd)), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=LIMIT, **options)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise ResultError(f"{Path(cmd[0]).name}: {getattr(e, 'strerror', None) or 'too slow'}") from e
    if r.returncode:
        what = (r.stderr.strip().splitlines() or [f"exit status {r.returncode}"])[-1]
        raise ResultError(f"{' '.join(map(str, cmd))[:200]}: {what}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


class Ours:
    name = "popcorn-cc -O2"

    def compile(self, source, obj, *words):
        run([CC, "-O2", *words, "-c", source, "-o", obj])

    def build(self, objs, prog):
        return run([CC, "-O2", *objs, "-o", prog, "-lm"])[1]

    def native(self, prog):
        return f"{prog}_x86-64"


class Plain:
    name = FLOOR

    def __init__(self):
        self.libgcc = run(["gcc", "-print-libgcc-file-name"])[0].stdout.strip()

    def compile(self, source, obj, *words):
        run(["clang-19", "-O2", "-flto", "-Xclang", "-disable-llvm-passes", *LANGUAGE, "-nostdlibinc", "-isystem",
             PLAIN / "include", *words, "-c", source, "-o", obj])

    def build(self, objs, prog):
        lib, made, took = PLAIN / "lib", [], 0
        for obj in objs:
            made.append(f"{obj}.lto")
            took += run(["clang-19", "-O2", "-flto", "-x", "ir", "-c", obj, "-o", made[-1]])[1]
        link = ["clang-19", "-O2", "-flto", "-fuse-ld=lld-19", "-static", "-nostdlib", "-Wl,--gc-sections", lib / "crt1.o",
                lib / "crti.o", *made, lib / "libc.a", self.libgcc, lib / "crtn.o", "-o", prog]
        return took + run(link)[1]

    def native(self, prog):
        return str(prog)


def instructions(prog, *words):
    """What callgrind counts of the whole process. It can't read DWARF 5, so of a copy without."""
    run(["llvm-strip-19", "-o", f"{prog}.stripped", prog])
    r, _ = run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"{prog}.stripped", *words])
    m = re.search(r"Collected : (\d+)", r.stderr)
    if not m:
        raise ResultError(f"callgrind says nothing of {prog}")
    return int(m[1])


def text(prog):
    """Bytes of the sections that are executable."""
    data = Path(prog).read_bytes()
    at, = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3a)
    total = 0
    for i in range(count):
        _, kind, flags, _, _, length = struct.unpack_from("<IIQQQQ", data, at + i * size)
        if flags & 4 and kind == 1:
            total += length
    return total


def functions(path):
    """Names and sizes of the functions of a binary or an archive."""
    out = run(["llvm-nm-19", "-S", "--defined-only", path])[0].stdout
    return {m[2]: int(m[1], 16) for m in re.finditer(r"(?m)^[0-9a-f]+ ([0-9a-f]+) [tTwW] (\S+)$", out)}


def runtime(prog):
    """Bytes of the runtime's functions in a binary."""
    mine = functions(RUNTIME).keys()
    return sum(-(-size // 16) * 16 for name, size in functions(prog).items() if name in mine)


def geomean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


class Suite:
    def __init__(self, args, directory):
        self.args, self.dir, self.errors = args, Path(directory), []
        self.sides = (Ours(), Plain())
        self.rounds = 3 if args.quick else 9
        self.figures = {}       # (row, program): ([ours], [plain])
        self.built = {}

    def put(self, row, program, side, value):
        self.figures.setdefault((row, program), ([], []))[side].append(value)

    def build(self, name, sources, *words):
        """Both binaries; the builds are timed in turns if asked."""
        objs = [[self.dir / f"{name}.{s.stem}.{i}.o" for s in sources] for i in (0, 1)]
        for i, side in enumerate(self.sides):
            for source, obj in zip(sources, objs[i]):
                side.compile(source, obj, *words)
        for n in range((self.rounds if name != BIG else 1) if "build" in self.rows else 1):
            for i in (0, 1) if n % 2 == 0 else (1, 0):
                took = self.sides[i].build(objs[i], self.dir / f"{name}.{i}")
                self.put("build", name, i, took * 1e6)
        self.built[name] = [side.native(self.dir / f"{name}.{i}") for i, side in enumerate(self.sides)]

    def compare(self, name):
        """Do both print the same?"""
        outputs = [run([p, *self.words(name)])[0].stdout for p in self.built[name]]
        if outputs[0] != outputs[1]:
            raise ResultError(f"{name}: prints {outputs[0]!r}, compiled by clang {outputs[1]!r}")

    def measure(self, name):
        progs = self.built[name]
        for i, prog in enumerate(progs):
            self.put("text-all", name, i, text(prog))
            self.put("text", name, i, text(prog) - (0 if i else runtime(prog)))
            if "instructions" in self.rows:
                self.put("instructions", name, i, instructions(prog, *self.words(name)))
        for n in range(self.rounds * 3 if "time" in self.rows else 0):
            for i in (0, 1) if n % 2 == 0 else (1, 0):
                self.put("time", name, i, run([progs[i], *self.words(name)])[1] * 1e6)

    @staticmethod
    def words(name):
        """What the program is called with."""
        return [SCRIPT] if name == BIG else []

    def moves(self):
        """What a move costs without the way in between: medians of several processes."""
        prog, found = self.dir / "handover", {}
        run([CC, "-O2", SOURCES / "moves" / "handover.c", "-o", prog])
        for _ in range(self.rounds):
            out = run([prog], env=os.environ | {"POPCORN_NODES": "2"})[0].stdout
            for name, value in re.findall(r"(?m)^(\w+) ([\d.]+)$", out):
                found.setdefault(name, []).append(float(value))
        return [self.row(name, "handover", "ns", statistics.median(found[name]), None, None, found[name])
                for name in MOVES if name in self.rows and name in found]

    def result(self):
        units = {"instructions": "insn", "time": "us", "text": "bytes", "text-all": "bytes", "build": "us"}
        rows = []
        for row in (r for r in self.rows if r in COMPARED):
            ratios, sums = [], []
            for (r, name), (ours, plain) in self.figures.items():
                if r != row or not ours or not plain:
                    continue
                a, b = statistics.median(ours), statistics.median(plain)
                ratio = statistics.median(x / y for x, y in zip(ours, plain))
                ratios.append(ratio)
                sums.append((a, b))
                if name == BIG:
                    ratios.pop(), sums.pop()        # beside the others, not among them
                rows.append(self.row(row, name, units[row], a, b, ratio, ours))
            if ratios:
                a, b = (geomean([s[i] for s in sums]) for i in (0, 1))
                rows.append(self.row(row, WHOLE, units[row], a, b, geomean(ratios), [a], worst=max(ratios),
                                     programs=len(ratios)))
        return rows

    @staticmethod
    def row(name, program, unit, ours, plain, ratio, all_ours, **extra):
        stats = {"min": min(all_ours), "median": ours, "avg": statistics.fmean(all_ours), "p99": max(all_ours),
                 "p999": None}
        floor = FLOOR if plain is not None else None
        r = libresult.row("compiler", name, "user", "none", 0, unit, stats, floor, plain, program=program, **extra)
        r["ratio"] = libresult.round_sig(ratio)
        return r

    def programs(self):
        """(name, sources, options) of each."""
        names = [s.stem for s in sorted(SOURCES.glob("*.c"))] + [BIG]
        if self.args.programs:
            names = libplan.only(names, self.args.programs)
        for name in names:
            if name != BIG:
                yield name, [SOURCES / f"{name}.c"], ()
                continue
            libfloor.make("build/source/lua5.4")
            own = self.dir / "include"
            own.mkdir()
            (own / "lua5.4-deb-multiarch.h").write_text('#define DEB_HOST_MULTIARCH "none"\n')
            yield name, sorted(set(LUA.glob("*.c")) - {LUA / "luac.c"}), ("-DLUA_USE_POSIX", f"-I{own}")

    def run(self):
        self.rows = libplan.only(list(ROWS), self.args.rows)
        programs = list(self.programs()) if set(self.rows) & set(COMPARED) else []
        progress = libplan.Progress(len(programs), self.args.quiet)
        for name, sources, words in programs:
            progress.step(name)
            try:
                self.build(name, sources, *words)
                self.compare(name)
                self.measure(name)
            except ResultError as e:
                self.errors.append(str(e))
                libplan.complain(f"{name}: {e}")
        progress.end()
        try:
            return self.result() + (self.moves() if set(self.rows) & set(MOVES) else [])
        except ResultError as e:
            self.errors.append(str(e))
            libplan.complain(str(e))
            return self.result()


def table(rows):
    lines = [[r["name"], r["program"], r["unit"], libprint.figure(r["median"], r["unit"]),
              libprint.figure(r["floor"], r["unit"]), libprint.figure(r["ratio"])] for r in rows]
    return libprint.aligned(("row", "program", "unit", "popcorn-cc", FLOOR, "ratio"),
                            libprint.quiet_repeats(lines, 1), left=(0, 1, 2))


def run_suite(args):
    """Returns (machine, rows, errors)."""
    libfloor.make("compiler", "compiler-plain")
    with tempfile.TemporaryDirectory(prefix="popcorn-bench-") as d:
        suite = Suite(args, d)
        rows = suite.run()
    version = run(["clang-19", "-dumpversion"])[0].stdout.strip()
    return libresult.machine("here", compiler=f"clang {version}", load=round(os.getloadavg()[0], 1)), rows, suite.errors
