# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The test clusters themselves: all four kernels, commands, files, faults that are injected."""

import os
import signal
import subprocess
import sys
import time

import pytest

from conftest import TOP
from popcluster import BUILD, Cluster, ClusterError, CommandError

MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}


def loss(node, address):
    """Does a ping get lost?"""
    return node.run(f"ping -c 1 -W 1 {address}").status != 0


def pings_seen(node):
    """Echo requests that reached a node, IPv4 and IPv6."""
    return node.sh("awk '/^Icmp: [0-9]/ { print $10 }' /proc/net/snmp; "
                   "awk '/^Icmp6InEchos / { print $2 }' /proc/net/snmp6")


@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_kernels_and_architectures(cluster, kernel):
    c = cluster(2, arch="mixed", kernel=kernel)
    for node, other in ((c[1], c[2]), (c[2], c[1])):
        release, machine = node.sh("uname -rm").split()
        assert release.startswith(kernel + ".") and machine == MACHINE[node.arch]
        assert not loss(node, other.addr) and not loss(node, other.addr6)
        assert "rxe0/1 state ACTIVE" in node.sh("rdma link")
    server = c[2].spawn(f"rping -s -a {c[2].addr} -C 3 -V", timeout=60)
    c[1].sh("sleep 0.5")
    c[1].sh(f"rping -c -a {c[2].addr} -C 3 -V", timeout=60)
    server.wait()


@pytest.mark.parametrize("name", ["6.1-amd64", "6.1-arm64", "6.12-amd64", "6.12-arm64"])
def test_popcorn_loads_on(cluster, name):
    kernel, arch = name.split("-")
    node = next(n for n in cluster(2, arch="mixed", kernel=kernel) if n.arch == arch)
    node.insmod("popcorn")
    assert "popcorn" in node.sh("lsmod")
    node.rmmod("popcorn")


def test_no_instruction_that_breaks_flags(cluster2):
    """QEMU 7.2's cmpxchg16b makes flags up; kernels panicked of it once in some hundred boots."""
    assert "cx16" not in cluster2[1].sh("cat /proc/cpuinfo").split()


def test_a_panic_is_told_with_its_cause(cluster):
    node = cluster(1, fresh=True)[1]
    with pytest.raises(ClusterError, match="(?s)died.*sysrq"):
        node.run("echo c > /proc/sysrq-trigger")
    with pytest.raises(ClusterError, match="(?s)not up, it died: .*sysrq"):
        node.run("true")
    node.start()
    with pytest.raises(ClusterError) as e:
        node.run("poweroff -f")
    assert "sysrq" not in str(e.value), "told with what an earlier boot said"


def test_cut_and_heal_touch_one_pair(cluster):
    c = cluster(3)
    for a, b in ((1, 2), (1, 3), (2, 3)):
        assert not loss(c[a], c[b].addr)
    c.cut(1, 2)
    for a, b in ((1, 2), (2, 1)):       # not even one way
        before = pings_seen(c[b])
        assert loss(c[a], c[b].addr) and loss(c[a], c[b].addr6)
        assert pings_seen(c[b]) == before
    assert not loss(c[1], c[3].addr) and not loss(c[2], c[3].addr)
    assert c[1].sh("cat /sys/class/net/eth0/carrier").strip() == "1"
    c.cut(1, 3)
    c.heal(1, 2)
    assert not loss(c[1], c[2].addr) and loss(c[1], c[3].addr)
    c.heal()
    assert not loss(c[1], c[3].addr)


def test_cut_is_in_force_under_load(cluster2):
    a, b = cluster2
    received = "cat /sys/class/net/eth0/statistics/rx_bytes"
    busy = [n.spawn("while :; do :; done", timeout=60) for n in cluster2]
    sink = b.spawn("sleep 60 | nc -l -p 7000 >/dev/null", timeout=60)
    b.wait_for("netstat -ltn | grep -q :7000")
    source = a.spawn(f"nc {b.addr} 7000 </dev/zero", timeout=60)
    before = int(b.sh(received))
    deadline = time.monotonic() + 30
    while int(b.sh(received)) < before + 1_000_000:
        assert time.monotonic() < deadline
    cluster2.cut(1, 2)
    time.sleep(0.3)     # what had arrived before the cut is handled
    at_cut = int(b.sh(received))
    time.sleep(1)
    assert int(b.sh(received)) == at_cut
    cluster2.heal()
    b.wait_for(f"[ $({received}) -gt $(({at_cut} + 100000)) ]")
    for job in (source, sink, *busy):
        job.kill()


def test_kill_and_start(cluster2):
    a, b = cluster2
    boot = b.sh("cat /proc/sys/kernel/random/boot_id")
    running = b.spawn("sleep 60")
    b.kill()
    with pytest.raises(ClusterError, match="died"):
        running.wait()
    assert not b.alive and a.alive and loss(a, b.addr)
    with pytest.raises(ClusterError, match="not up"):
        b.sh("true")
    b.start()
    assert b.sh("cat /proc/sys/kernel/random/boot_id") != boot
    a.wait_for(f"ping -c 1 -W 1 {b.addr}")


def test_pause_is_seen_in_the_clock_or_not(cluster2):
    def uptime(node):
        return float(node.sh("cat /proc/uptime").split()[0])

    a, b = cluster2
    for stop_clock in (False, True):
        before, start = uptime(a), time.monotonic()
        a.pause(stop_clock)
        assert loss(b, a.addr)
        time.sleep(2)
        a.resume()
        passed, guest = time.monotonic() - start, uptime(a) - before
        if stop_clock:
            assert guest < passed - 2
        else:
            assert guest >= passed - 0.5
        assert not loss(b, a.addr)


def test_commands(cluster2):
    node = cluster2[1]
    assert node.run("echo out; echo err >&2; exit 7").__dict__ == dict(
        status=7, raw=b"out\n", stdout="out\n", stderr="err\n", timeout=False)
    assert node.run("kill -9 $$").status == 128 + signal.SIGKILL
    with pytest.raises(CommandError, match="status 3\nwhy"):
        node.sh("echo why; exit 3")
    data = bytes(range(256)) * 1000
    assert node.spawn("cat", stdin=data).wait().raw == data
    # real tools, not busybox's
    assert "kmod" in node.sh("insmod --version") and "iproute2" in node.sh("ip -V")
    # many at a time: all are at the rendezvous before one of them may go on
    jobs = [node.spawn(f"touch /tmp/job{i}; while [ $(ls /tmp/job* | wc -l) -lt 20 ]; do :; done; "
                       f"echo {i}") for i in range(20)]
    assert [j.wait().stdout for j in jobs] == [f"{i}\n" for i in range(20)]
    # late ones are killed with what they started; background ones don't hold up their shell
    late = node.run("sleep 1001 & sleep 1001", timeout=1)
    assert late.timeout and late.status == 124
    node.spawn("sleep 1002").kill()
    node.sh("sleep 1003 &")
    node.wait_for("! ps -o args | grep -q '^sleep 100[12]'")
    node.sh("kill $(pidof sleep)")


def test_files(cluster2, tmp_path):
    node = cluster2[2]
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/a").write_bytes(os.urandom(3_000_000))
    node.put(tmp_path / "tree", "/tmp/tree")
    node.get("/tmp/tree", tmp_path / "back")
    assert (tmp_path / "back/sub/a").read_bytes() == (tmp_path / "tree/sub/a").read_bytes()
    (tmp_path / "hello").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "hello").chmod(0o755)
    node.install(tmp_path / "hello")
    assert node.sh("hello") == "hello\n"


def test_faults_in_the_log_are_found_once(cluster2):
    node = cluster2[1]
    assert node.dmesg_bad() == []
    node.sh("echo 'unregister_netdevice: waiting for eth9 to become free' >/dev/kmsg")
    assert len(node.dmesg_bad()) == 1
    assert node.dmesg_bad() == []


def test_command_line(cluster2):
    def cli(*args, **kw):
        return subprocess.run([TOP / "cluster" / args[0], *args[1:]], capture_output=True, text=True,
                              timeout=60, env={**os.environ, "POPCORN_CLUSTER": str(cluster2.state)},
                              **kw)

    r = cli("sh", "1", "echo $((40 + 2)); exit 5")
    assert (r.returncode, r.stdout) == (5, "42\n")
    assert cli("sh", "2", "cat", input="a b\n").stdout == "a b\n"
    assert cli("sh", "1", "echo", "a  b").stdout == "a  b\n"
    assert cli("sh", "--timeout", "1", "1", "sleep 9").returncode == 124
    assert cli("sh", "3", "true").returncode == 255
    assert cli("cut", "1", "2").returncode == 0
    assert "cut: 1 2" in cli("status").stdout
    assert loss(cluster2[1], cluster2[2].addr)
    assert cli("heal").returncode == 0 and not loss(cluster2[1], cluster2[2].addr)


def test_one_guest_counts_instructions(cluster):
    node = cluster(1, icount=2, fresh=True)[1]
    assert not loss(node, "10.77.1.2")
    job = node.spawn("rping -s -a 10.77.1.2 -C 3 -V", timeout=60)
    node.sh("sleep 1; rping -c -a 10.77.1.2 -I 10.77.1.1 -C 3 -V", timeout=60)
    job.wait()
    assert "rxe0/1 state ACTIVE" in node.sh("rdma link")
    # a loop of shell steps takes as many ns as before, to a few percent
    loop = "read a b </proc/uptime; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; " \
           "read c d </proc/uptime; echo $a $c"
    took = [float(e) - float(s) for s, e in (node.sh(loop).split() for _ in range(2))]
    assert took[0] == pytest.approx(took[1], rel=0.1)


def test_machines_die_with_their_owner():
    code = ("import sys; sys.path.insert(0, sys.argv[1]); from popcluster import Cluster\n"
            "c = Cluster(1, wait=False); s = c.status()['nodes']\n"
            "print(c.state, s['1']['pid'], flush=True); sys.stdin.read()")
    p = subprocess.Popen([sys.executable, "-c", code, str(TOP / "cluster")], text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    state, pid = p.stdout.readline().split()
    assert os.path.exists(f"/proc/{pid}")
    p.kill()
    p.wait()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") or os.path.exists(f"{state}/ctl.sock"):
        assert time.monotonic() < deadline, "QEMU outlives the process that started it"
        time.sleep(0.05)


def test_machines_die_with_their_daemon():
    c = Cluster(1, wait=False)
    pid = c.status()["nodes"]["1"]["pid"]
    c.proc.kill()
    c.proc.wait()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}")
    with Cluster(1, state=c.state, wait=False) as again:    # what it left behind is no obstacle
        assert again.status()["nodes"]["1"]["alive"]


def test_a_cluster_ends_by_itself():
    c = Cluster(1, wait=False, life=2, follow=False)
    assert c.proc.wait(15) == 0
    assert not (c.state / "ctl.sock").exists()
    with pytest.raises(ClusterError, match="no cluster"):
        c.status()


def test_unusable_requests_are_refused():
    for bad in (dict(arch="vax"), dict(kernel="5.10"), dict(n=0), dict(n=2, icount=2)):
        with pytest.raises(ClusterError):
            Cluster(**bad)
    assert BUILD.exists()
