# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""local:N: user-mode nodes as processes of this machine, against floors run in between."""

import libfloor
import libplan
import libresult
from libresult import ResultError

BENCH = libfloor.BIN / "popcorn-bench"
POLLS = ("busy", "block")


class Ours:
    """build/bin/popcorn-bench, one row a call."""

    def __init__(self, nodes, transport, poll, ablation):
        self.fixed = ["--nodes", str(nodes), "--transport", transport, "--poll", poll]
        if ablation:
            self.fixed += ["--ablation", ablation]

    def run(self, case, iters):
        cmd = [str(BENCH), "transport", *self.fixed, "--row", case.row, "--size", str(case.size),
               "--class", case.cls, "--iters", str(iters)]
        if case.row in ("stream", "rate"):
            cmd += ["--window", str(libplan.WINDOW)]
        if case.threads > 1:
            cmd += ["--threads", str(case.threads)]
        return libfloor.only(libfloor.lines(libfloor.command(cmd), "popcorn-bench"),
                             "popcorn-bench")


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


def run(spec, args):
    """Returns (machine, rows, errors)."""
    transports = [args.transport] if args.transport else ["tcp", "shm"]
    if "rdma" in transports:
        raise ResultError("local: has no RDMA (it is user mode): use icount:2 or qemu:2")
    if not args.floors_only and not BENCH.exists():
        raise ResultError("build/bin/popcorn-bench is not built: run make (or --floors-only)")
    rows, errors = [], []
    for transport in transports:
        for poll in POLLS:
            floors = usable(libfloor.local_floors(transport, poll))
            ours = None if args.floors_only else Ours(spec.nodes, transport, poll, args.ablation)
            plan = libplan.plan("local", args.quick)
            figs, floor_figs, bad = libplan.measure(plan, ours, floors, args.quiet)
            errors += bad
            rows += libplan.result_rows("transport", "user", transport, figs, floor_figs, floors,
                                        poll=poll, ablation=args.ablation)
    return libresult.machine(spec.text), rows, errors
