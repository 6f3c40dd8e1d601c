# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Shared memory in kernel mode under hard use: litmus tests and hammers on four nodes of two machines,
system calls on pages that others want, senseless ioctls and messages, nodes that die or are cut off
at any moment. `make soak` runs the same for longer, on both kernels and architectures."""

import random
import re
import subprocess
import time

import pytest

from popcluster import BUILD, TOP
from test_faults import SLOW, up

DRIVERS = ("msg_rdma", "msg_socket")
MORTAL = dict(hb_ms=200, lease_ms=4000, dead_ms=8000)   # soon dead, but not of a busy host


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["make", "-s", "-C", str(TOP)] +
                   [f"build/guest/{p}-{a}" for p in ("litmus", "kdsm-hard", "kdsm-fuzz") for a in ("amd64", "arm64")],
                   check=True)


def regions_gone(c):
    for m in c:
        m.wait_for("! grep -v '^#' /proc/popcorn_regions", 30)


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
        """@env: variables, or what gives them for a node."""
        words = " ".join(map(str, args))
        return [m.spawn(f"POPCORN_NODE=kernel:{i} KDSM_LIMIT={timeout * m.slow - 5} {env(i) if callable(env) else env} exec /build/guest/{program}-{m.arch} {words}", timeout)
                for i, m in list(enumerate(self.where))[:nodes]]

    def run(self, program, *args, **options):
        """On all nodes, or the first ones; all must end well. Their output."""
        return self.well(self.start(program, *args, **options))

    @staticmethod
    def well(jobs):
        ended = [j.wait() for j in jobs]
        for r in ended:
            assert r.status == 0 and not r.timeout, [(x.status, x.stdout + x.stderr) for x in ended]
        return [r.stdout for r in ended]

    def hard(self, test, ms, nodes=None, **options):
        n = nodes or len(self.where)
        return self.run("kdsm-hard", test, n, ms, nodes=n, **options)

    def gone(self):
        """No region is left, the modules unload, no frame was lost."""
        regions_gone(self.c)
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
        for _ in range(20):
            n.run("litmus", "all", 100, hold, timeout=500)
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


def upgrades(c, driver, ms):
    """On three machines, so that who writes page after page has two to tell."""
    n = Nodes(c, driver, **SLOW)
    for hold in (0, 50000):
        n.hard("upgrades", ms, env=f"KDSM_HOLD={hold}")
    n.gone()


def test_streams_of_upgrades(cluster):
    upgrades(cluster(3), "msg_rdma", 500)


@pytest.mark.soak
@pytest.mark.parametrize("kernel,arch,driver", ALL)
def test_streams_of_upgrades_for_long(cluster, kernel, arch, driver):
    upgrades(cluster(3, kernel=kernel, arch=arch), driver, 60000)


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


def senseless_calls(c, driver, ms, seed):
    """Regions of nodes on both machines, called by root on one and by nobody on the other, while four
    nodes share another region, whose every write is looked for."""
    n = Nodes(c, driver, 2, dsm_pages_max=20000, **SLOW)
    hammer = n.start("kdsm-hard", "false_sharing", 4, ms)
    fuzz = [m.spawn(f"exec /build/guest/kdsm-fuzz-{m.arch} {ms} {seed} {uid}") for m, uid in zip(c, (0, 65534))]
    n.well(hammer + fuzz)
    n.gone()


def test_senseless_calls(cluster2):
    senseless_calls(cluster2, "msg_socket", 3000, 1)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kernel,arch,driver", ALL)
def test_senseless_calls_for_long(cluster, kernel, arch, driver):
    for seed in range(4):
        senseless_calls(cluster(2, kernel=kernel, arch=arch), driver, 30000, seed)


def senseless_messages(c, driver, count, seeds):
    """From a member, a home and a stranger, to a node that has another region as well."""
    n = Nodes(c, driver, 2, **SLOW)
    c[2].insmod("popcorn_dsmfuzz")
    for seed in seeds:
        #   region home via from to; nodes 1 and 3 are the second machine's
        for region, home, via, sender in ((50, 0, 1, 1), (51, 1, 3, 1), (52, 0, 1, 3)):
            hammer = n.start("kdsm-hard", "straddle", 4, 1000)
            victims = n.start("kdsm-hard", "victim", 2, 0, region, nodes=2, env=f"KDSM_HOME={home}")
            for m in c:
                m.wait_for(f"grep -q '^ *{region} ' /proc/popcorn_regions")
            c[2].sh(f"echo region={region} home={home} via={via} from={sender} to=0 n={count} seed={seed} "
                    "> /proc/popcorn_dsmfuzz")
            n.well(hammer)
            for m in c:
                m.sh("killall -9 kdsm-hard-" + m.arch)
            for j in victims:
                assert j.wait().status == 128 + 9
    c[2].rmmod("popcorn_dsmfuzz")
    n.gone()


def test_senseless_messages(cluster2):
    senseless_messages(cluster2, "msg_rdma", 150, [1])


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("kernel,arch,driver", ALL)
def test_senseless_messages_for_long(cluster, kernel, arch, driver):
    senseless_messages(cluster(2, kernel=kernel, arch=arch), driver, 3000, range(20))


def death(n, what, victim, moment, ms=12000):
    """One region of three nodes from its making to its end, one of which is killed, or cut off for good
    or for a moment, while all write."""
    c, m = n.c, n.c[victim]
    left = 3 if what == "blink" else 2
    for x in c:
        x.sh("rm -f /tmp/began")
    before = {x: len(x.dmesg()) for x in c}
    # A home that is cut off is the only one left of its region.
    jobs = n.start("kdsm-hard", "chaos", 3, ms,
                   env=lambda i: f"KDSM_BEGAN=/tmp/began KDSM_LEFT={1 if what == 'cut' and i == victim - 1 else left}")
    for x in c:
        x.wait_for("test -e /tmp/began")
    time.sleep(moment)
    others = [x for x in c if x is not m]
    if what == "kill":
        m.kill()
    else:
        for x in others:
            c.cut(victim, x.number)
    if what == "blink":
        time.sleep(1 + moment)
        c.heal()
    out = {}
    for x, j in zip(c, jobs):
        if x is m and what == "kill":
            continue
        r = j.wait()
        assert r.status == 0 and not r.timeout, (what, victim, x.number, r.stdout + r.stderr)
        longest = int(re.search(r"longest (\d+) ms", r.stdout)[1])
        assert longest < 4 * n.params["dead_ms"], r.stdout
        lost = int(re.search(r"lost (\d+) ", r.stdout)[1])
        log = x.dmesg()[before[x]:]
        if victim == 1 and what != "blink" and x is not m:
            # All of it, and all know why.
            assert lost and "region 1 of node 0 has ended" in log, (what, r.stdout, log)
        if lost:
            assert re.search(r"kdsm-hard\S*\[\d+\] at 0x[0-9a-f]+: page \d+ of region 1 of node 0 is lost", log), log
        out[x.number] = re.search(r"agreed (\w+)", r.stdout)[1]
    # Home and member, or both members of a home that is gone, have seen the same.
    agree = [a for k, a in out.items() if what == "blink" or k != victim]
    assert len(set(agree)) == 1 and len(agree) == left, (what, victim, out)
    # Who was declared dead comes back as another.
    if what == "cut":
        regions_gone([m])
        m.rmmod(n.driver, "popcorn")
        c.heal()
    if what == "kill":
        m.start()
    if what != "blink":
        n.up(m)
    n.linked()
    regions_gone(c)


def test_deaths_at_work(cluster):
    n = Nodes(cluster(3), "msg_socket", **MORTAL)
    death(n, "cut", 3, 0.5)
    death(n, "kill", 1, 0.5, 10000)
    n.gone()


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kernel,arch,driver", ALL)
def test_deaths_at_work_for_long(cluster, kernel, arch, driver):
    """The same region again after each."""
    n = Nodes(cluster(3, kernel=kernel, arch=arch), driver, **MORTAL)
    rnd = random.Random(f"{kernel} {arch} {driver}")
    for _ in range(20):
        death(n, rnd.choice(("cut", "kill", "blink")), rnd.randrange(1, 4), 2.5 * rnd.random())
    n.gone()
