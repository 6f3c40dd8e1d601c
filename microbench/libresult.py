# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The result file: what a row is, how units convert, reading it back with clear errors."""

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent

UNITS = ("us", "ns", "insn", "bytes", "MB/s", "1/s")
RATES = ("MB/s", "1/s")
ENGINES = ("kernel", "user")
TRANSPORTS = ("rdma", "tcp", "shm", "ucx", "verbs", "mpi", "none")
STATS = ("min", "median", "avg", "p99", "p999")

# Every row has these; a row without a floor has null in the last four.
REQUIRED = ("suite", "name", "engine", "transport", "size", "unit", "median", "p99",
            "floor_name", "floor", "added", "ratio")


class ResultError(Exception):
    """A result that can't be used; the message is one line for the user."""


def number(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool)


def round_sig(v, digits=5):
    """As many digits as a measurement bears; keeps the file readable."""
    return None if v is None else float(f"{v:.{digits}g}") if abs(v) < 1e5 else round(v)


def convert(line, row, size, counts):
    """A floor's or benchmark's JSON line (microseconds an operation) in the row's own unit.

    counts: the clock counts instructions (a nanosecond is one). stream becomes MB/s and rate
    messages/s where time is time; there a high percentile is the rate at that percentile.
    """
    got = {k: line.get(k) for k in STATS}
    if any(v is not None and (not number(v) or v < 0) for v in got.values()):
        raise ResultError(f"not a measurement: {json.dumps(line)}")
    if not number(got["median"]):
        raise ResultError(f"no median in {json.dumps(line)}")
    unit = line.get("unit", "us")
    if unit in RATES:   # back to time, so that every source is treated alike
        per = size if unit == "MB/s" else 1e6
        got = {k: per / v if v else None for k, v in got.items()}
    elif unit not in ("us", "insn"):
        raise ResultError(f"unknown unit '{unit}' in {json.dumps(line)}")
    if counts:
        return {k: v if v is None or unit == "insn" else v * 1000 for k, v in got.items()}, "insn"
    if row == "stream":
        return {k: size / v if v else None for k, v in got.items()}, "MB/s"
    if row == "rate":
        return {k: 1e6 / v if v else None for k, v in got.items()}, "1/s"
    return got, "us"


def merge(rounds, unit="us"):
    """Several rounds of one figure: medians of medians, the best minimum; None where unknown."""
    def mid(vs):
        vs = sorted(v for v in vs if v is not None)
        n = len(vs)
        return None if not n else vs[n // 2] if n % 2 else (vs[n // 2 - 1] + vs[n // 2]) / 2
    out = {k: mid([r[k] for r in rounds]) for k in STATS if k != "min"}
    mins = [r["min"] for r in rounds if r["min"] is not None]
    out["min"] = (max if unit in RATES else min)(mins) if mins else None
    return out


def row(suite, name, engine, transport, size, unit, stats, floor_name=None, floor=None, **extra):
    """One row of the file. floor: the floor's median in the same unit."""
    median = stats["median"]
    added = ratio = None
    if floor is not None:
        added = median - floor
        over, under = (floor, median) if unit in RATES else (median, floor)
        ratio = over / under if under else None
    out = {"suite": suite, "name": name, "engine": engine, "transport": transport, "size": size,
           "unit": unit, "median": round_sig(median), "p99": round_sig(stats["p99"]),
           "floor_name": floor_name, "floor": round_sig(floor), "added": round_sig(added),
           "ratio": round_sig(ratio)}
    out.update({k: round_sig(stats[k]) for k in STATS if k not in out})
    out.update({k: v for k, v in extra.items() if v is not None})
    return out


def commit():
    """The source's commit, with "-dirty" if files differ; "unknown" outside a repository."""
    try:
        out = subprocess.run(["git", "-C", str(TOP), "describe", "--always", "--dirty",
                              "--abbrev=12"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return out.stdout.strip() or "unknown"


def machine(where, kernel=None, **extra):
    """What a reader needs to judge the figures: CPU, kernel, how the nodes were placed."""
    model = "unknown"
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "CPU part")):
                model = line.split(":", 1)[1].strip()
                break
        mem = int(Path("/proc/meminfo").read_text().split()[1]) >> 20
    except (OSError, ValueError, IndexError):
        mem = 0
    out = {"where": where, "arch": platform.machine(), "cpu": model, "cores": os.cpu_count(),
           "memory_gib": mem, "kernel": kernel or platform.release()}
    out.update({k: v for k, v in extra.items() if v is not None})
    return out


def document(where_machine, rows):
    now = datetime.datetime.now(datetime.timezone.utc)
    return {"machine": where_machine, "commit": commit(),
            "date": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "rows": rows}


def check_row(r, where):
    if not isinstance(r, dict):
        raise ResultError(f"{where}: a row is an object, not {type(r).__name__}")
    for key in REQUIRED:
        if key not in r:
            raise ResultError(f"{where}: no '{key}'")
    for key, known in (("unit", UNITS), ("engine", ENGINES), ("transport", TRANSPORTS)):
        if r[key] not in known:
            raise ResultError(f"{where}: {key} {r[key]!r} is none of {', '.join(known)}")
    for key in ("suite", "name"):
        if not isinstance(r[key], str) or not r[key]:
            raise ResultError(f"{where}: '{key}' must be a name")
    if not isinstance(r["size"], int) or isinstance(r["size"], bool) or r["size"] < 0:
        raise ResultError(f"{where}: size {r['size']!r} is not a number of bytes")
    if not number(r["median"]) or r["median"] < 0:
        raise ResultError(f"{where}: median {r['median']!r} is not a figure")
    for key in ("p99", "floor", "added", "ratio"):
        if r[key] is not None and not number(r[key]):
            raise ResultError(f"{where}: {key} {r[key]!r} is neither a number nor null")
    if (r["floor"] is None) != (r["floor_name"] is None):
        raise ResultError(f"{where}: floor and floor_name come together")


def check(doc, where="result"):
    """Raise ResultError with the first thing that is wrong."""
    if not isinstance(doc, dict):
        raise ResultError(f"{where}: not an object")
    for key, kind in (("machine", dict), ("commit", str), ("date", str), ("rows", list)):
        if not isinstance(doc.get(key), kind):
            raise ResultError(f"{where}: '{key}' is missing or of the wrong type")
    if not doc["rows"]:
        raise ResultError(f"{where}: no rows")
    for i, r in enumerate(doc["rows"]):
        check_row(r, f"{where}: row {i}")
    return doc


def load(path):
    """Read and check one file; every error is a ResultError that names it."""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise ResultError(f"{path}: {getattr(e, 'strerror', None) or 'not text'}") from e
    try:
        doc = json.loads(text)
    except ValueError as e:
        raise ResultError(f"{path}: not JSON ({e})") from e
    return check(doc, str(path))


def save(path, doc):
    """Write atomically: a reader or a crash never sees half a file."""
    path = Path(path)
    tmp = path.with_name(path.name + ".tmp")
    try:
        tmp.write_text(json.dumps(doc, indent=1) + "\n")
        tmp.replace(path)
    except OSError as e:
        raise ResultError(f"{path}: {e.strerror}") from e
