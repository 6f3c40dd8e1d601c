# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The command that makes each ISA's code of the program: the passes that all ISAs share, and code generation."""

import os


class Passes:
    """plugin: the passes' shared object; never: file with the names of functions that reach no migration point."""

    def __init__(self, plugin, never):
        self.plugin, self.never = plugin, never

    def lower(self, directory, level, o, debug, text=False):
        """From all.bc in the directory; lower.cpp says to what. o: the command line's options."""
        pipeline = ["popcorn-varargs", "popcorn-retarget-x86-64"] + ["popcorn-strict"] * o.strict
        if level != "0":
            pipeline.append(f"thinlto-pre-link<O{level}>")
        pipeline += ["popcorn-strict-nan"] * o.strict
        pipeline += ["popcorn-points", "popcorn-capture", "popcorn-extern", "popcorn-report", "verify"]
        return [os.path.dirname(self.plugin) + "/popcorn-lower", "program", self.plugin, ",".join(pipeline),
                level, directory, ",".join(o.targets), *(["-S"] if text else []), *(["-g"] if debug else []),
                *([f"-popcorn-never={self.never}"] if os.path.exists(self.never) else []),
                *([f"-popcorn-points={o.points}"] if o.points else []), *(["-popcorn-keep-frames"] if debug else [])]
