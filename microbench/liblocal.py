# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""local:N: user-mode nodes as processes of this machine, against floors run in between."""

import ctypes
import os
import shlex
import shutil
import tempfile
from pathlib import Path

import libfloor
import libplan
import libresult
from libresult import ResultError

BENCH = libfloor.BIN / "popcorn-bench"
POLLS = ("busy", "block")


class Ours:
    """build/bin/popcorn-bench, one row a call."""

    def __init__(self, bench, nodes, transport, poll, ablation):
        self.fixed = [str(bench), "transport", "--nodes", str(nodes), "--transport", transport, "--poll", poll]
        if ablation:
            self.fixed += ["--ablation", ablation]

    def run(self, case, iters):
        cmd = [*self.fixed, "--row", case.row, "--size", str(case.size), "--class", case.cls,
               "--iters", str(iters)]
        if case.row in ("stream", "rate"):
            cmd += ["--window", str(libplan.WINDOW)]
        if case.threads > 1:
            cmd += ["--threads", str(case.threads)]
        return libfloor.only(libfloor.lines(libfloor.command(cmd), "popcorn-bench"),
                             "popcorn-bench")


CLONE_NEWNET = 0x40000000


def slow_wire(options):
    """Move this process, and so all that it starts, to a network of its own with such a lo."""
    if os.geteuid():
        raise ResultError("--link with local: needs root, for a network namespace of its own")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise ResultError(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    libfloor.command(["ip", "link", "set", "lo", "up"])
    try:
        libfloor.command(["tc", "qdisc", "add", "dev", "lo", "root", "netem", "limit", "10000",
                          *shlex.split(options)])
    except ResultError as e:
        raise ResultError(f"netem refuses '{options}': see tc-netem(8); a kernel without sch_netem "
                          "has none: use icount:2 or qemu:2") from e


def usable(floors):
    """The floors that can run here; says which can't, and what would help."""
    found = []
    for f in floors:
        why = f.missing()
        if why:
            libplan.complain(f"floor {f.name} left out: {why}")
        else:
            found.append(f)
    return found


def measure(spec, args, bench, transport, poll, errors):
    """Rows of one transport and way to wait."""
    floors = usable(libfloor.local_floors(transport, poll))
    ours = Ours(bench, spec.nodes, transport, poll, args.ablation) if bench else None
    figs, floor_figs, bad = libplan.measure(libplan.plan("local", args.quick, args.rows), ours, floors,
                                            args.quiet)
    errors += bad
    return libplan.result_rows("transport", "user", transport, figs, floor_figs, floors,
                               poll=poll, ablation=args.ablation, link=args.link)


def run(spec, args):
    """Returns (machine, rows, errors)."""
    libfloor.make("floors", *([] if args.floors_only else ["build/bin/popcorn-bench"]))
    if args.link:
        slow_wire(args.link)
    rows, errors = [], []
    with tempfile.TemporaryDirectory(prefix="popcorn-bench-") as d:
        # A copy, so that a build meanwhile does not change what is measured.
        bench = None if args.floors_only else shutil.copy2(BENCH, Path(d) / BENCH.name)
        for transport in args.transports:
            for poll in POLLS:
                rows += measure(spec, args, bench, transport, poll, errors)
    return libresult.machine(spec.text, link=args.link), rows, errors
