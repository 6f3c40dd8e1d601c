# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""
Objects: an ELF file of the host that carries what the link works on.

Its symbols are the bitcode's, so that nm, ar, ranlib, libtool and configure scripts see what they
expect; it has no code. Sections:
  .llvm.lto         the bitcode, where LLVM's tools look for it
  .popcorn.<isa>    instead, of an assembly file: the native object of each ISA
  .popcorn.object   a record for each of the above, so that what `ld -r` lays end to end can be told apart
"""

import struct

from .elf import Elf, members
from .isa import HOST, ISAS
from .tools import Failure

# Magic, kind, optimisation level and 6 bytes kept 0; the size of the bitcode, or of each ISA's object, 0 for none.
RECORD = struct.Struct("<4scc2x3Q")
MAGIC = b"pop1"
BITCODE, NATIVE = b"b", b"n"

UNDEFINED, WEAK = "Uwv", "wvWV"


def symbols(tools, path):
    """(name, letter as nm has it) of each global symbol of a bitcode or object file."""
    out = tools.must(["llvm-nm-19", "-g", "--format=posix", path], stdout=-1) or b""
    for line in out.decode("utf-8", "surrogateescape").splitlines():
        if line:
            yield tuple(line.split()[:2])


def assembly(names, payload, record):
    """The text that makes the carrier. payload: file by section."""
    lines = [".text"]
    for name, letter in names:
        q = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        bind = ".weak" if letter in WEAK else ".globl"
        if letter in UNDEFINED:
            lines += [f".reloc 0, BFD_RELOC_NONE, {q}"] + ([f".weak {q}"] if letter in WEAK else [])
        elif letter == "C":
            lines += [f".comm {q}, 8, 8"]
        elif letter in "TWti":
            lines += [f"{bind} {q}", f".type {q}, @function", f"{q}:"]
        else:
            lines += [".data", f"{bind} {q}", f".type {q}, @object", f"{q}:", ".text"]
    for section, path in payload:
        kind = "@llvm_lto" if section == ".llvm.lto" else "@progbits"
        lines += [f'.section {section},"e",{kind}', ".p2align 2", f'.incbin "{path}"']
    lines += ['.section .popcorn.object,"e",@progbits', ".byte " + ",".join(map(str, record)),
              '.section .note.GNU-stack,"",@progbits', ""]
    return "\n".join(lines)


def write(tools, payload, level, output, work):
    """
    Make the object `output`. payload: [(section, file)], either the bitcode or the ISAs' objects;
    level: the optimisation it was asked for, which the link goes by; work: prefix of files made on the way.
    """
    if tools.dry:
        names, sizes = [], [0, 0, 0]
    else:
        names = list(dict.fromkeys(symbols(tools, payload[0][1])))
        sizes = {section: len(open(path, "rb").read()) for section, path in payload}
    if payload[0][0] == ".llvm.lto":
        kind, sizes = BITCODE, [sizes[".llvm.lto"] if sizes != [0, 0, 0] else 0, 0, 0]
    else:
        kind, sizes = NATIVE, [sizes.get(".popcorn." + i, 0) if isinstance(sizes, dict) else 0 for i in ISAS]
    source = work + ".s"
    if not tools.dry:
        with open(source, "w", encoding="utf-8", errors="surrogateescape") as f:
            f.write(assembly(names, payload, RECORD.pack(MAGIC, kind, level.encode(), *sizes)))
    tools.must(["llvm-mc-19", "-triple=" + ISAS[HOST].triple, "-filetype=obj", source, "-o", output])


class Part:
    """One translation unit: level and bitcode, or native: the object of each ISA that has one, as bytes."""

    def __init__(self, level, bitcode=None, native=None):
        self.level, self.bitcode, self.native = level, bitcode, native


def parts(blob):
    """The parts of an object; [] if it carries nothing for us."""
    elf = Elf(blob)
    records = elf.section(".popcorn.object")
    if not records:
        return []
    table, found = elf.data(records), []
    where = {s.name: [elf.data(s), 0] for s in elf.sections if s.name in (".llvm.lto", *(".popcorn." + i for i in ISAS))}

    def take(name, size):
        data = where[name]
        at = (data[1] + 3) & ~3
        data[1] = at + size
        if data[1] > len(data[0]):
            raise ValueError("damaged object")
        return data[0][at:data[1]]

    for at in range(0, len(table) - RECORD.size + 1, RECORD.size):
        magic, kind, level, *sizes = RECORD.unpack_from(table, at)
        if magic != MAGIC:
            raise ValueError("made by another version of popcorn-cc")
        if kind == BITCODE:
            found.append(Part(level.decode(), bitcode=take(".llvm.lto", sizes[0])))
        else:
            found.append(Part(level.decode(), native={
                i: take(".popcorn." + i, s) for i, s in zip(ISAS, sizes) if s}))
    return found


def foreign(blob):
    """What an object without parts is, for the message."""
    if blob[:4] == b"BC\xc0\xde":
        return "bitcode of another compiler"
    machine = Elf(blob).machine
    return next((f"code for {i.name} only" for i in ISAS.values() if i.machine == machine), "code for another machine")


class Inputs:
    """
    Objects and archives, in the order of the command line, as the link takes them:
    resolve: the files for the step that resolves symbols; native[isa]: those of the final link besides the program.
    """

    def __init__(self, tools, targets):
        self.tools, self.targets = tools, targets
        self.resolve, self.native = [], {i: [] for i in ISAS}
        self.levels, self.left_out, self.made = [], [], 0

    def flag(self, *words):
        """A word of the command line that stands between the files, such as --whole-archive."""
        self.resolve += words
        for i in ISAS:
            self.native[i] += words

    def _file(self, suffix, data):
        self.made += 1
        path = f"{self.tools.dir}/in{self.made}{suffix}"
        with open(path, "wb") as f:
            f.write(data)
        return path

    def _natives(self, part, name):
        lacking = [i for i in self.targets if i not in part.native]
        if lacking:
            raise Failure(f"{name}: was assembled for {', '.join(part.native)}, not for {', '.join(lacking)}")
        return part.native.items()

    def bitcode(self, path, level):
        self.resolve.append(path)
        self.levels.append(level)

    def add(self, path):
        try:
            with open(path, "rb") as f:
                blob = f.read()
        except OSError as e:
            raise Failure(f"{path}: {e.strerror}") from None
        try:
            if blob[:8] == b"!<arch>\n":
                self._archive(path, blob)
            elif blob[:8] == b"!<thin>\n":
                self.resolve.append(path)
            else:
                self._object(path, blob)
        except (ValueError, IndexError) as e:
            raise Failure(f"{path}: {e}") from None

    def _object(self, path, blob):
        found = parts(blob) if blob[:4] == b"\x7fELF" else []
        if not found:
            what = foreign(blob)
            raise Failure(f"{path}: {what}: not made by popcorn-cc, and structures are passed in other ways "
                          "there; compile its source with popcorn-cc")
        for p in found:
            if p.native is not None:
                for isa, data in self._natives(p, path):
                    self.native[isa].append(self._file("." + isa + ".o", data))
                    if isa == "riscv64":
                        self.resolve.append(self.native[isa][-1])
            elif len(found) == 1:
                self.bitcode(path, p.level)
            else:
                self.bitcode(self._file(".bc", p.bitcode), p.level)

    def _archive(self, path, blob):
        plain, native, split = True, {}, []
        for name, body in members(blob):
            found = []
            if body[:4] == b"\x7fELF":
                found = parts(body)
            if not found:
                if body[:4] in (b"\x7fELF", b"BC\xc0\xde"):
                    self.left_out.append(f"{path}({name}): {foreign(body)}")
                    plain = False
                continue
            for p in found:
                if p.native is None:
                    self.levels.append(p.level)
                    split.append((name, p.bitcode))
                else:
                    for isa, data in self._natives(p, f"{path}({name})"):
                        native.setdefault(isa, []).append((name, data))
            plain = plain and len(found) == 1 and found[0].native is None
        if plain:
            self.resolve.append(path)
            return
        for isa, objects in native.items():
            self.native[isa].append(self._rewritten(f".{isa}", objects))
        split += native.get("riscv64", [])
        if split:
            self.resolve.append(self._rewritten("", split))

    def _rewritten(self, suffix, objects):
        files = [self._file(suffix + ".o", data) for _, data in objects]
        self.made += 1
        path = f"{self.tools.dir}/in{self.made}{suffix}.a"
        self.tools.must(["llvm-ar-19", "rcS" if not files else "rc", path, *files])
        return path
