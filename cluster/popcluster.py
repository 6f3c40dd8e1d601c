# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Clusters of test machines under QEMU, for tests, benchmarks and the commands in this directory.

    with Cluster(2, kernel="6.12") as c:
        c[1].insmod("popcorn")
        print(c[1].sh("cat /proc/popcorn_peers"))
        c.cut(1, 2)

Node i has eth0 with c[i].addr (10.77.0.i) and c[i].addr6 (fd77::i), and rxe0 on it. In the guest
/share is the cluster's directory for files (c.share here) and /build is build/ (read-only).
Times are seconds.
"""

import atexit
import base64
import json
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / "build"
sys.path.insert(0, str(TOP / "cluster"))

import image    # noqa: E402

ARCHES = ("amd64", "arm64", "mixed")
KERNELS = ("6.1", "6.12", "debug")
BOOT_TIMEOUT = 240
DEBUG_SLOW = 5      # how much longer all may take on the debug kernel
MAX_LIFE = 2 * 3600

BAD = re.compile(r"WARNING:|BUG:|BUG at|Oops|general protection|Unable to handle kernel|"
                 r"refcount_t|unregister_netdevice: waiting|blocked for more than|Call Trace|"
                 r"Kernel panic|possible recursive locking|circular locking|suspicious RCU|"
                 r"scheduling while atomic|sleeping function called|Bad page|list_(add|del) corruption|"
                 r"kernel stack is corrupted|use-after-free|Objects remaining|"
                 r"detected buffer overflow|UBSAN:|non-static key|kmemleak: (\d+ new|disabled)")

class ClusterError(Exception):
    """The cluster, or one of its machines, could not do what was asked."""


class CommandError(ClusterError):
    """A command in a guest failed; .result has its status and output."""

    def __init__(self, node, command, result):
        self.result = result
        what = "timed out" if result.timeout else f"status {result.status}"
        super().__init__(f"node {node}: {command!r}: {what}\n{result.stdout}{result.stderr}".rstrip())


class Result:
    """How a command ended: status, stdout, stderr (text), raw (stdout in bytes), timeout."""

    def __init__(self, status, out, err, timeout):
        self.status = status
        self.raw = out
        self.stdout = out.decode(errors="replace")
        self.stderr = err.decode(errors="replace")
        self.timeout = timeout


class Request:
    """One request to the daemon; iterating gives (tag, data) frames up to the last."""

    def __init__(self, state, **request):
        self.sock = socket.socket(socket.AF_UNIX)
        self.timeout = request.get("timeout", 30) + 15
        self.sock.settimeout(self.timeout)
        # by way of the directory's descriptor, since socket paths are short
        try:
            fd = os.open(state, os.O_PATH)
            try:
                self.sock.connect(f"/proc/self/fd/{fd}/ctl.sock")
            finally:
                os.close(fd)
        except OSError as e:
            raise ClusterError(f"no cluster is up in {state}: {e.strerror}") from None
        self.sock.sendall(json.dumps(request).encode() + b"\n")

    def _read(self, n):
        data = bytearray()
        while len(data) < n:
            try:
                got = self.sock.recv(min(n - len(data), 1 << 16))
            except socket.timeout:
                raise ClusterError("the cluster's daemon does not answer") from None
            if not got:
                raise ClusterError("the cluster went down")
            data += got
        return bytes(data)

    def frames(self):
        """Output frames as they come; returns the result."""
        while True:
            head = self._read(5)
            tag, data = head[:1], self._read(struct.unpack("<I", head[1:])[0])
            if tag == b"x":
                self.close()
                return json.loads(data)
            if tag == b"f":
                self.close()
                raise ClusterError(data.decode())
            yield tag, data

    def result(self):
        frames = self.frames()
        try:
            while True:
                next(frames)
        except StopIteration as e:
            return e.value

    def close(self):
        self.sock.close()


class Job:
    """A command that runs in a guest. kill() or closing ends it there too."""

    def __init__(self, node, command, timeout, stdin):
        self.node = node
        self.command = command
        self.req = Request(node.cluster.state, op="run", node=node.number, command=command,
                           timeout=timeout, stdin=base64.b64encode(stdin).decode())
        self.ended = None

    def stream(self, out):
        """Call out(tag, bytes) for output as it comes, tag b"o" or b"e"; returns (status, timeout)."""
        frames = self.req.frames()
        try:
            while True:
                out(*next(frames))
        except StopIteration as e:
            return e.value["status"], e.value["timeout"]

    def wait(self, check=False):
        """Wait for the end; bounded by the timeout that the command was started with."""
        if self.ended is None:
            parts = {b"o": bytearray(), b"e": bytearray()}
            status, timeout = self.stream(lambda tag, data: parts[tag].extend(data))
            self.ended = Result(status, bytes(parts[b"o"]), bytes(parts[b"e"]), timeout)
        if check and (self.ended.status or self.ended.timeout):
            raise CommandError(self.node.number, self.command, self.ended)
        return self.ended

    def kill(self):
        self.req.close()


class Node:
    """One machine of a cluster."""

    def __init__(self, cluster, number, kernel, arch):
        self.cluster = cluster
        self.number = number
        self.kernel = kernel
        self.arch = arch
        self.name = f"{kernel}-{arch}"
        self.addr = f"10.77.0.{number}"
        self.addr6 = f"fd77::{number:x}"
        self.slow = DEBUG_SLOW if kernel == "debug" else 1
        self.seen = -1.0        # dmesg time up to which dmesg_bad() has looked

    def spawn(self, command, timeout=60, stdin=b""):
        """Start a shell command; many may run at once. Killed after timeout seconds."""
        return Job(self, command, timeout * self.slow, stdin)

    def run(self, command, timeout=60, stdin=b""):
        """Run a shell command to its end, whatever its status; a Result."""
        return self.spawn(command, timeout, stdin).wait()

    def sh(self, command, timeout=60, stdin=b""):
        """Run a shell command; its stdout. CommandError if it fails."""
        return self.spawn(command, timeout, stdin).wait(check=True).stdout

    def wait_for(self, command, timeout=30, every=0.1):
        """Repeat a shell command until it succeeds; its stdout. ClusterError after timeout."""
        deadline = time.monotonic() + timeout * self.slow
        while True:
            r = self.run(command, timeout=max(5, timeout))
            if r.status == 0:
                return r.stdout
            if time.monotonic() > deadline:
                raise ClusterError(f"node {self.number}: {command!r} did not succeed in {timeout} s\n"
                                   f"{r.stdout}{r.stderr}")
            time.sleep(every)

    def module(self, name):
        """Path in the guest of one of our modules, built for its kernel."""
        if not (BUILD / "mod" / self.name / f"{name}.ko").exists():
            raise ClusterError(f"{name}.ko is not built for {self.name}: make modules-{self.name}")
        return f"/build/mod/{self.name}/{name}.ko"

    def insmod(self, name, timeout=60, **params):
        """insmod one of our modules, or modprobe another one, with parameters."""
        args = " ".join(shlex.quote(f"{k}={v}") for k, v in params.items())
        self.sh(f"insmod {self.module(name)} {args}", timeout)

    def rmmod(self, *names, timeout=60):
        self.sh("rmmod " + " ".join(names), timeout)

    def put(self, source, target):
        """Copy a file or directory of this machine into the guest."""
        with self.cluster.transfer(Path(source)) as name:
            shutil.copytree(source, self.cluster.share / name, symlinks=True) \
                if Path(source).is_dir() else shutil.copy2(source, self.cluster.share / name)
            self.sh(f"cp -a /share/{name} {shlex.quote(str(target))}", 600)

    def get(self, source, target):
        """Copy a file or directory of the guest to this machine."""
        with self.cluster.transfer(Path(source)) as name:
            self.sh(f"cp -a {shlex.quote(str(source))} /share/{name} && sync", 600)
            got = self.cluster.share / name
            target = Path(target)
            if target.is_dir():
                target = target / Path(source).name
            shutil.copytree(got, target, symlinks=True, dirs_exist_ok=True) \
                if got.is_dir() else shutil.copy2(got, target)

    def install(self, program):
        """Put a program of this machine into the guest's PATH."""
        self.put(program, f"/usr/bin/{Path(program).name}")

    def dmesg(self):
        return self.sh("dmesg", 120)

    def dmesg_bad(self):
        """Kernel messages since the last call that mean a fault, with what follows each."""
        if not self.alive:
            lines = self.log().splitlines()
            return [ln for ln in lines if BAD.search(ln)]
        bad, quote, last = [], 0, self.seen
        for line in self.dmesg().splitlines():
            m = re.match(r"\[\s*(\d+\.\d+)\]", line)
            at = float(m[1]) if m else last
            if at <= self.seen:
                continue
            last = max(last, at)
            if BAD.search(line):
                quote = 25
            if quote:
                bad.append(line)
                quote -= 1
        self.seen = last
        return bad

    def leaks(self):
        """What the debug kernel's kmemleak finds: memory that nothing points at any more."""
        at = "/sys/kernel/debug/kmemleak"
        # what is new may be on its way from hand to hand: only what two scans find
        return self.sh(f"echo scan > {at}; sleep 6; echo scan > {at}; cat {at}", 300).splitlines()

    def log(self):
        """Everything that the guest wrote to its console, over all its boots."""
        path = self.cluster.state / f"console-{self.number}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def alive(self):
        """The machine runs and its agent answers."""
        s = self.cluster.status()["nodes"][str(self.number)]
        return s["alive"] and s["up"]

    def kill(self):
        """Cut the power."""
        self.cluster.ask(op="kill", node=self.number)

    def start(self, wait=True):
        """Boot again after kill() or a crash: the same number and addresses, nothing kept."""
        self.cluster.ask(op="start", node=self.number)
        self.seen = -1.0
        if wait:
            self.wait_up()

    def wait_up(self, timeout=BOOT_TIMEOUT):
        self.cluster.ask(op="wait", node=self.number, timeout=timeout)

    def pause(self, stop_clock=False):
        """Freeze the machine: as if it had been suspended, its clocks are ahead afterwards.

        With stop_clock they stand still as well, and the guest can't know that it was frozen.
        """
        self.cluster.ask(op="pause", node=self.number, stop_clock=stop_clock)

    def resume(self):
        self.cluster.ask(op="resume", node=self.number)


class _Transfer:
    def __init__(self, share, source):
        self.share = share
        self.name = f".{os.getpid()}-{time.monotonic_ns()}-{source.name}"

    def __enter__(self):
        return self.name

    def __exit__(self, *_):
        path = self.share / self.name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


class Handle:
    """A cluster that is up, whoever started it."""

    def __init__(self, state):
        self.state = Path(state).resolve()
        try:
            self.conf = json.loads((self.state / "cluster.json").read_text())
        except OSError:
            raise ClusterError(f"no cluster is up in {self.state}") from None
        self.share = self.state / "share"
        self.nodes = [Node(self, i, s["kernel"], s["arch"])
                      for i, s in enumerate(self.conf["nodes"], 1)]

    def __getitem__(self, number):
        """Node by its number, from 1."""
        if not 1 <= number <= len(self.nodes):
            raise ClusterError(f"no node {number}: the cluster has 1 to {len(self.nodes)}")
        return self.nodes[number - 1]

    def __iter__(self):
        return iter(self.nodes)

    def __len__(self):
        return len(self.nodes)

    @property
    def ips(self):
        """The value for ip= that names every node."""
        if self.conf["icount"]:
            return ",".join(f"10.77.1.{i}" for i in range(1, self.conf["icount"] + 1))
        return ",".join(n.addr for n in self.nodes)

    def ask(self, **request):
        return Request(self.state, **request).result()

    def status(self):
        return self.ask(op="status")

    def transfer(self, source):
        return _Transfer(self.share, source)

    def cut(self, a, b):
        """Lose every frame between nodes a and b; in force when this returns."""
        self.ask(op="cut", a=a, b=b)

    def heal(self, a=None, b=None):
        """Undo cut(a, b), or every cut."""
        self.ask(op="heal", a=a, b=b)

    def dmesg_bad(self):
        """Faults in the kernels' logs since the last call, as lines that name their node."""
        return [f"node {n.number}: {line}" for n in self for line in n.dmesg_bad()]

    def down(self):
        """End all machines. Logs stay in the cluster's directory."""
        try:
            pid = int((self.state / "pid").read_text())
            self.ask(op="down")
        except (OSError, ValueError, ClusterError):
            return
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and Path(f"/proc/{pid}").exists():
            time.sleep(0.02)


class Cluster(Handle):
    """Start a cluster of n machines and own it: it ends with this process, or with `with`.

    arch: amd64, arm64, or mixed (odd nodes amd64, even ones arm64)
    kernel: 6.1, 6.12, or debug: see cluster/debug.config; it gets twice the memory, for its checks
    rdma: rxe or none; mtu: bytes (0: 1500, or 9000 with icount)
    mem: MiB for each; smp: processors of each
    link: options of tc-netem that every node's outgoing traffic suffers, such as "delay 10us"
    icount: this many nodes in one guest, 10.77.1.1 and up on dummy0; guest ns are instructions;
        the guest stands still while no command of ours runs in it
    state: directory, by default a new one in build/cluster
    life: seconds after which the cluster ends by itself; follow: end with this process
    append: more for the kernel's command line
    ssh: a port of 127.0.0.1 for each node that leads to port 22 of its eth1, 10.0.2.15 once it is up
    """

    def __init__(self, n=2, arch="amd64", kernel="6.1", rdma="rxe", mtu=0, mem=384, smp=1,
                 link="", icount=0, state=None, life=MAX_LIFE, follow=True, wait=True, append="",
                 ssh=()):
        if arch not in ARCHES or kernel not in KERNELS or rdma not in ("rxe", "none"):
            raise ClusterError(f"arch is one of {ARCHES}, kernel of {KERNELS}, rdma rxe or none")
        if not 1 <= n <= 64 or (icount and (n != 1 or not 1 <= icount <= 250)):
            raise ClusterError("a cluster has 1 to 64 machines; with icount it has one")
        self.proc = None
        if state is None:
            state = new_directory()
        state = Path(state).resolve()
        if kernel == "debug":
            mem *= 2
        if (state / "ctl.sock").exists():
            try:
                Request(state, op="status").result()
            except ClusterError:
                pass
            else:
                raise ClusterError(f"a cluster is up in {state} already")
        shutil.rmtree(state, ignore_errors=True)
        (state / "share").mkdir(parents=True)
        arches = [("arm64" if i % 2 else "amd64") if arch == "mixed" else arch for i in range(n)]
        prepare(kernel, set(arches))
        nodes = [{"arch": a, "kernel": kernel, "initrd": str(image.initramfs(kernel, a))}
                 for a in arches]
        (state / "cluster.json").write_text(json.dumps(dict(
            nodes=nodes, rdma=rdma, mtu=mtu or (9000 if icount else 1500), mem=mem, smp=smp,
            link=link, icount=icount, life=life, follow=follow, append=append, ssh=list(ssh)),
            indent=1) + "\n")
        super().__init__(state)
        self.boot(follow, wait)

    def boot(self, follow, wait):
        with open(self.state / "daemon.log", "w") as log:
            self.proc = subprocess.Popen(
                ["/usr/bin/python3", str(TOP / "cluster/clusterd"), str(self.state)],
                stdin=subprocess.PIPE if follow else subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        if follow:
            atexit.register(self.down)
        try:
            deadline = time.monotonic() + 20
            while not (self.state / "ctl.sock").exists():
                if self.proc.poll() is not None or time.monotonic() > deadline:
                    raise ClusterError("the cluster's daemon does not start: "
                                       + (self.state / "daemon.log").read_text()[-2000:])
                time.sleep(0.01)
            if wait:
                self.ask(op="wait", timeout=BOOT_TIMEOUT)
        except BaseException:
            self.down()
            raise

    def down(self):
        if self.proc is None or self.proc.poll() is not None:
            return
        try:
            self.ask(op="down")
        except ClusterError:
            self.proc.terminate()
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            self.proc.kill()        # its machines go with it
            self.proc.wait()
        if self.proc.stdin:
            self.proc.stdin.close()
            atexit.unregister(self.down)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()


def new_directory():
    """A name for a cluster's directory; of those that ended, the logs of the last few are kept."""
    ended = [d for d in (BUILD / "cluster").glob("auto-*") if not (d / "pid").exists()]
    for d in sorted(ended, key=lambda d: d.stat().st_mtime)[:-16]:
        if time.time() - d.stat().st_mtime > 600:
            shutil.rmtree(d, ignore_errors=True)
    return BUILD / "cluster" / f"auto-{os.getpid()}-{time.monotonic_ns() // 1000:x}"


def prepare(kernel, arches):
    """Make what booting needs, if it isn't there: packages, agent, switch."""
    want = ["build/guest/cluster-switch"]
    for a in arches:
        want += [f"build/kernels/{kernel}-{a}", f"build/userland/{a}", f"build/guest/agent-{a}"]
    r = subprocess.run(["make", "-s", "-C", str(TOP), *want], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800,
                       env={k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))})
    if r.returncode:
        raise ClusterError(f"cannot prepare for {kernel} {sorted(arches)}: {r.stdout[-2000:]}")
