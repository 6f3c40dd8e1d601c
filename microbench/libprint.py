# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The table that a run prints: perftest's columns, then the floor, what we add, the ratio."""

HEAD = ("row", "class", "bytes", "unit", "t_min", "t_typical", "t_avg", "99%", "99.9%", "floor",
        "floor name", "added", "ratio")


def figure(v, unit=""):
    if v is None:
        return "-"
    if unit in ("insn", "1/s") or abs(v) >= 1e5:
        return f"{v:.0f}"
    return f"{v:.3f}" if abs(v) < 10 else f"{v:.2f}" if abs(v) < 1000 else f"{v:.1f}"


def cells(r):
    cls = r.get("class", "")
    if r.get("threads", 1) > 1:
        cls += f" x{r['threads']:g}"
    name = r["name"] if r["suite"] != "floor" else f"{r.get('source', '')} {r['name']}"
    unit = r["unit"]
    stats = [figure(r.get(k), unit) for k in ("min", "median", "avg", "p99", "p999")]
    floor = [figure(r["floor"], unit), r["floor_name"] or "-", figure(r["added"], unit),
             figure(r["ratio"])]
    return [name, cls, str(r["size"]), unit, *stats, *floor]


def aligned(head, lines, left=()):
    widths = [max(len(row[i]) for row in [head, *lines]) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) if i in left else c.rjust(w)
                               for i, (c, w) in enumerate(zip(row, widths))).rstrip()
                     for row in [head, *lines])


def table(rows):
    """Ours first, then the floors by themselves. Latencies are whole round trips."""
    parts = []
    for title, chosen in (("ours", [r for r in rows if r["suite"] != "floor"]),
                          ("floors", [r for r in rows if r["suite"] == "floor"])):
        if not chosen:
            continue
        head = list(HEAD) if title == "ours" else list(HEAD[:9])
        lines = [cells(r)[:len(head)] for r in chosen]
        parts.append(aligned(head, lines, left=(0, 1, 3, 10)))
    return "\n\n".join(parts)
