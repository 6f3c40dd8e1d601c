# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The user-mode engine: nodes as processes on this machine, over TCP and shared memory.

Every node is a process of tests/user/node.c, built with sanitizers, that does what its standard
input says. Addresses are of 127.0.0.0/8, other ones for each test.
"""

import itertools
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
BIN = TOP / "build" / "bin"
PORT = 7471
WIRES = ("tcp", "shm")
# Bounds of a fast death; what must come within them gets SLACK seconds more on a busy machine.
DEAD_MS = 6000
FAST = {"hb": 100, "lease": 4000, "dead": DEAD_MS, "connect": 1000}
SLACK = 30

ECHO = 16
EHOSTDOWN = 112
FRAMES = "1024"

nets = itertools.count(os.getpid() % 200)


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["make", "-s", "user-tests", "build/bin/popcorn-bench"], cwd=TOP, check=True,
                   timeout=280)


class Node:
    """One process; log is what it wrote to standard error so far."""

    def __init__(self, addresses, number, **options):
        self.number, self.address = number, addresses[number]
        args = [f"{k}={v}" for k, v in {"nodes": ",".join(addresses), "self": number,
                                        **options}.items()]
        self.errors = open(f"/tmp/popcorn-user-{os.getpid()}-{time.monotonic_ns()}", "w+b")
        os.unlink(self.errors.name)
        self.proc = subprocess.Popen([BIN / "user-node", *args], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=self.errors)
        self.buffer = b""
        self.started = self.answer(60)

    def say(self, line):
        self.proc.stdin.write(line.encode() + b"\n")
        self.proc.stdin.flush()

    def answer(self, limit):
        end = time.monotonic() + limit
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            assert left > 0 and select.select([self.proc.stdout], [], [], left)[0], \
                f"node {self.number}: no answer within {limit} s\n{self.log}"
            got = os.read(self.proc.stdout.fileno(), 65536)
            assert got, f"node {self.number} ended\n{self.log}"
            self.buffer += got
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def do(self, line, limit=120):
        self.say(line)
        return self.answer(limit)

    def ok(self, line, limit=120):
        got = self.do(line, limit)
        assert got.startswith("ok"), f"node {self.number}: {line}: {got}\n{self.log}"
        return got.split()[1:]

    @property
    def log(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def resume(self):
        stat = Path(f"/proc/{self.proc.pid}/stat").read_text()
        if stat.rsplit(")", 1)[1].split()[0] == "T":
            self.proc.send_signal(signal.SIGCONT)

    def end(self):
        """Returns the exit status; a sanitizer's complaint makes it other than 0."""
        if self.proc.poll() is None:
            self.resume()
            self.proc.stdin.close()
            try:
                self.proc.wait(60)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        self.proc.stdout.close()
        return self.proc.returncode


@pytest.fixture
def nodes():
    """nodes(n, options) makes processes; all that still run must end well."""
    made = []

    def make(n, start=None, each=None, **options):
        net = next(nets)
        addresses = [f"127.{net // 250 + 210}.{net % 250}.{i + 1}" for i in range(n)]
        got = []
        for i in range(n) if start is None else start:
            got.append(Node(addresses, i, **{**options, **(each or {}).get(i, {})}))
            made.append(got[-1])
            assert got[-1].started == "ok 0", got[-1].started
        make.addresses = addresses
        return got

    make.adopt = made.append
    yield make
    ends = [(n, n.end()) for n in made]
    for n, status in ends:
        assert status in (0, -signal.SIGKILL), f"node {n.number}: exit {status}\n{n.log}"


def wait_for(what, limit=30):
    end = time.monotonic() + limit
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


# ------------------------------------------------------------------ messages


@pytest.mark.parametrize("mode", ("block", "busy"))
@pytest.mark.parametrize("n", (2, 4))
@pytest.mark.parametrize("wire", WIRES)
def test_exchange_of_all_sizes_and_pages(nodes, wire, n, mode):
    if mode == "busy" and n > 2:
        pytest.skip("more processes that spin than there are cores prove nothing more")
    group = nodes(n, wire=wire, mode=mode)
    for a in group:
        b = (a.number + 1) % n
        a.say(f"exchange {b} 200 {a.number + 1}")
    for a in group:
        assert a.answer(120) == "ok 200"
    for a in group:
        assert a.ok(f"pages {(a.number + 1) % n} 64") == ["64"]


@pytest.mark.parametrize("mode", ("block", "busy"))
@pytest.mark.parametrize("wire", WIRES)
def test_nodes_of_one_process(wire, mode):
    run_tap(["user-many", wire, mode, "127.209.1.1,127.209.1.2,127.209.1.3"])


def run_tap(argv, limit=250):
    r = subprocess.run([BIN / argv[0], *argv[1:]], stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=limit)
    failed = re.findall(r"^not ok .*", r.stdout, re.M)
    planned = re.search(r"^1\.\.(\d+)$", r.stdout, re.M)
    assert not failed and r.returncode == 0, \
        "\n".join(failed) + r.stdout[-500:] + r.stderr[-4000:]
    assert planned and len(re.findall(r"^ok ", r.stdout, re.M)) == int(planned[1]) > 0


def test_ipv6():
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        pytest.skip("no network namespace of its own may be made here")
    script = ("ip link set lo up && ip -6 addr add fd00::1/128 dev lo && "
              "ip -6 addr add fd00::2/128 dev lo && "
              f"exec {BIN}/user-many tcp block fd00::1,fd00::2")
    r = subprocess.run(["unshare", "-rn", "sh", "-c", script], capture_output=True, text=True,
                       timeout=120)
    assert r.returncode == 0 and "\nnot ok" not in r.stdout and "1..10" in r.stdout, \
        r.stdout + r.stderr[-2000:]


def test_one_ways_arrive_once_and_in_order(nodes):
    a, b = nodes(2)
    a.ok("seq 1 3000")
    wait_for(lambda: b.ok("seqstat 0")[:3] == ["1000"] * 3)
    assert b.ok("seqstat 0")[4] == "0"


@pytest.mark.parametrize("mode", ("block", "busy"))
def test_sockets_that_take_less_than_a_frame(nodes, mode):
    a, b = nodes(2, mode=mode)
    a.ok("exchange 1 3 1")
    for n in (a, b):
        assert int(n.ok("shrink")[0]) >= 3
    a.ok("load 1")
    assert b.ok("exchange 0 100 1") == ["100"]
    assert b.ok("pages 0 40") == ["40"]
    good, _, _, _, *status = a.ok("loadend 1")
    assert int(good) > 0 and set(status) == {"0"}
    assert "sessions 1 " in a.do("peer 1")


# -------------------------------------------------------------------- faults


@pytest.mark.parametrize("wire", WIRES)
def test_connections_reset_under_load(nodes, wire):
    """Whatever was on the way is sent again: all is answered, nothing twice."""
    a, b = nodes(2, wire=wire)
    a.ok("seq 1 30")
    a.ok("load 1")
    b.ok("load 0")
    resets = 0
    for i in range(10):
        a.ok("seq 1 300")
        resets += int((a, b)[i % 2].ok("reset")[0])
        time.sleep(0.1)
    for n in (a, b):
        good, _, _, _, *status = n.ok("loadend 1")
        assert int(good) > 0 and set(status) == {"0"}, n.log
    wait_for(lambda: b.ok("seqstat 0")[:3] == ["1010"] * 3)
    assert a.ok("frames") == b.ok("frames") == [FRAMES]
    assert b.ok("seqstat 0")[4] == "0"
    sessions = int(re.search(r"sessions (\d+)", a.do("peer 1"))[1])
    assert resets >= 10 and sessions > 3


@pytest.mark.parametrize("wire", WIRES)
def test_killed_under_load(nodes, wire):
    a, b, c = nodes(3, wire=wire, **FAST)
    a.ok("exchange 2 20 1")
    a.ok("load 1")
    time.sleep(0.5)
    b.proc.kill()
    start = time.monotonic()
    good, _, _, _, *status = a.ok("loadend 0", DEAD_MS / 1000 + SLACK)
    assert set(status) == {f"-{EHOSTDOWN}"} and int(good) > 0
    assert time.monotonic() - start < DEAD_MS / 1000 + SLACK
    assert "node 1: gone" in a.log
    assert a.ok("frames") == [FRAMES]
    assert a.ok("exchange 2 20 1") == ["20"]
    # It comes back with the same id, as a new incarnation.
    again = Node(nodes.addresses, 1, wire=wire, **FAST)
    nodes.adopt(again)
    assert again.started == "ok 0"
    assert again.ok("exchange 0 20 3") == ["20"]
    wait_for(lambda: a.do("exchange 1 20 2") == "ok 20")


@pytest.mark.parametrize("wire", WIRES)
def test_stopped_for_longer_than_the_death_bound(nodes, wire):
    a, b, c = nodes(3, wire=wire, **FAST)
    a.ok("load 1")
    time.sleep(0.5)
    b.proc.send_signal(signal.SIGSTOP)
    _, _, _, _, *status = a.ok("loadend 0", DEAD_MS / 1000 + SLACK)
    assert set(status) == {f"-{EHOSTDOWN}"}
    assert a.ok("pages 2 20") == ["20"]
    b.resume()
    # That incarnation stays dead; neither side hangs, others are as before.
    assert b.do("exchange 0 5 1", 60 + SLACK).startswith("error")
    assert b.ok("exchange 2 5 1") == ["5"]
    assert a.ok("exchange 2 5 1") == ["5"]
    # What it could have written to was kept from use, and no longer is.
    wait_for(lambda: a.ok("frames") == [FRAMES])


@pytest.mark.parametrize("wire", WIRES)
def test_receiver_that_stops_reading(nodes, wire):
    a, b = nodes(2, wire=wire)
    a.ok("exchange 1 10 1")
    b.ok("keep 1")
    before = int(a.ok("memory")[0])
    error, _, sent = a.ok("flood 1 2")
    assert error == "-11" and 0 < int(sent) < 200
    assert int(a.ok("memory")[0]) - before < 32 * 1024
    # The other classes flow, and what was kept is delivered once it is read.
    for cls in (0, 1):
        assert a.ok(f"request 1 {cls} {ECHO}") == ["0"]
    kept = int(b.ok("keep 0")[0])
    assert 0 < kept <= 32
    assert a.ok(f"request 1 2 {ECHO}") == ["0"]
    assert a.ok("exchange 1 30 1") == ["30"]


# ----------------------------------------------------------------- strangers


def fnv(data):
    """Hash of an empty node table of that cluster."""
    h = 0xcbf29ce484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001b3 % 2**64
    return h


def hello(magic=0x31504f50, lo=1, hi=1, cls=1, arch=1, src=0, dst=1, shift=12, flags=0, count=2,
          incarnation=1, session=1, table=0):
    return struct.pack("<IBBBBHHBBHQQQ16s", magic, lo, hi, cls, arch, src, dst, shift, flags,
                       count, incarnation, session, table, bytes(16))


def stranger(node, source, data, limit=10):
    """What the node's listener answers before it closes the connection."""
    with socket.socket() as s:
        s.bind((source, 0))
        s.settimeout(limit)
        s.connect((node.address, PORT))
        s.sendall(data)
        got = b""
        try:
            while part := s.recv(4096):
                got += part
        except ConnectionResetError:
            pass
        return got


@pytest.mark.parametrize("what,data,reason", [
    ("garbage", b"GET / HTTP/1.1\r\nHost: popcorn\r\n\r\n" * 4, "not a handshake"),
    ("one byte", b"P", "too little"),
    ("nothing", b"", "too little"),
    ("magic", hello(magic=1), "not a handshake"),
    ("version", hello(lo=200, hi=201), "version"),
    ("page size", hello(shift=16), "page size"),
    ("table", hello(table=1), "tables differ"),
    ("class", hello(cls=7), "not a handshake"),
    ("its own id", hello(src=1, count=0, table=fnv(b"popcorn")), "unknown node id"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_strangers_are_refused(nodes, what, data, reason):
    a, b = nodes(2, connect=500)
    a.ok("exchange 1 10 1")
    before = b.log.count("refused")
    got = stranger(b, a.address, data)
    wait_for(lambda: b.log.count("refused") > before, 10)
    lines = [l for l in b.log.splitlines() if "refused" in l]
    assert len(lines) == before + 1 and reason in lines[-1], b.log
    assert len(got) in (0, 96)
    assert a.ok("exchange 1 30 1") == ["30"]
    assert "sessions 1 " in a.do("peer 1")


def test_wrong_address_is_refused(nodes):
    """A HELLO with the right table, but not from the node's address."""
    a, b = nodes(2)
    a.ok("exchange 1 10 1")
    stranger(b, "127.0.0.1", hello(count=0, table=fnv(b"popcorn")))
    wait_for(lambda: "not at its address" in b.log, 10)
    assert a.ok("exchange 1 10 1") == ["10"]


def key_file(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("key", ("other", "none"))
def test_wrong_key_is_refused(nodes, tmp_path, wire, key):
    right = key_file(tmp_path / "right", "a key that all nodes but one have")
    wrong = {"other": {"key": key_file(tmp_path / "wrong", "a key that no other node has")},
             "none": {}}[key]
    a, b, c = nodes(3, each={0: {"key": right}, 1: {"key": right}, 2: wrong}, wire=wire, **FAST)
    assert a.ok("exchange 1 10 1") == ["10"]
    assert c.do("exchange 1 1 1", 60 + SLACK).startswith("error")
    assert "keys differ" in b.log + c.log
    assert a.ok("exchange 1 10 1") == ["10"]
    assert "sessions 1 " in a.do("peer 1")


def test_key_file_that_others_may_read(tmp_path):
    key = key_file(tmp_path / "key", "a key that everybody may read", 0o644)
    n = Node(["127.208.0.1", "127.208.0.2"], 0, key=key)
    assert n.started == "error -13"
    assert n.end() == 1


def test_bad_node_lists():
    for spec, error in (("127.0.0.1,not-an-address", 22), ("127.0.0.1,127.0.0.1", 17),
                        ("198.51.100.1,198.51.100.2", 99), ("", 22), ("/does/not/exist", 2)):
        r = subprocess.run([BIN / "user-node", f"nodes={spec}"], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, timeout=60)
        assert r.stdout == f"error -{error}\n", (spec, r.stdout, r.stderr)


def test_nodes_from_a_file(nodes, tmp_path):
    table = tmp_path / "nodes"
    table.write_text("# all nodes\n127.208.3.1\n127.208.3.2  # the second\n\n")
    a, b = (Node(["", ""], i, nodes=table) for i in (0, 1))
    for n in (a, b):
        nodes.adopt(n)
        assert n.started == "ok 0"
    assert a.ok("exchange 1 10 1") == ["10"]


@pytest.mark.parametrize("wire", WIRES)
def test_every_allocation_fails_once(wire, tmp_path):
    key = key_file(tmp_path / "key", "a key of these two nodes")
    run_tap(["user-alloc", wire, "127.208.1.1,127.208.1.2", str(key)])


# --------------------------------------------------------------------- bench


def bench(*args):
    return subprocess.run([BIN / "popcorn-bench", *args], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize("row", ("rtt", "fetch", "stream", "rate", "urgent_under_bulk"))
@pytest.mark.parametrize("wire", WIRES)
def test_bench_rows(wire, row):
    r = bench("transport", "--transport", wire, "--row", row, "--iters", "200", "--poll", "block")
    assert r.returncode == 0, r.stderr
    line = json.loads(r.stdout)
    assert line["row"] == row and line["unit"] == "us"
    assert 0 < line["min"] <= line["median"] <= line["p99"] and line["iters"] > 0


@pytest.mark.parametrize("ablation", ("one-class", "bounce"))
def test_bench_ablations(ablation):
    r = bench("transport", "--row", "urgent_under_bulk", "--iters", "100", "--ablation", ablation,
              "--poll", "block")
    assert r.returncode == 0 and json.loads(r.stdout)["median"] > 0, r.stderr


@pytest.mark.parametrize("args", [(), ("transport", "--row", "no"), ("transport", "--size", "-1"),
                                  ("transport", "--nodes", "1"), ("transport", "more"),
                                  ("transport", "--nonsense")])
def test_bench_says_what_is_wrong(args):
    r = bench(*args)
    assert r.returncode == 2 and not r.stdout and len(r.stderr.splitlines()) == 1


def test_bench_help():
    r = bench("--help")
    assert r.returncode == 0 and r.stdout.startswith("Usage: popcorn-bench")
