#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The commands cluster/up, sh, cp and so on: links to this file, which acts by its name.

The cluster lives in the directory $POPCORN_CLUSTER, by default build/cluster/default.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import popcluster                                                   # noqa: E402
from popcluster import Cluster, ClusterError, Handle, Job           # noqa: E402

STATE = Path(os.environ.get("POPCORN_CLUSTER") or popcluster.BUILD / "cluster/default")


def parser(name, about):
    return argparse.ArgumentParser(prog=f"cluster/{name}", description=about, epilog=__doc__
                                   .rsplit("\n\n", 1)[1])


def up(name, argv):
    p = parser(name, "Boot a cluster of virtual machines and leave it running.")
    p.add_argument("n", type=int, help="number of machines")
    p.add_argument("--arch", choices=popcluster.ARCHES, default="amd64")
    p.add_argument("--kernel", choices=popcluster.KERNELS, default="6.1")
    p.add_argument("--link", default="", metavar="OPTIONS",
                   help='netem options for what each node sends, such as "delay 10us"')
    p.add_argument("--mem", type=int, default=384, metavar="MIB", help="memory of each machine")
    p.add_argument("--smp", type=int, default=1, metavar="N", help="processors of each machine")
    p.add_argument("--mtu", type=int, default=0, metavar="BYTES")
    p.add_argument("--rdma", choices=("rxe", "none"), default="rxe")
    p.add_argument("--icount", type=int, default=0, metavar="NODES",
                   help="one machine that hosts this many nodes and counts instructions as ns")
    p.add_argument("--life", type=int, default=popcluster.MAX_LIFE, metavar="SECONDS",
                   help="the cluster ends by itself after this time (default: two hours)")
    a = p.parse_args(argv)
    c = Cluster(a.n, a.arch, a.kernel, a.rdma, a.mtu, a.mem, a.smp, a.link, a.icount, STATE,
                a.life, follow=False)
    for n in c:
        address = c.ips if a.icount else f"{n.addr} {n.addr6}"
        print(f"node {n.number}: {n.name} {address}")


def sh(name, argv):
    p = parser(name, "Run a command on a node: several words as they are, one by the shell.")
    p.add_argument("--timeout", type=float, default=600, metavar="SECONDS",
                   help="kill the command after this time, status 124 (default: 600)")
    p.add_argument("node", type=int)
    p.add_argument("command", nargs=argparse.REMAINDER)
    a = p.parse_args(argv)
    if not a.command:
        p.error("no command given")
    if a.command[0] == "--":
        a.command.pop(0)
    line = a.command[0] if len(a.command) == 1 else popcluster.shlex.join(a.command)
    stdin = b"" if sys.stdin is None or sys.stdin.isatty() or not _has_input() \
        else sys.stdin.buffer.read()
    out = {b"o": sys.stdout.buffer, b"e": sys.stderr.buffer}

    def show(tag, data):
        out[tag].write(data)
        out[tag].flush()

    status, late = Job(Handle(STATE)[a.node], line, a.timeout, stdin).stream(show)
    if late:
        print(f"cluster/sh: killed after {a.timeout:g} s", file=sys.stderr)
    return status


def _has_input():
    """Standard input is a pipe or a file that the caller gave on purpose."""
    import stat
    mode = os.fstat(0).st_mode
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def cp(name, argv):
    p = parser(name, "Copy a file or directory: SRC NODE:DST, or NODE:SRC DST.")
    p.add_argument("source")
    p.add_argument("target")
    a = p.parse_args(argv)

    def split(path):
        number, colon, rest = path.partition(":")
        return (int(number), rest) if colon and number.isdigit() else (None, path)

    (a_node, a_path), (b_node, b_path) = split(a.source), split(a.target)
    if (a_node is None) == (b_node is None):
        p.error("one of source and target is NODE:PATH")
    h = Handle(STATE)
    if b_node:
        h[b_node].put(a_path, b_path)
    else:
        h[a_node].get(a_path, b_path)


def pair(name, argv):
    p = parser(name, {"cut": "Lose all traffic between two nodes, both ways, silently.",
                      "heal": "Undo a cut between two nodes, or all cuts."}[name])
    p.add_argument("node", type=int, nargs=2 if name == "cut" else "*")
    a = p.parse_args(argv)
    if len(a.node) not in (0, 2):
        p.error("give two nodes, or none for all cuts")
    h = Handle(STATE)
    h.cut(*a.node) if name == "cut" else h.heal(*a.node)


def one(name, argv):
    p = parser(name, {
        "kill": "Cut the power of a node.",
        "start": "Boot a node again after kill or a crash.",
        "pause": "Freeze a node; its clocks go on, so that it finds itself later on resume.",
        "resume": "Let a frozen node go on."}[name])
    p.add_argument("node", type=int)
    if name == "pause":
        p.add_argument("--stop-clock", action="store_true", help="its clocks stand still as well")
    a = p.parse_args(argv)
    node = Handle(STATE)[a.node]
    node.pause(a.stop_clock) if name == "pause" else getattr(node, name)()


def log(name, argv):
    p = parser(name, "Print the console of a node, all its boots.")
    p.add_argument("node", type=int)
    a = p.parse_args(argv)
    sys.stdout.write(Handle(STATE)[a.node].log())


def status(name, argv):
    parser(name, "Print the state of the cluster and its nodes.").parse_args(argv)
    s = Handle(STATE).status()
    for i, n in s["nodes"].items():
        state = "paused" if n["paused"] else "up" if n["up"] else "booting" if n["alive"] else "dead"
        print(f"node {i}: {n['kernel']}-{n['arch']} {state}, boot {n['boots']}, pid {n['pid']}")
    for a, b in s["cuts"]:
        print(f"cut: {a} {b}")


def down(name, argv):
    parser(name, "End all machines of the cluster. Their logs stay.").parse_args(argv)
    if (STATE / "cluster.json").exists():
        Handle(STATE).down()


COMMANDS = {"up": up, "sh": sh, "cp": cp, "cut": pair, "heal": pair, "kill": one, "start": one,
            "pause": one, "resume": one, "log": log, "status": status, "down": down}


def main():
    name = Path(sys.argv[0]).name
    if name not in COMMANDS:
        sys.exit(f"{__doc__}\ncommands: {', '.join(COMMANDS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        return COMMANDS[name](name, sys.argv[1:])
    except ClusterError as e:
        print(f"cluster/{name}: {e}", file=sys.stderr)
        return 255
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
