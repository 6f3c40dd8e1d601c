# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Unit tests in C are programs that print TAP."""

import os
import re
import subprocess


def run(program):
    """Every test that it planned has passed, without a leak."""
    r = subprocess.run([program], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                       timeout=120, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=1"})
    planned = re.match(r"1\.\.(\d+)\n", r.stdout)
    passed = re.findall(r"^ok \d+ - ", r.stdout, re.M)
    failed = re.findall(r"(?:^#.*\n)?^not ok .*", r.stdout, re.M)
    assert not failed, "\n".join(failed)
    assert r.returncode == 0, r.stdout[-2000:] + r.stderr[-4000:]
    assert planned and len(passed) == int(planned[1]) > 0
