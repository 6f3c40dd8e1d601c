# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The table that a run prints: perftest's columns, then the floor, what we add, the ratio."""

HEAD = ("row", "class", "bytes", "unit", "t_min", "t_typical", "t_avg", "99%", "99.9%", "floor",
        "floor name", "added", "ratio")
LEFT = (0, 1, 3, 10)    # columns of words


def figure(v, unit=""):
    if v is None:
        return "-"
    if unit in ("insn", "bytes", "1/s") or abs(v) >= 1e5:
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


def group(r):
    """Rows with the same of these belong together: one part of a table, one picture."""
    return r["engine"], r["transport"], r.get("poll"), r.get("kernel"), r.get("ablation"), r.get("link")


def groups(rows):
    """Our groups in the file's order, kernel mode first."""
    return sorted(dict.fromkeys(group(r) for r in rows if r["suite"] != "floor"),
                  key=lambda g: g[0] != "kernel")


def title(g):
    engine, transport, poll, kernel, ablation, link = g
    return ", ".join(filter(None, (transport, f"{engine} mode", poll, kernel and f"Linux {kernel}",
                                   ablation and f"ablation: {ablation}", link and f"link: {link}")))


def quiet_repeats(lines, n):
    """Blank the first n cells of a line that says the same there as the one above."""
    out, above = [], None
    for line in lines:
        out.append([""] * n + line[n:] if line[:n] == above else line)
        above = line[:n]
    return out


def table(rows):
    """A part for each group of ours, then the floors by themselves."""
    parts = []
    for g in groups(rows):
        lines = [cells(r) for r in rows if r["suite"] != "floor" and group(r) == g]
        parts.append(title(g) + "\n" + aligned(HEAD, quiet_repeats(lines, 9), left=LEFT))
    lines = [cells(r)[:9] for r in rows if r["suite"] == "floor"]
    if lines:
        parts.append("floors\n" + aligned(HEAD[:9], lines, left=LEFT))
    return "\n\n".join(parts)


COUNTS = ("messages", "wakeups", "interrupts", "softirqs")


def counts(rows):
    """What an operation takes on all machines: a part for each transport, ours and the floors'."""
    parts = []
    for kind in dict.fromkeys(r["transport"] for r in rows if r["engine"] == "kernel"):
        lines = {}
        for r in rows:
            if r["transport"] == kind and any(k in r for k in COUNTS):
                lines[tuple(cells(r)[:3])] = [f"{r[k]:.2f}" if k in r else "-" for k in COUNTS]
        if lines:
            parts.append(f"{kind}, an operation's\n" + aligned(
                ("row", "class", "bytes", *COUNTS), [[*k, *v] for k, v in lines.items()],
                left=(0, 1)))
    return "\n\n".join(parts)


def markdown(rows):
    rule = "|" + "|".join("---" if i in LEFT else "--:" for i in range(len(HEAD))) + "|"
    parts = [(title(g), [cells(r) for r in rows if r["suite"] != "floor" and group(r) == g])
             for g in groups(rows)]
    parts.append(("floors", [cells(r) for r in rows if r["suite"] == "floor"]))
    return "\n\n".join(
        "\n".join([f"**{name}**", "", "| " + " | ".join(HEAD) + " |", rule]
                  + ["| " + " | ".join(line) + " |" for line in lines])
        for name, lines in parts if lines)
