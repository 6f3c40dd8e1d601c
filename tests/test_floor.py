# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The raw floors: every row of each program, wrong use, and the wrappers of UCX and OpenMPI."""

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "microbench"))

import libfloor
import libresult

BIN = TOP / "build" / "bin"


@pytest.fixture(scope="session", autouse=True)
def built():
    subprocess.run(["make", "-s", "floors"], cwd=TOP, check=True, timeout=300)


def run(program, *args):
    return subprocess.run([str(BIN / program), *args], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("program", ["floor_tcp", "floor_shm"])
def test_every_row_and_mode(program):
    r = run(program, "--iters", "300")
    assert r.returncode == 0, r.stderr
    rows = [json.loads(l) for l in r.stdout.splitlines()]
    names = {(x["name"], x["row"], x["size"]) for x in rows}
    assert len(names) == len(rows) == 2 * (6 + 3)
    for x in rows:
        assert x["unit"] == "us" and x["iters"] >= 300
        assert 0 < x["min"] <= x["median"] <= x["p99"] <= x["p999"] and x["avg"] >= x["min"]
        libresult.convert(x, x["row"], x["size"], False)


@pytest.mark.parametrize("window", ["2", "3", "16", "64"])
@pytest.mark.parametrize("program", ["floor_tcp", "floor_shm"])
def test_any_window_ends(program, window):
    """Also an odd one: both ends must agree how many acknowledgements there are."""
    for row in ("stream", "rate"):
        r = run(program, "--row", row, "--iters", "100", "--window", window)
        assert r.returncode == 0, r.stderr
        assert len(r.stdout.splitlines()) == 2


@pytest.mark.parametrize("args, says", [
    (["--row", "foo"], "no row 'foo'"), (["--mode", "idle"], "no mode 'idle'"),
    (["--size", "1000000"], "--size takes"), (["--iters", "-3"], "--iters takes"),
    (["--window", "1"], "--window takes"), (["--size", "8x"], "--size takes"),
    (["a", "b"], "too many arguments"),
])
def test_wrong_use_is_one_line(args, says):
    r = run("floor_tcp", *args)
    assert r.returncode in (1, 2) and says in r.stderr and len(r.stderr.splitlines()) == 1


def test_verbs_without_a_device():
    if Path("/sys/class/infiniband").exists() and any(Path("/sys/class/infiniband").iterdir()):
        pytest.skip("this machine has an RDMA device")
    r = run("floor_verbs", "10.0.0.1")
    assert r.returncode == 1 and "no RDMA device" in r.stderr


@pytest.mark.parametrize("transport", ["tcp", "shm"])
@pytest.mark.parametrize("poll", ["busy", "block"])
def test_sources_give_usable_lines(transport, poll):
    for f in libfloor.local_floors(transport, poll):
        if f.missing():
            pytest.skip(f.missing())
        for row, size in (("rtt", 64), ("fetch", 4096), ("stream", 4096), ("rate", 64)):
            if row in f.rows:
                stats, _ = libresult.convert(f.run(row, size, 500, 16), row, size, False)
                assert stats["median"] > 0


def test_ucx_round_trip_is_twice_its_one_way():
    head = "iterations,50.0_percentile_lat,avg_lat,overall_lat,avg_bw,overall_bw,avg_mr,overall_mr"
    values = "100,1.5,1.6,1.6,10,10,500000,400000"
    out = head + "\n" + values + "\n"
    assert libfloor.Ucx.parse(out, "rtt", 64, 100)["median"] == 3.0
    assert libfloor.Ucx.parse(out, "rate", 64, 100)["median"] == 2.5
    for text in ("", head, head + "\nx,y\n"):
        with pytest.raises(libresult.ResultError, match="output"):
            libfloor.Ucx.parse(text, "rtt", 64, 100)


def test_a_program_that_fails_is_one_error():
    with pytest.raises(libresult.ResultError, match="false: exit 1"):
        libfloor.command([shutil.which("false")])
    with pytest.raises(libresult.ResultError, match="no answer within"):
        libfloor.command(["sleep", "5"], limit=0.2)
    with pytest.raises(libresult.ResultError, match="broken line"):
        libfloor.lines("{nonsense\n", "x")


LINE = ('{"name": "x", "row": "rtt", "size": 64, "unit": "us", "median": 2.0, "p99": 3.0, '
        '"p999": 3.0, "min": 1.0, "avg": 2.0, "iters": 10}\n')


class FakeNode:
    """Records what it is told; refuses what contains one of the given words."""

    def __init__(self, refuse=(), answer=LINE):
        self.name, self.told, self.refuse, self.answer = "fake", [], refuse, answer

    def module(self, name):
        return f"/lib/{name}.ko"

    def sh(self, cmd, timeout):
        self.told.append(cmd)
        if any(word in cmd for word in self.refuse):
            raise libresult.ResultError("refused")
        if cmd.startswith("dmesg"):
            return "[    1.5] floor_tcp: the reason\n"
        return self.answer if "/proc/" in cmd else ""


class FakePlace:
    def __init__(self, node):
        self.nodes, self.addresses, self.one = [node], ["10.0.0.1", "10.0.0.2"], True
        self.kernel, self.what = "6.1", None


def options(**kw):
    import argparse
    return argparse.Namespace(**{"floors_only": False, "quiet": True, "ablation": None, **kw})


def kernel_rows(node, transport="tcp", **kw):
    import libkernel
    import libplan
    errors = []
    plan = libplan.Plan([libplan.Case("rtt", 64, "sync")], 1, 5, 5, counts=True)
    return libkernel.measure(FakePlace(node), transport, options(**kw), plan, errors), errors


def test_kernel_rows_load_and_unload_everything():
    node = FakeNode()
    rows, errors = kernel_rows(node)
    assert not errors and rows[0]["unit"] == "insn" and rows[0]["floor_name"] == "ktcp"
    for m in ("floor_tcp", "popcorn", "msg_socket", "popcorn_bench"):
        assert any(c.startswith(f"insmod /lib/{m}.ko") for c in node.told)
        assert any(f"rmmod {m};" in c for c in node.told)
    assert any("msg_socket.ko ip=10.0.0.1,10.0.0.2" in c for c in node.told)


BEFORE = """sent_messages 100
# class      queued    credits     stalls    replays    control       late reconnects
class urgent      0         32          0          0          4          0          0
class sync        0         32          0          1          5          0          0
intr 50
ctxt 1000
softirq 7
"""
AFTER = BEFORE.replace("100\n", "120\n", 1).replace("  5 ", " 10 ").replace("1000", "1040") \
    .replace("intr 50", "intr 60")


@pytest.mark.parametrize("nodes", [1, 2])
def test_what_an_operation_took_is_counted(nodes):
    """Messages of the layers and the transport's own, on all machines, by all operations."""
    import libkernel
    import libplan

    class Counting(FakeNode):
        def sh(self, cmd, timeout):
            if "popcorn_bench" in cmd:
                return BEFORE + LINE.replace("}", ', "operations": 10}') + AFTER
            self.told.append(cmd)
            return BEFORE if len(self.told) == 1 else AFTER

    place = FakePlace(Counting())
    place.nodes, place.one = [Counting() for _ in range(nodes)], nodes == 1
    line = libkernel.Ours(place, None).run(libplan.Case("rtt", 64, "sync"), 10)
    assert [line[k] / nodes for k in ("messages", "wakeups", "interrupts", "softirqs")] == \
        [2.5, 4, 1, 0]
    figure = libplan.Figure()
    figure.add(line, "rtt", 64, True)
    assert figure.extras()["messages"] == 2.5 * nodes


def test_a_module_that_does_not_load_leaves_nothing_behind():
    node = FakeNode(refuse=["insmod /lib/popcorn_bench"])
    with pytest.raises(libresult.ResultError, match="the reason"):
        kernel_rows(node)
    for m in ("floor_tcp", "popcorn", "msg_socket"):
        assert any(f"rmmod {m};" in c for c in node.told)


def test_a_refused_row_says_why():
    node = FakeNode(refuse=["/proc/popcorn_bench"])
    rows, errors = kernel_rows(node)
    assert len(errors) == 1 and "the reason" in errors[0]
    assert [r["suite"] for r in rows] == ["floor"]


def test_tools_that_are_missing_are_left_out(capsys):
    rows, errors = kernel_rows(FakeNode(refuse=["command -v"]), "rdma", floors_only=True)
    assert not errors and [r["source"] for r in rows] == ["kverbs", "kverbs_softirq"]
    assert "no ib_send_lat" in capsys.readouterr().err


def test_perftest_table():
    import libkernel
    out = (" #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]\n"
           " 64      500          29.86          33.80        29.87    \t       30.11       \t0.17"
           "   \t\t31.92   \t\t33.80  \n")
    line = libkernel.Perftest.parse(out, 64, 500)
    assert line["median"] == pytest.approx(59.74) and line["p99"] == pytest.approx(63.84)
    with pytest.raises(libresult.ResultError, match="no result line"):
        libkernel.Perftest.parse("nothing\n", 64, 500)


# Kernel floors, in guests.

COMMANDS = ("row=rtt", "row=rtt size=65536", "row=fetch", "row=stream", "row=rate window=2",
            "row=stream window=32")
FILES = {"floor_verbs": "/proc/popcorn_floor_verbs", "floor_tcp": "/proc/popcorn_floor_tcp"}


def ask(node, module, command):
    out = node.sh(f"echo {command} >{FILES[module]} && cat {FILES[module]}", 120)
    return libfloor.only(libfloor.lines(out, module), module)


def one_kernel(cluster):
    """Both ends in one guest whose nanoseconds are instructions."""
    node = cluster(1, icount=2, mem=512)[1]
    for m in FILES:
        node.insmod(m, a="10.77.1.1", b="10.77.1.2")
    return node


def test_kernel_floors_count_the_same_twice(cluster):
    node = one_kernel(cluster)
    for m in FILES:
        for command in COMMANDS:
            line = ask(node, m, f"{command} iters=300")
            assert line["operations"] >= line["iters"]
            assert 0 < line["min"] <= line["median"] <= line["p99"] and line["iters"] >= 300
        first, second = (ask(node, m, "row=rtt iters=3000")["median"] for _ in range(2))
        assert abs(first - second) / first < 0.03
    assert ask(node, "floor_verbs", "row=fetch answer=softirq")["name"] == "kverbs_softirq"


def test_a_link_is_waited_for(tmp_path):
    """Both ways, in time that is no longer instructions alone."""
    out = tmp_path / "out.json"
    r = subprocess.run([TOP / "microbench/run", "transport", "--nodes", "icount:2", "--quick",
                        "--link", "delay 300us", "--floors-only", "--json", out],
                       capture_output=True, text=True, timeout=250)
    assert r.returncode == 0, r.stderr
    rows = libresult.load(out)["rows"]
    assert {x["name"] for x in rows} == set(libfloor.ROWS)
    for x in rows:
        assert x["link"] == "delay 300us" and x["unit"] != "insn"
        assert x["name"] not in ("rtt", "fetch") or x["median"] > 600


@pytest.mark.parametrize("command", [
    "row=nonsense", "row=rtt size=1", "row=rtt size=65537", "row=stream window=3",
    "row=stream window=64", "row=stream answer=softirq", "row=rtt iters=0", "row=fetch size=64",
    "row", "rtt", "row=rtt what=1", "row=rtt size=x"])
def test_kernel_floors_refuse(cluster, command):
    node = one_kernel(cluster)
    for m, path in FILES.items():
        r = node.run(f"echo {command} >{path}")
        assert r.status
        assert node.sh(f"cat {path}") == ""


def test_kernel_floors_leave_in_the_middle(cluster):
    """A killed writer and rmmod while a row runs: both at once, and the next row works."""
    node = one_kernel(cluster)
    for m, path in FILES.items():
        node.sh(f"(echo row=rtt iters=1000000 >{path}) & sleep 0.2; kill -9 $!; wait; true", 20)
        assert ask(node, m, "row=rtt")["median"] > 0
        node.sh(f"(echo row=stream iters=1000000 >{path} 2>/dev/null) & sleep 0.2; rmmod {m}", 20)
        node.insmod(m, a="10.77.1.1", b="10.77.1.2")
        assert ask(node, m, "row=rtt")["median"] > 0


@pytest.mark.parametrize("params, says", [
    ("", "no IP address"), ("b=10.1.2.300", "no IP address"), ("b=10.1.2.3", "can't listen"),
    ("b=10.77.0.1 a=x", "no IP address"), ("b=10.77.0.1 role=boss", "role is")])
def test_kernel_floors_bad_parameters(cluster2, params, says):
    node = cluster2[1]
    for m in FILES:
        r = node.run(f"insmod {node.module(m)} {params}; dmesg | tail -n 1")
        assert "insmod" in r.stderr and says in r.stdout
        node.sh(f"[ ! -d /sys/module/{m} ]")


@pytest.mark.parametrize("module", FILES)
def test_kernel_floors_between_machines(cluster2, module):
    a, b = cluster2[1], cluster2[2]
    b.insmod(module, b=b.addr, role="server")
    a.insmod(module, b=b.addr, role="client")
    for command in COMMANDS:
        assert ask(a, module, f"{command} iters=100")["median"] > 0
    job = a.spawn(f"echo row=rtt iters=1000000 >{FILES[module]}", 100)
    b.sh("sleep 1")
    b.rmmod(module)
    assert job.wait().status and not job.wait().timeout
    b.insmod(module, b=b.addr, role="server")
    assert ask(a, module, "row=rtt iters=100")["median"] > 0


def test_device_removed_under_a_row(cluster2):
    a, b = cluster2[1], cluster2[2]
    b.insmod("floor_verbs", b=b.addr, role="server")
    a.insmod("floor_verbs", b=b.addr, role="client")
    job = a.spawn("echo row=rtt iters=1000000 >/proc/popcorn_floor_verbs", 100)
    b.sh("sleep 1; rdma link delete rxe0")
    assert job.wait().status
    b.rmmod("floor_verbs")
    b.sh("rdma link add rxe0 type rxe netdev eth0")


@pytest.mark.timeout(200)
def test_a_cut_wire_ends_a_row(cluster2):
    """Nothing tells the client that its server is gone: the watchdog or the retries must."""
    a, b = cluster2[1], cluster2[2]
    for m in FILES:
        b.insmod(m, b=b.addr, role="server")
        a.insmod(m, b=b.addr, role="client")
    jobs = [a.spawn(f"echo row=rtt iters=1000000 >{path}", 100) for path in FILES.values()]
    a.sh("sleep 1")
    cluster2.cut(1, 2)
    assert all(job.wait().status and not job.wait().timeout for job in jobs)


# hosts:FILE, against guests that have an ssh server and the modules installed.

def free_ports(n):
    socks = [socket.socket() for _ in range(n)]
    for s in socks:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


def serve_ssh(node, key):
    """dropbear of this machine, with a host key of its own; root logs in with key."""
    dropbear = shutil.which("dropbear", path="/usr/sbin:/usr/bin")
    libs = subprocess.run(["ldd", dropbear], capture_output=True, text=True, check=True).stdout
    node.install(dropbear)
    node.install(shutil.which("dropbearkey"))
    node.sh("mkdir -p /root/.ssh /lib/x86_64-linux-gnu; chmod 700 /root /root/.ssh")
    for lib in re.findall(r"=> (/\S+)", libs):
        name = Path(lib).name
        if node.run(f"[ -e /lib/x86_64-linux-gnu/{name} ]").status:
            node.put(Path(lib).resolve(), f"/lib/x86_64-linux-gnu/{name}")
    node.sh("cat >/root/.ssh/authorized_keys; chmod 600 /root/.ssh/authorized_keys",
            stdin=Path(f"{key}.pub").read_bytes())
    node.sh("ip link set eth1 up; ip addr add 10.0.2.15/24 dev eth1; "
            "dropbearkey -t ed25519 -f /tmp/host.key >/dev/null 2>&1; "
            "dropbear -s -r /tmp/host.key -P /tmp/dropbear.pid </dev/null >/tmp/dropbear.log 2>&1")


def install_modules(node):
    release = node.sh("uname -r").strip()
    target = f"/lib/modules/{release}/updates"
    node.sh(f"mkdir -p {target}")
    for m in ("popcorn", "msg_socket", "msg_rdma", "popcorn_bench", *FILES):
        node.sh(f"cp {node.module(m)} {target}/")
    node.sh("depmod 2>/dev/null; modprobe -n popcorn_bench")


@pytest.mark.timeout(500)
def test_hosts_over_ssh(cluster, tmp_path):
    ports = free_ports(2)
    c = cluster(2, fresh=True, ssh=ports)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True,
                   timeout=60)
    hosts = ""
    for node, port in zip(c, ports):
        serve_ssh(node, key)
        install_modules(node)
        hosts += (f"127.0.0.1 {node.addr} -l root -p {port} -i {key} -o IdentitiesOnly=yes "
                  f"-o StrictHostKeyChecking=no -o UserKnownHostsFile={tmp_path}/known -F none\n")
    (tmp_path / "hosts").write_text(hosts)

    def rows(*args, says=None, suite="transport"):
        r = subprocess.run([TOP / "microbench/run", suite, "--nodes", f"hosts:{tmp_path / 'hosts'}",
                            "--quick", "--json", tmp_path / "out.json", *args],
                           capture_output=True, text=True, timeout=400)
        if says:
            assert r.returncode == 2 and says in r.stderr.splitlines()[-1], r.stderr
            return None
        assert r.returncode == 0, r.stderr
        return libresult.load(tmp_path / "out.json")["rows"]

    wanted = "rtt", "stream", "urgent_under_bulk"
    ours = [x for x in rows("--transport", "tcp", "--rows", ",".join(wanted))
            if x["suite"] == "transport"]
    assert {x["name"] for x in ours} == set(wanted)
    assert all(x["unit"] in ("us", "MB/s", "1/s") for x in ours)
    assert 1.9 < next(x for x in ours if x["name"] == "rtt")["messages"] < 2.5
    floors = rows("--transport", "rdma", "--floors-only", "--rows", "fetch")
    assert {x["source"] for x in floors} >= {"kverbs", "kverbs_softirq"}
    rows("--transport", "tcp", suite="dsm", says="popcorn-bench-dsm is missing: make install")
    for node in c:
        node.sh("cp /build/bin/popcorn-bench-dsm /usr/bin/")
    shared = rows("--transport", "tcp", "--rows", "read_fault,lock", suite="dsm")
    assert {x["name"] for x in shared} == {"read_fault", "lock"}
    for node in c:
        assert "popcorn" not in node.sh("lsmod"), "the run takes its modules with it"
    c[2].sh("kill $(cat /tmp/dropbear.pid)")
    rows("--transport", "tcp", says="127.0.0.1: ")
