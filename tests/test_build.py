# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The build: sparse has nothing to say, modules need no build again, and CI fails when tests do."""

import os
import re
import subprocess
import sys

import pytest

from conftest import TOP

pytestmark = pytest.mark.alone


def make(*args):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", "-C", TOP, *args], capture_output=True, text=True, timeout=600,
                          env=env)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_sparse(kernel):
    r = make("sparse", f"KERNEL={kernel}")
    assert r.returncode == 0, r.stdout[-3000:] + r.stderr[-3000:]
    assert "CHECK" in r.stdout


@pytest.mark.timeout(600)
def test_what_is_built_is_not_built_again():
    assert make("modules").returncode == 0
    assert "CC [M]" not in make("modules").stdout


@pytest.mark.parametrize("body, status, last", [
    ("def test_a(): pass", 0, "1 passed, 0 failed"),
    ("def test_a(): assert 0\ndef test_b(): pass", 1, "1 passed, 1 failed"),
    ("import pytest\n@pytest.fixture\ndef f():\n    yield\n    assert 0\ndef test_a(f): pass", 1,
     "0 passed, 1 failed"),
    ("import pytest\ndef test_a(): pytest.skip('no')\ndef test_b(): pass", 0,
     "1 passed, 0 failed, 1 skipped"),
    ("import pytest\ndef test_a(): pytest.skip('no')", 5, "0 passed, 0 failed, 1 skipped"),
    ("", 5, "0 passed, 0 failed"),
    ("import time, pytest\n@pytest.mark.timeout(1)\ndef test_a(): time.sleep(30)", 1,
     "0 passed, 1 failed"),
    ("1 / 0", 2, "0 passed, 1 failed"),
])
def test_closing_line_and_status(tmp_path, body, status, last):
    (tmp_path / "conftest.py").write_text((TOP / "tests/conftest.py").read_text().replace(
        "Path(__file__).resolve().parent.parent", f"Path({str(TOP)!r})"))
    (tmp_path / "test_x.py").write_text(body + "\n")
    r = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", tmp_path],
                       capture_output=True, text=True, timeout=60)
    assert (r.returncode, r.stdout.splitlines()[-1]) == (status, last), r.stdout


def test_every_file_says_its_licence():
    """The modules' files GPL-2.0-only, all others that or MIT."""
    r = subprocess.run(["git", "-C", TOP, "ls-files"], capture_output=True, text=True, timeout=60)
    if r.returncode:
        pytest.skip("no git repository")
    bare = re.compile(r"(tests/.*/corpus/|tests/compiler/(ir/never|.*\.(out|expected))$|tests/data/|packaging/LICENSES/)")
    modules = re.compile(r"(Kbuild$|(kernel|rdma-kmod|microbench/kmod|tests/kmod)/"
                         r"|transport/socket/k|microbench/floor/k)")
    for name in r.stdout.splitlines():
        if bare.match(name) or not (TOP / name).is_file():
            continue
        head = (TOP / name).read_text().split("\n", 3)[:3]
        said = [m[1].strip() for ln in head if (m := re.search(r"SPDX-License-Identifier:([\w .-]*?)(\*/|-->|$)", ln))]
        assert said == ["GPL-2.0-only" if modules.match(name) else "GPL-2.0-only OR MIT"], name
