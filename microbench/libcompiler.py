# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Suite compiler: programs of popcorn-cc that don't migrate, beside clang -O2 -flto on the same musl, x86-64.

instructions are callgrind's; time is the process's CPU time, the two in turns; text is what the binary has that is executable; build
is the CPU time of the link, for three ISAs against one, from the same bitcode. Row "geomean" sums up the rest.
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
SOURCES = TOP / "microbench" / "compiler"
ROWS = ("instructions", "time", "text", "build")
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

    def compile(self, source, obj):
        run([CC, "-O2", "-c", source, "-o", obj])

    def link(self, obj, prog):
        return run([CC, "-O2", obj, "-o", prog, "-lm"])[1]

    def native(self, prog):
        return f"{prog}_x86-64"


class Plain:
    name = FLOOR

    def __init__(self):
        self.libgcc = run(["gcc", "-print-libgcc-file-name"])[0].stdout.strip()

    def compile(self, source, obj):
        run(["clang-19", "-O2", "-flto", *LANGUAGE, "-nostdlibinc", "-isystem", PLAIN / "include", "-c", source, "-o",
             obj])

    def link(self, obj, prog):
        lib = PLAIN / "lib"
        return run(["clang-19", "-O2", "-flto", "-fuse-ld=lld-19", "-static", "-no-pie", "-nostdlib", "-Wl,--gc-sections",
                    lib / "crt1.o", lib / "crti.o", obj, lib / "libc.a", self.libgcc, lib / "crtn.o", "-o", prog])[1]

    def native(self, prog):
        return str(prog)


def instructions(prog):
    """What callgrind counts of the whole process. It can't read DWARF 5, so of a copy without."""
    run(["llvm-strip-19", "-o", f"{prog}.stripped", prog])
    r, _ = run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"{prog}.stripped"])
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

    def build(self, source):
        """Both binaries; the links are timed in turns if asked."""
        name = source.stem
        for i, side in enumerate(self.sides):
            side.compile(source, self.dir / f"{name}.{i}.o")
        for n in range(self.rounds if "build" in self.rows else 1):
            for i in (0, 1) if n % 2 == 0 else (1, 0):
                side = self.sides[i]
                took = side.link(self.dir / f"{name}.{i}.o", self.dir / f"{name}.{i}")
                self.put("build", name, i, took * 1e6)
        self.built[name] = [side.native(self.dir / f"{name}.{i}") for i, side in enumerate(self.sides)]
        outputs = [run([p])[0].stdout for p in self.built[name]]
        if outputs[0] != outputs[1]:
            raise ResultError(f"{name}: prints {outputs[0]!r}, compiled by clang {outputs[1]!r}")

    def measure(self, name):
        progs = self.built[name]
        for i, prog in enumerate(progs):
            self.put("text", name, i, text(prog))
            if "instructions" in self.rows:
                self.put("instructions", name, i, instructions(prog))
        for n in range(self.rounds * 3 if "time" in self.rows else 0):
            for i in (0, 1) if n % 2 == 0 else (1, 0):
                self.put("time", name, i, run([progs[i]])[1] * 1e6)

    def result(self):
        units = {"instructions": "insn", "time": "us", "text": "bytes", "build": "us"}
        rows = []
        for row in self.rows:
            ratios, sums = [], []
            for (r, name), (ours, plain) in self.figures.items():
                if r != row or not ours or not plain:
                    continue
                a, b = statistics.median(ours), statistics.median(plain)
                ratio = statistics.median(x / y for x, y in zip(ours, plain))
                ratios.append(ratio)
                sums.append((a, b))
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
        r = libresult.row("compiler", name, "user", "none", 0, unit, stats, FLOOR, plain, program=program, **extra)
        r["ratio"] = libresult.round_sig(ratio)
        return r

    def run(self):
        sources = sorted(SOURCES.glob("*.c"))
        if self.args.programs:
            sources = [SOURCES / f"{n}.c" for n in libplan.only([s.stem for s in sources], self.args.programs)]
        self.rows = libplan.only(list(ROWS), self.args.rows)
        progress = libplan.Progress(len(sources), self.args.quiet)
        for source in sources:
            progress.step(source.stem)
            try:
                self.build(source)
                self.measure(source.stem)
            except ResultError as e:
                self.errors.append(str(e))
                libplan.complain(f"{source.stem}: {e}")
        progress.end()
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
