# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""popcorn-cc: one C program, one binary per ISA, everything at the same address in all of them."""

import os
import shutil
import signal
import sys

from . import carrier
from .isa import CANONICAL, FIXED, HOST, ISAS, LANGUAGE
from .link import Link, find
from .options import FOREIGN_SOURCES, LANGUAGES, parse
from .passes import Passes
from .tools import NAME, Failure, Tools

HERE = os.path.dirname(os.path.realpath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
INSTALLED = not os.path.exists(TREE + "/compiler/popcorn-cc")
# In the tree what is built is under build/; installed it lies beside this directory.
HOME = os.path.dirname(HERE) if INSTALLED else TREE + "/build/compiler"
CLANG = "clang-19"


def version():
    try:
        with open(HOME + "/version" if INSTALLED else TREE + "/include/popcorn/version.h", encoding="ascii") as f:
            return next(line.split('"')[1] for line in f if 'POPCORN_VERSION "' in line)
    except (OSError, StopIteration):
        return "?"


def tell(o, sysroot):
    """-print-*, -dump*, --version and --help, as configure scripts ask for them."""
    word, _, value = o.print.partition("=")
    lib = f"{sysroot}/lib/{HOST}"
    if word == "--version":
        out = f"popcorn-cc {version()} (clang version 19.1.7)\nTargets: {' '.join(ISAS)}"
    elif word == "--help":
        out = (f"usage: {NAME} [options] file...\n"
               "Compiles a C program for x86-64, aarch64 and riscv64 at once, with one memory layout:\n"
               "-o prog makes prog_x86-64, prog_aarch64, prog_riscv64 and prog, which is the host's.\n"
               "Options are gcc's and clang's, and --targets=ISA,..., -fpopcorn-points=function|loops|manual,\n"
               "-fpopcorn-strict.\n"
               "See popcorn-cc(1).")
    elif word in ("-dumpversion", "-dumpfullversion"):
        out = "19.1.7"
    elif word in ("-dumpmachine", "-print-target-triple", "-print-effective-triple"):
        out = "popcorn-unknown-linux-musl"
    elif word == "-print-search-dirs":
        out = f"install: {HOME}\nprograms: =/usr/bin\nlibraries: ={lib}"
    elif word == "-print-prog-name":
        out = shutil.which(value) or value
    elif word == "-print-file-name":
        out = f"{lib}/{value}" if os.path.exists(f"{lib}/{value}") else value
    elif word == "-print-libgcc-file-name":
        out = f"{lib}/libbuiltins.a"
    elif word == "-print-sysroot":
        out = sysroot
    elif word == "-print-multi-os-directory":
        out = "."
    elif word == "-print-multi-lib":
        out = ".;"
    elif word == "-print-targets":
        out = "\n".join(ISAS)
    elif word in ("-print-multi-directory", "-print-multiarch", "-print-sysroot-headers-suffix"):
        out = "." if word == "-print-multi-directory" else ""
    else:
        raise Failure(f"{o.print}: unknown")
    print(out)


class Compiler:
    def __init__(self, o):
        self.o = o
        self.sysroot = o.sysroot or os.environ.get("POPCORN_SYSROOT") or HOME + "/sysroot"
        keep = None
        if o.save:
            keep = (o.output or "a.out") + ".popcorn"
        self.tools = Tools(o.verbose, o.dry, keep)

    def language(self, path, said):
        if said:
            return said
        if path == "-":
            raise Failure("-: -x says what standard input is, unless with -E")
        suffix = os.path.splitext(path)[1]
        if suffix in FOREIGN_SOURCES:
            raise Failure(f"{path}: C and assembly only")
        language = LANGUAGES.get(suffix)
        if language == "assembler":
            try:
                with open(path, "rb") as f:
                    language = "ir" if f.read(12) == b"; ModuleID =" else language
            except OSError:
                pass
        return language

    def front(self, language, *words):
        """The front end's command for one source."""
        o = self.o
        level = o.level or "0"
        optimise = ["-O0", "-Xclang", "-disable-O0-optnone"] if level == "0" else [
            "-O" + level, "-Xclang", "-disable-llvm-passes"]
        return [CLANG, *CANONICAL, *optimise, *LANGUAGE, "-nostdlibinc", "-Qunused-arguments", "-g" if o.debug else "-gline-tables-only",
                *o.front, *FIXED, "-isystem", self.sysroot + "/include", "-x", language, *words]

    def deps_words(self, output):
        """The object is named in the dependencies, not the temporary file that the front end writes."""
        if not self.o.deps:
            return []
        words = [] if self.o.deps_target else ["-MT", output]
        if "-MF" not in self.o.front:
            words += ["-MF", os.path.splitext(output)[0] + ".d"]
        return words

    def bitcode(self, path, language, bc, output):
        self.tools.must(self.front(language, *self.deps_words(output), "-emit-llvm", "-c", path, "-o", bc))

    def assemble(self, path, language, work):
        """One native object per ISA, path by section."""
        files, failed = {}, []
        defines = [w for w in self.o.front if not w.startswith(("-M", "-O"))] if language != "assembler" else []
        for name, isa in ISAS.items():
            out = f"{work}.{name}.o"
            cmd = [CLANG, "--target=" + isa.triple, *isa.flags, "-nostdlibinc", "-Qunused-arguments", "-D__popcorn__=1",
                   *defines, *(["-g"] if self.o.debug else []), "-isystem", self.sysroot + "/include", "-x", language,
                   "-c", path, "-o", out]
            done = self.tools.run(cmd, stderr=-1 if name not in self.o.targets else None)
            if done is not None:
                files[".popcorn." + name] = out
            elif name in self.o.targets:
                failed.append(name)
        if failed:
            raise Failure(f"{path}: can't be assembled for {', '.join(failed)}: it must have code for each ISA, "
                          "behind #if defined(__x86_64__), __aarch64__ and __riscv in a .S file")
        return files

    def part(self, path, language, output, number):
        """What the object of one source carries. output: what the dependencies are of."""
        work, level = f"{self.tools.dir}/unit{number}", self.o.level or "0"
        if language.startswith("assembler"):
            return carrier.Part(level, self.o.debug, self.assemble(path, language, work))
        self.bitcode(path, language, work + ".bc", output)
        return carrier.Part(level, self.o.debug, {carrier.BITCODE: work + ".bc"})

    def sources(self):
        return [(p, self.language(p, said)) for kind, p, said in (i for i in self.o.inputs if i[0] == "file")]

    def each_output(self, suffix):
        """(source, language, output) for the modes that make one file per source."""
        found = [(p, lang) for p, lang in self.sources() if lang]
        if not found:
            raise Failure("no input files")
        if self.o.output and len(found) > 1:
            raise Failure(f"-o {self.o.output} with several source files and -{self.o.mode}")
        return [(p, lang, self.o.output or self.o.default_output(p, suffix)) for p, lang in found]

    def mode_c(self):
        def one(job):
            n, (path, language, output) = job
            carrier.write(self.tools, [self.part(path, language, output, n)], output, f"{self.tools.dir}/unit{n}")

        self.tools.each(one, enumerate(self.each_output(".o")))

    def mode_r(self):
        carrier.write(self.tools, self.inputs().parts, self.o.output or "a.out", self.tools.dir + "/all")

    def mode_E(self):
        for kind, path, said in self.o.inputs:
            if kind == "file":
                language = said or ("c" if path == "-" else self.language(path, said)) or "c"
                out = ["-o", self.o.output] if self.o.output else []
                deps = [] if self.o.deps_target or not self.o.deps else ["-MT", self.o.default_output(path, ".o")]
                self.tools.must(self.front(language, "-E", *deps, path, *out))

    def mode_syntax(self):
        for path, language, _ in self.each_output(""):
            self.tools.must(self.front(language, "-fsyntax-only", path))

    def passes(self):
        return Passes(os.environ.get("POPCORN_PLUGIN") or HOME + "/popcorn.so", self.sysroot + "/never")

    def mode_S(self):
        """What the object carries, as text; for one target, its assembly after all passes."""
        one = len(self.o.targets) == 1 and not self.o.emit_llvm
        for path, language, output in self.each_output(".s"):
            if not one:
                self.tools.must(self.front(language, *self.deps_words(output), "-emit-llvm", "-S", path, "-o", output))
                continue
            work = self.tools.dir
            self.bitcode(path, language, work + "/all.bc", output)
            self.tools.must(self.passes().lower(work, self.o.level or "0", self.o, self.o.debug, True))
            if not self.tools.dry:
                shutil.move(f"{work}/{self.o.targets[0]}.s", output)

    def inputs(self):
        """Everything that is linked, in order; sources are compiled first, several at a time."""
        inputs = carrier.Inputs(self.tools, self.o.targets)
        jobs = {}
        for n, (kind, value, *said) in enumerate(self.o.inputs):
            language = self.language(value, *said) if kind == "file" else None
            if language:
                jobs[n] = (value, language, self.o.output or self.o.default_output(value, ".o"), n)
        made = dict(zip(jobs, self.tools.each(lambda job: self.part(*job), jobs.values())))
        for n, (kind, value, *_) in enumerate(self.o.inputs):
            if kind == "flag":
                inputs.flag(value)
            elif n in made:
                for f in made[n].files.values():
                    inputs.names[f] = value
                inputs.add_part(made[n], value)
            else:
                path = find(self.o, value, self.sysroot) if kind == "lib" else value
                if path and not self.tools.dry:
                    inputs.add(path)
        return inputs

    def mode_link(self):
        if not self.o.inputs:
            raise Failure("no input files")
        Link(self.tools, self.o, self.sysroot, self.passes(), self.inputs()).run()

    def run(self):
        if self.o.print:
            return tell(self.o, self.sysroot)
        if self.o.verbose and not self.o.inputs:
            print(f"popcorn-cc {version()} (clang version 19.1.7)\nTarget: popcorn-unknown-linux-musl", file=sys.stderr)
            return None
        try:
            return getattr(self, "mode_" + self.o.mode)()
        finally:
            self.tools.close()


def main(words):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        Compiler(parse(words)).run()
    except Failure as e:
        for line in str(e).splitlines():
            print(f"{NAME}: error: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
