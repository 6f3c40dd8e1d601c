# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Kernel mode: rows and floors on nodes that run the modules, whatever kind of nodes they are.

A place (libguest, libhosts) gives nodes with name, address, sh(command, timeout) and
module(name), the path or None if it is to be found by modprobe, and what perftest's tools must
be told to find the device. In icount all nodes are one kernel, so the place has one node object
and several addresses.
"""

import re
import shlex

import libfloor
import libplan
import libresult
from libresult import ResultError

DRIVER = {"rdma": "msg_rdma", "tcp": "msg_socket"}
ABLATION = {"one-class": "one_class=1", "bounce": "bounce=1"}
LIMIT = 300     # seconds of a row


class Ours:
    """popcorn_bench.ko: a command line in, JSON lines out, on the first node."""

    def __init__(self, place, ablation):
        self.place = place
        self.extra = f" {ABLATION[ablation]}" if ablation else ""

    def run(self, case, iters):
        text = f"row={case.row} size={case.size} class={case.cls} iters={iters} from=0 to=1"
        if case.row in ("stream", "rate"):
            text += f" window={libplan.WINDOW}"
        if case.row == "urgent_under_bulk":
            text += f" window={libplan.LOAD_WINDOW}"
        if case.threads > 1:
            text += f" threads={case.threads}"
        return ask_counted(self.place, "/proc/popcorn_bench", text + self.extra)


# What a machine counts: our messages by the transport, the rest by its kernel.
COUNTERS = r"{ cat /proc/popcorn_stat; sed -n 's/^\(ctxt\|intr\|softirq\) \([0-9]*\).*/\1 \2/p' " \
           "/proc/stat; } 2>/dev/null"
COUNTED = {"ctxt": "wakeups", "intr": "interrupts", "softirq": "softirqs",
           "sent_messages": "messages"}


def counters(text):
    """Sums of what COUNTERS printed, by the names they have in a row."""
    got = {}
    for line in text.splitlines():
        w = line.split()
        if len(w) == 2 and w[0] in COUNTED and w[1].isdecimal():
            got[COUNTED[w[0]]] = got.get(COUNTED[w[0]], 0) + int(w[1])
        elif w[:1] == ["class"] and "messages" in got:  # and what carries no message of a layer
            got["messages"] += int(w[5]) + int(w[6])
    return got


def ask_counted(place, path, text):
    """ask() on the first node; the line has what an operation cost all machines in COUNTED."""
    first, *others = place.nodes if not place.one else place.nodes[:1]
    before = [n.sh(COUNTERS, 20) for n in others]
    line, mine = ask(first, path, text, COUNTERS)
    after = [n.sh(COUNTERS, 20) for n in others]
    old, new = (counters("\n".join([m, *theirs])) for m, theirs in zip(mine, (before, after)))
    operations = line.pop("operations", 0)
    if operations:
        line.update({k: max(new[k] - old[k], 0) / operations for k in new if k in old})
    return line


def ask(node, path, text, around="true"):
    """Write one command, read one line; the kernel's last word if it refuses.

    Returns the line and what the shell command around printed before and after, with as little
    as may be in between.
    """
    try:
        out = node.sh(f"{around}; echo {shlex.quote(text)} >{path} && cat {path} && {{ {around}; }}",
                      LIMIT)
    except ResultError as e:
        log = node.sh("dmesg | tail -n 1", 20).strip()
        raise ResultError(f"{e}; kernel log: {re.sub(r'^.[ 0-9.]*. ', '', log)}") from e
    line = libfloor.only(libfloor.lines(out, path), path)
    before, _, after = out.partition("\n{" if not out.startswith("{") else "{")
    return line, (before, after)


class KernelFloor:
    """floor_verbs.ko or floor_tcp.ko, asked on the first node."""

    rows = libfloor.ROWS
    engine = "kernel"
    mode = None

    def __init__(self, place, what, transport):
        self.module, self.path = f"floor_{what}", f"/proc/popcorn_floor_{what}"
        self.name, self.transport, self.place = f"k{what}", transport, place
        self.more = ""

    def missing(self):
        return None

    def load(self):
        client, server = self.place.nodes[0], self.place.nodes[-1 if self.place.one else 1]
        a, b = self.place.addresses[:2]
        if client is server:
            insert(client, self.module, f"a={a} b={b}")
        else:
            insert(server, self.module, f"b={b} role=server")
            insert(client, self.module, f"a={a} b={b} role=client")

    def unload(self):
        for node in {id(n): n for n in self.place.nodes[:2]}.values():
            remove(node, self.module)

    def run(self, row, size, iters, window):
        line = ask_counted(self.place, self.path,
                           f"row={row} size={size} iters={iters} window={window}{self.more}")
        line.pop("messages", None)  # those are ours
        return line


class SoftirqFloor(KernelFloor):
    """The same module, where the completion answers and no thread is woken for it."""

    rows = ("rtt", "fetch")

    def __init__(self, place):
        super().__init__(place, "verbs", "verbs")
        self.name, self.more = "kverbs_softirq", " answer=softirq"


class Tool:
    """A user-space program with a server and a client side; events, as pollers starve a CPU."""

    engine, transport, mode = "user", "verbs", "block"

    def __init__(self, place):
        self.place = place

    def missing(self):
        for node in self.place.nodes[:2]:
            try:
                node.sh(f"command -v {self.program}", 20)
            except ResultError:
                return f"no {self.program} on {node.name}"
        return None

    def pair(self, server, client, limit=LIMIT):
        """Start the server, give it time to listen, run the client."""
        a, b = self.place.nodes[0], self.place.nodes[-1 if self.place.one else 1]
        b.sh(f"timeout {limit} {server} >/tmp/{self.program}.log 2>&1 </dev/null & echo $! "
             f">/tmp/{self.program}.pid; sleep 1", 30)
        try:
            return a.sh(f"timeout {limit} {client}", limit + 10)
        finally:
            b.sh(f"kill $(cat /tmp/{self.program}.pid) 2>/dev/null; true", 20)


class UserVerbs(Tool):
    """microbench/floor's floor_verbs."""

    rows = libfloor.ROWS
    name, program = "uverbs_block", "floor_verbs"

    def run(self, row, size, iters, window):
        args = f"floor_verbs --mode block --row {row} --size {size} --iters {iters} " \
               f"--window {window}"
        target = self.place.addresses[1]
        out = self.place.nodes[0].sh(f"timeout {LIMIT} {args} {target},{target}", LIMIT + 10) \
            if self.place.one else self.pair(args, f"{args} {target}")
        return libfloor.only(libfloor.lines(out, self.program), self.program)


class Perftest(Tool):
    """ib_send_lat, which prints half of a round trip."""

    rows = ("rtt",)
    name, program = "ib_send_lat", "ib_send_lat"

    def missing(self):
        try:    # rxe of Linux 6.12 overruns its completion queue and hangs
            return super().missing() or (self.once(64, 100, 20) and None)
        except ResultError as e:
            return f"it doesn't run there ({e})"

    def once(self, size, iters, limit):
        args = f"ib_send_lat {self.place.perftest} -e -F -s {size} -n {max(iters, 100)}"
        return self.pair(args, f"{args} {self.place.addresses[1]}", limit)

    def run(self, row, size, iters, window):
        return self.parse(self.once(size, iters, LIMIT), size, iters)

    @staticmethod
    def parse(out, size, iters):
        for line in out.splitlines():
            w = line.split()
            if len(w) == 9 and w[0] == str(size):
                try:
                    low, _, typical, avg, _, p99, p999 = (2 * float(v) for v in w[2:])
                except ValueError:
                    continue
                return {"name": "ib_send_lat", "row": "rtt", "size": size, "unit": "us",
                        "median": typical, "avg": avg, "min": low, "p99": p99, "p999": p999,
                        "iters": iters}
        raise ResultError("ib_send_lat: no result line")


def insert(node, module, params=""):
    path = node.module(module)
    cmd = f"insmod {path} {params}" if path else f"modprobe {module} {params}"
    try:
        node.sh(cmd, 60)
    except ResultError as e:
        log = node.sh("dmesg | tail -n 1", 20).strip()
        raise ResultError(f"{node.name}: {cmd.strip()}: {e}; kernel log: {log}") from e


def remove(node, module):
    node.sh(f"if [ -d /sys/module/{module} ]; then rmmod {module}; fi", 60)


class Engine:
    """popcorn.ko with one driver on every node, and the benchmark on top, while in use."""

    def __init__(self, place, transport):
        self.place, self.driver = place, DRIVER[transport]

    def __enter__(self):
        ip = ",".join(self.place.addresses)
        try:
            for module, params in (("popcorn", ""), (self.driver, f"ip={ip}"),
                                   ("popcorn_bench", "")):
                for node in self.place.nodes:
                    insert(node, module, params)
        except ResultError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        for module in ("popcorn_bench", self.driver, "popcorn"):
            for node in self.place.nodes:
                remove(node, module)


def kernel_floors(place, transport):
    """The bare floor, which is to be loaded, and what else is measured beside it."""
    if transport == "tcp":
        return KernelFloor(place, "tcp", "tcp"), []
    # Our handlers run in a thread of the node, so the floor that wakes one comes first.
    return (KernelFloor(place, "verbs", "verbs"),
            [SoftirqFloor(place), UserVerbs(place), Perftest(place)])


def measure(place, transport, args, plan, errors):
    """Rows of one transport."""
    bare, others = kernel_floors(place, transport)
    floors = [bare]
    for t in others:
        why = t.missing()
        if why:
            libplan.complain(f"floor {t.name} left out: {why}")
        else:
            floors.append(t)
    try:
        bare.load()
        if args.floors_only:
            figs, floor_figs, bad = libplan.measure(plan, None, floors, args.quiet)
        else:
            with Engine(place, transport):
                figs, floor_figs, bad = libplan.measure(plan, Ours(place, args.ablation), floors,
                                                        args.quiet)
    finally:
        bare.unload()
    errors += bad
    return libplan.result_rows("transport", "kernel", transport, figs, floor_figs, floors,
                               kernel=place.kernel, ablation=args.ablation, link=getattr(args, "link", None))


def run(spec, args):
    """Returns (machine, rows, errors)."""
    if spec.kind == "hosts":
        from libhosts import place
    else:
        from libguest import place
    rows, errors = [], []
    libplan.plan(spec.kind, args.quick, args.rows)  # is it possible? Machines take a while to boot
    with place(spec, args, not args.floors_only) as p:
        for transport in args.transports:
            plan = libplan.plan(spec.kind, args.quick, args.rows)
            # With a wire to wait for, time isn't instructions alone.
            plan.counts &= not args.link
            rows += measure(p, transport, args, plan, errors)
        machine = libresult.machine(spec.text, p.kernel, guest=p.what)
    return machine, rows, errors
