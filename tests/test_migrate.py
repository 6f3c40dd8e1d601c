# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Programs that move their threads by <popcorn/migrate.h>: the examples, built as their users build them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
RUNNERS = {"x86-64": [], "aarch64": ["qemu-aarch64-static"], "riscv64": ["qemu-riscv64-static"]}
EXAMPLES = sorted(p.name for p in (TOP / "examples/migrate").iterdir())


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    subprocess.run(["make", "-s", "compiler"], cwd=TOP, check=True, timeout=280)
    where = tmp_path_factory.mktemp("migrate") / "examples"
    shutil.copytree(TOP / "examples/migrate", where)
    for name in EXAMPLES:
        for target in ("all", "check"):
            subprocess.run(["make", "-s", "-C", where / name, f"POPCORN={TOP}/build", target], check=True, timeout=60,
                           stdout=subprocess.DEVNULL)
    return where


def run(examples, name, isa, *args, **env):
    return subprocess.run([*RUNNERS[isa], f"{examples}/{name}/{name}_{isa}", *args], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=60, env={**os.environ, **env})


@pytest.mark.parametrize("isa", RUNNERS)
def test_a_visit_to_every_node(examples, isa):
    r = run(examples, "hello", isa, "3", POPCORN_NODES="3")
    assert (r.returncode, r.stdout) == (0, "".join(f"hello from node {n}\n" for n in (1, 2, 0))), r.stderr


def test_no_such_node(examples):
    r = run(examples, "hello", "x86-64", "3", POPCORN_NODES="2")
    assert r.returncode == 1 and r.stderr == "hello: no way to node 2: there is no such node\n"
    r = run(examples, "hello", "x86-64", "3")
    assert r.returncode == 1 and r.stderr == "hello: no way to node 1: there is no such node\n"


@pytest.mark.parametrize("isa", RUNNERS)
def test_a_schedule(examples, isa):
    r = run(examples, "threads", isa, POPCORN_NODES="3", POPCORN_SCHEDULE="0:1:1,0:3:2,1:3:1,1:*:0")
    assert r.returncode == 0 and r.stdout.endswith("pi is about 3.141593\n"), r
    nodes = re.findall(r"thread (\d) worked on node (\d), reported on node (\d)", r.stdout)
    assert nodes == [("0", "0", "0"), ("1", "1", "0"), ("2", "0", "0"), ("3", "2", "1")]


def test_asked_by_a_signal(examples):
    """Wherever it is then: in the loop, or before the call that tells it."""
    with subprocess.Popen([examples / "asked/asked", "1000000"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "POPCORN_NODES": "2"}) as p:
        try:
            assert p.stdout.readline() == f"process {p.pid} on node 0\n"
            for n in (1, 0, 1):
                os.kill(p.pid, 35)
                line = p.stdout.readline()
                if line.startswith("moved by check_migrate() in round "):
                    line = p.stdout.readline()
                assert re.fullmatch(rf"round \d+: node {n}\n", line)
            assert p.poll() is None
        finally:
            p.kill()
