# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Raw baselines that run on this machine: the user-space floors, UCX, OpenMPI.

Each source has name, transport, rows and run(row, size, iters, window), which gives one JSON
line as a dict (microseconds an operation). missing() says why it can't run, or None.
"""

import json
import os
import shutil
import socket
import subprocess
import time

from libresult import TOP, ResultError

BIN = TOP / "build" / "bin"
ROWS = ("rtt", "fetch", "stream", "rate")
LIMIT = 300     # seconds a measurement may take before it is given up


def lines(text, what):
    """The JSON lines in a program's output."""
    found = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                found.append(json.loads(line))
            except ValueError as e:
                raise ResultError(f"{what} printed a broken line: {line!r}") from e
    return found


def command(cmd, env=None, limit=LIMIT):
    """Run to the end, within limits; its output, or a ResultError with its last words."""
    what = os.path.basename(cmd[0])
    try:
        p = subprocess.run(cmd, capture_output=True, text=True, timeout=limit,
                           stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
    except subprocess.TimeoutExpired as e:
        raise ResultError(f"{what}: no answer within {limit} s") from e
    except OSError as e:
        raise ResultError(f"{what}: {e.strerror}") from e
    if p.returncode:
        last = (p.stderr.strip() or p.stdout.strip() or f"exit {p.returncode}").splitlines()
        raise ResultError(f"{what}: {last[-1]}")
    return p.stdout


def make(*targets):
    """Build: what is measured is what the sources say now."""
    try:
        p = subprocess.run(["make", "-s", "-C", str(TOP), *targets], capture_output=True,
                           text=True, timeout=1800, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise ResultError(f"make: {e}") from e
    if p.returncode:
        why = [l for l in p.stderr.splitlines() if "error" in l.lower()] or [p.stderr.strip()]
        raise ResultError(f"make {' '.join(targets)} failed: {why[0]}")


def only(found, what):
    if len(found) != 1:
        raise ResultError(f"{what}: expected one line, got {len(found)}")
    return found[0]


class Program:
    """A program of microbench/floor in one mode."""

    rows = ROWS

    def __init__(self, program, transport, mode):
        self.program, self.transport, self.mode = program, transport, mode
        self.name = f"{transport}_{mode}"

    def missing(self):
        return None if (BIN / self.program).exists() else \
            f"build/bin/{self.program} is not built: run make"

    def argv(self, row, size, iters, window):
        return [str(BIN / self.program), "--row", row, "--mode", self.mode, "--size", str(size),
                "--iters", str(iters), "--window", str(window)]

    def run(self, row, size, iters, window):
        out = command(self.argv(row, size, iters, window))
        return only(lines(out, self.program), self.program)


class Mpi(Program):
    """The same rows over OpenMPI, which always polls."""

    BTL = {"tcp": ["--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "lo"],
           "shm": ["--mca", "btl", "vader,self"]}

    def __init__(self, over):
        super().__init__("floor_mpi", "mpi", "busy")
        self.over, self.name = over, f"mpi_{over}"

    def missing(self):
        if not shutil.which("mpirun"):
            return "mpirun not found: apt install openmpi-bin"
        return super().missing()

    def argv(self, *args):
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        return ["mpirun", *root, "--oversubscribe", "--bind-to", "none", "-np", "2",
                "--mca", "pml", "ob1", *self.BTL[self.over], *super().argv(*args)]


def listening(port):
    """Whether a TCP socket of this machine listens on the port, without connecting to it."""
    want = f":{port:04X}"
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path) as f:
                for line in f:
                    word = line.split()
                    if len(word) > 3 and word[1].endswith(want) and word[3] == "0A":
                        return True
        except OSError:
            pass
    return False


class Ucx:
    """ucx_perftest over loopback; its latency is one way, so a round trip is twice that."""

    transport = "ucx"
    rows = ("rtt", "stream", "rate")
    mode = "busy"
    TLS = {"tcp": "tcp,self", "shm": "posix,sysv,self"}

    def __init__(self, over):
        self.over, self.name = over, f"ucx_{over}"

    def missing(self):
        return None if shutil.which("ucx_perftest") else \
            "ucx_perftest not found: apt install ucx-utils"

    def run(self, row, size, iters, window):
        env = {"UCX_TLS": self.TLS[self.over], "UCX_NET_DEVICES": "lo" if self.over == "tcp"
               else "all", "UCX_WARN_UNUSED_ENV_VARS": "n"}
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        cpus = sorted(os.sched_getaffinity(0))
        tool = ["ucx_perftest", "-p", str(port), "-f", "-v"]
        server = subprocess.Popen([*tool, "-c", str(cpus[1 % len(cpus)])],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, env={**os.environ, **env})
        try:
            end = time.monotonic() + 10
            while not listening(port):
                if server.poll() is not None or time.monotonic() > end:
                    raise ResultError("ucx_perftest: the server did not start")
                time.sleep(0.02)
            test = ["-t", "tag_lat"] if row == "rtt" else ["-t", "tag_bw", "-O", str(window)]
            out = command([tool[0], "127.0.0.1", *tool[1:], *test, "-s", str(size),
                           "-n", str(iters), "-w", str(max(100, iters // 10)),
                           "-c", str(cpus[0])], env)
        finally:
            server.kill()
            server.wait()
        return self.parse(out, row, size, iters)

    @staticmethod
    def parse(out, row, size, iters):
        text = [l for l in out.splitlines() if "," in l]
        try:
            head, values = text[-2].split(","), [float(v) for v in text[-1].split(",")]
            got = dict(zip(head, values))
            scale = 2 if row == "rtt" else 1
            median, avg = got["50.0_percentile_lat"] * scale, got["avg_lat"] * scale
            if row != "rtt":    # the percentile there is of single posts, not of throughput
                median = avg = 1e6 / got["overall_mr"]
        except (IndexError, ValueError, KeyError, ZeroDivisionError) as e:
            raise ResultError("ucx_perftest: can't read its output") from e
        return {"name": "ucx", "row": row, "size": size, "unit": "us", "median": median,
                "avg": avg, "iters": iters}


def local_floors(transport, poll):
    """All baselines for one transport and way to wait; the bare one comes first."""
    bare = Program(f"floor_{transport}", transport, poll)
    return [bare, Ucx(transport), Mpi(transport)] if poll == "busy" else [bare]
