# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""hosts:FILE: real machines over ssh, with Popcorn-RDMA installed there (make install)."""

import contextlib
import subprocess

from libresult import ResultError

SSH = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]


class Node:
    def __init__(self, host):
        self.name, self.options = host.name, host.ssh

    def module(self, name):
        return None     # by modprobe

    def sh(self, cmd, timeout):
        """Run as root on the host; its output, or a ResultError with its last words."""
        try:
            p = subprocess.run([*SSH, *self.options, self.name, "sh"], text=True,
                               input=f"PATH=$PATH:/usr/sbin:/sbin\n{cmd}\n", timeout=timeout,
                               capture_output=True)
        except subprocess.TimeoutExpired as e:
            raise ResultError(f"{self.name}: no answer within {timeout} s: {cmd}") from e
        except OSError as e:
            raise ResultError(f"ssh: {e.strerror}: apt install openssh-client") from e
        if p.returncode:
            last = (p.stderr.strip() or f"exit {p.returncode}").splitlines()[-1]
            raise ResultError(f"{self.name}: {last}")
        return p.stdout


class Place:
    one = False
    perftest = "-R"     # finds the device by the address

    def __init__(self, spec):
        self.nodes = [Node(h) for h in spec.hosts]
        self.addresses = [h.address for h in spec.hosts]
        for node in self.nodes:
            if node.sh("id -u", 20).strip() != "0":
                raise ResultError(f"{node.name}: not root there: give '-l root' in the file")
        self.kernel = self.nodes[0].sh("uname -r", 20).strip()
        cpu = self.nodes[0].sh("grep -m1 'model name' /proc/cpuinfo || true", 20)
        self.what = cpu.partition(":")[2].strip() or None


@contextlib.contextmanager
def place(spec, args, need_ours):
    yield Place(spec)
