# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The instruction sets, the front end that they share, and where things lie in a program's memory."""

import os
from collections import namedtuple

# emulation is lld's name, machine ELF's e_machine, private the start of what only this ISA has.
Isa = namedtuple("Isa", "name triple flags emulation machine private")

ISAS = {i.name: i for i in (
    Isa("x86-64", "x86_64-unknown-linux-musl", (), "elf_x86_64", 62, 0x70000000),
    Isa("aarch64", "aarch64-unknown-linux-musl", (), "aarch64linux", 183, 0x74000000),
    Isa("riscv64", "riscv64-unknown-linux-musl", ("-march=rv64gc", "-mno-relax"), "elf64lriscv", 243, 0x78000000),
)}
HOST = {"x86_64": "x86-64"}.get(os.uname().machine, os.uname().machine)

# Addresses, the same on all ISAs. Code is not position-independent and in the small model, so all of
# it and all data lie below 2 GiB; what the program maps at run time lies below 2^38, which is
# all that riscv64 with Sv39 has. 0x1000 below TEXT hold the ELF headers.
TEXT = 0x10001000
TEXT_MAX = 96 << 20         # aarch64's branches reach 128 MiB, and the private text comes after it
DATA = 0x30000000
DATA_END = 0x70000000
PRIVATE_MAX = 0x04000000
SEGMENT = 0x10000           # the largest page of any ISA's kernel
TOP = 1 << 38

# One front end for all ISAs: its ABI has no struct in memory that a caller copies, a va_list of one
# pointer, and a long double of 128 bits. It hides itself, so that sources take their portable path.
HIDDEN = """__riscv __riscv_a __riscv_arch_test __riscv_atomic __riscv_c __riscv_cmodel_medlow __riscv_compressed
__riscv_d __riscv_div __riscv_f __riscv_fdiv __riscv_flen __riscv_float_abi_double __riscv_fsqrt __riscv_i __riscv_m
__riscv_misaligned_avoid __riscv_mul __riscv_muldiv __riscv_xlen __riscv_zicsr __riscv_zifencei __riscv_zmmul""".split()
CANONICAL = ["--target=riscv64-unknown-linux-musl", "-march=rv64gc", *("-U" + m for m in HIDDEN), "-D__popcorn__=1"]
# Before what the user says, and after it.
LANGUAGE = ["-fsigned-char"]
FIXED = ["-ffp-contract=off", "-fno-pic", "-fno-stack-protector", "-fno-exceptions", "-fno-asynchronous-unwind-tables"]
