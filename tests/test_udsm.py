# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Shared memory in user mode: programs of several nodes on this machine, over shm and TCP.

Every scenario is a program of tests/udsm, built with sanitizers, which each node runs and which
ends with 0 if what it saw was coherent.
"""

import itertools
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
BIN = TOP / "build" / "bin"
WIRES = ("shm", "tcp")
BOUND = 110
DEAD_MS = 4000

# What of userfaultfd user mode needs.
OLDEST = (5, 10) if platform.machine() == "x86_64" else (6, 10)
TOO_OLD = tuple(int(n) for n in platform.release().split(".")[:2]) < OLDEST and \
    f"shared memory in user mode needs Linux {OLDEST[0]}.{OLDEST[1]}"

nets = itertools.count(os.getpid() % 200)


@pytest.fixture(scope="module", autouse=True)
def built():
    if TOO_OLD:
        pytest.skip(TOO_OLD)
    subprocess.run(["make", "-s", "udsm-tests", "litmus", "build/bin/kdsm-hard", "tool", "build/bin/popcorn-bench-dsm",
                    "examples"], cwd=TOP, check=True, timeout=280)


def run(*command, bound=BOUND, **env):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=bound,
                          env={**os.environ, **env})


def share(nodes, scenario, *arguments, wire="shm", fault="thread", options=(), **env):
    return run(BIN / "popcorn", "run", "--nodes", f"local:{nodes}", "--wire", wire, "--fault", fault,
               "--dead", 20000, *options, BIN / "udsm-share", scenario, *arguments, **env)


def good(done):
    assert done.returncode == 0, done.stdout + done.stderr
    assert "runtime error" not in done.stderr and "Sanitizer" not in done.stderr, done.stderr


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("nodes", (2, 3))
@pytest.mark.parametrize("scenario", ("counter", "locked", "shared", "peterson", "message",
                                      "threads", "barriers", "pages", "scan", "calls", "child",
                                      "again"))
def test_coherence(scenario, nodes, wire):
    good(share(nodes, scenario, 500, wire=wire))


def test_nodes_that_are_no_neighbours_of_the_home():
    """More than PD_FAN: words of the last ones go through others."""
    good(share(11, "barriers", 100))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("scenario", ("counter", "locked", "shared", "peterson", "threads", "pages",
                                      "scan", "again"))
def test_faults_as_signals(scenario, wire):
    good(share(3, scenario, 300, wire=wire, fault="sigbus"))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("scenario", ("counter", "locked", "threads", "scan"))
def test_spinning(scenario, wire):
    good(share(2, scenario, 500, wire=wire, options=("--spin",)))


@pytest.mark.parametrize("fault, scenario", (
    ("thread", "counter"), ("thread", "pages"), ("thread", "calls"), ("thread", "again"),
    ("sigbus", "peterson"), ("sigbus", "threads"), ("sigbus", "scan"), ("sigbus", "again")))
def test_pages_that_are_copied(fault, scenario):
    """As on kernels before 6.4."""
    good(share(3, scenario, 300, wire="tcp" if scenario == "scan" else "shm", fault=fault,
               POPCORN_COPY="1"))


def test_pages_that_one_node_copies():
    script = f'export POPCORN_COPY=${{POPCORN_NODE:5:1}}; exec {BIN}/udsm-share counter 500'
    good(run(BIN / "popcorn", "run", "-n", "local:2", "bash", "-c", script))


@pytest.mark.parametrize("wire", WIRES)
def test_arguments(wire):
    good(share(2, "arguments", wire=wire))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ("thread", "sigbus"))
def test_the_home_ends_it(wire, fault):
    good(share(3, "ended", wire=wire, fault=fault))


@pytest.mark.parametrize("wire", WIRES)
def test_who_goes_at_the_end_takes_nothing_along(wire):
    """The home waits for one node (which is stopped) to know that it is over, while another one is gone."""
    procs = start([BIN / "udsm-share", "ended"], 3, wire, POPCORN_DEAD_MS="20000")
    try:
        for p in procs:
            assert p.stdout.readline() == "ready\n"
        procs[2].send_signal(signal.SIGSTOP)
        procs[1].wait(BOUND)
        time.sleep(0.3)
        procs[2].send_signal(signal.SIGCONT)
    finally:
        out = finish(procs)
    assert [p.returncode for p in procs] == [0, 0, 0], out
    assert "died" not in out[0][1], out[0][1]


NOBODY = "su -s /bin/sh nobody -c '{}'"


def test_debian_12(cluster2):
    """Linux 6.1, a program without any rights: nodes on one machine and on two; system calls."""
    subprocess.run(["make", "-s", "build/guest/udsm-share"], cwd=TOP, check=True, timeout=100)
    one = cluster2[1]
    for n in cluster2:
        n.install(TOP / "build/guest/udsm-share")
    local = "exec /build/bin/popcorn run -n local:2 -d 60000 -w {} -f {} /usr/bin/udsm-share {}"
    said = one.run(NOBODY.format(local.format("shm", "thread", "counter 20")))
    assert said.status == 0 and "system calls get EFAULT" in said.stderr, said.stdout + said.stderr
    said = one.run(NOBODY.format(local.format("tcp", "sigbus", "again 20")))
    assert said.status == 0 and not said.stderr, said.stdout + said.stderr
    two = [n.spawn(NOBODY.format(f"POPCORN_NODE=user:{n.number - 1}:tcp:{one.addr},{cluster2[2].addr} "
                                 "POPCORN_DEAD_MS=60000 exec /usr/bin/udsm-share again 20"))
           for n in cluster2]
    assert [j.wait().status for j in two] == [0, 0], [j.wait().stderr for j in two]
    one.sh("chmod 666 /dev/userfaultfd")
    said = one.run(NOBODY.format(local.format("shm", "thread", "calls")))
    one.sh("chmod 600 /dev/userfaultfd")
    assert said.status == 0 and not said.stderr, said.stdout + said.stderr


def start(command, nodes, wire, each=lambda i: {}, **env):
    """A process a node, outside popcorn run, which would end the others when one is killed.
    @each: variables of one node."""
    net = next(nets)
    addresses = ",".join(f"127.{net % 250 + 1}.9.{i + 1}" for i in range(nodes))
    return [subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True,
                             env={**os.environ, "POPCORN_NODE": f"user:{i}:{wire}:{addresses}",
                                  "POPCORN_DEAD_MS": str(DEAD_MS), **env, **each(i)})
            for i in range(nodes)]


def finish(procs):
    try:
        return [p.communicate(timeout=BOUND) for p in procs]
    finally:
        for p in procs:
            if p.poll() is None:
                p.kill()
                p.wait()


@pytest.mark.parametrize("wire", WIRES)
def test_a_dead_node_takes_only_its_pages(wire):
    procs = start([BIN / "udsm-share", "killed"], 3, wire)
    out = finish(procs)
    assert procs[2].returncode == -signal.SIGKILL
    assert [p.returncode for p in procs[:2]] == [0, 0], out
    assert "page 3 died with node 2 (offset 0x3000, address 0x" in out[0][1]


@pytest.mark.parametrize("wire", WIRES)
def test_a_dead_home_ends_the_region(wire):
    procs = start([BIN / "udsm-share", "home"], 3, wire)
    out = finish(procs)
    assert procs[0].returncode == -signal.SIGKILL
    assert [p.returncode for p in procs[1:]] == [0, 0], out
    assert "its home died" in out[1][1]


@pytest.mark.parametrize("wire", WIRES)
def test_a_node_that_was_cut_off_finds_out(wire):
    procs = start([BIN / "udsm-share", "cut"], 3, wire)
    try:
        for p in procs:
            assert p.stdout.readline() == "ready\n"
        procs[2].send_signal(signal.SIGSTOP)
        for p in procs[:2]:
            assert p.stdout.readline() == "went on\n"
        procs[2].send_signal(signal.SIGCONT)
    finally:
        out = finish(procs)
    assert [p.returncode for p in procs] == [0, 0, 0], out


@pytest.mark.soak
@pytest.mark.parametrize("wire", WIRES)
def test_who_leaves_waits_for_a_slow_home(wire):
    procs = start([BIN / "udsm-share", "patient"], 3, wire, POPCORN_DEAD_MS="40000")
    try:
        for p, says in zip(procs, ("stays", "leaves", "leaves")):
            assert p.stdout.readline() == says + "\n"
        procs[0].send_signal(signal.SIGSTOP)
        time.sleep(12)
        assert procs[1].poll() is None
        procs[0].send_signal(signal.SIGCONT)
    finally:
        out = finish(procs)
    assert [p.returncode for p in procs] == [0, 0, 0], out


@pytest.mark.parametrize("wire", WIRES)
def test_a_peer_that_breaks_the_rules(wire):
    net = next(nets)
    addresses = ",".join(f"127.{net % 250 + 1}.9.{i + 1}" for i in range(2))
    procs = [subprocess.Popen([BIN / "udsm-peer", role, addresses, wire], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) for role in ("home", "peer")]
    out = finish(procs)
    assert [p.returncode for p in procs] == [0, 0], out
    assert "runtime error" not in out[0][1] and "Sanitizer" not in out[0][1], out


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"),
                    reason="needs root, to become nobody")
@pytest.mark.parametrize("wire", WIRES)
def test_unprivileged(wire, tmp_path):
    # A copy that nobody may read, wherever the tree is.
    for name in ("popcorn", "udsm-share"):
        shutil.copy(BIN / name, tmp_path)
    for d in (tmp_path, *tmp_path.parents):
        if d.stat().st_uid == os.geteuid() and d != Path("/tmp") and Path("/tmp") in d.parents:
            d.chmod(0o755)
    done = run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", tmp_path / "popcorn",
               "run", "-n", "local:2", "-w", wire, tmp_path / "udsm-share", "counter", 500)
    good(done)


def test_run_tells_the_worst_status():
    command = [BIN / "popcorn", "run", "-n", "local:3"]
    assert run(*command, "sh", "-c", "exit 0").returncode == 0
    script = 'case $POPCORN_NODE in user:1:*) exit 3;; user:2:*) exit 1;; esac'
    assert run(*command, "sh", "-c", script).returncode == 3
    script = 'case $POPCORN_NODE in user:1:*) kill -9 $$;; esac; exec sleep 100'
    done = run(*command, "sh", "-c", script, bound=50)
    assert done.returncode == 128 + signal.SIGKILL and "node 1: Killed" in done.stderr
    assert run(*command, "/nowhere/program").returncode == 127


@pytest.mark.parametrize("arguments", ((), ("-n", "local:0", "true"), ("-n", "local:65", "true"),
                                       ("-n", "moon:2", "true"), ("-n", "local:2"),
                                       ("-n", "local:2", "-w", "string", "true")))
def test_run_refuses(arguments):
    assert run(BIN / "popcorn", "run", *arguments).returncode == 2


def test_bench_prints_rows():
    done = run(BIN / "popcorn", "bench", "dsm", "--nodes", "local:2", "--rounds", 1, "--json",
               "--poll", "block", "--row", "read_fault")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r["transport"] for r in rows] == ["shm", "tcp"]
    assert all(r["median"] > 0 and r["floor"] > 0 and r["engine"] == "user" for r in rows)


@pytest.mark.parametrize("program,arguments", (("matrix", (64,)), ("histogram", (100000,))))
def test_examples(program, arguments):
    done = run(BIN / "popcorn", "run", "-n", "local:3", BIN / f"example-{program}", *arguments)
    assert done.returncode == 0 and "right" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("nodes,last", ((2, "SWAP+R"), (4, "IRIW")))
def test_litmus(nodes, last, wire):
    done = run(BIN / "popcorn", "run", "-n", f"local:{nodes}", "-w", wire, BIN / "litmus", "all", 500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{last}: 500 runs" in done.stdout


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ("thread", "sigbus"))
def test_litmus_for_long(wire, fault):
    for runs, hold, times in ((1000, 0, 5), (500, 500, 2), (100, 5000, 3)):
        for _ in range(times):
            done = run(BIN / "popcorn", "run", "-n", "local:4", "-w", wire, "-f", fault, "-d", 60000, BIN / "litmus",
                       "all", runs, hold, bound=500)
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.count(f"{runs} runs, 0 forbidden, 0 stale") == 10


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("nodes,fault", ((2, "sigbus"), (4, "thread")))
@pytest.mark.parametrize("hammer", ("atomics", "peterson", "false_sharing", "straddle", "upgrades"))
def test_hammers_for_long(hammer, nodes, fault, wire):
    done = run(BIN / "popcorn", "run", "-n", f"local:{nodes}", "-w", wire, "-f", fault, "-d", 60000,
               BIN / "kdsm-hard", hammer, nodes, 60000, bound=300)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("fault", ("thread", "sigbus"))
def test_deaths_at_work(wire, fault, tmp_path):
    """One of three is killed, or stopped for a moment or for good, at any moment while all write."""
    rnd = random.Random(f"{wire} {fault}")
    for k in range(10):
        what, victim, moment = rnd.choice(("kill", "cut", "blink")), rnd.randrange(3), 2 * rnd.random()
        case = f"{what} {victim} after {moment:.2f} s"
        began = [tmp_path / f"began-{k}-{i}" for i in range(3)]
        left = 3 if what == "blink" else 2
        procs = start([BIN / "kdsm-hard", "chaos", 3, 14000], 3, wire, POPCORN_FAULT=fault, each=lambda i: {
            "KDSM_BEGAN": str(began[i]),
            # A home that was stopped for good is the only one left of its region.
            "KDSM_LEFT": str(1 if what == "cut" and victim == i == 0 else left)})
        try:
            while not all(f.exists() for f in began) and not any(p.poll() for p in procs):
                time.sleep(0.01)
            time.sleep(moment)
            procs[victim].send_signal(signal.SIGKILL if what == "kill" else signal.SIGSTOP)
            if what != "kill":
                time.sleep(0.5 + moment / 2 if what == "blink" else 2 * DEAD_MS / 1000)
                procs[victim].send_signal(signal.SIGCONT)
        finally:
            out = finish(procs)
        agreed = set()
        for i, (said, log) in enumerate(out):
            if i == victim and what == "kill":
                continue
            assert procs[i].returncode == 0, (case, out)
            # A stopped one's clock goes on.
            assert int(re.search(r"longest (\d+) ms", said)[1]) < 4 * DEAD_MS, (case, said)
            if i != victim or what == "blink":
                agreed.add(re.search(r"agreed (\w+)", said)[1])
            if not victim and i and what != "blink":
                assert "its home died" in log, (case, out)
        assert len(agreed) == 1, (case, out)
