# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""
One layout for all ISAs: from what each ISA's link would take, an address for every section, and a
linker script per ISA that puts it there.

A section of one name on all ISAs is common: its slot has the size and the alignment that
the largest needs. What only some ISAs have, or what has no name of its own (constant pools, jump
tables, assembly), is private: it lies in an area of that ISA, and nothing in memory may point to it.
"""

import re
from collections import namedtuple

from . import isa
from .elf import ALLOC, EXEC, NOBITS, TLS, WRITE, Elf
from .tools import Failure

# A section that takes part in a link: kind is of the output, raw the input's own name, file where it came from.
Live = namedtuple("Live", "kind raw size align file")
# One place in the common layout: names is what the section is called on the ISAs.
Slot = namedtuple("Slot", "kind key names addr size align")

NAMED = re.compile(r"\.(?:text|rodata|data|bss|tdata|tbss|sdata|sbss|srodata|data\.rel\.ro|ldata|lrodata|lbss)"
                   r"\.(?:(?:unlikely|hot|startup|exit|split)\.)?(.+)")
POOL = re.compile(r"\.s?rodata\.(?:cst|str)\d")
ARRAYS = (".preinit_array", ".init_array", ".fini_array")
STANDARD = {".text", ".rodata", ".data", ".bss", ".tdata", ".tbss", ".sdata", ".sbss", ".srodata", ".data.rel.ro",
            ".lrodata", ".ldata", ".lbss"}
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


def live_sections(map_text, blob):
    """From a link's map and its output: what took part, in its order."""
    kinds = {s.name: kind_of(s) for s in Elf(blob).sections if s.flags & ALLOC}
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


def keys(live):
    """Common name -> its sections, of one ISA: (kind, name) for a single thing, (kind, section) for the user's."""
    functions = {name_of(s.raw) for s in live if s.kind == "text"}
    found = {}
    for s in live:
        name = name_of(s.raw)
        if name and s.kind in ("rodata", "data") and name in functions:
            continue                        # a jump table of that function
        if name:
            found.setdefault((s.kind, name), []).append(s)
        elif s.raw not in STANDARD and not POOL.match(s.raw):
            found.setdefault((s.kind, s.raw), []).append(s)
    return found


def missing(live, wanted):
    """
    For each ISA the symbols that its link must be asked for, so that it takes what others took.
    A thread captured on one ISA stands in, and points to, what that one has. wanted(file): whether that counts for it.
    """
    have = {i: keys(s) for i, s in live.items()}
    every = {k for k in set().union(*have.values())
             if any(wanted(s.file) for i in have if k in have[i] for s in have[i][k])}
    return {i: sorted(k[1] for k in every - have[i].keys()) for i in have}


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
        found = {i: keys(s) for i, s in live.items()}
        common = [k for k in found[self.isas[0]] if all(k in found[i] for i in self.isas)]
        self.slots = {k: [] for k in ("text", "rodata", "tdata", "tbss", "array", "data", "bss")}
        self.own = []                       # user's sections, each an output section of its own
        sized = {}
        for kind, key in common:
            parts = {i: found[i][kind, key] for i in self.isas}
            sizes = {i: total(p) for i, p in parts.items()}
            size, align = max(s for s, _ in sizes.values()), max(a for _, a in sizes.values())
            names = sorted({s.raw for p in parts.values() for s in p})
            several = any(len(p) > 1 for p in parts.values())
            if several and len({tuple((s.size, s.align) for s in p) for p in parts.values()}) > 1:
                raise Failure(f"section {key}: its parts differ in size between the ISAs "
                              f"({', '.join(f'{i} {s}' for i, (s, _) in sizes.items())} bytes)")
            sized[kind, key] = (names, size, max(align, 16) if kind == "text" else align)
        taken = {n for names, _, _ in sized.values() for n in names}
        self.private = {i: [s for s in live[i] if s.raw not in taken] for i in self.isas}
        self._place(sized)

    def _run(self, kind, addr, sized, own=False):
        """Place everything of a kind one after the other; returns the end."""
        def order(item):
            (_, key), (names, _, _) = item
            if kind == "array":                 # of constructors: by priority, those without one last
                base, _, priority = key[1:].partition(".")
                return base, int(priority) if priority.isdigit() else 65536
            return kind == "text" and (key.endswith(".resume") or any(".unlikely." in n for n in names)), 0

        def mine(k):
            return (name_of(sized[k][0][0]) is None and C_NAME.match(k[1]) is not None) == own

        for (_, key), (names, size, align) in sorted(
                ((k, v) for k, v in sized.items() if k[0] == kind and mine(k)), key=order):
            addr = up(addr, align)
            slot = Slot(kind, key, names, addr, size, align)
            (self.own if own else self.slots[kind]).append(slot)
            addr += size
        return addr

    def _place(self, sized):
        self.bounds = b = {}
        def span(name, kind, at, own=False):
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
        if end > isa.DATA:
            raise Failure(f"{end - isa.TEXT >> 20} MiB of code and constants; {isa.DATA - isa.TEXT >> 20} MiB is the most")
        tls = [v[2] for k, v in sized.items() if k[0] in ("tdata", "tbss")]
        self.tls_align = max([64, *tls])
        end = span("tdata", "tdata", up(isa.DATA, self.tls_align))
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
            return [f"    . = {s.addr:#x}; KEEP(*({' '.join(map(quoted, s.names))}))" for s in slots]

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
