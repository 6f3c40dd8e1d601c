# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""zlib, bzip2, Lua and sqlite from Debian's sources: natively, and while they are moved over the three ISAs at random.

Random points are POPCORN_EVERY's; random moments are those of `popcorn checkpoint`. --soak has sqlite's own long tests.
"""

import bz2
import gzip
import random
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
HERE = TOP / "tests" / "compiler" / "apps"
sys.path.insert(0, str(HERE))

import apps     # noqa: E402
import moved    # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["make", "-s", "compiler", "build/bin/popcorn"], cwd=TOP, check=True, timeout=280)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Something to compress: words, then noise, then zeros."""
    rng = random.Random(4)
    words = [bytes(rng.choices(b"etaoinshrdlu", k=rng.randint(1, 9))) for _ in range(300)]
    d = tmp_path_factory.mktemp("text")
    (d / "text").write_bytes(b" ".join(rng.choices(words, k=12000)) + rng.randbytes(5000) + bytes(20000))
    return d / "text"


def tell(record_property, line):
    print(line)
    record_property("moves", line)


def test_zlib(text, record_property):
    example, minigzip = apps.zlib()
    data = text.read_bytes()
    tell(record_property, apps.check("zlib's own test", example, hops=4, moves=0))
    tell(record_property, apps.check("zlib deflates", minigzip, "-c", "-9", text, seconds=0.05, outside=4))
    (text.parent / "text.gz").write_bytes(gzip.compress(data))
    tell(record_property, apps.check("zlib inflates", minigzip, "-c", "-d", text.parent / "text.gz", want=data, hops=3))


def test_bzip2(text, record_property):
    prog = apps.bzip2()
    data = text.read_bytes()
    tell(record_property, apps.check("bzip2", prog, "-c", "-k", text, want=bz2.compress(data), hops=4, outside=3,
                                     seconds=0.05))
    (text.parent / "text.bz2").write_bytes(bz2.compress(data))
    tell(record_property, apps.check("bunzip2", prog, "-c", "-d", "-k", text.parent / "text.bz2", want=data, hops=3))


@pytest.mark.timeout(600)
def test_lua(record_property):
    want = (HERE / "scripts.expected").read_bytes()     # what Lua prints that gcc has compiled
    tell(record_property, apps.check("Lua", apps.lua(), HERE / "scripts.lua", want=want, moves=500, hops=8, outside=6,
                                     seconds=0.1))


# What speedtest1 prints of times.
TIMES = rb"\.* +\d+\.\d{3}s|in [\d.]+ seconds"


HASH = b"Verification Hash: 111130 1e792c9db61996c477b8ab5ce2d690052e8dae74824a430a\n"    # of a build with gcc


@pytest.mark.timeout(900)
def test_sqlite(record_property):
    prog = apps.small_sqlite()
    tell(record_property, apps.check("speedtest1", prog, "--size", "1", "--verify", "database", strip=TIMES, ends=HASH,
                                     isas=("x86-64", "riscv64"), hops=8, outside=4, seconds=0.5))


# With all that sqlite's own tests test, it takes minutes to build.

SPEED = {"file": ("--size", "2", "--verify", "database"), "memory": ("--size", "5", "--verify", "--memdb"),
         "cte": ("--size", "5", "--verify", "--testset", "cte", "--memdb"),
         "orm": ("--size", "2", "--verify", "--testset", "orm", "--journal", "truncate", "database"),
         "rtree": ("--size", "3", "--verify", "--testset", "rtree", "--memdb"),
         "fp": ("--size", "3", "--verify", "--testset", "fp", "--memdb")}


@pytest.fixture(scope="module", params=("-Os", "-O2"))
def sqlite(request):
    return apps.sqlite(request.param)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SPEED)
def test_sqlite_speedtest1(sqlite, name, record_property):
    for seed in range(5):
        tell(record_property, apps.check(f"speedtest1 {name}", sqlite, "speedtest1", *SPEED[name], strip=TIMES,
                                         seed=seed, hops=12, moves=2000, outside=4, seconds=0.5))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("data", [4, 6, 7, 8])
def test_sqlite_fuzzcheck(sqlite, data, record_property):
    """sqlite's own regression tests of statements and files that were found by fuzzing."""
    file = apps.source("sqlite3") / "test" / f"fuzzdata{data}.db"
    tell(record_property, apps.check(file.name, sqlite, "fuzzcheck", file, strip=TIMES, hops=8, moves=2000, outside=4,
                                     seconds=2))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["create_drop_index_1", "dynamic_triggers", "vacuum1", "stress1", "walthread1"])
def test_sqlite_threadtest3(sqlite, name, record_property):
    """Threads on one database for some seconds. A WAL is a shared mapping, VACUUM's file has no name: neither goes to a
    file. Where threads are slow, those of dynamic_triggers fill tables faster than they empty them, for minutes.
    """
    slow = name == "dynamic_triggers"
    with apps.Travels(sqlite, "threadtest3", name) as m:
        rest = m.points()
        tries = [m.within(isa, moved.prime(rest.points // 5000)) for isa in (moved.ISAS[:1] if slow else moved.ISAS)]
        if not slow and not name.startswith(("wal", "vacuum")):
            tries.append(m.at_points(1, rest.points // 10, 6))
        for got in (rest, *tries):
            assert got.status == 0, (got.output, got.told[-1000:])      # it has counted no errors
            moved.enough(name, got, 90)
    tell(record_property, f"{name}: " + ", ".join(f"{t.moves + t.images} moves, {t.refused} refused" for t in tries))
