# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Suite dsm: what shared memory costs, beside the bare exchanges that it can't do without.

build/bin/popcorn-bench-dsm measures; in user mode it has its floors of the same run itself, in
kernel mode they are those of the transport, from the same boot.
"""

import statistics

import libfloor
import libkernel
import libplan
import libresult
from libresult import TOP, ResultError

PROGRAM = "popcorn-bench-dsm"
TRANSPORT = "popcorn-bench"
LIMIT = 240     # seconds of a row
PAUSE_US = 200  # kernel mode: before each timed access, so that nothing is left of the last

# What the exchange takes at least: a row of the floor and its bytes.
FLOOR = {"read_fault": ("fetch", 4096), "write_fault": ("fetch", 4096), "upgrade": ("rtt", 64),
         "three_hop": ("fetch", 4096), "seq_scan": ("stream", 4096),
         "seq_write": ("stream", 4096), "seq_upgrade": ("stream", 4096), "random": None,
         "false_sharing": None, "lock": ("rtt", 64), "barrier": ("rtt", 64)}
FLOOR_ITERS = 1000


def stats(lines, scale):
    """Medians over rounds, in the row's unit."""
    def mid(key):
        return statistics.median(v[key] for v in lines) * scale
    return {"median": mid("median"), "p99": mid("p99"), "min": None, "avg": None, "p999": None}


def share(lines):
    """false_sharing: what the one who got less got, in the worst round."""
    got = [v["share"] for v in lines if "share" in v]
    return {"share": min(got)} if got else {}


# ------------------------------------------------------------------- user mode

def streamed(wire):
    """The floor of a scan: a page of the transport's own stream."""
    libfloor.make(f"build/bin/{TRANSPORT}")
    cmd = [str(TOP / "build" / "bin" / TRANSPORT), "transport", "--transport", wire, "--row", "stream",
           "--size", "4096"]
    line = libfloor.only(libfloor.lines(libfloor.command(cmd, limit=LIMIT), TRANSPORT), TRANSPORT)
    return {"floor_name": "streamed page", "floor": line["median"]}


def local(spec, args, errors):
    """Rows of user mode: every wire, faults served by a thread and by SIGBUS."""
    program = TOP / "build" / "bin" / PROGRAM
    libfloor.make(f"build/bin/{PROGRAM}")
    rows = []
    jobs = [(wire, fault) for wire in args.transports for fault in ("thread", "sigbus")]
    names = libplan.only(list(FLOOR), args.rows)
    progress = libplan.Progress(len(jobs) * len(names), args.quiet)
    for wire, fault in jobs:
        for name in names:
            progress.step(f"{name} {wire} {fault}")
            cmd = [str(program), "--json", "--row", name, "--wire", wire, "--fault", fault,
                   "--nodes", f"local:{spec.nodes}", "--rounds", "3" if args.quick else "7"]
            try:
                line = libfloor.only(libfloor.lines(libfloor.command(cmd, limit=LIMIT), PROGRAM),
                                     PROGRAM)
                if FLOOR[name] == ("stream", 4096):
                    line.update(streamed(wire))
            except ResultError as e:
                errors.append(str(e))
                libplan.complain(f"{name} {wire}: {e}")
                continue
            rows.append(libresult.row(
                "dsm", name, "user", wire, line["size"], "us", stats([line], 1),
                line.get("floor_name"), line.get("floor"), **share([line]),
                poll=f"{line['poll']}, faults by {fault}", link=args.link, nodes=line["nodes"]))
    progress.end()
    return rows


# ----------------------------------------------------------------- kernel mode

def bench(place, name, nodes, rounds):
    """One row: all nodes of one guest, or one process on each machine. Node 1 says the figures."""
    args = f"{PROGRAM} --json --row {name} --kernel {nodes} --rounds {rounds} --pause {PAUSE_US}"
    if place.one:
        out = place.nodes[0].sh(f"timeout {LIMIT} {args}", LIMIT + 10)
    else:
        others = [i for i in range(nodes) if i != 1]
        for i in others:
            place.nodes[i].sh(f"timeout {LIMIT} {args} --self {i} >/tmp/{PROGRAM}.log 2>&1 "
                              f"</dev/null & echo $! >/tmp/{PROGRAM}.pid", 30)
        try:
            out = place.nodes[1].sh(f"timeout {LIMIT} {args} --self 1", LIMIT + 10)
        finally:
            for i in others:
                place.nodes[i].sh(f"kill $(cat /tmp/{PROGRAM}.pid) 2>/dev/null; true", 20)
    return libfloor.only(libfloor.lines(out, PROGRAM), PROGRAM)


def wait_up(place, nodes):
    """All links, whose first try may have crossed with the peer's."""
    for node in place.nodes[:1 if place.one else nodes]:
        node.sh("for i in $(seq 100); do grep -v '^[*#]' /proc/popcorn_peers | grep -qv ' up ' || "
                "exit 0; sleep 0.2; done; cat /proc/popcorn_peers; exit 1", 60)


def guests(place, nodes, transport, args, errors):
    """Rows of one transport in kernel mode."""
    once = place.one                    # figures repeat: one round will do
    counts = place.one and not args.link    # with a wire to wait for, time isn't instructions alone
    scale, unit = (1000, "insn") if counts else (1, "us")
    floor = libkernel.kernel_floors(place, transport)[0]
    rounds = 1 if once else 3 if args.quick else 5
    names = [n for n in libplan.only(list(FLOOR), args.rows) if nodes > 2 or n != "three_hop"]
    progress = libplan.Progress(len(names) * rounds * 2, args.quiet)
    floors, rows = {}, []
    try:
        floor.load()
        with libkernel.Engine(place, transport):
            wait_up(place, nodes)
            for name in names:
                lines, below = [], []
                try:
                    for _ in range(rounds):     # A B A B
                        need = FLOOR[name]
                        progress.step(f"{floor.name} {name}")
                        if need and (not once or need not in floors):
                            line = floor.run(*need, FLOOR_ITERS, libplan.WINDOW)
                            got, _ = libresult.convert(line, "rtt", need[1], counts)
                            below.append(got["median"])
                            floors[need] = below
                        progress.step(name)
                        lines.append(bench(place, name, nodes, 1))
                except ResultError as e:
                    errors.append(f"{name}: {e}")
                    libplan.complain(f"{transport} {name}: {e}")
                    continue
                base = statistics.median(floors[FLOOR[name]]) if FLOOR[name] else None
                rows.append(libresult.row(
                    "dsm", name, "kernel", transport, lines[0]["size"], unit,
                    stats(lines, scale), base and f"{floor.name} {FLOOR[name][0]}", base,
                    **share(lines), kernel=place.kernel, link=args.link, nodes=nodes))
    finally:
        progress.end()
        floor.unload()
    return rows


def run(spec, args):
    """Returns (machine, rows, errors)."""
    errors = []
    libplan.only(list(FLOOR), args.rows)    # before anything boots
    if spec.kind == "local":
        if args.link:
            import liblocal
            liblocal.slow_wire(args.link)
        rows = local(spec, args, errors)
        return libresult.machine(spec.text, link=args.link), rows, errors
    if spec.kind == "hosts":
        from libhosts import place

        def get(_):
            return f"command -v {PROGRAM} || {{ echo '{PROGRAM} is missing: make install' >&2; exit 1; }}"
    else:
        from libguest import arches, place
        libfloor.make(*(f"build/guest/{PROGRAM}-{a}" for a in arches(spec.arch)))

        def get(node):      # a copy: it may be built anew meanwhile
            return f"cp /build/guest/{PROGRAM}-{node.guest.arch} /usr/bin/{PROGRAM}"
    rows = []
    with place(spec, args, True) as p:
        for node in p.nodes:
            node.sh(get(node), 20)
        for transport in args.transports:
            rows += guests(p, spec.nodes, transport, args, errors)
        return libresult.machine(spec.text, p.kernel, guest=p.what), rows, errors
