# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""What all tests share: clusters of test machines, a time limit, and the closing line.

Fixtures
  cluster2         two amd64 machines with Linux 6.1 and rxe; most tests need no other
  cluster(n, arch=, kernel=, ...)   any cluster, see cluster/popcluster.py; shared by all tests
                   that ask for the same, or, with fresh=True, this test's own
After each test its clusters are healed, resumed, rid of our modules and, where needed, booted
again, and a kernel message that means a fault fails the test.

Markers
  qemu             set by itself on tests that use a cluster; `make check-quick` leaves them out
  alone            not at the same time as others of these, or as tests in virtual machines, when
                   `make check` runs two tests at a time: it builds what they use
  timeout(seconds) the test's limit, by default 300
  soak             runs with --soak only (`make soak`), all others without

With POPCORN_KERNEL=debug in the environment (make check-debug) the debug kernel takes the place of
6.1 on amd64, clusters of other kernels are skipped, and limits are longer.
"""

import os
import signal
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "cluster"))

from popcluster import DEBUG_SLOW, Cluster, ClusterError    # noqa: E402

TIMEOUT = 300
DEBUG = os.environ.get("POPCORN_KERNEL") == "debug"
KEPT = 3        # shared clusters that are up at a time
OURS = ("popcorn_dsmfuzz", "popcorn_torture", "popcorn_bench", "floor_verbs", "floor_tcp", "msg_rdma", "msg_socket",
        "popcorn")


class Pool:
    """The clusters of this session, the least recently used one ended when there are too many."""

    def __init__(self):
        self.shared = {}        # by parameters, oldest use first
        self.used = []          # by the running test

    def get(self, n, fresh, options):
        key = (n, *sorted(options.items()))
        c = None if fresh else self.shared.pop(key, None)
        if c and c.proc.poll() is not None:
            c = None
        if not c:
            idle = [k for k, v in self.shared.items() if v not in self.used]
            if len(self.shared) >= KEPT and idle:
                self.shared.pop(idle[0]).down()
            c = Cluster(n, **options)
        if not fresh:
            self.shared[key] = c
        if c not in self.used:
            self.used.append(c)
        return c

    def release(self, keep_quiet):
        """After a test: what its kernels complained of; clusters are made ready for the next."""
        bad = []
        for c in self.used:
            try:
                if c not in self.shared.values():
                    if not keep_quiet and c.proc.poll() is None:
                        bad += self.complaints(c)
                    c.down()
                    continue
                c.heal()
                for n in c:
                    if c.status()["nodes"][str(n.number)]["paused"]:
                        n.resume()
                bad += self.complaints(c)
                for n in c:
                    self.reset(n)
            except ClusterError as e:
                bad.append(str(e))
                c.down()
        self.used = []
        return bad

    @staticmethod
    def complaints(c):
        return [f"node {n.number}: {ln}" for n in c if n.alive for ln in n.dmesg_bad()]

    @staticmethod
    def reset(node):
        """Unload our modules; a machine that can't, or is down, or saw a fault, is booted anew."""
        if node.alive:
            unload = " ".join(OURS)
            r = node.run(f"for m in {unload}; do [ ! -d /sys/module/$m ] || rmmod $m || exit 1; done",
                         timeout=30)
            tainted = int(node.run("cat /proc/sys/kernel/tainted").stdout or 0) & (1 << 7 | 1 << 9)
            if r.status == 0 and not tainted:
                return
            node.kill()
        node.start()

    def leaks(self):
        return [f"node {n.number}: {ln}" for c in self.shared.values() for n in c
                if n.kernel == "debug" and n.alive for ln in n.leaks()]

    def down(self):
        for c in self.shared.values():
            c.down()


_pool = Pool()


@pytest.fixture
def cluster(request):
    """Factory of clusters: cluster(3, kernel="6.12"), with fresh=True for one of its own."""
    def get(n=2, fresh=False, **options):
        if DEBUG:
            if options.get("kernel", "6.1") != "6.1" or options.get("arch", "amd64") != "amd64":
                pytest.skip("there is no such debug kernel")
            if options.get("icount"):
                pytest.skip("instructions of the debug kernel are its checks")
            options["kernel"] = "debug"
        return _pool.get(n, fresh, options)

    yield get
    failed = getattr(request.node, "failed_call", False)
    bad = _pool.release(keep_quiet=failed)
    if bad:
        pytest.fail("the kernels complained:\n" + "\n".join(bad), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def no_leaks():
    """At the end, the debug kernels have no memory that nothing points at."""
    yield
    bad = _pool.leaks()
    if bad:
        pytest.fail("memory leaks:\n" + "\n".join(bad), pytrace=False)


@pytest.fixture
def cluster2(cluster):
    """Two amd64 machines with Linux 6.1 and rxe."""
    return cluster(2)


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="run the long tests, and only these")


def pytest_configure(config):
    config.addinivalue_line("markers", "soak: takes minutes, left out without --soak")
    config.addinivalue_line("markers", "qemu: needs virtual machines")
    config.addinivalue_line("markers", "alone: not beside tests that need virtual machines")
    config.addinivalue_line("markers", "timeout(seconds): limit of this test's time")


@pytest.hookimpl(tryfirst=True)     # before pytest-xdist looks at groups
def pytest_collection_modifyitems(config, items):
    soak = config.option.soak
    other = [i for i in items if bool(i.get_closest_marker("soak")) != soak]
    items[:] = [i for i in items if i not in other]
    config.hook.pytest_deselected(items=other)
    for item in items:
        if "cluster" in item.fixturenames:
            item.add_marker(pytest.mark.qemu)
        if item.get_closest_marker("qemu") or item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group("machines"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """Interrupt a test that takes too long; what it waits for may have no bound of its own."""
    mark = item.get_closest_marker("timeout")
    limit = (mark.args[0] if mark else TIMEOUT) * (DEBUG_SLOW if DEBUG else 1)

    def late(*_):
        # once more, should the teardown hang as well
        signal.alarm(120)
        pytest.fail(f"not finished after {limit} s")

    old = signal.signal(signal.SIGALRM, late)
    signal.alarm(limit)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, old)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if call.when == "call":
        item.failed_call = report.failed


_outcome = {}       # by test or, if it could not be collected, by file


def pytest_collectreport(report):
    if report.failed:
        _outcome[report.nodeid] = "failed"


def pytest_runtest_logreport(report):
    """One outcome for each test: an error in setup or teardown is a failure."""
    if report.when == "call" or not report.passed:
        if _outcome.get(report.nodeid) != "failed":
            _outcome[report.nodeid] = report.outcome


def count(outcome):
    return list(_outcome.values()).count(outcome)


def pytest_sessionfinish(session):
    _pool.down()
    if session.exitstatus == 0 and not count("passed") and not session.config.option.collectonly:
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


def pytest_unconfigure(config):
    if hasattr(config, "workerinput"):    # one of `pytest -n`
        return
    skipped = f", {count('skipped')} skipped" if count("skipped") else ""
    print(f"{count('passed')} passed, {count('failed')} failed{skipped}", flush=True)
