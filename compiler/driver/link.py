# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""
The link: 1. resolve symbols, all bitcode into one module; 2. the passes on it; 3. per ISA its code;
4. a first link per ISA tells what takes part, one layout for all is made of that, and the second link follows it.
"""

import os
import shutil
from _blake2 import blake2b     # hashlib loads OpenSSL, which takes longer than all else here

from . import carrier, check, layout
from .elf import Elf
from .isa import HOST, ISAS
from .places import Places
from .tools import Failure

EMPTY_LIBS = {"c", "m", "pthread", "rt", "dl", "util", "crypt", "resolv", "xnet", "gcc", "gcc_s", "gcc_eh", "atomic"}
# Defined by the layout's scripts; the rest of what a linker defines by itself.
OF_THE_LAYOUT = ("__popcorn_program", "__popcorn_text", "__popcorn_text_end", "__popcorn_data", "__popcorn_data_end")
# Calls of these are lowered by the passes.
LOWERED = {"setjmp", "_setjmp", "__setjmp", "sigsetjmp", "__sigsetjmp"}
LINKER_MADE = {"_end", "end", "_etext", "etext", "_edata", "edata", "__bss_start", "__ehdr_start", "_GLOBAL_OFFSET_TABLE_",
               "_DYNAMIC", "__dso_handle", *OF_THE_LAYOUT}
LIBRARIES = ("libc.a", "libpopcorn.a", "libbuiltins.a")



def find(o, name, sysroot):
    for d in o.libdirs:
        path = f"{d}/lib{name}.a" if name[:1] != ":" else f"{d}/{name[1:]}"
        if os.path.exists(path):
            return path
    if name in EMPTY_LIBS or os.path.exists(f"{sysroot}/lib/{HOST}/lib{name}.a"):
        return None
    where = ", ".join(o.libdirs) or "no -L says where"
    raise Failure(f"-l{name}: no lib{name}.a ({where}); the system's libraries are for one ISA only, so build it with popcorn-cc")


def system_files(o, sysroot, isa):
    """What every program is linked with: (in front of the program, behind it)."""
    lib = f"{sysroot}/lib/{isa}"
    front = [f"{lib}/crt1.o"] if o.start_files and os.path.exists(f"{lib}/crt1.o") else []
    behind = [f"{lib}/{n}" for n in LIBRARIES if os.path.exists(f"{lib}/{n}")] if o.default_libs else []
    return front, ["--start-group", *behind, "--end-group"] if behind else []


def library_symbols(o, sysroot):
    """Names that the system's libraries define, from the archives' own tables."""
    names = set()
    for path in (f for part in system_files(o, sysroot, "riscv64") for f in part if not f.startswith("-")):
        with open(path, "rb") as f:
            blob = f.read()
        if path.endswith(".a"):
            size = int(blob[56:66].split()[0]) if blob[8:10] == b"/ " else 0
            count = int.from_bytes(blob[68:72], "big")
            names.update(blob[72 + 4 * count:68 + size].rstrip(b"\0").split(b"\0"))
        else:
            names.update(s.name.encode() for s in Elf(blob).symbols() if s.section and s.bind)
    return {n.decode("utf-8", "surrogateescape") for n in names}


class Link:
    def __init__(self, tools, o, sysroot, passes, inputs):
        self.tools, self.o, self.sysroot, self.passes, self.inputs = tools, o, sysroot, passes, inputs
        # Objects know the lines of their sources, for messages; the program does only if it was asked for.
        self.debug = o.debug or any(p.debug for p in inputs.parts)

    def file(self, name):
        return f"{self.tools.dir}/{name}"

    def run(self):
        self.resolve()
        self.lower()
        self.place()

    # 1

    def resolve(self):
        o = self.o
        front, behind = system_files(o, self.sysroot, "riscv64")
        if o.default_libs and not behind:
            raise Failure(f"{self.sysroot}/lib has no C library; `make compiler` builds it")
        extra = [f"--undefined={u}" for u in o.undefined] + [f"--wrap={w}" for w in o.wraps] + [
            f"--defsym={d}" for d in o.defsyms]
        cmd = ["ld.lld-19", "-m", ISAS["riscv64"].emulation, "--lto-O0", "--plugin-opt=emit-llvm",
               "-e", o.entry or "_start", *extra, *front, *self.inputs.resolve, *behind, "-o", self.file("all.bc")]
        self.tools.must(cmd)
        if not self.tools.dry:
            if not os.path.exists(self.file("all.bc")):
                raise Failure("no input has code of the program's own")

    def undefined(self):
        """Say what is missing, in the terms of the sources."""
        library = library_symbols(self.o, self.sysroot)
        names = list(carrier.symbols(self.tools, self.file("all.bc")))
        native = {s.name for f in self.inputs.native["riscv64"] if not f.startswith("-") for s in self.native_symbols(f)}
        known = {n for n, k in names if k not in carrier.UNDEFINED} | library | native | LINKER_MADE | LOWERED
        known |= {d.partition("=")[0] for d in self.o.defsyms}
        lacking = [n for n, k in names if k == "U" and n not in known and not n.startswith(
            ("__start_", "__stop_", "llvm.")) and not n.startswith(("__init_array_", "__fini_array_", "__preinit_array_"))]
        if self.o.start_files and "main" not in known:
            lacking.append("main")
        if not lacking:
            return
        lines = [f"undefined symbol: {n}{self.users(n)}" for n in lacking[:20]]
        if len(lacking) > 20:
            lines.append(f"and {len(lacking) - 20} more")
        lines += [f"not used: {f}" for f in self.inputs.left_out]
        raise Failure("\n".join(lines))

    def users(self, name):
        files = [next(iter(p.files.values())) for p in self.inputs.parts]
        users = [f for f in files if any(n == name and k in "U" for n, k in carrier.symbols(self.tools, f))]
        users = [self.inputs.names.get(f, f) for f in users]
        return f", used by {', '.join(users[:3])}" if users else ""

    def native_symbols(self, path):
        with open(path, "rb") as f:
            blob = f.read()
        return [s for s in Elf(blob).symbols() if s.section and s.bind]

    # 2, 3

    def lower(self):
        o = self.o
        level = o.level or max((p.level for p in self.inputs.parts), key="0sz123".find, default="2")
        if self.tools.run(self.passes.lower(self.tools.dir, level, o, self.debug)) is not None:
            return
        said = {i: self.file(f"{i}.err") for i in o.targets if os.path.exists(self.file(f"{i}.err"))}
        wrong = [i for i, f in said.items() if os.path.getsize(f)]
        if not wrong:
            raise Failure("")               # it has said itself what was wrong
        found = list(self.places().assembly())
        if found:
            raise Failure("\n".join(f"{place}inline assembly that isn't for {wrong[0]}: \"{text}\"; it belongs in a "
                                    ".S file, behind #if defined(__x86_64__) and so on" for place, text in found))
        with open(said[wrong[0]], encoding="utf-8", errors="replace") as f:
            raise Failure(f.read())

    def places(self):
        text = self.tools.must(["llvm-dis-19", self.file("all.bc"), "-o", "-"], stdout=-1)
        return Places(text.decode("utf-8", "surrogateescape"))

    # 4

    def command(self, isa, *extra):
        front, behind = system_files(self.o, self.sysroot, isa)
        return ["ld.lld-19", "-m", ISAS[isa].emulation, "-static", "--gc-sections", "-z", "norelro", "-z", "nognustack", "-z", "nostart-stop-gc",
                "-z", f"max-page-size={layout.isa.SEGMENT}", "--no-relax" if isa == "riscv64" else "--build-id=none",
                "--build-id=none", "-e", self.o.entry or "_start",
                *(f"--undefined={u}" for u in self.o.undefined), *(f"--defsym={d}" for d in self.o.defsyms),
                *extra, *front, self.file(f"{isa}.o"), *self.inputs.native[isa], *behind]

    def learn(self, isa, symbols=()):
        """The first link: which sections take part."""
        out, text = self.file(f"{isa}.first"), self.file(f"{isa}.map")
        cmd = self.command(isa, "-S", "-Map", text, *(f"--defsym={s}={layout.isa.DATA}" for s in OF_THE_LAYOUT),
                           *(f"--undefined={s}" for s in symbols), "-o", out)
        if self.tools.run(cmd, stderr=-3) is None:
            self.undefined()
            self.tools.must(cmd)            # says itself what was wrong
        if self.tools.dry:
            return []
        with open(text, encoding="utf-8", errors="surrogateescape") as t, open(out, "rb") as b:
            elf = Elf(b.read())
            if elf.section(".iplt"):
                raise Failure("\n".join(f"{place}{name}: an ifunc chooses by the processor, which changes when the "
                                        "program moves" for place, name in self.places().ifuncs()))
            return layout.live_sections(t.read(), elf)

    def place(self):
        o = self.o
        asked = {i: set() for i in o.targets}
        live = dict(zip(o.targets, self.tools.each(self.learn, o.targets)))
        while not self.tools.dry:
            more = layout.missing(live)
            more = {i: set(m) - asked[i] for i, m in more.items()}
            again = [i for i in o.targets if more[i]]
            if not again:
                break
            for i in again:
                asked[i] |= more[i]
            live.update(zip(again, self.tools.each(lambda i: self.learn(i, sorted(asked[i])), again)))
        if not self.tools.dry:
            plan = layout.Layout(live)
            with open(self.file("mid.bc"), "rb") as f:
                identity = blake2b(f.read(), digest_size=32)
            identity.update(repr(plan.slots).encode())

        def final(isa):
            if not self.tools.dry:
                with open(self.file(f"{isa}.ld"), "w", encoding="utf-8", errors="surrogateescape") as f:
                    f.write(plan.script(isa, identity.digest()))
            extra = [f"--undefined={s}" for s in sorted(asked[isa])]
            extra += ["-s"] if o.strip else [] if self.debug else ["-S"]
            extra += ["-Map", f"{o.map}_{isa}"] if o.map else []
            self.tools.must(self.command(isa, "-T", self.file(f"{isa}.ld"), *extra, "-o", self.file(f"{isa}.out")))

        self.tools.each(final, o.targets)
        output = o.output or "a.out"
        if self.tools.dry:
            return
        results = {i: self.file(f"{i}.out") for i in o.targets}
        wrong = check.differences({i: check.Program(f) for i, f in results.items()})
        if wrong:
            raise Failure(f"the ISAs' binaries differ: {wrong[0]}")
        for i in o.targets:
            self.put(results[i], f"{output}_{i}")
        self.put(results[HOST if HOST in o.targets else o.targets[0]], output)

    @staticmethod
    def put(source, output):
        """A new file, since the old one may be running."""
        try:
            if os.path.exists(output) and not os.path.isfile(output):      # /dev/null of a configure script
                return
            part = f"{output}.{os.getpid()}"
            shutil.copyfile(source, part)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(part, 0o777 & ~mask)
            os.rename(part, output)
        except OSError as e:
            raise Failure(f"{output}: {e.strerror}") from None
