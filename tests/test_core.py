# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The transport core's unit tests: C programs with sanitizers that print TAP."""

import re
import subprocess
from pathlib import Path

import pytest

import tap

TOP = Path(__file__).resolve().parent.parent
PROGRAMS = sorted(p.stem for p in (TOP / "tests" / "core").glob("test_*.c"))


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["make", "-s", "core-tests"], cwd=TOP, check=True, timeout=280)


@pytest.mark.parametrize("program", PROGRAMS)
def test_core(program):
    tap.run(TOP / "build" / "bin" / f"core-{program}")


def test_core_needs_nothing_of_an_engine():
    """Sans-I/O: the objects call nothing but memory and string functions."""
    subprocess.run(["make", "-s", "sim"], cwd=TOP, check=True, timeout=280)
    objs = sorted((TOP / "build" / "obj" / "core").glob("*.o"))
    sources = sorted((TOP / "transport" / "core").glob("*.c"))
    assert [o.stem for o in objs if (TOP / "transport" / "core" / f"{o.stem}.c") in sources] == \
        [s.stem for s in sources]
    nm = subprocess.run(["nm", *objs], capture_output=True, text=True, check=True).stdout
    wanted = {m for m in re.findall(r"^ +U (\S+)", nm, re.M) if not m.startswith("pt_")}
    assert wanted <= {"memcpy", "memset", "memcmp", "strlen", "_GLOBAL_OFFSET_TABLE_",
                      "__stack_chk_fail"}
