# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Shared memory in kernel mode: what a program on several machines sees of one memory, while other
nodes want its pages, refuse, run out of memory and die (tests/dsm/dsmtest.c)."""

import json
import re
import subprocess
import time

import pytest

import test_prof
from popcluster import BUILD, TOP
from test_faults import FAST, SLOW, up

_id = iter(range(1, 1 << 30))


def load(c, driver, nodes=0, **params):
    """Our modules on all machines, all links up, and the test program."""
    subprocess.run(["make", "-s", "-C", str(TOP)] +
                   sorted({f"build/guest/dsmtest-{n.arch}" for n in c}), check=True)
    for n in c:
        n.put(BUILD / f"guest/dsmtest-{n.arch}", "/usr/bin/dsmtest")
        n.insmod("popcorn", **params)
    for n in c:
        n.insmod(driver, ip=c.ips)
    for n in c:
        up(n, max(nodes, len(c)) - 1)


class Run:
    """A test program on every node: (machine, node id)."""

    def __init__(self, where, test, *args, pages=64, home=0, env="", timeout=100):
        self.id = next(_id)
        self.jobs = [n.spawn(f"DSMTEST_LIMIT={120 * n.slow} {env} exec dsmtest {i} {home} {self.id} {pages} {test} " +
                             " ".join(map(str, args)), timeout) for n, i in where]

    def ok(self):
        """All ended well; their output."""
        ended = [j.wait() for j in self.jobs]
        for r in ended:
            assert r.status == 0 and not r.timeout, [x.stdout + x.stderr for x in ended]
        return [r.stdout for r in ended]


def everywhere(c):
    return [(n, n.number - 1) for n in c]


def joined(c):
    """Everybody has a part in a region."""
    for n in c:
        n.wait_for("awk '$4 == \"up\" && $7 { ok = 1 } END { exit !ok }' /proc/popcorn_regions", 20)


def gone(c, driver):
    """The modules unload, so nothing of any region is left; no frame was lost."""
    for n in c:
        n.wait_for("test $(grep -vc '^#' /proc/popcorn_regions) -eq 0", 20)
    for n in c:
        n.rmmod(driver)
        n.rmmod("popcorn")
        assert "never given back" not in n.dmesg()


COHERENCE = [("basic",), ("atomic", 2, 200000), ("false_sharing", 2, 200000), ("message", 2, 50),
             ("peterson", 2, 100), ("lock", 2, 200), ("syscalls", 2, 4),
             ("drop", 64), ("leave", 40, 3), ("ended",)]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kernel,arch,driver", [("6.1", "amd64", "msg_rdma"), ("6.1", "amd64", "msg_socket"),
                                                ("6.12", "amd64", "msg_rdma"), ("6.1", "mixed", "msg_socket")])
def test_two_machines_see_one_memory(cluster, kernel, arch, driver):
    c = cluster(2, kernel=kernel, arch=arch)
    load(c, driver)
    for test in COHERENCE:
        Run(everywhere(c), *test).ok()
    Run([(c[1], 0)], "wrong", pages=512).ok()
    Run([(n, i) for n, i in reversed(everywhere(c))], "basic", home=1).ok()
    gone(c, driver)


@pytest.mark.timeout(400)
def test_three_machines(cluster):
    """Pages go from owner to requester; locks and barriers of three."""
    c = cluster(3)
    load(c, "msg_rdma", **SLOW)
    for test in (("atomic", 3, 100000), ("false_sharing", 3, 100000), ("message", 3, 40), ("lock", 3, 100), ("supply", 3)):
        Run(everywhere(c), *test).ok()
    assert re.search(r"dsm_data +[1-9]", c[2].sh("cat /proc/popcorn_stat"))
    gone(c, "msg_rdma")


def test_two_nodes_in_one_kernel(cluster):
    c = cluster(1, icount=2)
    load(c, "msg_socket", nodes=2)
    for test in (("basic",), ("atomic", 2, 50000), ("lock", 2, 100), ("message", 2, 20)):
        Run([(c[1], 0), (c[1], 1)], *test).ok()
    gone(c, "msg_socket")


def test_a_recording(cluster, tmp_path):
    """popcorn dsm-prof of two nodes in one kernel, by tracepoints, is as that of user mode."""
    c = cluster(1, icount=2)
    n = c[1]
    load(c, "msg_socket", nodes=2)
    n.sh("popcorn dsm-prof record -k -o /tmp/prof sh -c '"
         f"POPCORN_NODE=kernel:1 example-counters {test_prof.ROUNDS} & "
         f"POPCORN_NODE=kernel:0 example-counters {test_prof.ROUNDS} && wait $!'", 60)
    assert not n.sh("ls /sys/kernel/tracing/instances")
    n.get("/tmp/prof", tmp_path / "prof")
    n.sh("rm -r /tmp/prof")
    (tmp_path / "build").symlink_to(BUILD)
    doc = json.loads(test_prof.report("--json", "--symfs", tmp_path, tmp_path / "prof"))
    test_prof.check(doc)
    gone(c, "msg_socket")


def test_pages_that_a_device_uses_stay(cluster2):
    """Reads and writes of a file by device, from and into pages that the other node wants meanwhile."""
    load(cluster2, "msg_socket", **SLOW)
    Run(everywhere(cluster2), "direct", 2, 2000 // cluster2[1].slow ** 2, env="DSMTEST_DISK=/share/disk").ok()
    gone(cluster2, "msg_socket")


@pytest.mark.parametrize("driver", ["msg_rdma", "msg_socket"])
def test_a_member_dies(cluster2, driver):
    """What only it had is lost, with SIGBUS at the address and a line that names it; the rest lives."""
    c = cluster2
    load(c, driver, **FAST)
    run = Run(everywhere(c), "death", 30, pages=300, env="DSMTEST_MARK=/tmp/written")
    c[1].wait_for("test -e /tmp/written", 30)
    c[2].kill()
    c[1].sh("rm /tmp/written")
    r = run.jobs[0].wait()
    assert r.status == 0 and "lost 29" in r.stdout, r.stdout + r.stderr
    assert re.search(r"dsmtest\[\d+\] at 0x[0-9a-f]+: page \d+ of region \d+ of node 0 is lost", c[1].dmesg())
    c[2].start()
    c[2].put(BUILD / f"guest/dsmtest-{c[2].arch}", "/usr/bin/dsmtest")
    c[2].insmod("popcorn", **FAST)
    c[2].insmod(driver, ip=c.ips)
    for n in c:
        up(n)
    Run(everywhere(c), "basic").ok()
    gone(c, driver)


def test_a_cut_that_nobody_dies_of(cluster2):
    """A node whose lease on the home is lost uses no page and waits; healed, it goes on where it was."""
    c = cluster2
    load(c, "msg_socket", hb_ms=100, lease_ms=1500, dead_ms=15000)
    run = Run(everywhere(c), "message", 2, 2000 // c[1].slow)
    joined(c)
    c.cut(1, 2)
    c[2].wait_for("grep -q ' paused ' /proc/popcorn_regions", 10)
    time.sleep(1)
    c.heal()
    run.ok()
    gone(c, "msg_socket")


def test_a_waiter_is_killed(cluster2):
    """While the home can't be reached a fault waits; it can be killed, and what it asked for is no one's loss."""
    c = cluster2
    load(c, "msg_socket", **SLOW)
    run = Run(everywhere(c), "touch", 3)
    joined(c)
    c.cut(1, 2)
    late = c[2].spawn(f"exec dsmtest 1 0 {run.id} 64 touch 9", 60)
    time.sleep(2)
    assert " dsm" in c[2].sh("cat /proc/popcorn_stat")
    c[2].sh("kill -9 $(pidof dsmtest)")
    late.wait()
    run.jobs[1].wait()
    c.heal()
    c[1].sh("kill -9 $(pidof dsmtest)")
    run.jobs[0].wait()
    gone(c, "msg_socket")


def test_the_nodes_go(cluster2):
    """rmmod of the driver ends the regions of its nodes; popcorn.ko stays while one is open."""
    c = cluster2
    load(c, "msg_socket", **SLOW)
    run = Run(everywhere(c), "touch", 3)
    joined(c)
    assert c[2].run("rmmod popcorn").status != 0
    c[2].rmmod("msg_socket")
    assert c[2].run("rmmod popcorn").status != 0
    c[2].sh("grep -q ' over ' /proc/popcorn_regions")
    for n, j in zip(c, run.jobs):
        n.sh("kill -9 $(pidof dsmtest)")
        j.wait()
    c[2].wait_for("rmmod popcorn", 20)
    c[1].wait_for("test $(grep -vc '^#' /proc/popcorn_regions) -eq 0", 20)
    c[1].rmmod("msg_socket")
    c[1].rmmod("popcorn")


def test_whose_region_it_is(cluster2):
    c = cluster2
    load(c, "msg_socket")
    for env, perm, allowed in (("0", "0600", True), ("65534", "0600", False), ("65534", "0606", True)):
        run = Run([(c[1], 0)], "touch", 3, env=f"DSMTEST_PERM={perm}")
        c[1].wait_for(f"grep -q '^ *{run.id} ' /proc/popcorn_regions", 20)
        for n, i in everywhere(c):
            if i == 0:
                continue
            r = n.run(f"DSMTEST_UID={env} timeout 5 dsmtest {i} 0 {run.id} 64 touch 4")
            assert ("touched" in r.stdout) == allowed, r.stdout + r.stderr
            assert allowed or "Permission denied" in r.stderr
        c[1].sh("kill -9 $(pidof dsmtest)")
        run.jobs[0].wait()
    gone(c, "msg_socket")


def test_more_than_fits(cluster2):
    """4 GiB on a small machine: up to the limit, then SIGBUS and a line that says why; nobody is killed."""
    n = cluster2[1]
    load(cluster2, "msg_socket", dsm_pages_max=5000)
    out, = Run([(n, 0)], "fill", 1 << 20, pages=1 << 20).ok()
    filled = int(re.search(r"filled (\d+)", out)[1])
    assert 4900 < filled <= 5000
    assert "dsm_pages_max" in n.dmesg() and "oom" not in n.dmesg().lower()
    gone(cluster2, "msg_socket")
