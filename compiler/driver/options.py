# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""
The command line, as gcc and clang have it. Each option is one of: ours; the front end's, passed on; the
link's; one that means nothing here, dropped; one for a single ISA, dropped with a warning; one that can't work, an error.
"""

import os

from .isa import HOST, ISAS
from .tools import Failure, warn

LANGUAGES = {".c": "c", ".i": "cpp-output", ".S": "assembler-with-cpp", ".sx": "assembler-with-cpp", ".s": "assembler",
             ".ll": "ir", ".bc": "ir"}
FOREIGN_SOURCES = (".cc", ".cpp", ".cxx", ".C", ".cp", ".c++", ".f", ".f90", ".F", ".m", ".mm", ".rs", ".go", ".adb")

# With an argument, joined to it or the next word.
JOINED = ("-I", "-D", "-U")
SEPARATE = {"-include", "-imacros", "-isystem", "-iquote", "-idirafter", "-iprefix", "-iwithprefix", "-iwithprefixbefore",
            "-MF", "-MT", "-MQ", "-Xclang", "-Xpreprocessor", "-mllvm", "--param"}
PREPROCESS_ONLY = ("-M", "-MM")

# Dropped: the code is static, not position-independent and optimised as a whole, whatever is asked.
NO_MEANING = ("-fpic", "-fPIC", "-fpie", "-fPIE", "-fno-pic", "-fno-PIC", "-fno-pie", "-fno-PIE", "-fno-plt", "-flto",
              "-fno-lto", "-ffat-lto-objects", "-fno-fat-lto-objects", "-ffunction-sections", "-fdata-sections",
              "-fstack-protector", "-fno-stack-protector", "-fstack-clash-protection", "-fno-stack-clash-protection",
              "-fcf-protection", "-fexceptions", "-fno-exceptions", "-fasynchronous-unwind-tables", "-funwind-tables",
              "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-ffp-contract", "-ftls-model", "-fuse-ld=",
              "-fuse-linker-plugin", "-fno-semantic-interposition", "-fsemantic-interposition", "-fwhole-program",
              "-static", "-static-libgcc", "-static-pie", "-pie", "-no-pie", "-nopie", "-rdynamic", "-Bstatic", "-pipe",
              "-m64", "-z", "-fsplit-lto-unit", "-B", "-fmerge-constants", "-fdiagnostics-show-option-x")
NO_MEANING_EXACT = {"-B", "-z", "-pie", "-pipe", "-m64", "-static"}
LINK_NO_MEANING = ("--as-needed", "--no-as-needed", "--gc-sections", "--no-gc-sections", "-O", "--sort", "--build-id",
                   "--hash-style", "-rpath", "--rpath", "-soname", "-h", "--enable-new-dtags", "--disable-new-dtags",
                   "--export-dynamic", "-E", "--no-undefined", "-Bsymbolic", "-Bstatic", "-Bdynamic", "-dn", "-dy",
                   "--icf", "--relax", "--no-relax", "--eh-frame-hdr", "--warn", "--fatal-warnings", "--no-warn",
                   "--no-fatal-warnings", "--color-diagnostics", "--no-copy-dt-needed-entries", "--copy-dt-needed-entries",
                   "--allow-shlib-undefined", "--no-allow-shlib-undefined", "--dynamic-linker", "--threads", "-t",
                   "--reduce-memory-overheads", "--no-keep-memory", "--dependency-file", "-z", "--version-script",
                   "--stats", "--start-group", "--end-group", "-(", "-)")
LINK_NO_MEANING_SEPARATE = {"-rpath", "--rpath", "-soname", "-h", "--dynamic-linker", "-z", "--version-script"}
LINK_BETWEEN = {"--whole-archive", "--no-whole-archive"}

IMPOSSIBLE = {
    "-shared": "a program is one static binary per ISA: no shared libraries; configure with --disable-shared, "
               "CMake with -DBUILD_SHARED_LIBS=OFF",
    "-m32": "all ISAs have 64 bits", "-mx32": "all ISAs have 64 bits", "-m16": "all ISAs have 64 bits",
    "-pg": "no profiling by instrumentation", "-p": "no profiling by instrumentation",
    "--coverage": "no profiling by instrumentation", "-fprofile-": "no profiling by instrumentation",
    "-ftest-coverage": "no profiling by instrumentation", "-finstrument-functions": "no profiling by instrumentation",
    "-fsanitize=": "no sanitizers: use them in a native build of the same program",
    "-fopenmp": "no OpenMP: use pthreads", "-fsplit-stack": "stacks can't be split", "-T": "the layout of a program "
    "is the same on all ISAs, so no linker script", "-fobjc": "C only", "-static-libstdc++": "C only",
}
IMPOSSIBLE_EXACT = {"-p", "-T", "-m16", "-fopenmp"}


class Options:
    def __init__(self):
        self.mode = "link"          # or c, S, E (with -M and -MM too), syntax, r, print
        self.print = None           # what to print, for -print-* and the like
        self.output = None
        self.inputs = []            # ("file", path, language or None) ("lib", name) ("flag", word) in order
        self.front = []             # options of the front end
        self.level = None           # of optimisation: 0 1 2 3 s z
        self.debug = False
        self.targets = list(ISAS)
        self.libdirs, self.undefined, self.wraps, self.defsyms = [], [], [], []
        self.map = self.entry = self.points = self.sysroot = None
        self.strip = self.verbose = self.dry = self.save = self.deps = self.deps_target = self.emit_llvm = self.strict = False
        self.start_files = self.default_libs = True
        self.language = None
        self.host_only = []

    def default_output(self, path, suffix):
        stem = os.path.basename(path)
        return os.path.splitext(stem)[0] + suffix if stem != "-" else "-" + suffix


def expand(words, depth=0):
    """Response files, and response files in those."""
    if not any(w[:1] == "@" for w in words):
        return words
    import shlex
    out = []
    for w in words:
        if w[:1] == "@" and os.path.exists(w[1:]):
            if depth > 8:
                raise Failure(f"{w}: response files that contain themselves")
            with open(w[1:], encoding="utf-8", errors="surrogateescape") as f:
                out += expand(shlex.split(f.read()), depth + 1)
        else:
            out.append(w)
    return out


def matches(word, table, exact=()):
    return next((t for t in table if word == t or (t not in exact and word.startswith(t))), None)


def parse(words):
    o = Options()
    words = iter(expand(words))

    def argument(word, prefix):
        if len(word) > len(prefix):
            return word[len(prefix):]
        try:
            return next(words)
        except StopIteration:
            raise Failure(f"{prefix} needs an argument") from None

    for w in words:
        if w == "-" or w[:1] != "-":
            o.inputs.append(("file", w, o.language))
        elif w in ("-c", "-S", "-E", "-r"):
            o.mode = w[1:]
        elif w in PREPROCESS_ONLY:
            o.mode = "E"
            o.front.append(w)
        elif w == "-fsyntax-only":
            o.mode = "syntax"
        elif w.startswith("-o"):
            o.output = argument(w, "-o")
        elif w.startswith("-O"):
            o.level = {"": "1", "g": "1", "fast": "3", "4": "3"}.get(w[2:], w[2:])
            if o.level not in tuple("0123sz"):
                raise Failure(f"{w}: -O0, -O1, -O2, -O3, -Os, -Oz, -Og or -Ofast")
            o.front += ["-ffast-math"] if w == "-Ofast" else []
        elif w in ("-g0", "-ggdb0"):
            o.debug = False
        elif w[:2] == "-g" and w not in ("-gcc-toolchain",):
            o.debug = True
            o.front += [w] if w not in ("-g", "-ggdb", "-g1", "-g2", "-g3", "-ggdb3") else ["-g"]
        elif w.startswith("-x"):
            o.language = argument(w, "-x")
            o.language = {"none": None, "c-header": "c"}.get(o.language, o.language)
            if o.language not in (None, "c", "cpp-output", "assembler", "assembler-with-cpp", "ir"):
                raise Failure(f"-x {o.language}: C and assembly only")
        elif w.startswith("--targets="):
            o.targets = [t for t in ISAS if t in w[10:].split(",")]
            wrong = [t for t in w[10:].split(",") if t not in (*ISAS, "host")]
            if wrong or not w[10:]:
                raise Failure(f"{w}: of {','.join(ISAS)},host")
            if "host" in w[10:].split(",") and HOST not in o.targets:
                o.targets = [t for t in ISAS if t in (HOST, *o.targets)]
        elif w.startswith("-fpopcorn-points="):
            o.points = w[17:]
            if o.points not in ("function", "loops", "manual"):
                raise Failure(f"{w}: function, loops or manual")
        elif w in ("-fpopcorn-strict", "-fno-popcorn-strict"):
            o.strict = w == "-fpopcorn-strict"
        elif w.startswith("--sysroot="):
            o.sysroot = w[10:]
        elif w.startswith("--popcorn-sysroot="):
            o.sysroot = w[18:]
        elif w == "-v":
            o.verbose = True
        elif w == "-###":
            o.dry = True
        elif w in ("-save-temps", "--save-temps"):
            o.save = True
        elif w == "-emit-llvm":
            o.emit_llvm = True
        elif w in ("--version", "--help", "-dumpversion", "-dumpfullversion", "-dumpmachine") or w.startswith(
                ("-print-", "--print-")):
            o.mode, o.print = "print", w if w[:7] != "--print" else w[1:]
        elif w in ("-pthread", "-pthreads"):
            o.front.append("-pthread")
        elif w == "-s":
            o.strip = True
        elif w in ("-nostdlib", "-nostartfiles", "-nodefaultlibs", "-nolibc"):
            o.start_files = o.start_files and w not in ("-nostdlib", "-nostartfiles")
            o.default_libs = o.default_libs and w == "-nostartfiles"
        elif w.startswith("-l"):
            o.inputs.append(("lib", argument(w, "-l")))
        elif w.startswith("-L"):
            o.libdirs.append(argument(w, "-L"))
        elif w.startswith("-u"):
            o.undefined.append(argument(w, "-u"))
        elif w.startswith("-Wl,"):
            link_words(o, w[4:].split(","))
        elif w in ("-Xlinker",):
            word = argument(w, w)
            link_words(o, [word] if word not in LINK_NO_MEANING_SEPARATE else [word, argument("-Xlinker", "-Xlinker")])
        elif w in ("-z", "-B"):
            argument(w, w)
        elif matches(w, IMPOSSIBLE, IMPOSSIBLE_EXACT):
            raise Failure(f"{w}: {IMPOSSIBLE[matches(w, IMPOSSIBLE, IMPOSSIBLE_EXACT)]}")
        elif matches(w, NO_MEANING, NO_MEANING_EXACT):
            pass
        elif w in SEPARATE:
            o.deps_target = o.deps_target or w in ("-MT", "-MQ")
            o.front += [w, argument(w, w)]
        elif w in ("-MD", "-MMD"):
            o.deps = True
            o.front.append(w)
        elif w[:2] in JOINED:
            o.front.append(w[:2] + argument(w, w[:2]))
        elif w[:2] == "-m" or w.startswith(("-Wa,", "-Xassembler", "-target", "--target=", "-arch")):
            o.host_only.append(w)
            if w in ("-Xassembler", "-target", "-arch"):
                argument(w, w)
        else:
            o.front.append(w)
    if o.host_only:
        warn(f"{' '.join(dict.fromkeys(o.host_only))}: for one kind of processor only; ignored")
    return o


def link_words(o, words):
    """What follows -Wl, or -Xlinker."""
    words = iter(words)
    for w in words:
        name, _, value = w.partition("=")
        if w in LINK_BETWEEN:
            o.inputs.append(("flag", w))
        elif name in ("-u", "--undefined", "-Map", "--Map", "-e", "--entry", "--wrap", "-wrap", "--defsym", "-defsym"):
            value = value or next(words, "")
            if name in ("-u", "--undefined"):
                o.undefined.append(value)
            elif name.endswith("Map"):
                o.map = value
            elif name in ("-e", "--entry"):
                o.entry = value
            elif name.endswith("wrap"):
                o.wraps.append(value)
            else:
                o.defsyms.append(value)
        elif w in ("-s", "--strip-all", "-S", "--strip-debug"):
            o.strip = True
        elif w in ("-shared", "-Bshareable", "-T", "--script"):
            raise Failure(f"-Wl,{w}: {IMPOSSIBLE['-shared' if 'shar' in w.lower() else '-T']}")
        elif w.startswith("-l"):
            o.inputs.append(("lib", w[2:]))
        elif w.startswith("-L"):
            o.libdirs.append(w[2:])
        elif w[:1] != "-":
            o.inputs.append(("file", w, None))
        elif matches(w, LINK_NO_MEANING) or matches(w, tuple(a[1:] for a in LINK_NO_MEANING if a[:2] == "--")):
            if w in LINK_NO_MEANING_SEPARATE:
                next(words, None)
        else:
            warn(f"-Wl,{w}: unknown here; ignored")
