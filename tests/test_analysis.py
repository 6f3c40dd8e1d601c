# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The result file and what analysis/ makes of it; the arithmetic of microbench/lib*.py."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "microbench"))

import libplan
import libprint
import libresult
import libspec

SAMPLE = TOP / "tests" / "data" / "transport.json"


def tool(name, *args):
    return subprocess.run([str(TOP / "analysis" / name), *map(str, args)], capture_output=True,
                          text=True, timeout=120)


@pytest.fixture
def doc():
    return libresult.load(SAMPLE)


def broken(doc, path, change):
    bad = copy.deepcopy(doc)
    change(bad)
    path.write_text(json.dumps(bad))
    return path


@pytest.mark.parametrize("change, says", [
    (lambda d: d.pop("rows"), "'rows' is missing"),
    (lambda d: d.update(rows=[]), "no rows"),
    (lambda d: d.update(machine="here"), "'machine'"),
    (lambda d: d.update(rows=[3]), "a row is an object"),
    (lambda d: d["rows"][0].pop("unit"), "row 0: no 'unit'"),
    (lambda d: d["rows"][0].update(unit="ms"), "unit 'ms' is none of"),
    (lambda d: d["rows"][0].update(engine="both"), "engine 'both'"),
    (lambda d: d["rows"][1].update(median="7"), "row 1: median '7'"),
    (lambda d: d["rows"][1].update(median=None), "row 1: median None"),
    (lambda d: d["rows"][0].update(size=True), "size True"),
    (lambda d: d["rows"][0].update(p99="x"), "p99 'x'"),
    (lambda d: d["rows"][0].update(floor=None, floor_name="tcp_busy"), "come together"),
])
def test_malformed_file_is_one_clear_line(doc, tmp_path, change, says):
    path = broken(doc, tmp_path / "bad.json", change)
    for name, more in (("table", []), ("plot", ["-o", tmp_path / "x.png"])):
        r = tool(name, path, *more)
        assert r.returncode == 1 and says in r.stderr and str(path) in r.stderr
        assert len(r.stderr.splitlines()) == 1 and not r.stdout


@pytest.mark.parametrize("text, says", [("", "not JSON"), ("{", "not JSON"), ("[]", "not an object")])
def test_no_json(tmp_path, text, says):
    path = tmp_path / "x.json"
    path.write_text(text)
    r = tool("table", path)
    assert r.returncode == 1 and says in r.stderr


def test_missing_file(tmp_path):
    r = tool("table", tmp_path / "none.json")
    assert r.returncode == 1 and "No such file" in r.stderr


def test_table_shows_every_row_once(doc):
    r = tool("table", "-f", SAMPLE)
    assert r.returncode == 0, r.stderr
    body = r.stdout.splitlines()
    parts = len(libprint.groups(doc["rows"])) + 1
    # A part has a title, a head and an empty line before it; the first line is the file's.
    assert len(body) == 1 + 3 * parts + len(doc["rows"])
    ours = [x for x in doc["rows"] if x["suite"] != "floor"][0]
    assert any(libprint.figure(ours["median"], ours["unit"]) in l and ours["name"] in l
               for l in body)


def test_markdown_is_a_table(doc):
    r = tool("table", "-m", SAMPLE)
    lines = [l for l in r.stdout.splitlines() if l.startswith("|")]
    ours = [x for x in doc["rows"] if x["suite"] != "floor"]
    assert len(lines) == 2 * len(libprint.groups(ours)) + len(ours)
    assert len({l.count("|") for l in lines}) == 1


def test_counts_are_shown_where_there_are_some(doc, tmp_path):
    r = tool("table", "-c", SAMPLE)
    assert r.returncode == 1 and "nothing was counted" in r.stderr
    path = broken(doc, tmp_path / "c.json",
                  lambda d: d["rows"][0].update(engine="kernel", messages=2.5, wakeups=4))
    r = tool("table", "-c", path)
    line = r.stdout.splitlines()[-1].split()
    assert r.returncode == 0 and line[0] == doc["rows"][0]["name"]
    assert line[-4:] == ["2.50", "4.00", "-", "-"]


def test_table_filter_that_finds_nothing():
    r = tool("table", "-r", "nonsense", SAMPLE)
    assert r.returncode == 1 and "no such row" in r.stderr


@pytest.mark.parametrize("suffix, magic", [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_plot_draws(tmp_path, suffix, magic):
    out = tmp_path / f"x.{suffix}"
    r = tool("plot", SAMPLE, "-o", out)
    assert r.returncode == 0, r.stderr
    assert out.read_bytes().startswith(magic) and out.stat().st_size > 5000


def test_plot_of_floors_alone(doc, tmp_path):
    path = broken(doc, tmp_path / "f.json", lambda d: d.update(
        rows=[r for r in d["rows"] if r["suite"] == "floor"]))
    r = tool("plot", path, "-o", tmp_path / "f.png")
    assert r.returncode == 0, r.stderr


def test_plot_of_what_is_added_alone(doc, tmp_path):
    """Shared memory has no round trips of many sizes, and some of its rows have no floor."""
    stats = {"median": 9, "p99": 9, "min": None, "avg": None, "p999": None}
    rows = [libresult.row("dsm", name, "kernel", "tcp", 4096, "us", stats, "ktcp" if floor else None, floor)
            for name, floor in (("lock", 10), ("upgrade", 5), ("random", None))]
    path = broken(doc, tmp_path / "d.json", lambda d: d.update(rows=rows))
    r = tool("plot", path, "-o", tmp_path / "d.png")
    assert r.returncode == 0 and (tmp_path / "d.png").exists(), r.stderr
    path = broken(doc, tmp_path / "d.json", lambda d: d.update(rows=rows[2:]))
    r = tool("plot", path, "-o", tmp_path / "d.png")
    assert r.returncode == 1 and "neither a round trip nor a floor" in r.stderr


def test_plot_bad_name():
    r = tool("plot", SAMPLE, "-o", "x.gif")
    assert r.returncode == 1 and ".png or .svg" in r.stderr


LINE = {"row": "rtt", "size": 64, "unit": "us", "median": 2.0, "p99": 4.0, "p999": 8.0,
        "min": 1.0, "avg": 2.5, "iters": 100}


def test_convert_time():
    assert libresult.convert(LINE, "rtt", 64, False)[1] == "us"
    stats, unit = libresult.convert(LINE, "rtt", 64, True)
    assert unit == "insn" and stats["median"] == 2000 and stats["p99"] == 4000
    stats, unit = libresult.convert(LINE, "stream", 4096, False)
    assert unit == "MB/s" and stats["median"] == 2048 and stats["p99"] == 1024
    stats, unit = libresult.convert(LINE, "rate", 64, False)
    assert unit == "1/s" and stats["median"] == 500000


def test_convert_rates_back():
    line = {**LINE, "unit": "MB/s", "median": 2048}
    assert libresult.convert(line, "stream", 4096, False)[0]["median"] == 2048
    assert libresult.convert(line, "stream", 4096, True) [0]["median"] == 2000
    line = {**LINE, "unit": "1/s", "median": 500000}
    assert libresult.convert(line, "rate", 64, True)[0]["median"] == 2000


@pytest.mark.parametrize("line", [{**LINE, "median": None}, {**LINE, "median": "x"},
                                  {**LINE, "median": -1}, {**LINE, "unit": "fortnights"}])
def test_convert_refuses(line):
    with pytest.raises(libresult.ResultError):
        libresult.convert(line, "rtt", 64, False)


def test_less_is_always_better():
    stats = {"median": 5.0, "p99": None, "min": None, "avg": None, "p999": None}
    cost = libresult.row("transport", "rtt", "user", "tcp", 64, "us", stats, "tcp", 4.0)
    assert (cost["added"], cost["ratio"]) == (1.0, 1.25)
    rate = libresult.row("transport", "stream", "user", "tcp", 4096, "MB/s", stats, "tcp", 10.0)
    assert rate["ratio"] == 2.0
    alone = libresult.row("transport", "rtt", "user", "tcp", 64, "us", stats)
    assert alone["added"] is None and alone["ratio"] is None


class Source:
    """A floor (or ours) whose figures are given."""
    rows, transport, name = ("rtt",), "tcp", "fake"

    def __init__(self, values):
        self.values = iter(values)

    def run(self, *args):
        v = next(self.values)
        if v is None:
            raise libresult.ResultError("broken")
        return {**LINE, "median": v}


def test_rounds_are_paired():
    """A machine that halves its pace between rounds must not change the ratio."""
    plan = libplan.Plan([libplan.Case("rtt", 64, "sync")], 3, 10, 10)
    floor = Source([10, 20, 10])
    ours, floors, errors = libplan.measure(plan, Source([11, 22, 11]), [floor], quiet=True)
    rows = libplan.result_rows("transport", "user", "tcp", ours, floors, [floor])
    assert not errors
    assert rows[0]["ratio"] == pytest.approx(1.1) and rows[0]["median"] == 11
    assert rows[1]["suite"] == "floor" and rows[1]["median"] == 10
    libresult.check(libresult.document(libresult.machine("test"), rows))


def test_a_failed_row_is_told_and_the_others_go_on():
    cases = [libplan.Case("rtt", 64, "sync"), libplan.Case("rtt", 64, "bulk")]

    class Half:
        def run(self, case, iters):
            if case.cls == "bulk":
                raise libresult.ResultError("no bulk today")
            return LINE
    ours, _, errors = libplan.measure(libplan.Plan(cases, 2, 1, 1), Half(), [], quiet=True)
    assert list(ours) == cases[:1] and errors == ["rtt 64 B bulk: no bulk today"]


def test_urgent_under_bulk_is_held_against_idle():
    cases = [libplan.Case("rtt", 64, "urgent"), libplan.Case("urgent_under_bulk", 64, "urgent")]
    ours, floors, _ = libplan.measure(libplan.Plan(cases, 1, 1, 1), Source([10, 15]), [],
                                      quiet=True)
    rows = libplan.result_rows("transport", "user", "tcp", ours, floors, [])
    assert rows[1]["floor_name"] == "idle" and rows[1]["ratio"] == 1.5


@pytest.mark.parametrize("text", ["", "local", "local:", "local:1", "local:99", "local:2:amd64",
                                  "qemu:2:mips", "icount:x", "icount:2:arm64", "hosts:",
                                  "hosts:/nonexistent", "moon:2"])
def test_bad_spec(text):
    r = subprocess.run([str(TOP / "microbench" / "run"), "transport", "--nodes", text],
                       capture_output=True, text=True, timeout=60)
    assert r.returncode == 2 and r.stderr.startswith("microbench/run: ")
    assert len(r.stderr.splitlines()) == 1


@pytest.mark.parametrize("suite, nodes", [("transport", "local:2"), ("transport", "icount:2"),
                                          ("dsm", "local:2"), ("dsm", "qemu:2")])
def test_no_such_row(suite, nodes):
    r = subprocess.run([str(TOP / "microbench" / "run"), suite, "--nodes", nodes, "--rows",
                        "x"], capture_output=True, text=True, timeout=60)
    assert r.returncode == 2 and "no row 'x': there are" in r.stderr
    assert len(r.stderr.splitlines()) == 1


@pytest.mark.parametrize("suite", ["transport", "dsm"])
@pytest.mark.parametrize("args, says", [
    (["--nodes", "icount:2", "--transport", "rdma"], "no wire under rdma"),
    (["--nodes", "local:2", "--transport", "shm"], "no wire under shm"),
    (["--nodes", "hosts:{hosts}"], "--link is for"),
    (["--nodes", "local:2", "--transport", "tcp"], "netem refuses 'nonsense'"),
])
def test_a_link_that_cannot_be(tmp_path, suite, args, says):
    (tmp_path / "hosts").write_text("a 10.0.0.1\nb 10.0.0.2\n")
    args = [a.format(hosts=tmp_path / "hosts") for a in args]
    r = subprocess.run([str(TOP / "microbench" / "run"), suite, *args, "--link", "nonsense",
                        "--quick"], capture_output=True, text=True, timeout=300)
    assert r.returncode == 2 and says in r.stderr, r.stderr
    assert len(r.stderr.splitlines()) == 1


def test_specs():
    s = libspec.parse("qemu:3:mixed")
    assert (s.kind, s.nodes, s.arch) == ("qemu", 3, "mixed")
    assert libspec.parse("icount:2").nodes == 2


@pytest.mark.parametrize("text, says", [
    ("a 10.0.0.1\n", "at least two"), ("a 10.0.0.1\nb\n", ":2:"),
    ("a 10.0.0.1\nb 10.0.0.1\n", "twice"), ("a 10.0.0.1 '\nb 10.0.0.2\n", ":1:"),
])
def test_bad_hosts(tmp_path, text, says):
    path = tmp_path / "hosts"
    path.write_text(text)
    with pytest.raises(libspec.SpecError, match=says):
        libspec.parse(f"hosts:{path}")


def test_hosts(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("# lab\none 10.0.0.1 -l root -p 22\ntwo fe80::2\n")
    s = libspec.parse(f"hosts:{path}")
    assert [h.name for h in s.hosts] == ["one", "two"] and s.hosts[0].ssh == ["-l", "root", "-p", "22"]


def test_save_is_atomic(tmp_path, doc):
    path = tmp_path / "out.json"
    libresult.save(path, doc)
    assert libresult.load(path) == doc and list(tmp_path.iterdir()) == [path]
    with pytest.raises(libresult.ResultError, match="No such file"):
        libresult.save(tmp_path / "no" / "out.json", doc)
