# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Which rows are measured, and the interleaved measurement itself."""

import sys
import time
from dataclasses import dataclass, field

import libresult
from libresult import ResultError

SIZES = (64, 256, 1024, 4096, 16384, 65536)
CLASSES = ("sync", "urgent", "bulk")
WINDOW = 16         # pages asked for ahead in a stream
LOAD_WINDOW = 32    # the same of what saturates: all that a link lets be under way
THREADS = 4

# What there may be beside the statistics: an operation's worth of messages, context switches,
# interrupts and softirqs on all machines; bulk's pages a second alone and its share of that under urgent round trips, whose
# pace is in microseconds.
EXTRA = ("messages", "wakeups", "interrupts", "softirqs", "bulk_share",
         "bulk_solo", "pace")


@dataclass(frozen=True)
class Case:
    """One figure of ours; cases with the same row and size share their floors."""
    row: str
    size: int
    cls: str
    threads: int = 1

    def __str__(self):
        many = f" {self.threads} threads" if self.threads > 1 else ""
        return f"{self.row} {self.size} B {self.cls}{many}"


@dataclass
class Plan:
    """How much: rounds of everything, operations a round by size.

    counts: the clock counts instructions. few, many: operations from 16 KiB up and below.
    """
    cases: list
    rounds: int
    few: int
    many: int
    counts: bool = False

    def iters(self, case):
        if case.row == "urgent_under_bulk":     # paced: each takes tens of microseconds
            return min(self.many, 2000)
        return self.few if case.size >= 16384 else self.many


def transport_cases(quick):
    cases = [Case("rtt", s, c) for s in ((64, 4096) if quick else SIZES) for c in CLASSES
             if not quick or c == "sync" or s == 64 and c == "urgent"]
    cases += [Case("fetch", 4096, "sync"), Case("stream", 4096, "bulk"), Case("rate", 64, "sync"),
              Case("rate", 64, "sync", THREADS), Case("urgent_under_bulk", 64, "urgent")]
    return cases


def only(names, rows):
    """Of all names those that the option --rows has, NAME,NAME; all if it has none."""
    want = rows.split(",") if rows else names
    for name in want:
        if name not in names:
            raise ResultError(f"no row '{name}': there are {', '.join(names)}")
    return [n for n in names if n in want]


def plan(kind, quick, rows=None):
    """Instruction counts repeat, so icount needs few rounds; guests are slow, so few operations."""
    cases = transport_cases(quick)
    names = only(list(dict.fromkeys(c.row for c in cases)), rows)
    cases = [c for c in cases if c.row in names]
    if kind == "icount":
        return Plan(cases, 1 if quick else 3, 200, 1000 if quick else 2000, counts=True)
    if kind == "local":
        return Plan(cases, 5 if quick else 9, 500 if quick else 1000, 2000 if quick else 5000)
    return Plan(cases, 3 if quick else 7, 100, 300 if quick else 1000)


@dataclass
class Figure:
    """Rounds of one figure; None where a round failed.

    idle: the same figure with the wire idle, where the benchmark measured that in turns with it.
    """
    rounds: list = field(default_factory=list)
    unit: str = ""
    extra: dict = field(default_factory=dict)
    idle: "Figure" = None

    def add(self, line, row, size, counts):
        stats, self.unit = libresult.convert(line, row, size, counts)
        self.rounds.append(stats)
        for k in EXTRA:
            if libresult.number(line.get(k)):
                self.extra.setdefault(k, []).append(line[k])
        if "idle" in line:
            self.idle = self.idle or Figure()
            self.idle.add({"median": line["idle"], "unit": line.get("unit")}, row, size, counts)

    def extras(self):
        return {k: libresult.round_sig(middle(v), 4) for k, v in self.extra.items()}

    def good(self):
        return [r for r in self.rounds if r]


class Progress:
    """One line that is overwritten on a terminal, and kept short in a log."""

    def __init__(self, total, quiet=False):
        self.total, self.done, self.start = total, 0, time.monotonic()
        self.tty, self.quiet, self.told = sys.stderr.isatty(), quiet, 0.0

    def step(self, what):
        self.done += 1
        now = time.monotonic()
        if self.quiet or not self.tty and now - self.told < 5:
            return
        self.told = now
        text = f"[{self.done}/{self.total}] {now - self.start:4.0f} s  {what}"
        sys.stderr.write(f"\r\033[K{text}" if self.tty else text + "\n")
        sys.stderr.flush()

    def end(self):
        if self.tty and not self.quiet:
            sys.stderr.write("\r\033[K")


def complain(text):
    sys.stderr.write(("\r\033[K" if sys.stderr.isatty() else "") + text + "\n")


def measure(the_plan, ours, floors, quiet=False):
    """Interleave ours and the floors, round by round; every other round backwards.

    ours: an object with run(case, iters), or None to measure only the floors.
    floors: objects with name, rows and run(row, size, iters, window).
    Returns ({case: Figure}, {(floor name, row, size): Figure}, [errors]). A figure that fails
    is not tried again; the others go on.
    """
    jobs = []
    seen = set()
    for case in the_plan.cases:
        for f in floors:
            key = (f.name, case.row, case.size)
            if case.row in f.rows and key not in seen:
                seen.add(key)
                jobs.append((key, case, f))
        if ours:
            jobs.append((case, case, None))
    figures = {key: Figure() for key, _, _ in jobs}
    failed = {}
    progress = Progress(len(jobs) * the_plan.rounds, quiet)
    for n in range(the_plan.rounds):
        for key, case, f in jobs if n % 2 == 0 else reversed(jobs):
            label = f"{f.name} {case.row} {case.size} B" if f else str(case)
            progress.step(label)
            if key in failed:
                continue
            try:
                iters = the_plan.iters(case)
                line = f.run(case.row, case.size, iters, WINDOW) if f else ours.run(case, iters)
                figures[key].add(line, case.row, case.size, the_plan.counts)
            except ResultError as e:
                failed[key] = f"{label}: {e}"
                complain(failed[key])
                figures[key].rounds.append(None)
    progress.end()
    got = {k: f for k, f in figures.items() if f.good()}
    return ({k: f for k, f in got.items() if isinstance(k, Case)},
            {k: f for k, f in got.items() if not isinstance(k, Case)}, list(failed.values()))


def middle(values):
    values = sorted(values)
    n = len(values)
    return values[n // 2] if n % 2 else (values[n // 2 - 1] + values[n // 2]) / 2


def paired(ours, floor):
    """Ratio as the median of the rounds' ratios: a machine that changes pace hits both sides."""
    both = [(o["median"], f["median"]) for o, f in zip(ours.rounds, floor.rounds) if o and f]
    if ours.unit in libresult.RATES:
        both = [(f, o) for o, f in both]
    ratios = [o / f for o, f in both if f]
    return middle(ratios) if ratios else None


def result_rows(suite, engine, transport, figures, floor_figures, floors, **common):
    """Rows of the file: ours against each floor, then every floor with its own statistics."""
    rows = []
    for case, fig in figures.items():
        stats = libresult.merge(fig.good(), fig.unit)
        extra = {**common, "class": case.cls, **fig.extras()}
        if case.threads > 1:
            extra["threads"] = case.threads
        versus = [(k[0], f) for k, f in floor_figures.items() if k[1:] == (case.row, case.size)]
        if case.row == "rtt" and case.cls != "sync":
            versus = versus[:1]     # the bare floor; the others have no classes to compare
        if case.threads > 1:
            versus = []             # floors have one thread
        if case.row == "urgent_under_bulk":     # the floor is our own, with the wire idle
            idle = fig.idle or figures.get(Case("rtt", case.size, case.cls))
            versus = [("idle", idle)] if idle else []
        for name, f in versus or [(None, None)]:
            r = libresult.row(suite, case.row, engine, transport, case.size, fig.unit, stats, name,
                              libresult.merge(f.good())["median"] if f else None, **extra)
            ratio = paired(fig, f) if f else None
            if ratio is not None:
                r["ratio"] = libresult.round_sig(ratio)
            rows.append(r)
    by_name = {f.name: f for f in floors}
    for (name, row, size), fig in floor_figures.items():
        f = by_name[name]
        rows.append(libresult.row(
            "floor", row, getattr(f, "engine", "user"), f.transport, size, fig.unit,
            libresult.merge(fig.good(), fig.unit), source=name, poll=getattr(f, "mode", None),
            kernel=common.get("kernel"), link=common.get("link"), **fig.extras()))
    return rows
