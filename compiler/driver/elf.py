# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""What a 64-bit little-endian ELF file and an ar archive hold."""

import os
import struct
from collections import namedtuple

Section = namedtuple("Section", "name type flags addr offset size align link entsize")
Symbol = namedtuple("Symbol", "name value size type bind section")

WRITE, ALLOC, EXEC, TLS = 1, 2, 4, 0x400
NOBITS = 8
SYMTAB = 2
ABSOLUTE = 0xfff1
STT_NOTYPE, STT_SECTION, STT_FILE = 0, 3, 4
PT_LOAD, PT_TLS = 1, 7


def string(blob, at):
    return blob[at:blob.index(b"\0", at)].decode("utf-8", "surrogateescape")


class Elf:
    """blob: the file's bytes. ValueError if it is none of ours to read."""

    def __init__(self, blob):
        if blob[:6] != b"\x7fELF\x02\x01":
            raise ValueError("not a 64-bit little-endian ELF file")
        self.blob = blob
        try:
            (self.type, self.machine, _, self.entry, phoff, shoff, _, _, phsize, phnum, shsize, shnum,
             shstrndx) = struct.unpack_from("<HHIQQQIHHHHHH", blob, 16)
            raw = [struct.unpack_from("<IIQQQQIIQQ", blob, shoff + i * shsize) for i in range(shnum)]
            if shnum == 0 and shoff:        # more sections than its field can tell
                first = struct.unpack_from("<IIQQQQIIQQ", blob, shoff)
                shnum, shstrndx = first[5], first[6] if shstrndx == 0xffff else shstrndx
                raw = [struct.unpack_from("<IIQQQQIIQQ", blob, shoff + i * shsize) for i in range(shnum)]
            elif shstrndx == 0xffff:
                shstrndx = raw[0][6]
            names = raw[shstrndx][4] if raw else 0
            self.sections = [Section(string(blob, names + n) if names else "", t, f, a, o, s, al, li, es)
                             for n, t, f, a, o, s, li, _, al, es in raw]
            self.segments = [struct.unpack_from("<IIQQQQQQ", blob, phoff + i * phsize) for i in range(phnum)]
        except (struct.error, ValueError, IndexError) as e:
            raise ValueError(f"damaged ELF file: {e}") from None

    def section(self, name):
        return next((s for s in self.sections if s.name == name), None)

    def data(self, section):
        if section.type == NOBITS:
            return bytes(section.size)
        return self.blob[section.offset:section.offset + section.size]

    def symbols(self):
        table = next((s for s in self.sections if s.type == SYMTAB), None)
        if not table:
            return
        at = self.sections[table.link].offset
        for name, info, _, shndx, value, size in struct.iter_unpack("<IBBHQQ", self.data(table)):
            yield Symbol(string(self.blob, at + name), value, size, info & 15, info >> 4, shndx)


def members(blob, directory):
    """(name, bytes) of each file in an archive; those of a thin one lie beside it, in `directory`."""
    at, long_names, thin = 8, b"", blob[:8] == b"!<thin>\n"
    while at + 60 <= len(blob):
        head = blob[at:at + 60]
        name, size = head[:16].rstrip(), int(head[48:58])
        own = not thin or name in (b"/", b"/SYM64/", b"//")
        body = blob[at + 60:at + 60 + size] if own else b""
        at += 60 + (size + (size & 1) if own else 0)
        if name in (b"/", b"/SYM64/"):
            continue
        if name == b"//":
            long_names = body
            continue
        if name[:1] == b"/":
            start = int(name[1:])
            name = long_names[start:long_names.index(b"\n", start)]
        name = name.rstrip(b"/").decode("utf-8", "surrogateescape")
        if thin:
            with open(os.path.join(directory, name), "rb") as f:
                body = f.read()
        yield name, body
