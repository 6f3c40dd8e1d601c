# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""qemu:N and icount:N: virtual machines of this machine as the places where nodes run."""

import contextlib
import sys

import libfloor
import libplan
from libresult import TOP, ResultError

sys.path.insert(0, str(TOP / "cluster"))


class Node:
    """A guest, with errors as this directory has them."""

    def __init__(self, guest, errors):
        self.guest, self.errors = guest, errors
        self.name, self.address = f"node{guest.number}", guest.addr

    def module(self, name):
        try:
            return self.guest.module(name)
        except self.errors as e:
            raise ResultError(str(e)) from e

    def sh(self, cmd, timeout):
        """Run in the guest; its output, or a ResultError with its last words."""
        try:
            r = self.guest.run(cmd, timeout)
        except self.errors as e:
            raise ResultError(f"{self.name}: {e}") from e
        if r.timeout:
            raise ResultError(f"{self.name}: no answer within {timeout} s: {cmd}")
        if r.status:
            last = (r.stderr.strip() or f"status {r.status}").splitlines()[-1]
            raise ResultError(f"{self.name}: {last}")
        return r.stdout


class Place:
    """one: all nodes are in one guest (icount)."""

    # perftest's own rdma_cm (-R) crashes or hangs over rxe
    perftest = "-d rxe0 -x 1"

    def __init__(self, cluster, spec, errors):
        self.one = spec.kind == "icount"
        self.nodes = [Node(n, errors) for n in cluster]
        self.addresses = cluster.ips.split(",")
        self.kernel = self.nodes[0].sh("uname -r", 30).strip()
        self.what = f"QEMU TCG, {spec.arch}" + (", -icount shift=0" if self.one else "")


def arches(arch):
    return ("amd64", "arm64") if arch == "mixed" else (arch,)


def build(kernel, arch):
    libfloor.make("floors", *(f"modules-{kernel}-{a}" for a in arches(arch)))


@contextlib.contextmanager
def place(spec, args, need_ours):
    import popcluster
    try:
        build(args.kernel, spec.arch)
    except ResultError as e:
        if need_ours:
            raise
        libplan.complain(f"{e}: using the floors that were built before")
    errors = (popcluster.ClusterError, OSError)
    options = dict(kernel=args.kernel, arch=spec.arch, mem=512)
    if spec.kind == "icount":
        options.update(n=1, icount=spec.nodes)
    else:
        options.update(n=spec.nodes, link=args.link or "")
    try:
        with popcluster.Cluster(**options) as c:
            p = Place(c, spec, errors)
            if p.one and args.link:
                p.nodes[0].sh("modprobe -q sch_netem; tc qdisc add dev lo root netem limit 10000 "
                              + args.link, 30)
            yield p
            bad = c.dmesg_bad()
    except errors as e:
        raise ResultError(str(e)) from e
    if bad:
        raise ResultError("the guest's kernel complained: " + bad[0])
