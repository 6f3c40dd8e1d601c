# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Running other programs, several at a time, and where they put what they make."""

import os
import signal
import subprocess
import sys
import tempfile
import threading

NAME = os.path.basename(sys.argv[0]) or "popcorn-cc"

CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGTRAP}


class Failure(Exception):
    """Ends the run; says why in a line or two."""


def warn(text):
    print(f"{NAME}: warning: {text}", file=sys.stderr)


def quoted(cmd):
    return " ".join('"' + a.replace("\\", "\\\\").replace('"', '\\"') + '"' for a in cmd)


class Tools:
    """
    verbose: print each command (-v); dry: print it instead of running it (-###).
    keep: where intermediate files stay (--save-temps), else they go to TMPDIR and are removed.
    """

    def __init__(self, verbose=False, dry=False, keep=None):
        self.verbose, self.dry, self.keep = verbose, dry, keep
        self._slots = threading.Semaphore(len(os.sched_getaffinity(0)))
        self._dir = None

    @property
    def dir(self):
        if not self._dir:
            if self.keep:
                os.makedirs(self.keep, 0o700, exist_ok=True)
            self._dir = self.keep or tempfile.mkdtemp(prefix="popcorn-cc.")
        return self._dir

    def close(self):
        if self._dir and not self.keep:
            for f in os.scandir(self._dir):
                os.unlink(f)
            os.rmdir(self._dir)
        self._dir = None

    def show(self, cmd):
        if self.verbose or self.dry:
            print("", quoted(cmd), file=sys.stderr, flush=True)

    def run(self, cmd, **kwargs):
        """Run to its end with the output of kwargs; True if it ended well, its standard output if that is taken."""
        self.show(cmd)
        if self.dry:
            return b"" if kwargs.get("stdout") else True
        with self._slots:
            try:
                done = subprocess.run(cmd, check=False, **kwargs)
            except FileNotFoundError:
                raise Failure(f"{cmd[0]} is missing; `make deps` installs it") from None
        if done.returncode < 0:
            why = f"{cmd[0]} was ended by signal {-done.returncode}"
            if -done.returncode in CRASHES and self._dir:
                self.keep = self._dir
                why += f": an error in it; what it was given is kept in {self.keep}"
            raise Failure(why)
        if done.returncode:
            return None
        return done.stdout if kwargs.get("stdout") else True

    def must(self, cmd, **kwargs):
        """The same, for what has said itself why it failed."""
        out = self.run(cmd, **kwargs)
        if out is None:
            raise Failure("")
        return out

    def each(self, function, items):
        """function(item) for all items at the same time, each in a thread; their results in order."""
        items, results, failures = list(items), {}, []

        def work(i, item):
            try:
                results[i] = function(item)
            except Failure as e:
                failures.append((i, e))

        threads = [threading.Thread(target=work, args=x) for x in enumerate(items)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if failures:
            raise min(failures, key=lambda f: f[0])[1]
        return [results[i] for i in range(len(items))]
