# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The tool popcorn: on files made here, on firewall rules of a network namespace, in a guest."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
TOOL = TOP / "build/bin/popcorn"
VERSION = re.search(r'POPCORN_VERSION "(.*)"',
                    (TOP / "include/popcorn/version.h").read_text())[1]
RELEASE = "6.1.0-1-amd64"

PEERS = """\
#  node    id address        state      transport sessions attempts error refusal
*     0     0 10.9.0.1       own        -                0        0     0 -
-     0     1 10.9.0.2       up         rdma             1        0     0 -
-     0     2 10.9.0.3       waiting    -                0        3  -111 -
-     0     3 fd77::4        waiting    -                0        3  -104 node tables differ: give the same list
"""

STAT = """\
sent_messages 3
sent_MB/s 0.137
# class      queued    credits     stalls
class urgent      0         32          7
class bulk        1         31          0
# type    id name                     sent       sent_bytes
type       1 keys                        2               48
type     240 a\\"b                        1              100
"""

WAITS = """\
# node  peer class   type      pid       ms
     0     1 sync     240     4711     1500
     0     1 bulk     241     4712    61000
"""


@pytest.fixture(scope="session", autouse=True)
def built():
    subprocess.run(["make", "-s", "tool"], cwd=TOP, check=True, timeout=120)


class Root:
    """A tree of made-up files that the tool reads instead of /proc, /sys and /etc."""

    def __init__(self, path):
        self.path = path

    def write(self, name, text, mode=0o644):
        p = self.path / name.lstrip("/")
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_text(text)
        p.chmod(mode)

    def run(self, *args):
        cmd = [TOOL, "-R", self.path, *args]
        return subprocess.run(cmd, capture_output=True, text=True, timeout=60)

    def doctor(self):
        """{topic: [(level, text, mend)]} and the exit status."""
        r = self.run("doctor", "-j")
        found = {}
        for v in json.loads(r.stdout):
            found.setdefault(v["topic"], []).append((v["level"], v["text"], v.get("mend")))
        return found, r.returncode

    def load(self, module, version=VERSION, **params):
        self.write(f"/sys/module/{module}/initstate", "live\n")
        self.write(f"/sys/module/{module}/version", version + "\n")
        for k, v in params.items():
            self.write(f"/sys/module/{module}/parameters/{k}", f"{v}\n")


@pytest.fixture
def root(tmp_path):
    r = Root(tmp_path)
    r.write("/proc/sys/kernel/osrelease", RELEASE + "\n")
    r.write("/proc/meminfo", "MemAvailable:    4000000 kB\n")
    return r


# ------------------------------------------------------------ command line

def test_help_and_errors(root):
    r = root.run("--help")
    assert r.returncode == 0 and "doctor" in r.stdout
    assert root.run("peers", "--help").returncode == 0
    assert root.run("--version").stdout == f"popcorn {VERSION}\n"
    for args in ([], ["nonsense"], ["peers", "-j"], ["stat", "-x"], ["-x"], ["doctor", "all"]):
        r = root.run(*args)
        assert r.returncode == 2 and r.stderr and not r.stdout


@pytest.mark.parametrize("command", ["peers", "stat", "waits"])
def test_not_loaded(root, command):
    r = root.run(command)
    assert r.returncode == 1
    assert r.stderr.count("\n") == 1 and "modprobe msg_rdma" in r.stderr


# ---------------------------------------------------------------- /proc

def test_peers(root):
    root.write("/proc/popcorn_peers", PEERS)
    r = root.run("peers")
    assert r.returncode == 0
    lines = r.stdout.splitlines()
    assert lines[0].split() == ["id", "address", "state", "transport"]
    assert lines[1].split() == ["*", "0", "10.9.0.1", "own", "-"]
    assert lines[2].split() == ["1", "10.9.0.2", "up", "rdma"]
    assert lines[3].endswith("Connection refused")
    assert lines[4].endswith("node tables differ: give the same list")


def test_peers_of_two_nodes_in_one_kernel(root):
    both = PEERS.splitlines()[:3] + ["-  1  0 10.9.0.1 up rdma 1 0 0 -",
                                     "*  1  1 10.9.0.2 own - 0 0 0 -"]
    root.write("/proc/popcorn_peers", "\n".join(both) + "\n")
    out = root.run("peers").stdout
    assert "node 0 sees:" in out and "node 1 sees:" in out


def test_stat(root):
    root.write("/proc/popcorn_stat", STAT)
    assert root.run("stat").stdout == STAT
    got = json.loads(root.run("stat", "-j").stdout)
    assert got["sent_messages"] == 3 and got["sent_MB/s"] == 0.137
    assert got["class"][0] == {"name": "urgent", "queued": 0, "credits": 32, "stalls": 7}
    assert got["type"][1] == {"id": 240, "name": 'a\\"b', "sent": 1, "sent_bytes": 100}


def test_waits(root):
    root.write("/proc/popcorn_waits", WAITS)
    root.write("/proc/4711/comm", "cg.A\n")
    lines = root.run("waits").stdout.splitlines()
    assert lines[1].split() == ["0", "1", "sync", "240", "4711", "1.5", "cg.A"]
    assert lines[2].split() == ["0", "1", "bulk", "241", "4712", "61.0", "-"]
    root.write("/proc/popcorn_waits", WAITS.splitlines()[0] + "\n")
    assert root.run("waits").stdout == "nobody has waited for more than a second\n"


# --------------------------------------------------------------- doctor

def test_doctor_without_anything(root):
    got, status = root.doctor()
    assert status == 1
    assert got["kernel"][0][0] == "ok"
    assert got["modules"] == [("fail", f"popcorn is not installed for kernel {RELEASE}",
                               "make install, in the source tree")]
    assert got["nodes"][0][0] == "fail" and "/etc/popcorn/nodes" in got["nodes"][0][2]
    assert "-> make install" in root.run("doctor").stdout


def test_doctor_other_kernel(root):
    root.write("/proc/sys/kernel/osrelease", "6.6.1\n")
    assert root.doctor()[0]["kernel"][0][0] == "warn"
    (root.path / f"usr/src/popcorn-rdma-{VERSION}").mkdir(parents=True)
    assert root.doctor()[0]["modules"][0][2].startswith("boot Debian's 6.1 or 6.12")


def test_doctor_missing_headers_and_build(root):
    (root.path / f"usr/src/popcorn-rdma-{VERSION}").mkdir(parents=True)
    assert f"apt install linux-headers-{RELEASE}" in root.doctor()[0]["modules"][0][2]
    (root.path / f"lib/modules/{RELEASE}/build").mkdir(parents=True)
    assert root.doctor()[0]["modules"][0][2].startswith(f"dkms autoinstall -k {RELEASE}")
    root.write(f"/lib/modules/{RELEASE}/modules.dep", "updates/dkms/popcorn.ko:\n")
    assert root.doctor()[0]["modules"][0][1] == "popcorn is installed, but not loaded"


def test_doctor_versions(root):
    root.load("popcorn")
    root.load("msg_rdma", "0.0.9")
    levels = {text.split()[0]: level for level, text, _ in root.doctor()[0]["modules"]}
    assert levels == {"popcorn": "ok", "msg_rdma": "fail", "msg_socket": "warn"}


@pytest.mark.parametrize("lockdown, enforce, loaded, level", [
    ("[none] integrity confidentiality", "N", False, "ok"),
    ("none [integrity] confidentiality", "N", False, "fail"),
    ("none [integrity] confidentiality", "N", True, "ok"),
    ("[none] integrity confidentiality", "Y", False, "fail")])
def test_doctor_signing(root, lockdown, enforce, loaded, level):
    root.write("/sys/kernel/security/lockdown", lockdown + "\n")
    root.write("/sys/module/module/parameters/sig_enforce", enforce + "\n")
    if loaded:
        root.load("popcorn")
    got = root.doctor()[0]["signing"][0]
    assert got[0] == level
    if level == "fail":
        assert "mokutil --import" in got[2]


@pytest.mark.parametrize("text, word", [
    ("10.9.0.1\nlaptop\n", "'laptop' is not"),
    ("10.9.0.1, 10.9.0.1", "twice"),
    ("203.0.113.1 203.0.113.2", "none of the 2 addresses"),
    ("127.0.0.1 # alone", "1 addresses")])
def test_doctor_bad_nodes(root, text, word):
    root.write("/etc/popcorn/nodes", text)
    level, found, mend = root.doctor()[0]["nodes"][-1]
    assert level == "fail" and word in found and mend


def test_doctor_nodes_of_parameter(root):
    root.load("msg_socket", ip="127.0.0.1,203.0.113.2")
    assert root.doctor()[0]["nodes"] == [
        ("ok", "ip=: 2 nodes, here node 0 (127.0.0.1 on lo)", None)]


@pytest.mark.parametrize("size, mode, level", [(32, 0o600, "ok"), (8, 0o600, "fail"),
                                               (32, 0o644, "fail"), (5000, 0o600, "fail")])
def test_doctor_key(root, size, mode, level):
    if os.geteuid():
        pytest.skip("not root")
    root.write("/etc/popcorn/key", "k" * size, mode)
    root.load("msg_rdma", keyfile="/etc/popcorn/key")
    assert root.doctor()[0]["key"][0][0] == level


def gid(root, dev="rxe0", state="4: ACTIVE", types=("IB/RoCE v1", "RoCE v2")):
    port = f"/sys/class/infiniband/{dev}/ports/1"
    root.write(f"{port}/state", state + "\n")
    root.write(f"{port}/link_layer", "Ethernet\n")
    for i, t in enumerate(types):
        root.write(f"{port}/gids/{i}", "0000:0000:0000:0000:0000:ffff:7f00:0001\n")
        root.write(f"{port}/gid_attrs/types/{i}", t + "\n")
        root.write(f"{port}/gid_attrs/ndevs/{i}", "lo\n")


def test_doctor_rdma(root):
    root.write("/etc/popcorn/nodes", "127.0.0.1\n203.0.113.2\n")
    level, text, mend = root.doctor()[0]["rdma"][0]
    assert level == "warn" and "rdma link add rxe0 type rxe netdev lo" in mend
    gid(root)
    assert root.doctor()[0]["rdma"] == [
        ("ok", "node 0: rxe0 port 1, GID 1 (RoCE v2), 4: ACTIVE", None)]
    gid(root, state="1: DOWN")
    assert root.doctor()[0]["rdma"][0][0] == "fail"
    gid(root)
    root.load("msg_rdma", device="mlx5_0")
    assert "device=mlx5_0" in root.doctor()[0]["rdma"][0][1]


def test_doctor_only_roce_v1(root):
    root.write("/etc/popcorn/nodes", "127.0.0.1\n203.0.113.2\n")
    gid(root, types=("IB/RoCE v1",))
    level, text, _ = root.doctor()[0]["rdma"][0]
    assert level == "warn" and "RoCE v1 only" in text


def test_doctor_memory(root):
    others = "".join(f"203.0.113.{i}\n" for i in range(1, 250))
    root.write("/etc/popcorn/nodes", "127.0.0.1\n" + others)
    root.write("/proc/meminfo", "MemAvailable: 100000 kB\n")
    level, text, mend = root.doctor()[0]["memory"][0]
    assert level == "fail" and "eager=0" in mend
    root.load("popcorn", eager="Y", pool_mb=64)
    assert "pool_mb= allows 64" in root.doctor()[0]["memory"][0][1]


def test_doctor_peers(root):
    root.write("/proc/popcorn_peers", PEERS)
    got = root.doctor()[0]["peers"]
    assert [level for level, _, _ in got] == ["warn", "warn", "ok"]
    assert "Connection refused" in got[0][1]


# ------------------------------------------------------------- firewall

CHAIN = """table inet f {{
{other}
chain input {{
type filter hook input priority 0; policy {policy};
{rules}
}}
}}
"""


@pytest.mark.parametrize("policy, rules, other, level", [
    ("accept", "", "", "ok"),
    ("drop", "", "", "fail"),
    ("drop", 'iif "lo" accept; ct state established,related accept', "", "fail"),
    ("drop", "tcp dport { 22, 7471 } accept", "", "ok"),
    ("drop", "tcp dport 7000-8000 accept", "", "ok"),
    ("drop", "tcp dport != 22 accept", "", "ok"),
    ("drop", "udp dport 7471 accept", "", "fail"),
    ("drop", "ip saddr 203.0.113.0/24 counter accept", "", "ok"),
    ("drop", "ip saddr 198.51.100.0/24 accept", "", "fail"),
    ("drop", "iifname { eth7, va } accept", "", "ok"),
    ("drop", "ct state vmap { established : accept, invalid : drop }; meta l4proto tcp accept", "",
     "ok"),
    ("drop", "ip protocol tcp accept", "", "ok"),
    ("drop", "meta l4proto { udp, icmp } accept", "", "fail"),
    ("accept", "ct state new log prefix \"drop it \" drop", "", "fail"),
    ("accept", "tcp dport 7471 reject with tcp reset", "", "fail"),
    ("accept", "tcp dport 22 drop; ip6 saddr fd00::/8 drop", "", "ok"),
    ("accept", "jump peers", "chain peers { tcp dport 7471 drop; }", "fail"),
    ("drop", "jump peers; drop", "chain peers { tcp dport 7471 accept; }", "ok"),
    ("accept", "jump peers; tcp dport 7471 drop", "chain peers { ip saddr 203.0.113.0/24 return; }",
     "fail"),
    ("accept", "tcp dport 7471 limit rate over 5/second drop", "", "warn"),
    ("accept", "tcp dport @ports drop", "set ports { type inet_service; }", "warn"),
])
def test_firewall(root, tmp_path, policy, rules, other, level):
    """The rules as nft prints them, for a peer that is not here."""
    if os.geteuid() or not shutil.which("nft"):
        pytest.skip("needs root and nft (apt install nftables)")
    root.write("/etc/popcorn/nodes", "203.0.113.1\n203.0.113.2\n")
    (tmp_path / "rules").write_text(CHAIN.format(policy=policy, rules=rules, other=other))
    r = subprocess.run(["unshare", "-n", "sh", "-ec", f"""
        ip link add va type veth peer name vb
        ip addr add 203.0.113.1/24 dev va
        ip link set va up; ip link set vb up
        nft -f {tmp_path}/rules
        {TOOL} -R {tmp_path} doctor -j || true
        """], capture_output=True, text=True, timeout=60)
    if "Operation not permitted" in r.stderr:
        pytest.skip(f"no network namespaces here: {r.stderr.strip()}")
    assert not r.stderr
    found = [v for v in json.loads(r.stdout) if v["topic"] == "firewall"]
    assert [v["level"] for v in found] == [level], found
    if level != "ok":
        assert "dport 7471 accept" in found[0]["mend"]


# ---------------------------------------------------------------- pages

PAGES = sorted((TOP / "runtime/tool").glob("*.[1345]"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_page_is_clean(page):
    r = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True, timeout=60)
    bad = [ln for ln in (r.stdout + r.stderr).splitlines()
           if "mandoc.db" not in ln and "referenced manual not found" not in ln]
    assert not bad
    r = subprocess.run(["man", "--warnings", "-l", page], capture_output=True, text=True,
                       timeout=60, env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    assert r.returncode == 0 and not r.stderr


def test_page_names_every_parameter():
    page = (TOP / "runtime/tool/popcorn.4").read_text()
    found = []
    for name in (f for d in ("kernel", "rdma-kmod", "transport/socket") for f in (TOP / d).glob("*.c")):
        text = name.read_text()
        params = re.findall(r"^module_param(?:_named)?\((\w+)", text, re.M)
        assert len(params) == len(re.findall(r"^MODULE_PARM_DESC", text, re.M))
        for p in params:
            assert re.search(rf"^\.It Cm .*\b{p}\b", page, re.M), f"{p} of {name}"
        found += params
    assert {"dead_ms", "device", "keyfile", "dsm_pages_max"} <= set(found)


def test_page_names_every_call():
    """And each can be asked for by its name."""
    page = (TOP / "runtime/tool/popcorn.3").read_text()
    header = (TOP / "include/popcorn/popcorn.h").read_text()
    calls = set(re.findall(r"^\w[^(*;]*[ *](popcorn_\w+)\(", header, re.M))
    assert len(calls) > 10
    for pattern in (r"^\.Nm (popcorn_\w+)", r"^\.Fn (popcorn_\w+)"):
        assert set(re.findall(pattern, page, re.M)) == calls


def test_page_names_every_variable():
    page = (TOP / "runtime/tool/popcorn.3").read_text()
    for f in (TOP / "runtime").glob("*.c"):
        for name in re.findall(r'"(POPCORN_[A-Z_]+)"', f.read_text()):
            assert re.search(rf"^\.It Ev .*\b{name}\b", page, re.M), f"{name} of {f}"


# ---------------------------------------------------------------- guest

def test_in_a_guest(cluster2):
    """The whole of it on a real kernel: healthy, then with what is most often wrong."""
    c = cluster2
    a, b = c
    assert a.run("popcorn peers").status == 1
    for n in c:
        n.insmod("popcorn")
        n.insmod("msg_rdma", ip=c.ips)
        n.insmod("popcorn_bench")
    a.wait_for("popcorn peers | grep -q ' up .* rdma'")
    r = a.run("popcorn doctor")
    assert r.status == 0, r.stdout
    assert "GID 1 (RoCE v2), 4: ACTIVE" in r.stdout and "links: 1, up 1, idle 0" in r.stdout

    a.sh("echo row=rtt size=64 class=sync iters=50 from=0 to=1 >/proc/popcorn_bench")
    types = {t["name"]: t for t in json.loads(a.sh("popcorn stat -j"))["type"]}
    assert types["bench_echo"]["sent"] >= 50

    # Somebody waits for an answer that can't come.
    c.cut(1, 2)
    job = a.spawn("echo row=rtt size=64 class=sync iters=1 from=0 to=1 >/proc/popcorn_bench", 60)
    time.sleep(1.5)
    waits = a.wait_for("popcorn waits | grep sync", 20).split()
    assert waits[:4] == ["0", "1", "sync", "240"] and waits[6] == "sh"
    c.heal()
    job.wait()

    for n in c:
        n.sh("rmmod popcorn_bench; rmmod msg_rdma; rdma link del rxe0")
    r = a.run("popcorn doctor")
    assert r.status == 1, r.stdout      # no driver is loaded any more
    for n in c:
        n.sh("rmmod popcorn; rdma link add rxe0 type rxe netdev eth0")
