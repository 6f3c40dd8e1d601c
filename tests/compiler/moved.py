#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Programs of popcorn-cc that are moved while they run: at each n-th point from their stack to itself, or to the next ISA.

By hand: moved.py [--every N] [--hops N] [--only ISA] PROGRAM [ARGUMENT...] compares both with the run that isn't moved.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
CC = TOP / "build" / "bin" / "popcorn-cc"
ISAS = ("x86-64", "aarch64", "riscv64")
RUNNERS = {"x86-64": [], "aarch64": ["qemu-aarch64-static"], "riscv64": ["qemu-riscv64-static"]}
WRITTEN = 75        # exit status of a program that has left its state in a file
NEVER = 1 << 60
LIMIT = 120         # seconds of one process


class MoveError(Exception):
    """What a moved run did otherwise than the run at rest; the message is for a person."""


def runner(isa):
    return RUNNERS[isa] if os.uname().machine.replace("_", "-") != isa else []


def build(sources, out, *options, log=None):
    """Compile and link; out_x86-64 and so on lie beside it."""
    cmd = [str(CC), *map(str, sources), "-o", str(out), *options]
    r = subprocess.run(cmd, capture_output=True, text=True, timeout=900)
    if r.returncode:
        raise MoveError(f"not built: {' '.join(cmd)}\n{r.stderr[-3000:]}")
    if log is not None:
        log.append(r.stderr)


class Ended:
    """What a run, of one process or several, has left."""

    def __init__(self, output, status, stats, hops=0, told=""):
        self.output, self.status, self.hops, self.told = output, status, hops, told
        for k in ("points", "moves", "images", "refused"):
            setattr(self, k, stats.get(k, 0))

    @property
    def tried(self):
        return self.moves + self.images + self.refused

    @property
    def share(self):
        """Moves that succeeded, in percent of those tried."""
        return 100 * (self.moves + self.images) / self.tried if self.tried else 100


def read_stats(path):
    try:
        words = path.read_text().splitlines()[-1].split()
    except (OSError, IndexError):
        return {}
    return {k: int(v) for k, v in zip(words[::2], words[1::2])}


class Moved:
    def __init__(self, prog, *args, directory=None):
        self.prog, self.args = Path(prog).absolute(), args
        self.tmp = tempfile.TemporaryDirectory(prefix="popcorn-moved-", dir=directory)
        self.dir = Path(self.tmp.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tmp.cleanup()

    def process(self, isa, out, **settings):
        """One process; returns its status."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("POPCORN_")}
        env.update({"POPCORN_" + k.upper(): str(v) for k, v in settings.items()})
        env["POPCORN_STATS"] = str(self.dir / "stats")
        cmd = [*runner(isa), f"{self.prog}_{isa}", *self.args]
        with open(self.dir / "err", "ab") as err:
            try:
                return subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env,
                                      cwd=self.dir, timeout=LIMIT).returncode
            except subprocess.TimeoutExpired:
                return "none: too slow, or it hangs"

    def begin(self):
        for f in self.dir.iterdir():
            f.unlink()
        return open(self.dir / "out", "ab")

    def end(self, status, hops=0):
        told = (self.dir / "err").read_text(errors="replace")
        return Ended((self.dir / "out").read_bytes(), status, read_stats(self.dir / "stats"), hops, told)

    def at_rest(self, isa, **settings):
        with self.begin() as out:
            return self.end(self.process(isa, out, **settings))

    def points(self, isa="x86-64"):
        """A run at rest, which counts its points."""
        return self.at_rest(isa, every=NEVER)

    def within(self, isa, every):
        """Each thread moves to itself at each n-th of its points."""
        return self.at_rest(isa, every=every)

    def across(self, every, hops, isas=ISAS):
        """To the next ISA at each n-th point; after so many hops to the end."""
        with self.begin() as out:
            given = {}
            for n in range(hops + 1):
                written = self.dir / f"image{n & 1}"
                moving = {"every": every, "file": written} if n < hops else {}
                status = self.process(isas[n % len(isas)], out, **moving, **given)
                if status != WRITTEN:
                    break
                given = {"restore": written}
            return self.end(status, n)


def same(what, got, want):
    """Output and status, to the byte."""
    if got.output != want.output or got.status != want.status:
        a, b = want.output.splitlines(), got.output.splitlines()
        n = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))

        def line(lines):
            return lines[n].decode(errors="replace")[:200] if n < len(lines) else "nothing"
        raise MoveError(f"{what}: status {got.status} instead of {want.status}; line {n + 1} is\n  {line(b)}\n"
                        f"instead of\n  {line(a)}\nafter {got.moves} moves, {got.hops} hops; {got.told[-1500:]}")


def enough(what, got, share):
    """Of few tries one may be refused: a program that has a file without a name, say, has it for a while."""
    if got.share < share and got.refused > 1:
        raise MoveError(f"{what}: {got.refused} of {got.tried} moves refused, {100 - share} % may be\n{got.told[-1500:]}")


def prime(n):
    """The first from n on that has no small factor, so that it doesn't beat with the program's loops."""
    n = max(n, 1)
    while n > 2 and any(n % k == 0 for k in (2, 3, 5, 7, 11, 13) if k < n):
        n += 1
    return n


def round_trip(prog, *args, want=None, moves=1000, hops=6, isas=ISAS, share=90, every=None):
    """Everything of one program: at rest on each ISA, moved in place on each, moved over all.

    want: an Ended to compare with; otherwise the program at rest. Returns lines that tell what was done.
    """
    name, told = Path(prog).name, []
    with Moved(prog, *args) as m:
        rest = m.points(isas[0])
        want = want or rest
        same(f"{name} at rest", rest, want)
        tried = done = 0
        for isa in isas:
            if moves:
                got = m.within(isa, every or prime(rest.points // moves))
                same(f"{name} moved on {isa}", got, want)
                enough(f"{name} moved on {isa}", got, share)
                tried, done = tried + got.tried, done + got.moves
            elif isa != isas[0]:
                same(f"{name} on {isa}", m.at_rest(isa), want)
        told.append(f"{name}: {rest.points} points, {done} of {tried} moves")
        if hops:
            got = m.across(prime(rest.points // (hops + 1)), hops, isas)
            same(f"{name} over {', '.join(isas)}", got, want)
            enough(f"{name} over {', '.join(isas)}", got, share)
            told.append(f"{got.hops} hops, {got.refused} refused")
    return ", ".join(told)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    p.add_argument("--every", type=int, help="move at each n-th point (default: what makes 1000 moves)")
    p.add_argument("--hops", type=int, default=6, help="to other ISAs (default 6)")
    p.add_argument("--moves", type=int, default=1000, help="in place, about (default 1000)")
    p.add_argument("--only", choices=ISAS, help="this ISA alone")
    p.add_argument("program")
    p.add_argument("argument", nargs=argparse.REMAINDER)
    a = p.parse_args()
    try:
        print(round_trip(a.program, *a.argument, moves=a.moves, hops=a.hops, every=a.every, share=0,
                         isas=(a.only,) if a.only else ISAS))
    except MoveError as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
