# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""
popcorn-check: whether the binaries of a program have one layout, that is, whether all that a thread of one
could hold an address of lies there in all of them, with the same initial bytes.
"""

import os
import sys
from collections import namedtuple

from .elf import ALLOC, EXEC, NOBITS, PT_LOAD, PT_TLS, TLS, STT_FILE, STT_NOTYPE, STT_SECTION, Elf
from .isa import ISAS, TOP

USAGE = "usage: popcorn-check [--all | --points | --coverage] PROGRAM | BINARY..."

# A line of the section .popcorn.points, which the passes write; pinned says why, and is mostly empty.
Function = namedtuple("Function", "name points calls sites pinned")
PRIVATE = ".private."
NATIVE = ".native.rodata"        # addresses are common, values needn't be


class Program:
    """One binary. ValueError if it can't be read."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.elf = Elf(f.read())
        self.isa = next((i.name for i in ISAS.values() if i.machine == self.elf.machine), None)
        if not self.isa:
            raise ValueError("for none of our ISAs")
        if not self.elf.section(".popcorn.id"):
            raise ValueError("not linked by popcorn-cc")
        self.sections = {s.name: s for s in self.elf.sections if s.flags & ALLOC and not s.name.startswith(PRIVATE) and s.size}
        # name -> values: a name can be there more than once, as file-local symbols
        self.symbols, self.private = {}, {}
        for s in self.elf.symbols():
            if s.type in (STT_FILE, STT_SECTION) or not 0 < s.section < len(self.elf.sections) or not s.name or s.name.startswith(("$", ".L")):
                continue
            where = self.elf.sections[s.section]
            if s.type == STT_NOTYPE and where.flags & EXEC:
                continue                    # a label inside an assembly function
            table = self.private if where.name.startswith(PRIVATE) else self.symbols
            table.setdefault(s.name, []).append((s.value, where))
        self.tls = next((s for s in self.elf.segments if s[0] == PT_TLS), None)
        self.top = max((s[3] + s[6] for s in self.elf.segments if s[0] == PT_LOAD), default=0)


def what(section):
    if section.flags & TLS:
        return "TLS variable"
    return "function" if section.flags & EXEC else "datum"


def differences(programs):
    """What differs between the binaries, {isa: Program}, a line each, the gravest first. Empty if nothing does."""
    found = []
    (first, a), *others = programs.items()
    for name, p in programs.items():
        if p.top > TOP:
            found.append(f"{name}: ends at {p.top:#x}, above 2^38, which riscv64 doesn't have")
    ids = {i: p.elf.data(p.sections[".popcorn.id"]) for i, p in programs.items()}
    for i, p in others:
        if ids[i] != ids[first]:
            found.append(f"{first} and {i} are not of one link")
    for i, p in others:
        for n in sorted(a.symbols.keys() | p.symbols.keys(), key=lambda n: min(a.symbols.get(n) or p.symbols.get(n))[0]):
            x, y = a.symbols.get(n), p.symbols.get(n)
            if x and y:
                if sorted(v for v, _ in x) != sorted(v for v, _ in y):
                    found.append(f"{what(x[0][1])} {n}: {x[0][0]:#x} in {first}, {y[0][0]:#x} in {i}")
            else:
                here, there, mine = (first, i, x) if x else (i, first, y)
                where = (p if x else a).private.get(n)
                found.append(f"{what(mine[0][1])} {n}: {mine[0][0]:#x} in {here}, " + (
                    f"{where[0][0]:#x}, private, in {there}" if where else f"not in {there}"))
        for n in sorted(a.sections.keys() | p.sections.keys()):
            x, y = a.sections.get(n), p.sections.get(n)
            if not x or not y:
                found.append(f"section {n} is not in {first if y else i}")
            elif x.addr != y.addr:
                found.append(f"section {n}: {x.addr:#x} in {first}, {y.addr:#x} in {i}")
            elif x.size != y.size:
                found.append(f"section {n} ends at {x.addr + x.size:#x} in {first}, {y.addr + y.size:#x} in {i}")
            elif not x.flags & EXEC and x.type != NOBITS and n != NATIVE:
                p_data, q_data = a.elf.data(x), p.elf.data(y)
                if p_data != q_data:
                    at = next(k for k in range(len(p_data)) if p_data[k] != q_data[k])
                    found.append(f"{owner(a, x.addr + at)}: its bytes at {x.addr + at:#x} are {p_data[at:at + 8].hex()} "
                                 f"in {first}, {q_data[at:at + 8].hex()} in {i}")
        if a.tls and p.tls and (a.tls[3], a.tls[5], a.tls[6], a.tls[7]) != (p.tls[3], p.tls[5], p.tls[6], p.tls[7]):
            found.append(f"TLS: {a.tls[6]} bytes at {a.tls[3]:#x} aligned to {a.tls[7]} in {first}, "
                         f"{p.tls[6]} at {p.tls[3]:#x} aligned to {p.tls[7]} in {i}")
    return found


def owner(program, addr):
    """The datum that an address lies in."""
    best = max(((v, n) for n, vs in program.symbols.items() for v, s in vs if v <= addr and not s.flags & (EXEC | TLS)),
               default=None)
    return f"datum {best[1]}" if best else "data"


def functions(program):
    """What the passes say of each function that the program has."""
    section = program.elf.section(".popcorn.points")
    if not section:
        return
    named = bool(program.symbols)
    for line in program.elf.data(section).decode("utf-8", "surrogateescape").splitlines():
        name, points, calls, sites, pinned = line.split("\t")
        if not named or name in program.symbols:
            yield Function(name, int(points), int(calls), int(sites), pinned)


def show_points(program):
    print(f"{'points':>7} {'calls':>7} {'movable':>7}  function")
    for f in sorted(functions(program), key=lambda f: (-f.points, f.name)):
        print(f"{f.points:7} {f.calls:7} {0 if f.pinned else f.sites:7}  {f.name}{f'  pinned: {f.pinned}' if f.pinned else ''}")


def show_coverage(program):
    every = list(functions(program))
    calls, sites = sum(f.calls for f in every), sum(f.sites for f in every)
    movable = sum(f.sites for f in every if not f.pinned)

    def share(n, of):
        return f"{n} ({100 * n / of:.1f} %)" if of else str(n)
    print(f"functions                              {len(every)}, with {sum(f.points for f in every)} migration points")
    print(f"calls                                  {calls}")
    print(f"of these can come to a point           {share(sites, calls)}")
    print(f"of these, a thread can move under      {share(movable, sites)}")
    for f in every:
        if f.pinned:
            print(f"pinned: {f.name}: {f.pinned}")


def main(words):
    """Exit status 0: one layout; 1: it differs, and how; 2: can't tell."""
    if "--help" in words:
        print(f"""{USAGE}
Whether the binaries of a program, PROGRAM_x86-64 and so on or as named, have one memory layout.
Prints the first difference, with --all every one, and exits 1 if there is any.
--points      the migration points of each function, its calls, and those under which a thread can move
--coverage    the share of calls under which a thread can move""")
        return 0
    options = [w for w in words if w[:1] == "-"]
    files = [w for w in words if w[:1] != "-"]
    if not files or len(options) > 1 or [w for w in options if w not in ("--all", "--points", "--coverage")]:
        print(USAGE, file=sys.stderr)
        return 2
    show = {"--points": show_points, "--coverage": show_coverage}.get("".join(options))
    if len(files) == 1 and not show:
        files = [f"{files[0]}_{i}" for i in ISAS if os.path.exists(f"{files[0]}_{i}")]
        if len(files) < 2:
            print(f"popcorn-check: {words[-1]}: fewer than two binaries, {words[-1]}_x86-64 and so on", file=sys.stderr)
            return 2
    programs = {}
    for f in files:
        try:
            p = Program(f)
            if show:
                show(p)
        except (ValueError, OSError) as e:
            print(f"popcorn-check: {f}: {getattr(e, 'strerror', None) or e}", file=sys.stderr)
            return 2
        if p.isa in programs:
            print(f"popcorn-check: {f}: a second binary for {p.isa}", file=sys.stderr)
            return 2
        programs[p.isa] = p
    if show:
        return 0
    found = differences(programs)
    for line in found if "--all" in options else found[:1]:
        print(line)
    if not found:
        a = next(iter(programs.values()))
        print(f"{', '.join(programs)}: one layout, {len(a.symbols)} symbols, {len(a.sections)} sections")
    return 1 if found else 0
