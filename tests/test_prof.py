# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""popcorn dsm-prof: what was shared falsely in examples/counters.c is found and named, in both modes."""

import json
import platform
import re
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
BIN = TOP / "build" / "bin"
ROUNDS = 40
user_mode = pytest.mark.skipif([int(n) for n in platform.release().split(".")[:2]] < [6, 4],
                               reason="shared memory in user mode needs Linux 6.4")


@pytest.fixture(scope="module", autouse=True)
def built():
    subprocess.run(["make", "-s", "tool", "examples"], cwd=TOP, check=True, timeout=280)


def prof(*args, **kw):
    return subprocess.run([BIN / "popcorn", "dsm-prof", *map(str, args)], capture_output=True,
                          text=True, timeout=120, **kw)


def report(*args):
    done = prof("report", *args)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def check(doc, step=8):
    """Page 1 is shared falsely: each of two nodes writes its own of what lies side by side."""
    pages = {p["page"]: p for p in doc["pages"]}
    assert doc["lost"] == 0
    assert pages[1]["sharing"] == "false" and pages[1]["variables"] == ["own"]
    for node in "01":
        mine, = pages[1]["nodes"][node]
        assert mine["name"] == "own" and mine["first"] == step * int(node)
        assert mine["writes"] >= 4      # it need not wait in a round in which it has the page
    assert pages[0]["sharing"] == "true" and pages[0]["variables"] == ["all"]
    assert min(pages[0]["moves"], pages[1]["moves"]) >= ROUNDS - 2
    assert {(f["from"], f["to"]) for f in pages[1]["flows"]} == {(0, 1), (1, 0)}
    assert doc["taken_away"] >= 2 * ROUNDS - 4
    for function, name in (("count_own()", "own"), ("count_all()", "all")):
        found = [c for c in doc["code"] if c["function"].startswith(function)]
        assert not any("in a call" in c["function"] for c in found)
        assert found and all(c["line"].startswith("counters.c:") for c in found)
        assert all(list(c["variables"]) == [name] for c in found)
        assert sum(c["faults"] for c in found) >= ROUNDS - 2
        assert all(c["wait_ns"] > 0 for c in found)


def record(out, *args):
    return prof("record", "-o", out, "--", BIN / "popcorn", "run", "-n", "local:2", *args)


@user_mode
@pytest.mark.parametrize("fault", ("thread", "sigbus"))
def test_false_sharing_is_named(tmp_path, fault):
    out = tmp_path / "out"
    done = record(out, "-f", fault, BIN / "example-counters", ROUNDS)
    assert done.returncode == 0 and "right" in done.stdout and not done.stderr, done.stderr
    check(json.loads(report("--json", out)))
    text = report(out, "--plot", tmp_path / "plot.png")
    assert "elements of 4096 bytes" in text and "count_own() counters.c:" in text
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"


@user_mode
def test_what_is_apart_is_not_named(tmp_path):
    """The same program mended; and nothing is written down when nobody asks."""
    out = tmp_path / "out"
    assert record(out, BIN / "example-counters", ROUNDS, "apart").returncode == 0
    assert "shouldn't: none seen" in report(out)
    files = sorted(out.iterdir())
    done = subprocess.run([BIN / "popcorn", "run", "-n", "local:2", BIN / "example-counters", "5"],
                          capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0
    assert sorted(out.iterdir()) == files and list(tmp_path.iterdir()) == [out]


@user_mode
def test_unusable_directory(tmp_path):
    """The program runs all the same, and says so once a node."""
    done = subprocess.run([BIN / "popcorn", "run", "-n", "local:2", BIN / "example-counters", "5"],
                          capture_output=True, text=True, timeout=60,
                          env={"POPCORN_DSM_PROF": str(tmp_path / "nowhere")})
    assert done.returncode == 0 and done.stderr.count("not recorded") == 2


def test_record_refuses(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    done = prof("record", "-o", tmp_path / "full", "true")
    assert done.returncode == 1 and "isn't an empty directory" in done.stderr
    assert prof("record", "-o", tmp_path / "none").returncode == 2
    assert prof("record", "--wrong").returncode == 2
    assert prof().returncode == 2
    done = prof("record", "-o", tmp_path / "a", "sh", "-c", "exit 3")
    assert done.returncode == 3 and "nothing was recorded" in done.stderr
    assert prof("record", "-o", tmp_path / "b", "/nowhere/program").returncode == 127
    done = prof("record", "-o", tmp_path / "n", "sh", "-c", "kill -HUP $$; exit 4",     # as nohup does
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert done.returncode == 4
    for root, why in (("/", "popcorn.ko isn't loaded|no tracefs|by root"), (tmp_path, "no tracefs|by root")):
        done = subprocess.run([BIN / "popcorn", "-R", root, "dsm-prof", "record", "-k", "-o",
                               tmp_path / "c", "true"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and re.search(why, done.stderr) and done.stderr.count("\n") == 1
        shutil.rmtree(tmp_path / "c", ignore_errors=True)


HEAD = struct.pack("<8sIIIIQQ", b"popcorn\n", 1, 40, 7, 0, 0, 0)
READ = struct.pack("<QQQIIHHBBH", 5, 0x1234, 4096, 1, 7, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("name,data,why", (
    (None, b"", "nothing was recorded"),
    ("user.0.7", b"", "damaged"),
    ("user.0.7", b"x" * 200, "damaged"),
    ("user.0.7", HEAD + b"\xff" * 40, "damaged"),
    ("user.0.7", HEAD, "no access waited"),
    ("kernel", b"no header\n", "damaged"),
    ("kernel", b"# popcorn dsm-prof 1 wall 0\nx 1.000000: popcorn_dsm_fault: node=0\n\n", "damaged"),
    ("kernel", b"# popcorn dsm-prof 1 wall 0\ngarbage\nmore\n", "damaged"),
    ("7.names", b"1 x y z\n", "nothing was recorded"),
))
def test_damaged(tmp_path, name, data, why):
    if name:
        (tmp_path / name).write_bytes(data)
    done = prof("report", tmp_path)
    assert done.returncode == 1 and why in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_what_is_missing_is_told(tmp_path):
    done = prof("report", tmp_path / "nowhere")
    assert done.returncode == 1 and "no such recording" in done.stderr
    lost = struct.pack("<QQQIIHHBBH", 6, 12, 0, 0, 0, 0, 0, 7, 0, 0)
    (tmp_path / "user.0.7").write_bytes(HEAD + READ + lost + READ[:11])
    done = prof("report", tmp_path)
    assert done.returncode == 0 and "12 EVENTS ARE MISSING" in done.stdout
    assert "cut off" in done.stderr and "0x1234" in done.stdout
    (tmp_path / "7.maps").write_text("1000-2000 r-xp 0 00:00 0  /nowhere/program\n")
    done = prof("report", tmp_path)
    assert "program+0x234" in done.stdout and "--symfs" in done.stdout
    done = prof("report", tmp_path, "--plot", tmp_path / "x.txt")
    assert done.returncode == 1 and ".png or .svg" in done.stderr
    done = prof("report", "--symfs", "a", "--symfs", "b", tmp_path)
    assert done.returncode == 1 and "as often as" in done.stderr
    for top in ("0", "-3", "x"):
        done = prof("report", "-n", top, tmp_path)
        assert done.returncode == 2 and "not a number from 1 on" in done.stderr


def test_without_python(tmp_path):
    shutil.copy(BIN / "popcorn", tmp_path)
    (tmp_path / "popcorn-dsm-report").write_text("#!/nowhere/python3\n")
    (tmp_path / "popcorn-dsm-report").chmod(0o755)
    done = subprocess.run([tmp_path / "popcorn", "dsm-prof", "report"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "apt install python3" in done.stderr and done.stderr.count("\n") == 1


def test_a_trace(tmp_path):
    """What trace_pipe prints, with events that were lost between, a command with blanks in its name."""
    fault = "popcorn_dsm_fault: node=1 home=0 region=1 at=0x1008 kind=read ip=0x10 call=0 tgid=7"
    (tmp_path / "kernel").write_text(
        "# popcorn dsm-prof 1 wall 0\n"
        f" my - prog [0]-70  [000] .N...  3.000001: {fault}\n"
        "CPU:1 [LOST 12 EVENTS]\n"
        f" my - prog [0]-70  [000] .N...  3.000002: {fault}\n"      # the same one, still
        f" my - prog [0]-71  [000] .N...  3.000003: {fault}\n"
        "  popcorn/0-2    [001] b.s4.  3.000005: popcorn_dsm_data: node=1 home=0 region=1 page=1 from=0\n"
        "  popcorn/0-2    [001] b.s4.  3.000006: popcorn_dsm_end: node=1 home=0 region=1 page=1 status=0\n"
        "  popcorn/0-2    [001] b.s4.  3.000007: popcorn_dsm_inv: node=0 home=0 region=1 page=1 how=given\n")
    doc = json.loads(report("--json", tmp_path))
    assert doc["faults"] == {"read": 2} and doc["wait_ns"] == 8000 and doc["moves"] == 1
    assert doc["lost"] == 12 and doc["taken_away"] == 1


# What a page's accesses that wait, (node, offset, writes, how often), say about it.
VERDICTS = (
    ("-", (0, 0, 1, 10)),
    ("read", (0, 0, 0, 10), (1, 0, 0, 10)),
    ("true", (0, 0, 1, 10), (1, 0, 0, 10)),
    ("false", (0, 0, 1, 10), (1, 4, 1, 10)),
    ("false", (0, 0, 1, 10), (1, 8, 0, 10)),
    ("false", (0, 0, 1, 40), (1, 0, 0, 1), (1, 8, 1, 40)),     # a look now and then
    ("?", (0, 0, 1, 2), (1, 8, 0, 10)),
    ("false?", (0, 0, 1, 10), (0, 16, 1, 10), (1, 8, 0, 10)),
    ("both", (0, 0, 1, 10), (1, 0, 1, 10), (0, 64, 1, 10), (1, 128, 1, 10)),
    ("true", (0, 0, 1, 10), (1, 0, 1, 10), (0, 64, 1, 10), (1, 32, 1, 5), (1, 128, 1, 5)),
)


def test_verdicts(tmp_path):
    for node in range(2):
        records = [struct.pack("<QQQIIHHBBH", t, 0x1234, page << 12 | at, 1, 7, 0, 0, what, 0, 0)
                   for page, (_, *uses) in enumerate(VERDICTS) for n, at, writes, times in uses
                   if n == node for t in range(times) for what in (writes, 3)]
        (tmp_path / f"user.{node}.7").write_bytes(HEAD[:20] + bytes([node]) + HEAD[21:] + b"".join(records))
    pages = json.loads(report("--json", tmp_path))["pages"]
    assert {p["page"]: p["sharing"] for p in pages} == {i: v[0] for i, v in enumerate(VERDICTS)}
