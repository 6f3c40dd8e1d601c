# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Links that are cut, nodes that die, stop, come back: between real kernels, under load whose every
effect is checked (tests/kmod/torture.c)."""

import errno
import json
import time

import pytest

FAST = dict(hb_ms=100, lease_ms=2000, dead_ms=5000)     # so that death is soon
SLOW = dict(hb_ms=200, lease_ms=20000, dead_ms=40000)   # so that nobody dies


def load(c, driver, also=(), **params):
    """Our modules on all nodes of a cluster, and all links up."""
    ips = ",".join(n.addr for n in c)
    for n in c:
        n.insmod("popcorn", **params)
        n.insmod(driver, ip=ips)
        for d in also:
            n.insmod(d)
        n.insmod("popcorn_torture")
    for n in c:
        up(n, len(c) - 1)


def up(node, peers=1, timeout=30):
    node.wait_for(f"test $(grep -c ' up ' /proc/popcorn_peers) -ge {peers}", timeout)


def peer(node, who):
    """Columns of a peer in /proc/popcorn_peers."""
    for line in node.sh("cat /proc/popcorn_peers").splitlines():
        f = line.split()
        if f[0] == "-" and f[2] == str(who):
            return dict(zip(("state", "transport", "sessions", "attempts", "error"), f[4:]))
    raise AssertionError(f"no peer {who}")


def torture(node, command=None, timeout=60):
    if command:
        node.sh(f"echo '{command}' > /proc/popcorn_torture", timeout)
    return json.loads(node.sh("cat /proc/popcorn_torture"))


def start(node, to, ms=20):
    node.sh(f"echo 'start from={node.number - 1} to={to.number - 1} ms={ms}' > /proc/popcorn_torture")


def settled(a, b, lost_ok=False, late=0):
    """End the load on a; b has got all that was sent, once, and nothing was wrong."""
    torture(a, "stop", 90)
    for _ in range(100):
        s, r = torture(a), torture(b)
        if r["got"] == s["sent"]:
            break
        time.sleep(0.1)
    for x in (s, r):
        assert x["bad_echo"] == x["bad_page"] == x["stale"] == x["bad_order"] == 0, x
    if not lost_ok:
        assert r["got"] == s["sent"] and s["failed"] == 0, (s, r)
    assert s["echoes"] > 0 and s["pages"] > 0 and min(s["sent"]) > 0, s
    return s, r


@pytest.mark.parametrize("driver", ["msg_rdma", "msg_socket"])
def test_cut_for_a_while_loses_nothing(cluster2, driver):
    c = cluster2
    load(c, driver, **SLOW)
    start(c[1], c[2])
    for seconds in (1, 5):
        time.sleep(1)
        c.cut(1, 2)
        time.sleep(seconds)
        before = torture(c[1])
        c.heal()
        deadline = time.monotonic() + 30
        while torture(c[1])["pages"] <= before["pages"] and time.monotonic() < deadline:
            time.sleep(0.2)
        assert torture(c[1])["pages"] > before["pages"], "the load doesn't go on after healing"
    settled(c[1], c[2])


def test_cut_for_ever_ends_every_wait(cluster2):
    c = cluster2
    load(c, "msg_rdma", **FAST)
    start(c[1], c[2])
    time.sleep(1)
    c.cut(1, 2)
    began = time.monotonic()
    for n, other in ((c[1], 1), (c[2], 0)):
        n.wait_for(f"grep -q '{other} 10.77.* dead ' /proc/popcorn_peers", 20)
    assert time.monotonic() - began < 15
    c[1].wait_for("test $(grep -vc '^#' /proc/popcorn_waits) -eq 0", 5)
    s, r = settled(c[1], c[2], lost_ok=True)
    assert s["failed"] > 0
    # Healed, they stay dead to each other: an incarnation that was buried never comes back.
    c.heal()
    time.sleep(3)
    assert peer(c[1], 1)["state"] == peer(c[2], 0)["state"] == "dead"
    # A new one does.
    c[2].rmmod("popcorn_torture", "msg_rdma")
    c[2].insmod("msg_rdma", ip=f"{c[1].addr},{c[2].addr}")
    up(c[1])
    up(c[2])


@pytest.mark.parametrize("driver", ["msg_rdma", "msg_socket"])
def test_a_hundred_reconnects_with_pages_in_flight(cluster2, driver):
    c = cluster2
    load(c, driver, backoff_ms=5, **SLOW)
    start(c[1], c[2], ms=5)
    # Each reset finds the link up and pages on their way.
    c[1].sh("i=0; end=$(($(date +%s) + 120)); while [ $i -lt 100 ]; do "
            "usleep $((20000 + (i * 7919) % 60000)); "
            "echo reset 0 1 > /proc/popcorn_ctl 2>/dev/null && i=$((i + 1)); "
            "[ $(date +%s) -lt $end ] || exit 1; done", 150)
    s, r = settled(c[1], c[2])
    assert int(peer(c[1], 1)["sessions"]) > 100
    assert s["timeouts"] > 0 and s["pages"] > 100


def test_node_dies_under_load_and_comes_back_anew(cluster2):
    c = cluster2
    load(c, "msg_rdma", **FAST)
    start(c[1], c[2])
    time.sleep(1)
    c[2].kill()
    c[1].wait_for("grep -q ' dead ' /proc/popcorn_peers", 20)
    torture(c[1], "stop", 30)
    assert c[1].sh("grep -v '^#' /proc/popcorn_waits || :").strip() == ""
    c[2].start()
    c[2].insmod("popcorn", **FAST)
    c[2].insmod("msg_rdma", ip=f"{c[1].addr},{c[2].addr}")
    c[2].insmod("popcorn_torture")
    up(c[1])
    torture(c[1], "reset")
    start(c[1], c[2])
    time.sleep(2)
    settled(c[1], c[2])


def test_a_node_that_slept_too_long_is_dead_and_knows(cluster2):
    c = cluster2
    load(c, "msg_socket", **FAST)
    start(c[2], c[1])
    time.sleep(1)
    c[2].pause()
    c[1].wait_for("grep -q ' dead ' /proc/popcorn_peers", 20)
    c[2].resume()
    c[2].wait_for("grep -q ' dead ' /proc/popcorn_peers", 20)
    settled(c[2], c[1], lost_ok=True)


def test_partial_partition(cluster):
    c = cluster(3)
    load(c, "msg_rdma", **SLOW)
    start(c[1], c[2])
    start(c[2], c[3])
    start(c[3], c[1])
    time.sleep(1)
    c.cut(1, 2)
    time.sleep(5)
    before = torture(c[2]), torture(c[3])
    time.sleep(1)
    after = torture(c[2]), torture(c[3])
    assert all(a["pages"] > b["pages"] for a, b in zip(after, before)), "the other pairs go on"
    c.heal()
    for a, b in ((1, 2), (2, 3), (3, 1)):
        up(c[a], 2)
    for a, b in ((1, 2), (2, 3), (3, 1)):
        settled(c[a], c[b])


def test_device_goes_and_comes_under_load(cluster2):
    """rdma link del with pages registered: TCP takes over, nothing is lost."""
    c = cluster2
    load(c, "msg_rdma", also=["msg_socket"], **SLOW)
    start(c[1], c[2])
    time.sleep(1)
    c[2].sh("rdma link del rxe0", 30)
    c[1].wait_for("grep -q ' up *tcp ' /proc/popcorn_peers", 30)
    before = torture(c[1])["pages"]
    time.sleep(1)
    assert torture(c[1])["pages"] > before
    c[2].sh("rdma link add rxe0 type rxe netdev eth0", 30)
    settled(c[1], c[2])


def test_receiver_that_stops_reading(cluster2):
    c = cluster2
    load(c, "msg_rdma", **SLOW)
    free = "awk '/^MemAvailable/ {print $2}' /proc/meminfo"
    torture(c[2], "hold bulk")
    before = int(c[2].sh(free))
    c[1].run("echo 'send from=0 to=1 class=bulk n=100000' > /proc/popcorn_torture")
    full = torture(c[1])
    pushed = full["pushed"]
    assert full["push_error"] == -errno.EAGAIN and 32 <= pushed < 1000
    assert before - int(c[2].sh(free)) < 8192, "memory isn't bounded"
    # Urgent and sync flow on.
    for cls in ("urgent", "sync"):
        c[1].sh(f"echo 'send from=0 to=1 class={cls} n=20' > /proc/popcorn_torture")
    c[2].wait_for("""grep -q '"got":.20,20,' /proc/popcorn_torture""", 5)
    torture(c[2], "release")
    c[2].wait_for(f"""grep -q '"got":.20,20,{pushed}]' /proc/popcorn_torture""", 5)
    assert torture(c[2])["bad_order"] == 0


def test_error_answers_every_page_of_a_request(cluster2):
    c = cluster2
    load(c, "msg_rdma", **SLOW)
    for n in (16, 1):
        torture(c[1], f"pages from=0 to=1 n={n}")
        assert torture(c[1])["refused"] == n


@pytest.mark.parametrize("driver", ["msg_rdma", "msg_socket"])
def test_rmmod_in_the_middle_of_everything(cluster2, driver):
    c = cluster2
    load(c, driver, **FAST)
    start(c[1], c[2])
    time.sleep(1)
    c[2].run("rmmod popcorn_torture", 30)
    c[2].rmmod(driver, timeout=30)
    c[1].wait_for("grep -q ' dead ' /proc/popcorn_peers", 10)
    torture(c[1], "stop", 30)
    c[1].rmmod("popcorn_torture", driver, "popcorn", timeout=30)


def test_a_hundred_rounds_of_insmod_and_rmmod(cluster2):
    c = cluster2
    ips = f"{c[1].addr},{c[2].addr}"
    n = c[1]
    rounds = (f"for i in $(seq %d); do insmod {n.module('popcorn')} && "
              f"insmod {n.module('msg_rdma')} ip={ips} && rmmod msg_rdma popcorn || exit 1; done")
    free = "echo 3 > /proc/sys/vm/drop_caches; awk '/^MemFree/ {print $2}' /proc/meminfo"
    c[2].insmod("popcorn")
    c[2].insmod("msg_rdma", ip=ips)
    n.sh(rounds % 10, 120)
    before = int(n.sh(free))
    n.sh(rounds % 100, 240)
    leaked = before - int(n.sh(free))
    assert leaked < 4096, f"{leaked} KiB are missing after 100 rounds"


def test_mixed_architectures(cluster):
    c = cluster(2, arch="mixed")
    for driver in ("msg_rdma", "msg_socket"):
        load(c, driver, **SLOW)
        start(c[1], c[2])
        time.sleep(3)
        settled(c[1], c[2])
        start(c[2], c[1])
        time.sleep(3)
        settled(c[2], c[1])
        for n in c:
            n.rmmod("popcorn_torture", driver, "popcorn")
