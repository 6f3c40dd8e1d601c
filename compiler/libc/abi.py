# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""What the kernel's headers say for each ISA, and what of it differs from the generic interface, which is riscv64's.

The build makes the shims' tables of it; tests/test_libc.py fails when a header has a difference that is not listed here.
"""

import re
import subprocess

CLANG = "clang-19"
INCLUDE = {"x86-64": ["/usr/include/x86_64-linux-gnu", "/usr/include"],
           "aarch64": ["/usr/aarch64-linux-gnu/include"],
           "riscv64": ["/usr/riscv64-linux-gnu/include"]}
TARGET = {"x86-64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu", "riscv64": "riscv64-linux-gnu"}
GENERIC = "riscv64"

# The architecture's own headers, as far as programs see them through the C library.
HEADERS = ("fcntl errno ioctls ioctl termbits socket sockios signal siginfo mman poll resource ipcbuf msgbuf sembuf shmbuf "
           "stat statfs posix_types param").split()
FURTHER = ["linux/eventpoll.h", "linux/time.h", "linux/timex.h", "linux/utsname.h", "linux/sysinfo.h", "linux/uio.h",
           "linux/resource.h", "linux/un.h", "linux/futex.h", "linux/sched.h", "linux/mqueue.h", "linux/openat2.h"]

# Flags that programs use and the shims translate (shim/syscall.c).
OPEN_FLAGS = ("O_DIRECT", "O_LARGEFILE", "O_DIRECTORY", "O_NOFOLLOW")

# Macro: why its value may differ.
MACROS = {
    **dict.fromkeys((*OPEN_FLAGS, "O_TMPFILE", "O_TMPFILE_MASK", "__O_TMPFILE"), "translated"),
    "EXEC_PAGESIZE": "asked of the kernel",
    "MAP_32BIT": "x86-64's own", "MAP_ABOVE4G": "x86-64's own",
    "PROT_BTI": "aarch64's own", "PROT_MTE": "aarch64's own",
    "MINSIGSTKSZ": "the C library's is the largest", "SIGSTKSZ": "the C library's is the largest",
    "NSIG": "the C library's own", "SIGRTMAX": "the C library's own",
    "SA_RESTORER": "set by the shims",
}

# Struct: how its difference is dealt with.
STRUCTS = {
    "struct stat": "translated",
    "struct epoll_event": "translated",
    "struct sigaction": "translated",
    "struct semid64_ds": "translated",
    "struct __old_kernel_stat": "of no system call that riscv64 has",
    "struct compat_statfs64": "of 32-bit programs",
}

# System calls of the generic table that x86-64 does not have, and the other way round for aarch64.
ARCH_SYSCALLS = {"riscv_flush_icache", "riscv_hwprobe", "renameat", "arch_specific_syscall", "syscalls"}


def clang(isa, source, *options):
    r = subprocess.run([CLANG, f"--target={TARGET[isa]}", "-nostdinc", *[f"-isystem{d}" for d in INCLUDE[isa]],
                        "-x", "c", "-", *options], input=source, capture_output=True, text=True)
    if r.returncode:
        raise RuntimeError(f"{isa}: {r.stderr.strip()[-2000:]}")
    return r.stdout


def value(text):
    """A macro's expansion as a number, or None if it is none."""
    text = re.sub(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]*\b", r"\1", text)
    text = re.sub(r"\b0+([0-7]+)\b", r"0o\1", text)
    if not re.fullmatch(r"[\d\sxXoa-fA-F()|&~<>+*-]+", text):
        return None
    try:
        return eval(text, {"__builtins__": {}})  # noqa: S307: digits and operators only
    except (SyntaxError, NameError, TypeError):
        return None


def macros(isa, headers):
    """All macros of HEADERS that are numbers."""
    include = "".join(f"#include <{h}>\n" for h in headers)
    names = re.findall(r"(?m)^#define (\w+) \S", clang(isa, include, "-E", "-dM"))
    names = [n for n in names if not n.startswith("_") or n.startswith(("__NR_", "__O_"))]
    text = clang(isa, include + "".join(f'\n@@"{n}"@ {n}' for n in names), "-E", "-P")
    found = {n: value(v.strip()) for n, v in re.findall(r'@@"(\w+)"@([^@]*)', text)}
    return {n: v for n, v in found.items() if v is not None}


def asm_headers():
    return [f"asm/{h}.h" for h in HEADERS] + FURTHER


def syscalls(isa):
    return {n[5:]: v for n, v in macros(isa, ["asm/unistd.h"]).items() if n.startswith("__NR_")}


def structs(isa):
    """Size and fields' offsets of the structs in the headers."""
    include = "".join(f"#include <{h}>\n" for h in asm_headers())
    names = set(re.findall(r"\bstruct (\w+)\s*\{", clang(isa, include, "-E", "-P")))
    use = "".join(f"int size_{n}[sizeof(struct {n})];\n" for n in sorted(names))
    text = clang(isa, include + use, "-fsyntax-only", "-Xclang", "-fdump-record-layouts-canonical", "-Xclang",
                 "-fdump-record-layouts")
    found = {}
    for block in text.split("*** Dumping AST Record Layout")[1:]:
        head = re.search(r"0 \| (struct \w+)\n", block)
        if head:
            fields = re.findall(r"(?m)^ *(\d+(?::[\d-]+)?) \|.*?(\w+)$", block)
            found[head[1]] = (fields, re.search(r"\[sizeof=(\d+)", block)[1])
    return found
