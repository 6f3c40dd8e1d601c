# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""
One layout for all ISAs: from what each ISA's link would take, an address for every section, and a
linker script per ISA that puts it there.

A section of one name on all ISAs is common: its slot has the size and the alignment that
the largest needs. Constants of code that was compiled for each ISA by itself have common addresses, but maybe other values.
What only some ISAs have, or what has no name of its own (constant pools, jump
tables, assembly), is private: it lies in an area of that ISA, and nothing in memory may point to it.
"""

import os
import re
from collections import namedtuple

from . import isa
from .elf import ALLOC, EXEC, NOBITS, TLS, WRITE
from .tools import Failure

# A section that takes part in a link: kind is of the output, raw the input's own name, file where it came from.
Live = namedtuple("Live", "kind raw size align file")
# One place in the common layout: names is what the section is called on the ISAs, file where it is if others are
# called the same.
Slot = namedtuple("Slot", "kind key file names addr size align")

NAMED = re.compile(r"\.(?:text|rodata|data|bss|tdata|tbss|sdata|sbss|srodata|data\.rel\.ro|ldata|lrodata|lbss)"
                   r"\.(?:(?:unlikely|hot|startup|exit|split)\.)?(.+)")
POOL = re.compile(r"\.s?rodata\.(?:cst|str)\d")
ARRAYS = (".preinit_array", ".init_array", ".fini_array")
STANDARD = {".text", ".rodata", ".data", ".bss", ".tdata", ".tbss", ".sdata", ".sbss", ".srodata", ".data.rel.ro",
            ".lrodata", ".ldata", ".lbss"}
NATIVE = ("libbuiltins.a(", "libpopcorn.a(", "libc.a(shim.", "crt1.o")
IN_ARCHIVE = re.compile(r"([^/]+\.a)\((.*)\)$")
C_NAME = re.compile(r"[A-Za-z_]\w*$")
PLAIN = re.compile(r"[\w.$-]+$")
# Never shown to a program.
DROPPED = (".eh_frame", ".comment", ".note", ".riscv.attributes", ".ARM.attributes", ".gnu", ".popcorn.object", ".llvm")
MAP_LINE = re.compile(r" *[0-9a-f]+ +[0-9a-f]+ +([0-9a-f]+) +(\d+) {9}(\S.*):\((.*)\)$")
MAP_OUT = re.compile(r" *[0-9a-f]+ +[0-9a-f]+ +[0-9a-f]+ +\d+ (\S+)$")


def up(n, align):
    return (n + align - 1) // align * align


def kind_of(section):
    f = section.flags
    if f & EXEC:
        return "text"
    if f & TLS:
        return "tbss" if section.type == NOBITS else "tdata"
    if section.name.startswith(ARRAYS):
        return "array"
    if f & WRITE:
        return "bss" if section.type == NOBITS else "data"
    return "rodata"


def live_sections(map_text, elf):
    """From a link's map and its output: what took part, in its order."""
    kinds = {s.name: kind_of(s) for s in elf.sections if s.flags & ALLOC}
    kind, found = None, []
    for line in map_text.splitlines():
        m = MAP_LINE.match(line)
        if m:
            size = int(m[1], 16)
            if kind and size and m[3] != "<internal>":
                found.append(Live(kind, m[4], size, int(m[2]), m[3]))
            continue
        m = MAP_OUT.match(line)
        if m:
            kind = kinds.get(m[1]) if not m[1].startswith(DROPPED) else None
    return found


def name_of(raw):
    """What the section is named after, if it holds a single thing: main of .text.main."""
    m = NAMED.match(raw)
    return m[1] if m and not POOL.match(raw) else None


def file_of(live, name):
    """Where a section comes from, as a linker script of any ISA can say it: archive and member, or the object."""
    m = IN_ARCHIVE.search(live.file)
    return f"*{m[1]}:{m[2]}" if m else "*" + os.path.basename(live.file).replace(name, "{isa}")


def keys(live, name):
    """
    What may be common of one ISA's sections, by (kind, name, file): single things have a name, and a file only if
    others have that name, too (static functions); sections of the user's are known by theirs and may have several parts.
    """
    functions = {(name_of(s.raw), s.file) for s in live if s.kind == "text"}
    found = {}
    for s in live:
        thing = name_of(s.raw)
        if thing and s.kind in ("rodata", "data") and (thing, s.file) in functions:
            continue                        # a jump table of that function
        if thing:
            found.setdefault((s.kind, thing, file_of(s, name)), []).append(s)
        elif s.raw not in STANDARD and not POOL.match(s.raw):
            found.setdefault((s.kind, s.raw, ""), []).append(s)
    return found


def common_names(found):
    """The things that all ISAs have. found: keys() of each."""
    first, *others = found.values()
    return [k for k in first if all(k in f for f in others)]


def native(section):
    """Compiled for each ISA by itself: never captured, and its constants may have other values on each."""
    return any(n in section.file for n in NATIVE)


def missing(live):
    """
    For each ISA the symbols that its link must be asked for, so that it takes what others took.
    A thread captured on one ISA stands in, and points to, what that one has.
    """
    have = {i: keys(s, i) for i, s in live.items()}
    every = {k for k in set().union(*have.values())
             if any(s.kind not in ("text", "rodata") or not native(s) for i in have if k in have[i] for s in have[i][k])}
    return {i: sorted({k[1] for k in every - have[i].keys()}) for i in have}


def total(sections):
    """Size and alignment of sections laid end to end."""
    end = 0
    for s in sections:
        end = up(end, s.align) + s.size
    return end, max(s.align for s in sections)


class Layout:
    """live: the sections of each ISA's link. Raises Failure if they can't be laid out."""

    def __init__(self, live):
        self.isas = list(live)
        found = {i: keys(live[i], i) for i in self.isas}
        common = common_names(found)
        self.slots = {k: [] for k in ("text", "rodata", "native", "tdata", "tbss", "array", "data", "bss")}
        self.own = []                       # user's sections, each an output section of its own
        # Names that say enough, on every ISA, without the file.
        files = {}
        for f in found.values():
            for kind, thing, file in f:
                files.setdefault((kind, thing), set()).add(file)
        sized, taken = {}, {i: set() for i in self.isas}
        for key in common:
            kind, thing, file = key
            parts = {i: found[i][key] for i in self.isas}
            sizes = {i: total(p) for i, p in parts.items()}
            size, align = max(s for s, _ in sizes.values()), max(a for _, a in sizes.values())
            names = sorted({s.raw for p in parts.values() for s in p})
            if any(len(p) > 1 for p in parts.values()) and len({tuple((s.size, s.align) for s in p) for p in parts.values()}) > 1:
                raise Failure(f"section {thing}: its parts differ in size between the ISAs "
                              f"({', '.join(f'{i} {s}' for i, (s, _) in sizes.items())} bytes)")
            where = file if len(files[kind, thing]) > 1 else ""
            if kind == "rodata" and all(native(s) for p in parts.values() for s in p):
                key = ("native", thing, file)
            sized[key] = (where, names, size, max(align, 16) if kind == "text" else align)
            for i in self.isas:
                taken[i].update(parts[i])
        self.private = {i: [s for s in live[i] if s not in taken[i]] for i in self.isas}
        self._place(sized)

    def _run(self, kind, addr, sized, own=False):
        """Place everything of a kind one after the other; returns the end."""
        def order(item):
            (_, key, _), (_, names, _, _) = item
            if kind == "array":                 # of constructors: by priority, those without one last
                base, _, priority = key[1:].partition(".")
                return base, int(priority) if priority.isdigit() else 65536
            return kind == "text" and (key.endswith(".resume") or any(".unlikely." in n for n in names)), 0

        def mine(k):
            return (name_of(sized[k][1][0]) is None and C_NAME.match(k[1]) is not None) == own

        for (_, key, _), (where, names, size, align) in sorted(
                ((k, v) for k, v in sized.items() if k[0] == kind and mine(k)), key=order):
            addr = up(addr, align)
            slot = Slot(kind, key, where, names, addr, size, align)
            (self.own if own else self.slots[kind]).append(slot)
            addr += size
        return addr

    def _place(self, sized):
        self.bounds = b = {}
        def span(name, kind, at, own=False):
            at = up(at, max([1, *(v[3] for k, v in sized.items() if k[0] == kind)]))
            end = self._run(kind, at, sized, own)
            b[name] = (at, end)
            return end

        end = span("text", "text", isa.TEXT)
        end = span("own text", "text", end, own=True)
        self.private_text = {}
        end = up(end, isa.SEGMENT)
        for i in self.isas:
            self.private_text[i] = end
            end += up(sum(s.size + s.align for s in self.private[i] if s.kind == "text"), isa.SEGMENT)
        if end > isa.TEXT + isa.TEXT_MAX:
            raise Failure(f"{end - isa.TEXT >> 20} MiB of code; {isa.TEXT_MAX >> 20} MiB is the most")
        self.identity = up(end, isa.SEGMENT)
        end = span("rodata", "rodata", self.identity + 32)
        end = span("own rodata", "rodata", end, own=True)
        end = span("native", "native", end)
        if end > isa.DATA:
            raise Failure(f"{end - isa.TEXT >> 20} MiB of code and constants; {isa.DATA - isa.TEXT >> 20} MiB is the most")
        tls = max([64, *(v[3] for k, v in sized.items() if k[0] in ("tdata", "tbss"))])
        end = span("tdata", "tdata", up(isa.DATA, tls))
        end = span("tbss", "tbss", end)             # no room of its own: what follows lies over it
        end = span("array", "array", up(b["tdata"][1], 16))
        end = span("own data", "data", end, own=True)
        end = span("data", "data", end)
        end = span("own bss", "bss", up(end, 64), own=True)
        end = span("bss", "bss", end)
        if end > isa.DATA_END:
            raise Failure(f"{end - isa.DATA >> 20} MiB of static data; {isa.DATA_END - isa.DATA >> 20} MiB is the most")
        b["all data"] = (isa.DATA, up(end, isa.SEGMENT))

    def script(self, name, identity):
        """The linker script of ISA `name`. identity: 32 bytes that are the program's own."""
        b, out = self.bounds, []
        area = isa.ISAS[name].private
        private = {s.kind for s in self.private[name]}
        tls = bool(self.slots["tdata"] or self.slots["tbss"])

        def quoted(n):
            return n if PLAIN.match(n) else f'"{n}"'

        def body(slots):
            return [f"    . = {s.addr:#x}; KEEP({s.file.replace('{isa}', name) or '*'}({' '.join(map(quoted, s.names))}))"
                    for s in slots]

        def section(label, span, slots, segment, note=""):
            start, end = b[span]
            out.extend([f"  {label} {start:#x} {note}: {{", *body(slots), f"    . = {end:#x};", f"  }} {segment}"]
                       if slots else [])

        def owned(kind, segment, note=""):
            out.extend(f"  {s.key} {s.addr:#x} {note}: {{ KEEP(*({quoted(s.key)})) . = {s.addr + s.size:#x}; }} {segment}"
                       for s in self.own if s.kind == kind)

        words = " ".join(f"QUAD({int.from_bytes(identity[k:k + 8], 'little'):#x})" for k in range(0, 32, 8))
        out += ["ENTRY(_start)", "PHDRS {", "  text PT_LOAD FILEHDR PHDRS FLAGS(5);", "  rodata PT_LOAD FLAGS(4);",
                "  data PT_LOAD FLAGS(6);", *(["  tls PT_TLS FLAGS(4);"] if tls else []),
                "  privro PT_LOAD FLAGS(4);", "  privrw PT_LOAD FLAGS(6);", "  stack PT_GNU_STACK FLAGS(6);", "}",
                "SECTIONS {", f"  __popcorn_text = {isa.TEXT:#x};"]
        section(".text", "text", self.slots["text"], ":text")
        owned("text", ":text")
        out += [f"  __popcorn_text_end = {b['own text'][1]:#x};",
                "  PROVIDE(etext = __popcorn_text_end); PROVIDE(_etext = __popcorn_text_end);",
                f"  .private.text {self.private_text[name]:#x} : {{ *(.text .text.* .init .fini) }} :text",
                f"  .popcorn.id {self.identity:#x} : {{ __popcorn_program = .; {words} }} :rodata"]
        section(".rodata", "rodata", self.slots["rodata"], ":rodata")
        owned("rodata", ":rodata")
        section(".native.rodata", "native", self.slots["native"], ":rodata")
        out.append(f"  __popcorn_data = {isa.DATA:#x};")
        section(".tdata", "tdata", self.slots["tdata"], ":data :tls")
        out.append(f"  . = {b['tbss'][0]:#x};")            # lld has no ear for the address of a .tbss
        section(".tbss", "tbss", self.slots["tbss"], ":data :tls")
        for prefix in ARRAYS:
            mine = [s for s in self.slots["array"] if s.key.startswith(prefix)]
            start, end = (mine[0].addr, mine[-1].addr + mine[-1].size) if mine else b["array"]
            label = prefix[1:]
            out += [f"  PROVIDE_HIDDEN(__{label}_start = {start:#x});",
                    f"  PROVIDE_HIDDEN(__{label}_end = {end if mine else start:#x});"]
            out += [f"  {prefix} {start:#x} : {{", *body(mine), "  } :data"] if mine else []
        owned("data", ":data")
        section(".data", "data", self.slots["data"], ":data")
        edata = b["data"][1]
        out.append(f"  PROVIDE(edata = {edata:#x}); PROVIDE(_edata = {edata:#x}); PROVIDE(__bss_start = {b['own bss'][0]:#x});")
        owned("bss", ":data", "(NOLOAD) ")
        section(".bss", "bss", self.slots["bss"], ":data", "(NOLOAD) ")
        end = b["bss"][1]
        out += [f"  PROVIDE(end = {end:#x}); PROVIDE(_end = {end:#x});", f"  __popcorn_data_end = {b['all data'][1]:#x};",
                f"  .private.rodata {area:#x} : {{ *(.rodata .rodata.* .srodata .srodata.*) *(.eh_frame_hdr .eh_frame) }} :privro",
                f"  . = {area + isa.PRIVATE_MAX // 2:#x};",
                "  .private.data : { *(.data .data.* .sdata .sdata.*) *(.got .got.plt .igot .igot.plt) } :privrw",
                "  .private.bss (NOLOAD) : { *(.bss .bss.* .sbss .sbss.*) *(COMMON) } :privrw",
                "  /DISCARD/ : { *(.comment .note .note.* .riscv.attributes .popcorn.object .llvm.*) }", "}", ""]
        return "\n".join(out)
