# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""make demo, as a user sees it."""

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone

TOP = Path(__file__).resolve().parent.parent


@pytest.mark.qemu
@pytest.mark.timeout(600)
def test_demo():
    r = subprocess.run([TOP / "cluster/demo"], capture_output=True, text=True, timeout=580,
                       stdin=subprocess.DEVNULL)
    assert r.returncode == 0, r.stdout + r.stderr
    assert not r.stderr
    # Both nodes are shown, over RDMA and then over TCP.
    assert re.search(r"^\* +0 +0 10\.77\.0\.1 +own", r.stdout, re.M)
    assert re.search(r"^- +0 +1 10\.77\.0\.2 +up +rdma", r.stdout, re.M)
    assert re.search(r"^ +1 +10\.77\.0\.2 +up +tcp", r.stdout, re.M)
    table = r.stdout.split("powering off")[1]
    latency = re.findall(r"^.* ([\d.]+) us +([\d.]+) us +([\d.]+) us +([\d.]+) us$", table, re.M)
    assert len(latency) == 5 and all(float(v) > 0 for line in latency for v in line)
    assert len(re.findall(r"^page stream.* [\d.]+ MB/s +[\d.]+ MB/s$", table, re.M)) == 1
    assert len(re.findall(r"^64 B requests.* \d+ /s +\d+ /s$", table, re.M)) == 1


def test_wrong_use():
    r = subprocess.run([TOP / "cluster/demo", "--arch", "vax"], capture_output=True, text=True,
                       timeout=60)
    assert r.returncode == 2 and "vax" in r.stderr
