# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""
Objects: an ELF file of the host that carries what the link works on.

Its symbols are those of what it carries, so that nm, ar, ranlib, libtool and configure scripts see what they
expect; it has no code. Sections:
  .popcorn.bitcode  a C file's bitcode
  .popcorn.<isa>    instead, of an assembly file: the native object of each ISA
  .popcorn.object   a record for each file, so that what `ld -r` lays end to end can be told apart
"""

import os
import struct

from .elf import Elf, members
from .isa import HOST, ISAS
from .tools import Failure

# Magic, optimisation level, whether debug information was asked for, 2 bytes kept 0; the size of the bitcode and of
# each ISA's object, 0 for none.
RECORD = struct.Struct("<4sc?2x4Q")
MAGIC = b"pop1"
SECTIONS = [".popcorn.bitcode", *(".popcorn." + i for i in ISAS)]
BITCODE = SECTIONS[0]
ALIGN = 4

UNDEFINED, WEAK = "Uwv", "wvWV"


class Part:
    """What one source file was made into. level, debug: the -O and -g it was asked for; files: path by section."""

    def __init__(self, level, debug, files):
        self.level, self.debug, self.files = level, debug, files


def symbols(tools, path):
    """(name, letter as nm has it) of each global symbol of a bitcode or object file."""
    out = tools.must(["llvm-nm-19", "-g", "--format=posix", path], stdout=-1) or b""
    for line in out.decode("utf-8", "surrogateescape").splitlines():
        if line:
            yield tuple(line.split()[:2])


def assembly(names, parts):
    """The text that makes the carrier. names: letter by symbol."""
    lines = [".text"]
    for name, letter in names.items():
        q = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        bind = ".weak" if letter in WEAK else ".globl"
        if letter in UNDEFINED:
            lines += [f".reloc 0, BFD_RELOC_NONE, {q}"] + ([f".weak {q}"] if letter in WEAK else [])
        elif letter == "C":
            lines += [f".comm {q}, 8, 8"]
        elif letter in "TWi":
            lines += [f"{bind} {q}", f".type {q}, @function", f"{q}:"]
        else:
            lines += [".data", f"{bind} {q}", f".type {q}, @object", f"{q}:", ".text"]
    for p in parts:
        for section, path in p.files.items():
            lines += [f'.section {section},"e",@progbits', f".p2align {ALIGN.bit_length() - 1}", f'.incbin "{path}"']
        record = RECORD.pack(MAGIC, p.level.encode(), p.debug, *(
            os.path.getsize(p.files[s]) if s in p.files else 0 for s in SECTIONS))
        lines += ['.section .popcorn.object,"e",@progbits', ".byte " + ",".join(map(str, record))]
    return "\n".join([*lines, '.section .note.GNU-stack,"",@progbits', ""])


def write(tools, parts, output, work):
    """Make the object `output`; work: prefix of files made on the way."""
    names = {}
    for p in parts:
        for name, letter in symbols(tools, next(iter(p.files.values()))):
            if names.get(name, "U") in UNDEFINED:
                names[name] = letter
    source = work + ".s"
    if not tools.dry:
        with open(source, "w", encoding="utf-8", errors="surrogateescape") as f:
            f.write(assembly(names, parts))
    tools.must(["llvm-mc-19", "-triple=" + ISAS[HOST].triple, "-filetype=obj", source, "-o", output])


def contents(blob):
    """(level, debug, {section: bytes}) of each part of an object; none if it carries nothing for us."""
    elf = Elf(blob)
    records = elf.section(".popcorn.object")
    if not records:
        return
    table = elf.data(records)
    data = {s.name: elf.data(s) for s in elf.sections if s.name in SECTIONS}
    at = dict.fromkeys(SECTIONS, 0)
    for k in range(0, len(table) - RECORD.size + 1, RECORD.size):
        magic, level, debug, *sizes = RECORD.unpack_from(table, k)
        if magic != MAGIC:
            raise ValueError("made by another version of popcorn-cc")
        found = {}
        for section, size in zip(SECTIONS, sizes):
            if size:
                start = (at[section] + ALIGN - 1) & -ALIGN
                at[section] = start + size
                found[section] = data.get(section, b"")[start:start + size]
                if len(found[section]) != size:
                    raise ValueError("damaged object")
        yield level.decode(), debug, found


def foreign(blob):
    """What a file that isn't ours is, for the message."""
    if blob[:4] == b"BC\xc0\xde":
        return "bitcode of another compiler"
    if blob[:4] != b"\x7fELF":
        return "neither an object nor an archive"
    machine = Elf(blob).machine
    return next((f"code for {i.name} only" for i in ISAS.values() if i.machine == machine), "code for another machine")


class Inputs:
    """
    Objects and archives, in the order of the command line, as words for the linker: resolve for the step that
    resolves symbols, native[isa] for the final link, besides the program itself.
    """

    def __init__(self, tools, targets):
        self.tools, self.targets = tools, targets
        self.resolve, self.native = [], {i: [] for i in ISAS}
        self.parts = []             # of all files, in order
        self.names = {}             # what the user calls a file that was unpacked
        self.left_out = []          # members of archives that aren't ours
        self.whole = False

    def flag(self, word):
        self.whole = word == "--whole-archive"

    def add_part(self, part, name):
        """One part of an object that certainly takes part in the link."""
        self._add([(part, name)])

    def add(self, path):
        try:
            with open(path, "rb") as f:
                blob = f.read()
        except OSError as e:
            raise Failure(f"{path}: {e.strerror}") from None
        try:
            if blob[:8] in (b"!<arch>\n", b"!<thin>\n"):
                self._archive(path, blob)
                return
            found = [self._unpack(p, path) for p in contents(blob)] if blob[:4] == b"\x7fELF" else []
        except (ValueError, IndexError) as e:
            raise Failure(f"{path}: {e}") from None
        if not found:
            raise Failure(f"{path}: {foreign(blob)}: not made by popcorn-cc, so that structures would be passed to it "
                          "in another way than it expects; compile its source with popcorn-cc")
        self._add(found)

    def _archive(self, path, blob):
        found = []
        for name, body in members(blob, os.path.dirname(path)):
            name = f"{path}({name})"
            ours = [self._unpack(p, name) for p in contents(body)] if body[:4] == b"\x7fELF" else []
            if not ours and body[:4] in (b"\x7fELF", b"BC\xc0\xde"):
                self.left_out.append(f"{name}: {foreign(body)}")
            found += ours
        self._add(found, lazy=not self.whole)

    def _unpack(self, content, name):
        level, debug, data = content
        files, number = {}, len(self.names)     # one for all ISAs: the layout goes by it
        for section, body in data.items():
            files[section] = f"{self.tools.dir}/in{number}.{'bc' if section == BITCODE else section[9:] + '.o'}"
            self.names[files[section]] = name
            with open(files[section], "wb") as f:
                f.write(body)
        return Part(level, debug, files), name

    def _add(self, found, lazy=False):
        resolve, native = [], {i: [] for i in ISAS}
        for part, name in found:
            self.parts.append(part)
            if BITCODE in part.files:
                resolve.append(part.files[BITCODE])
                continue
            has = [i for i in ISAS if ".popcorn." + i in part.files]
            lacking = [i for i in (*self.targets, "riscv64") if i not in has]
            if lacking:
                raise Failure(f"{name}: was assembled for {', '.join(has)}, not for {lacking[0]}")
            for i in has:
                native[i].append(part.files[".popcorn." + i])
            resolve.append(part.files[".popcorn.riscv64"])
        for words, files in ((self.resolve, resolve), *((self.native[i], native[i]) for i in ISAS)):
            if files:
                words += ["--start-lib", *files, "--end-lib"] if lazy else files
