# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""popcorn-cc and popcorn-check: what build systems ask of a compiler, one layout, and what is refused."""

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from conftest import TOP

BIN = TOP / "build/bin"
ISAS = ("x86-64", "aarch64", "riscv64")
QEMU = {"aarch64": ["qemu-aarch64-static"], "riscv64": ["qemu-riscv64-static"], "x86-64": []}

# Prints addresses of one thing of each kind, by kind.
HELLO = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
int data = 1, bss[1000]; static int local = 7; const int table[] = {1, 2, 3};
_Thread_local int tls = 5; static _Thread_local char tls_bss[40]; _Thread_local long tls_aligned __attribute__((aligned(128))) = 9;
__attribute__((section("mine"))) int own[2] = {4, 5}; extern int __start_mine[], __stop_mine[];
static int called;
static void __attribute__((constructor(200))) second(void) { called = called * 10 + 2; }
static void __attribute__((constructor(101))) first(void) { called = called * 10 + 1; }
static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
int many(int n) { switch (n) { case 0: return 5; case 1: return 11; case 2: return 9; case 3: return 2; case 4: return 77;
	case 5: return 3; default: return n; } }
double scaled(double x) { return x * 1.2345 + 6.789; }
int (*functions[])(int) = {many};
int main(int argc, char **argv)
{
	char *p = malloc(10);
	int v[] = {3, 1, 2};
	qsort(v, 3, sizeof(*v), compare);
	strcpy(p, "abc");
	errno = 0;
	printf("%s %d%d%d %d %d %.3f %d %Lg\n", p, v[0], v[1], v[2], called, functions[0](argc), scaled(argc), own[1], 1.5L);
	if (argc < 2)
		return 3;
	printf("function %p %p %p\n", (void *)main, (void *)compare, (void *)many);
	printf("of the library %p %p %p %p\n", (void *)printf, (void *)malloc, (void *)memcpy, (void *)qsort);
	printf("data %p %p %p %p\n", (void *)&data, (void *)bss, (void *)&local, (void *)table);
	printf("tls %p %ld %ld %d\n", (void *)0, (char *)&tls_aligned - (char *)&tls, (char *)tls_bss - (char *)&tls, tls);
	printf("literal %p\n", (void *)"a literal of this program");
	printf("section %p %p %p\n", (void *)own, (void *)__start_mine, (void *)__stop_mine);
	printf("stdout %p errno %ld\n", (void *)stdout, (long)((char *)&errno - (char *)&tls));
	printf("%d\n", *(argv[0]) != 0);
	return 3;
}
"""
LINE = "abc 123 12 11 8.024 5 1.5\n"


def run(*cmd, status=0, cwd=None, env=None, **kwargs):
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, timeout=120, cwd=cwd,
                       env={**os.environ, **env} if env else None, stdin=None if "input" in kwargs else subprocess.DEVNULL, **kwargs)
    assert status is None or r.returncode == status, f"{cmd}: {r.returncode}\n{r.stdout}{r.stderr}"
    return r


def cc(*args, **kwargs):
    return run(BIN / "popcorn-cc", *args, **kwargs)


def check(*args, **kwargs):
    return run(BIN / "popcorn-check", *args, **kwargs)


def on(isa, program, *args, **kwargs):
    return run(*QEMU[isa], f"{program}_{isa}", *args, **kwargs)


@pytest.fixture(scope="module")
def hello(tmp_path_factory):
    """The program above, for all ISAs, with everything that was made on the way."""
    d = tmp_path_factory.mktemp("hello")
    (d / "hello.c").write_text(HELLO)
    cc("-O2", "-save-temps", "-o", d / "hello", d / "hello.c")
    return d / "hello"


@pytest.fixture
def src(tmp_path):
    """Files by name; the directory."""
    def write(**files):
        for name, text in files.items():
            (tmp_path / re.sub("_([chSs])$", r".\1", name)).write_text(text)
        return tmp_path
    return write


# One layout.

def test_all_isas_say_the_same(hello):
    said = {i: on(i, hello, "addresses", status=3).stdout for i in ISAS}
    assert said["x86-64"].startswith("abc 123 12 9 9.258 5 1.5\nfunction 0x10"), said
    assert len(set(said.values())) == 1, said
    out = check(hello).stdout
    assert out.startswith("x86-64, aarch64, riscv64: one layout, ")


def test_plain_name_is_the_hosts(hello):
    host = {"x86_64": "x86-64"}.get(os.uname().machine, os.uname().machine)
    assert hello.read_bytes() == Path(f"{hello}_{host}").read_bytes()
    assert run(hello, status=3).stdout == LINE


def segments(path):
    blob = path.read_bytes()
    phoff, = struct.unpack_from("<Q", blob, 32)
    size, count = struct.unpack_from("<HH", blob, 54)
    return [struct.unpack_from("<IIQQQQQQ", blob, phoff + k * size) for k in range(count)]


def test_addresses_are_in_reach(hello):
    """Below 2^38 all, below 2 GiB; none writable and executable; 64 KiB apart where rights differ."""
    for isa in ISAS:
        loads = [s for s in segments(Path(f"{hello}_{isa}")) if s[0] == 1]
        assert max(s[3] + s[6] for s in loads) < 1 << 31
        assert not any(s[1] & 3 == 3 for s in loads)
        pages = [range(s[3] >> 16, (s[3] + s[6] - 1 >> 16) + 1) for s in loads]
        assert len(set().union(*pages)) == sum(map(len, pages)), isa


def patched(hello, tmp_path, change):
    """A copy of the binaries; change(x86-64's bytes) makes it different."""
    for isa in ISAS:
        shutil.copy(f"{hello}_{isa}", tmp_path / f"p_{isa}")
    blob = bytearray((tmp_path / "p_x86-64").read_bytes())
    change(blob)
    (tmp_path / "p_x86-64").write_bytes(blob)
    return tmp_path / "p"


def symbol_at(blob, name):
    """Offset of a symbol's entry in the file."""
    shoff, = struct.unpack_from("<Q", blob, 40)
    count, = struct.unpack_from("<H", blob, 60)
    heads = [struct.unpack_from("<IIQQQQIIQQ", blob, shoff + 64 * k) for k in range(count)]
    table = next(h for h in heads if h[1] == 2)
    strings = heads[table[6]][4]
    for at in range(table[4], table[4] + table[5], 24):
        start = strings + struct.unpack_from("<I", blob, at)[0]
        if blob[start:blob.index(0, start)] == name.encode():
            return at
    raise KeyError(name)


@pytest.mark.parametrize("name, kind", [("many", "function"), ("data", "datum"), ("tls", "TLS variable"), ("main.resume", "function"),
                                        ("own", "datum"), ("malloc", "function")])
def test_check_finds_a_moved_symbol(hello, tmp_path, name, kind):
    def move(blob):
        at = symbol_at(blob, name) + 8
        struct.pack_into("<Q", blob, at, struct.unpack_from("<Q", blob, at)[0] + 8)
    p = patched(hello, tmp_path, move)
    out = check(p, status=1).stdout
    x, y = re.fullmatch(rf"{kind} {re.escape(name)}: 0x(\w+) in x86-64, 0x(\w+) in aarch64\n", out).groups()
    assert int(x, 16) == int(y, 16) + 8


def test_check_finds_other_bytes(hello, tmp_path):
    def scribble(blob):
        at = blob.index(b"a literal of this program")
        blob[at:at + 1] = b"A"
    p = patched(hello, tmp_path, scribble)
    out = check(p, status=1).stdout
    assert re.match(r"datum \S+: its bytes at 0x\w+ are \w+ in x86-64, \w+ in aarch64\n", out), out
    assert len(check("--all", p, status=1).stdout.splitlines()) == 2


def test_check_tells_programs_apart(hello, src):
    d = src(a_c="int main(void) { return 0; }")
    cc("-o", d / "a", "--targets=aarch64", d / "a.c")
    assert "not of one link" in check(f"{hello}_x86-64", d / "a_aarch64", status=1).stdout
    assert "not linked by popcorn-cc" in check(f"{hello}_x86-64", "/bin/true", status=2).stderr
    assert check(d / "a.c", d / "a.c", status=2).stderr
    assert check(d / "none", status=2).stderr


# Objects.

FG = {"f_c": "int f(int a) { return a * 3; }", "g_c": "int f(int); int g(int a) { return f(a) + 1; }",
      "main_c": "int g(int); int weak(void) __attribute__((weak)); int main(void) { return g(5) + (weak ? weak() : 0); }"}


def test_objects_archives_and_joined_objects(src):
    """What nm says; an archive, a thin one, `ld -r` and `popcorn-cc -r`: each links to the same."""
    d = src(**FG)
    cc("-O2", "-c", "f.c", "g.c", "main.c", cwd=d)
    symbols = run("nm", "main.o", cwd=d).stdout.split("\n")
    assert [s[16:] for s in symbols if s] == [" U g", " T main", " w weak"] or [s.strip() for s in symbols if s] == [
        "U g", "0000000000000000 T main", "w weak"]
    run("ar", "rc", "libfg.a", "f.o", "g.o", cwd=d)
    run("ranlib", "libfg.a", cwd=d)
    run("ar", "rcT", "thin.a", "f.o", "g.o", cwd=d)
    run("ld", "-r", "-o", "fg.o", "f.o", "g.o", cwd=d)
    cc("-r", "-o", "r.o", "f.o", "g.o", cwd=d)
    assert " T f" in run("nm", "fg.o", cwd=d).stdout and " T g" in run("nm", "r.o", cwd=d).stdout
    for words in (["-L.", "-lfg"], ["thin.a"], ["fg.o"], ["-Wl,--start-group", "r.o", "-Wl,--end-group", "-lm"]):
        cc("--targets=host", "-o", "prog", "main.o", *words, cwd=d)
        run(d / "prog", status=16)


def test_assembly_for_each_isa(src):
    d = src(a_S="""
	.section .text.number,"ax"
	.globl number
	.type number, %function
number:
#if defined(__x86_64__)
	mov $42, %eax
	ret
#elif defined(__aarch64__)
	mov w0, #42
	ret
#elif defined(__riscv)
	li a0, 42
	ret
#endif
""", main_c="int number(void); int (*p)(void) = number; int main(void) { return p(); }")
    cc("-c", "a.S", cwd=d)
    run("ar", "rc", "liba.a", "a.o", cwd=d)
    cc("-o", "prog", "main.c", "-L.", "-la", cwd=d)
    for isa in ISAS:
        on(isa, d / "prog", status=42)
    (d / "x.S").write_text("\t.globl number\nnumber: mov %rax, %rbx\n")
    err = cc("-c", "x.S", status=1, cwd=d).stderr
    assert "popcorn-cc: error: x.S: can't be assembled for aarch64, riscv64: it must have code for each ISA" in err


def test_functions_that_share_a_section(src):
    """They begin at one address on all ISAs, though those before them have other sizes."""
    d = src(a_c="""
#define INIT __attribute__((section("initcode"), noinline))
INIT int one(int x) { return x * 7 / (x + 1); }
INIT int two(int x) { for (int i = 0; i < x; i++) x -= one(i); return x; }
__attribute__((section(".text.special"), noinline)) int three(int x) { return two(x) + one(x); }
int (*p[])(int) = {one, two, three};
int main(void) { int s = 0; for (int i = 0; i < 3; i++) s += p[i](9); return s; }
""")
    cc("-O2", "-o", "prog", "a.c", cwd=d)
    assert len({on(i, d / "prog", status=None).returncode for i in ISAS}) == 1


def test_variadic_argument_that_is_not_passed(src):
    """fcntl() reads its third whether there is one or not."""
    d = src(a_c="#include <fcntl.h>\nint main(void) { return fcntl(1, F_GETFL) < 0 ? 1 : 42; }")
    cc("-O2", "-o", "prog", "a.c", cwd=d)
    for isa in ISAS:
        on(isa, d / "prog", status=42)


def test_level_comes_with_the_object(src):
    d = src(a_c="int main(void) { return 0; }")

    def level(*words):
        cc("-c", *words, "a.c", cwd=d)
        return re.search(r"thinlto-pre-link<(O\w)>|$", cc("-v", "--targets=host", "a.o", cwd=d).stderr)[1]
    assert [level("-O3"), level("-O2"), level("-Os"), level()] == ["O3", "O2", "Os", None]


# Options.

def test_dependencies(src):
    d = src(a_c='#include "a.h"\nint x = A;\n', a_h="#define A 1\n")
    (d / "sub").mkdir()
    cc("-MMD", "-c", "a.c", "-o", "sub/b.o", cwd=d)
    assert (d / "sub/b.d").read_text() == "sub/b.o: a.c a.h\n"
    cc("-MD", "-MF", "deps", "-MT", "target", "-MP", "-c", "a.c", cwd=d)
    assert (d / "deps").read_text().startswith("target: a.c a.h")
    assert cc("-MM", "a.c", cwd=d).stdout == "a.o: a.c a.h\n"


def test_text_outputs(src):
    """-E; -S, which can be compiled again; -S for one ISA."""
    d = src(a_c="#if defined(__riscv) || !defined(__popcorn__)\n#error\n#endif\nint f(void) { return __LDBL_MANT_DIG__; }")
    assert "return 113;" in cc("-E", "a.c", cwd=d).stdout
    cc("-S", "a.c", cwd=d)
    cc("-c", "a.s", "-o", "a.o", cwd=d)
    assert " T f" in run("nm", "a.o", cwd=d).stdout
    for isa, code in (("x86-64", "movl\t$113, %eax"), ("aarch64", "mov\tw0, #113"), ("riscv64", "li\ta0, 113")):
        cc("-O2", "-S", f"--targets={isa}", "-o", "one.s", "a.c", cwd=d)
        assert code in (d / "one.s").read_text()


def test_standard_input_and_response_files(src):
    d = src(words='-O2 -DVALUE="1 + 2"\n"-I." -c -x c -o "with blank.o" -\n')
    cc("@words", cwd=d, input="int number = VALUE;")
    assert " D number" in run("nm", d / "with blank.o").stdout
    assert cc("-E", "-", input="__popcorn__").stdout.endswith("1\n")


def test_what_is_dropped_and_what_is_not(src):
    d = src(a_c="int main(void) { return 0; }")
    r = cc("-c", "-fPIC", "-pie", "-m64", "-fstack-protector-strong", "-fcf-protection", "-flto", "-Wall", "-pthread",
           "-Wl,-z,relro,--as-needed,-O1", "-std=c99", "-pipe", "a.c", cwd=d)
    assert r.stderr == ""
    r = cc("-c", "-march=native", "-mavx2", "-mavx2", "a.c", cwd=d)
    assert r.stderr == "popcorn-cc: warning: -march=native -mavx2: for one kind of processor only; ignored\n"


def test_dry_run_runs_nothing(src):
    d = src(a_c="int main(void) { return 0; }")
    r = cc("-###", "-o", "prog", "a.c", cwd=d)
    assert '"ld.lld-19"' in r.stderr and not (d / "prog").exists()


def test_what_configure_scripts_ask():
    assert cc("--version").stdout.startswith("popcorn-cc ")
    assert cc("-print-prog-name=ld").stdout.strip() == shutil.which("ld")
    assert Path(cc("-print-file-name=libc.a").stdout.strip()).exists()
    assert "libraries: =/" in cc("-print-search-dirs").stdout
    assert cc("-dumpmachine").stdout == "popcorn-unknown-linux-musl\n"
    assert "Target: " in cc("-v").stderr


# What can't work.

@pytest.mark.parametrize("words, says", [
    (["-shared", "a.c"], "-shared: a program is one static binary per ISA: no shared libraries"),
    (["-m32", "a.c"], "-m32: all ISAs have 64 bits"),
    (["-fsanitize=address", "a.c"], "-fsanitize=address: no sanitizers"),
    (["-pg", "a.c"], "-pg: no profiling"),
    (["-T", "x.ld", "a.c"], "-T: the layout of a program is the same on all ISAs, so no linker script"),
    (["a.cc"], "a.cc: C and assembly only"),
    (["--targets=arm", "a.c"], "--targets=arm: of x86-64,aarch64,riscv64,host"),
    (["a.c"], "undefined symbol: missing, used by a.c"),
    (["b.c"], "undefined symbol: main"),
    (["a.c", "-lnowhere"], "-lnowhere: no libnowhere.a"),
    (["none.o"], "none.o: No such file or directory"),
    (["native.o"], "native.o: code for x86-64 only: not made by popcorn-cc"),
    (["a.c", "b.c", "libnative.a"], "not used: libnative.a(native.o): code for x86-64 only"),
    (["text.o"], "text.o: neither an object nor an archive"),
    (["damaged.o"], "damaged.o: damaged"),
    (["a.c", "b.c", "-c", "-o", "x.o"], "-o x.o with several source files and -c"),
    ([], "no input files"),
])
def test_refused(src, words, says):
    d = src(a_c="int missing(void); int main(void) { return missing(); }", b_c="int b;", text_o="hello", native_c="int missing(void) { return 1; }")
    run("clang-19", "--target=x86_64-linux-gnu", "-c", "native.c", cwd=d)
    run("ar", "rc", "libnative.a", "native.o", cwd=d)
    (d / "text.o").write_text("hello")
    if "damaged.o" in words:
        cc("-c", "b.c", "-o", "damaged.o", cwd=d)
        (d / "damaged.o").write_bytes((d / "damaged.o").read_bytes()[:500])
    r = cc(*words, cwd=d, status=1)
    assert f"popcorn-cc: error: {says}" in r.stderr, r.stderr
    assert "Traceback" not in r.stderr and not (d / "a.out").exists()


@pytest.mark.parametrize("text, says", [
    ("int main(void)\n{\n\tint x;\n\tasm(\"mov $7, %0\" : \"=r\"(x));\n\treturn x;\n}",
     "a.c:4: inline assembly that isn't for aarch64: "),
    ("static void (*choose(void))(void)\n{ return 0; }\nvoid f(void) __attribute__((ifunc(\"choose\")));\n"
     "int main(void)\n{ f(); return 0; }", "a.c:1: f: an ifunc chooses by the processor"),
])
def test_construct_that_cannot_work(src, text, says):
    """File and line of it, though nothing was compiled with -g."""
    d = src(a_c=text)
    cc("-c", "a.c", cwd=d)
    r = cc("--targets=aarch64,riscv64", "a.o", status=1, cwd=d)
    assert r.stderr.startswith("popcorn-cc: error: " + says), r.stderr


def test_debug_information_only_if_asked_for(src):
    d = src(a_c="int main(void) { return 0; }")
    for words, there in (([], False), (["-g"], True)):
        cc("-c", *words, "a.c", cwd=d)
        cc("--targets=host", "a.o", "-o", "prog", cwd=d)
        assert (".debug_info" in run("readelf", "-SW", d / "prog").stdout) == there


def test_section_that_differs_in_size(src):
    d = src(a_S='\t.section mine,"aw"\n\t.globl x\nx:\n#ifdef __x86_64__\n\t.quad 1\n#endif\n\t.quad 2\n',
            main_c="extern long x; int main(void) { return (int)x; }")
    assert "datum" in cc("-o", "p", "main.c", "a.S", status=1, cwd=d).stderr


# Build systems.

def test_configure(src):
    """What autoconf finds out by compiling, linking and running."""
    d = src()
    (d / "configure.ac").write_text("""AC_INIT([t], [1])
AC_PROG_CC
AC_USE_SYSTEM_EXTENSIONS
AC_C_BIGENDIAN
AC_CHECK_SIZEOF([long double])
AC_CHECK_FUNCS([strlcpy no_such_function])
AC_SEARCH_LIBS([cos], [m])
AC_CONFIG_HEADERS([config.h])
AC_OUTPUT
""")
    (d / "config.h.in").write_text("#undef HAVE_STRLCPY\n#undef HAVE_NO_SUCH_FUNCTION\n#undef SIZEOF_LONG_DOUBLE\n#undef WORDS_BIGENDIAN\n")
    run("autoconf", cwd=d)
    r = run("sh", "configure", f"CC={BIN}/popcorn-cc", "CFLAGS=-O1", cwd=d)
    config = (d / "config.h").read_text()
    assert "#define HAVE_STRLCPY 1" in config and "define HAVE_NO_SUCH" not in config
    assert "#define SIZEOF_LONG_DOUBLE 16" in config and "cross compiling... no" in r.stdout


def test_cmake(src):
    d = src(main_c="int half(int); int main(void) { return half(84); }", half_c="int half(int x) { return x / 2; }")
    (d / "CMakeLists.txt").write_text("""cmake_minimum_required(VERSION 3.20)
project(t C)
include(CheckFunctionExists)
check_function_exists(strlcpy HAVE_STRLCPY)
add_library(half half.c)
add_executable(prog main.c)
target_link_libraries(prog half)
if(NOT HAVE_STRLCPY)
  message(FATAL_ERROR "strlcpy")
endif()
""")
    run("cmake", "-S", d, "-B", d / "b", f"-DCMAKE_C_COMPILER={BIN}/popcorn-cc", "-DCMAKE_BUILD_TYPE=Release")
    run("cmake", "--build", d / "b")
    on("riscv64", d / "b/prog", status=42)


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_installed(src):
    """The installed compiler, by its Makefile fragment; nothing of it needs the tree."""
    d = src(main_c='#include <math.h>\n#include "v.h"\nint main(int c, char **v) { (void)v; return (int)cbrt(c * V); }', v_h="#define V 27\n")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    subprocess.run(["make", "-s", "-C", TOP, "install-compiler", f"DESTDIR={d}/root", "PREFIX=/usr"], check=True, timeout=300, env=env)
    (d / "Makefile").write_text("BIN := prog\nSRC := main.c\nLIBS := -lm\nBUILD := o\ninclude root/usr/share/build/Makefile\n")
    r = subprocess.run(["make", "-C", d, "all", "check"], capture_output=True, text=True, timeout=120, env=env)
    assert r.returncode == 0 and "one layout" in r.stdout, r.stdout + r.stderr
    assert str(TOP) not in cc_paths(d / "root/usr/bin/popcorn-cc")
    on("aarch64", d / "prog", status=3)
    (d / "v.h").write_text("#define V 64\n")
    subprocess.run(["make", "-s", "-C", d], check=True, timeout=120, env=env)
    run(d / "prog", status=4)
    subprocess.run(["make", "-s", "-C", TOP, "uninstall-compiler", f"DESTDIR={d}/root", "PREFIX=/usr"], check=True, timeout=60, env=env)
    assert not [p for p in (d / "root").rglob("*") if p.is_file()]


def cc_paths(compiler):
    return run(compiler, "-###", "-c", "x.c").stderr + run(compiler, "-print-search-dirs").stdout


@pytest.mark.parametrize("page", ["popcorn-cc.1", "popcorn-check.1"])
def test_man_pages(page):
    r = run("mandoc", "-T", "lint", TOP / "compiler" / page, status=None)
    assert not [ln for ln in (r.stdout + r.stderr).splitlines() if "mandoc.db" not in ln and "referenced manual not found" not in ln]


@pytest.mark.parametrize("file", ["mid.bc", "aarch64.o"])
def test_an_error_of_the_compiler_keeps_what_shows_it(tmp_path, file):
    """It touches what isn't there, in the passes or in one ISA's code: a backtrace, and its input for another try."""
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    (tmp_path / "crash.c").write_text("""#include <fcntl.h>
#include <string.h>
int renameat(int, const char *, int, const char *);
int rename(const char *from, const char *to)
{
	if (strstr(to, FILE))
		*(volatile int *)16 = 1;
	return renameat(AT_FDCWD, from, AT_FDCWD, to);
}""")
    run("gcc", "-shared", "-fPIC", f'-DFILE="{file}"', tmp_path / "crash.c", "-o", tmp_path / "crash.so")
    r = subprocess.run([BIN / "popcorn-cc", "a.c"], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                       env={**os.environ, "TMPDIR": str(tmp_path), "LD_PRELOAD": str(tmp_path / "crash.so")})
    assert r.returncode == 1
    kept = re.search(r"popcorn-lower was ended by signal 11: an error in it; what it was given is kept in (.+)\n", r.stderr)
    assert kept and (Path(kept[1]) / "all.bc").stat().st_size, r.stderr
    assert re.search(r"^ *#?\d+ .*0x[0-9a-f]+ .*rename", r.stderr, re.M), r.stderr
    assert not (tmp_path / "a.out").exists()


def test_what_a_killed_run_leaves_is_in_nobodys_way(tmp_path):
    """Process numbers come again, in a namespace at once."""
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    for n in range(1, 100):
        (tmp_path / f"popcorn-cc.{n}").mkdir()
    run("unshare", "-f", "-p", BIN / "popcorn-cc", "a.c", cwd=tmp_path, env={"TMPDIR": str(tmp_path)})
    assert len(list(tmp_path.glob("popcorn-cc.*"))) == 99
