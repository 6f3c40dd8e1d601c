# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Programs of popcorn-cc that move while they run, in place and round all ISAs, print what they print at rest.

Many programs become one, so that a few links and processes try them all: each main() gets a name of its own. What a
compiler of the host makes of the same sources says what is right. --soak has more seeds, and each program by itself.
"""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
HERE = TOP / "tests" / "compiler"
sys.path.insert(0, str(HERE))

import gen      # noqa: E402
import moved    # noqa: E402

LEVELS = ("-O0", "-O2", "-O3")
GENERATED = range(1, 9)
CSMITH = range(100, 1100, 100)      # 20 programs from each on
SOAK_GENERATED = [range(n, n + 10) for n in range(100, 300, 10)]
SOAK_CSMITH = range(2000, 4000, 100)
CSMITH_OPTIONS = ("--no-argc", "--max-funcs", "6", "--max-block-depth", "3", "--no-volatiles")
CSMITH_INCLUDE = next((d for d in Path("/usr/include").glob("csmith*") if (d / "csmith.h").exists()), None)
SHARE = 90          # of the tries to move, in percent, in what mixes programs
WARN = ("-w", "-fno-strict-aliasing", "-ffp-contract=off")

# Calls one program after the other, each with the descriptors and handlers that a process begins with.
BUNDLE = """\
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
%s
static const struct { const char *name; int (*run)(int, char **); } programs[] = { %s };

int main(void)
{
	char *argv[] = { "program", NULL };
	int status;

	for (unsigned i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		printf("== %%s\\n", programs[i].name);
		status = programs[i].run(1, argv);
		printf("-- %%d\\n", status);
		fflush(stdout);
		for (int fd = 3; fd < 100; fd++)
			close(fd);
		for (int sig = 1; sig < 32; sig++)
			signal(sig, SIG_DFL);
	}
	return 0;
}
"""


class Program:
    def __init__(self, line):
        self.name, options, self.crosses, share, *more = line.split()
        self.options = [] if options == "-" else options.split(",")
        self.share, self.alone = int(share), "alone" in more
        self.source = HERE / "programs" / f"{self.name}.c"


def table():
    lines = (HERE / "programs.txt").read_text().splitlines()
    return [Program(line) for line in lines if line and not line.startswith("#")]


PROGRAMS = table()


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["make", "-s", "compiler"], cwd=TOP, check=True, timeout=280)


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    prog = tmp_path_factory.mktemp("points") / "points"
    moved.build([HERE / "points.c"], prog, "-O2", "--targets=x86-64")
    return prog


def host(compiler, sources, out, *options):
    subprocess.run([compiler, *options, *map(str, sources), "-o", str(out), "-lm", "-latomic", "-pthread"],
                   check=True, timeout=240, stdin=subprocess.DEVNULL, capture_output=True)


def right(prog):
    """What the host's own binary prints, to compare with."""
    r = subprocess.run([prog], stdin=subprocess.DEVNULL, capture_output=True, timeout=moved.LIMIT,
                       cwd=Path(prog).parent)
    return moved.Ended(r.stdout, r.returncode, {})


def names_of(sources):
    return ["main_" + re.sub(r"\W", "_", Path(s).stem) for s in sources]


def bundle(sources, directory, level, compiler, *options):
    """One program of many: (that of popcorn-cc, what the host's says)."""
    names = names_of(sources)
    driver = directory / "bundle.c"
    driver.write_text(BUNDLE % ("\n".join(f"int {n}(int, char **);" for n in names),
                                ", ".join(f'{{ "{n[5:]}", (int (*)(int, char **)){n} }}' for n in names)))
    out = directory / f"bundle{level}"
    jobs = []
    with ThreadPoolExecutor(2) as pool:
        for s, n in [*zip(sources, names), (driver, None)]:
            define = [f"-Dmain={n}"] if n else []
            for cc, suffix in ((str(moved.CC), "o"), (compiler, "host.o")):
                cmd = [cc, level if cc != compiler else "-O1", *WARN, *options, *define, "-c", str(s), "-o",
                       str(directory / f"{Path(s).stem}{level}.{suffix}")]
                jobs.append(pool.submit(subprocess.run, cmd, check=True, timeout=240, capture_output=True))
    for j in jobs:
        j.result()
    stems = [*(Path(s).stem for s in sources), "bundle"]
    host(compiler, [directory / f"{n}{level}.host.o" for n in stems], directory / "host")
    moved.build([directory / f"{n}{level}.o" for n in stems], out, level, "-lm", "-pthread")
    return out, right(directory / "host")


def tell(record_property, text):
    print(text)
    record_property("moves", text)


# One process tries them all.

@pytest.mark.timeout(600)
@pytest.mark.parametrize("level", LEVELS)
def test_programs(tmp_path, level, record_property):
    """All programs but those that end the process or need one of their own."""
    mine = [p for p in PROGRAMS if not p.alone and p.crosses == "file"]
    prog, want = bundle([p.source for p in mine], tmp_path, level, "clang-19", "-fcommon")
    tell(record_property, moved.round_trip(prog, want=want, share=SHARE, moves=5000, hops=9))


def test_programs_in_place(tmp_path, record_property):
    """What a file can't carry (pipes, sockets, children) still moves in its process."""
    mine = [p for p in PROGRAMS if not p.alone and p.crosses == "self"]
    prog, want = bundle([p.source for p in mine], tmp_path, "-O2", "clang-19")
    tell(record_property, moved.round_trip(prog, want=want, share=SHARE, moves=300, hops=0))


@pytest.mark.parametrize("name", [p.name for p in PROGRAMS if p.alone])
def test_alone(tmp_path, name, record_property):
    one(tmp_path, next(p for p in PROGRAMS if p.name == name), "-O2", 30 if name == "deep" else 300, 3, record_property)


def one(tmp_path, p, level, moves, hops, record_property):
    host("clang-19", [p.source], tmp_path / "host", "-O1", *WARN, *p.options)
    moved.build([p.source], tmp_path / p.name, level, *WARN, *p.options)
    tell(record_property, moved.round_trip(tmp_path / p.name, want=right(tmp_path / "host"), share=p.share, moves=moves,
                                           hops=hops if p.crosses == "file" else 0))


# Random programs.

def generated(directory, seeds):
    for seed in seeds:
        (directory / f"gen{seed}.c").write_text(gen.program(seed))
    return [directory / f"gen{seed}.c" for seed in seeds]


def csmith(directory, seed):
    """20 from this seed on: csmith doesn't make a program of each, and promises no end for those that it makes."""
    def ends(c):
        with open(c, "wb") as f:
            if subprocess.run(["csmith", "--seed", c.stem[6:], *CSMITH_OPTIONS], stdout=f, stderr=subprocess.DEVNULL,
                              timeout=60, cwd=directory).returncode:
                return False
        host("gcc", [c], c.with_suffix(".try"), "-O1", "-fwrapv", *WARN, f"-I{CSMITH_INCLUDE}")
        return subprocess.run(["prlimit", "--cpu=1", "--core=0", c.with_suffix(".try")], capture_output=True,
                              timeout=60).returncode == 0
    found = []
    with ThreadPoolExecutor(2) as pool:
        while len(found) < 20:
            some = [directory / f"csmith{n}.c" for n in range(seed, seed + 20 - len(found))]
            found += [c for c, good in zip(some, pool.map(ends, some)) if good]
            seed += len(some)
    return found


@pytest.mark.parametrize("level", ["-O2"])
def test_generated(tmp_path, level, record_property):
    prog, want = bundle(generated(tmp_path, GENERATED), tmp_path, level, "gcc")
    tell(record_property, moved.round_trip(prog, want=want, share=SHARE, moves=500, hops=3))


@pytest.mark.skipif(not CSMITH_INCLUDE, reason="no csmith")
@pytest.mark.parametrize("seed,level", [(s, LEVELS[n % 3]) for n, s in enumerate(CSMITH, 1)])
def test_csmith(tmp_path, seed, level, record_property):
    prog, want = bundle(csmith(tmp_path, seed), tmp_path, level, "gcc", "-fwrapv", f"-I{CSMITH_INCLUDE}")
    tell(record_property, moved.round_trip(prog, want=want, share=SHARE, moves=1000, hops=3))


@pytest.mark.parametrize("kind, few, many", [("counted", 0, 24), ("stepped", 0, 24), ("uncounted", 1024, 25000),
                                             ("fixed", 0, 0), ("recursive", 4095, 99999)])
def test_points_of_loops(points, kind, few, many):
    """How many more points 4,096 rounds and 100,000 have than one."""
    def passed(rounds):
        with moved.Moved(points, kind, str(rounds)) as m:
            return m.points().points
    one = passed(1)
    assert abs(passed(4096) - one - few) < 5 and abs(passed(100000) - one - many) < 5


def test_strict(tmp_path, record_property):
    """Without the option the ISAs differ in what C leaves open; with it all say what is written here."""
    source = HERE / "programs" / "strict.c"
    want = moved.Ended((HERE / "programs" / "strict.out").read_bytes(), 0, {})
    moved.build([source], tmp_path / "open", "-O2", "-w")
    with moved.Moved(tmp_path / "open") as m:
        assert len({m.at_rest(isa).output for isa in moved.ISAS}) == len(moved.ISAS)
    for level in ("-O0", "-O2"):
        moved.build([source], tmp_path / "strict", level, "-w", "-fpopcorn-strict")
        tell(record_property, moved.round_trip(tmp_path / "strict", want=want, moves=100, hops=3))


FOREIGN = {"byval": ("an argument in the native stack", b"3225 20\n"),
           "many": ("too many values at once", b"1225 20\n"),
           "jump": ("an argument in the native stack", b"3275 20\n"), "asm": ("", b"1225 20\n")}


@pytest.mark.parametrize("name", FOREIGN)
def test_pinned(tmp_path, name):
    """Below frames that can't be captured a thread is refused to move, and moves elsewhere."""
    why, output = FOREIGN[name]
    isas = moved.ISAS[:1] if name == "asm" else moved.ISAS
    log = []
    moved.build([HERE / "foreign" / f for f in ("main.c", f"{name}.ll")], tmp_path / name, "-O2",
                f"--targets={','.join(isas)}", log=log)
    assert f"threads can't move while they are in this function: {why}" in log[0] if why else not log[0]
    with moved.Moved(tmp_path / name) as m:
        for isa in isas:
            got = m.within(isa, 3)
            moved.same(name, got, moved.Ended(output, 0, {}))
            assert got.moves > 5 and got.refused > 300


HEAD = 'target triple = "riscv64-unknown-linux-musl"\ndeclare i32 @getpid()\n'
BODY = "  %n = call i32 @getpid()\n"


@pytest.mark.parametrize("suffix, text, says", [
    ("c", 'int main(int c, char **v)\n{\n\tasm goto("" : : "r"(v) : : out);\n\tc++;\nout:\n\treturn c;\n}',
     "try.c:3: main(): assembly that jumps to labels of C"),
    ("c", "static void *b[5];\nint main(void)\n{\n\treturn __builtin_setjmp(b);\n}",
     "try.c:4:9: error: __builtin_setjmp is not supp"),
    ("c", "int main(int c, char **v)\n{\n\tint f(void) { return c; }\n\treturn f();\n}",
     "try.c:3:14: error: function definition is not"),
    ("c", "#include <immintrin.h>\nint main(void) { return 0; }", "In file included from try.c:1:"),
    ("c", "int f(void);\nint main(void)\n{\n\treturn __builtin_cpu_supports(\"avx2\");\n}", "try.c:4:9: error: "),
    ("c", "int main(void)\n{\n\tregister long sp asm(\"rsp\");\n\treturn sp;\n}",
     "try.c:3:23: error: unknown register name"),
    ("c", "register long sp asm(\"sp\");\nint main(void)\n{\n\treturn sp;\n}",
     "try.c:4: main(): a variable in a register of one ISA"),
    ("ll", HEAD + "define i32 @main() {\n  %f = load volatile x86_fp80, ptr null\n" + BODY + "  ret i32 0\n}",
     "main(): a value of a type that only some ISAs have"),
    ("ll", HEAD + "define i32 @main() {\n  %f = load volatile <vscale x 2 x i64>, ptr null\n" + BODY + "  ret i32 0\n}",
     "main(): a value of a type that only some ISAs have"),
    ("ll", HEAD + "define i32 @p() {\n  ret i32 0\n}\ndefine i32 @main() personality ptr @p {\n"
     "  %n = invoke i32 @getpid() to label %ok unwind label %bad\nok:\n  ret i32 0\nbad:\n"
     "  %l = landingpad { ptr, i32 } cleanup\n  ret i32 1\n}",
     "main(): a call with exceptional edges can't be captured"),
])
def test_refused_with_its_place(tmp_path, suffix, text, says):
    """What the passes can't do, or the front end, is said with file and line where there are any; nothing is made."""
    (tmp_path / f"try.{suffix}").write_text(text)
    r = subprocess.run([moved.CC, f"try.{suffix}", "-o", "prog"],
                       cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert r.returncode == 1 and says in r.stderr and "Stack dump" not in r.stderr, r.stderr
    assert not list(tmp_path.glob("prog*"))


def test_a_wrong_value_shows(tmp_path):
    """The comparison sees a program that counts its moves."""
    c = tmp_path / "wrong.c"
    c.write_text("""
#include <stdio.h>
#include <stdlib.h>
static __attribute__((noinline)) int f(int n) { return n ? f(n - 1) + 1 : 0; }
int main(void) { const char *s = getenv("POPCORN_EVERY"); printf("%d %s\\n", f(50), s ? s : ""); return 0; }
""")
    moved.build([c], tmp_path / "wrong", "-O2")
    with pytest.raises(moved.MoveError, match="instead of"):
        moved.round_trip(tmp_path / "wrong", hops=0)


# The long form.

@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", [p.name for p in PROGRAMS])
def test_each_program(tmp_path, name, level, record_property):
    p = next(p for p in PROGRAMS if p.name == name)
    one(tmp_path, p, level, 40 if name == "deep" else 5000, 12, record_property)


@pytest.mark.soak
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("seeds", SOAK_GENERATED, ids=lambda s: f"{s[0]}")
def test_many_generated(tmp_path, seeds, record_property):
    sources = generated(tmp_path, seeds)
    for level in LEVELS:
        prog, want = bundle(sources, tmp_path, level, "gcc")
        tell(record_property, moved.round_trip(prog, want=want, share=SHARE, moves=5000, hops=12))


@pytest.mark.soak
@pytest.mark.timeout(2400)
@pytest.mark.skipif(not CSMITH_INCLUDE, reason="no csmith")
@pytest.mark.parametrize("seed", SOAK_CSMITH)
def test_many_csmith(tmp_path, seed, record_property):
    sources = csmith(tmp_path, seed)
    for level in LEVELS:
        prog, want = bundle(sources, tmp_path, level, "gcc", "-fwrapv", f"-I{CSMITH_INCLUDE}")
        tell(record_property, moved.round_trip(prog, want=want, share=SHARE, moves=5000, hops=12))


def test_benchmark(tmp_path):
    """Instructions and bytes are the same each time, and stay within what is promised."""
    r = subprocess.run([TOP / "microbench/run", "compiler", "--programs", "recursion,queens", "--rows",
                        "instructions,text,frame", "--quick", "--quiet", "--json", tmp_path / "a.json"],
                       capture_output=True, text=True, timeout=280)
    assert r.returncode == 0, r.stderr
    rows = {(w["name"], w["program"]): w for w in json.loads((tmp_path / "a.json").read_text())["rows"]}
    assert set(rows) == {(row, p) for row in ("instructions", "text") for p in ("recursion", "queens", "geomean")} | {
        ("frame", "handover")}
    assert rows["instructions", "geomean"]["worst"] < 1.15
    assert rows["text", "geomean"]["ratio"] < 2.5
    assert "recursion" in r.stdout
