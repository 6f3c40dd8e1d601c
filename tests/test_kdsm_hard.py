# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Shared memory in kernel mode under hard use: litmus tests and hammers on four nodes of two machines,
system calls on pages that others want, senseless ioctls and messages, nodes that die or are cut off
at any moment. `make soak` runs the same for longer, on both kernels and architectures."""

import itertools
import re
import subprocess
import time

import pytest

from popcluster import BUILD, TOP
from test_faults import FAST, SLOW, up

DRIVERS = ("msg_rdma", "msg_socket")
_ids = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["make", "-s", "-C", str(TOP)] +
                   [f"build/guest/{p}-{a}" for p in ("litmus", "kdsm-hard") for a in ("amd64", "arm64")],
                   check=True)


class Nodes:
    """Machines with our modules, and each with one node or two: node k is on machine k % machines."""

    def __init__(self, c, driver, each=1, **params):
        self.c, self.driver = c, driver
        n = len(c)
        self.where = [c[i % n + 1] for i in range(n * each)]
        self.ips = [f"10.77.0.{m.number + 100 * (i // n)}" for i, m in enumerate(self.where)]
        self.params = params
        for m in c:
            self.up(m)
        self.linked()

    def up(self, machine):
        for m, ip in zip(self.where, self.ips):
            if m is machine and ip != m.addr:
                m.run(f"ip addr add {ip}/24 dev eth0")
        machine.insmod("popcorn", **self.params)
        machine.insmod(self.driver, ip=",".join(self.ips))

    def linked(self):
        for m in self.c:
            up(m, (len(self.ips) - 1) * self.where.count(m), 60)

    def start(self, program, *args, nodes=None, env="", timeout=170):
        words = " ".join(map(str, args))
        return [m.spawn(f"POPCORN_NODE=kernel:{i} {env} exec /build/guest/{program}-{m.arch} {words}", timeout)
                for i, m in list(enumerate(self.where))[:nodes]]

    def run(self, program, *args, **options):
        """On all nodes, or the first ones; all must end well. Their output."""
        ended = [j.wait() for j in self.start(program, *args, **options)]
        for r in ended:
            assert r.status == 0 and not r.timeout, [(x.status, x.stdout + x.stderr) for x in ended]
        return [r.stdout for r in ended]

    def hard(self, test, ms, nodes=None, **options):
        n = nodes or len(self.where)
        return self.run("kdsm-hard", test, n, ms, nodes=n, **options)

    def gone(self):
        """No region is left, the modules unload, no frame was lost."""
        for m in self.c:
            m.wait_for("test $(grep -vc '^#' /proc/popcorn_regions) -eq 0", 30)
        for m in self.c:
            m.rmmod(self.driver)
            m.rmmod("popcorn")
            assert "never given back" not in m.dmesg()


# What two machines may do, and for how long: (kernel, arch, driver)
ALL = [(k, a, d) for k, a in (("6.1", "amd64"), ("6.12", "amd64"), ("6.1", "mixed"), ("6.1", "arm64"))
       for d in DRIVERS]


@pytest.mark.parametrize("driver", DRIVERS)
def test_litmus(cluster2, driver):
    n = Nodes(cluster2, driver, 2, **SLOW)
    out = n.run("litmus", "all", 25, 2000)[0]
    assert out.count("0 forbidden, 0 stale") == 10, out
    n.gone()


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kernel,arch,driver", ALL)
def test_litmus_for_long(cluster, kernel, arch, driver):
    n = Nodes(cluster(2, kernel=kernel, arch=arch), driver, 2, **SLOW)
    for hold in (0, 500, 5000):
        for _ in range(4):
            n.run("litmus", "all", 500, hold, timeout=500)
    n.gone()


HAMMERS = ("atomics", "peterson", "false_sharing", "straddle")


@pytest.mark.parametrize("driver,hammers", zip(DRIVERS, (HAMMERS[::3], HAMMERS[1:3])))
def test_hammers(cluster2, driver, hammers):
    n = Nodes(cluster2, driver, 2, **SLOW)
    for h in hammers:
        n.hard(h, 1000)
    n.gone()


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("kernel,arch,driver", ALL)
def test_hammers_for_long(cluster, kernel, arch, driver):
    n = Nodes(cluster(2, kernel=kernel, arch=arch), driver, 2, **SLOW)
    for h in HAMMERS:
        for nodes in (2, 4):
            n.hard(h, 60000, nodes)
    n.gone()


def calls(c, driver, rounds, nodes):
    """read, write and O_DIRECT of a block device and a file, futex, ptrace, fork, exec, a core, madvise, mlock,
    mremap, mprotect, vmsplice, munmap of a part."""
    n = Nodes(c, driver, 2, **SLOW)
    c[1].sh("modprobe loop; head -c 1048576 /dev/zero > /tmp/image; head -c 65536 /dev/zero > /share/disk; "
            "losetup /dev/loop0 /tmp/image")
    try:
        n.hard("calls", rounds, nodes, env="KDSM_DISKS=/dev/loop0:/share/disk")
    finally:
        c[1].sh("losetup -d /dev/loop0; rm /tmp/image")
    n.gone()


def test_system_calls(cluster2):
    calls(cluster2, "msg_rdma", 14, 2)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kernel,arch,driver", ALL)
def test_system_calls_for_long(cluster, kernel, arch, driver):
    calls(cluster(2, kernel=kernel, arch=arch), driver, 140, 4)
