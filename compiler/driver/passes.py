# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Commands that transform the program: the passes that all ISAs share, and each ISA's code generation."""

import os

from .isa import ISAS


class Passes:
    """plugin: the passes' shared object; never: file with the names of functions that reach no migration point."""

    def __init__(self, plugin, never):
        self.plugin, self.never = plugin, never

    def _opt(self, *words):
        return ["opt-19", "-load-pass-plugin", self.plugin, *words]

    def middle(self, source, output, level, points, debug, strict):
        # Vectors are left to each ISA. The cost model of this stage is x86-64's.
        pipeline = ["popcorn-varargs", "popcorn-retarget-x86-64"] + ["popcorn-strict"] * strict
        if level != "0":
            pipeline.append(f"thinlto-pre-link<O{level}>")
        pipeline += ["popcorn-strict-nan"] * strict
        pipeline += ["popcorn-points", "popcorn-capture", "popcorn-extern", "popcorn-report", "verify"]
        extra = [f"-popcorn-never={self.never}"] if os.path.exists(self.never) else []
        extra += [f"-popcorn-points={points}"] if points else []
        extra += ["-popcorn-keep-frames"] if debug else []
        return self._opt("-mtriple=" + ISAS["x86-64"].triple, "-vectorize-loops=false", "-vectorize-slp=false", *extra, "-passes=" + ",".join(pipeline),
                         source, "-o", output)

    def code(self, isa, source, lowered, output, level):
        i = ISAS[isa]
        yield self._opt(f"-passes=popcorn-retarget-{isa}", source, "-o", lowered)
        yield ["clang-19", "--target=" + i.triple, *i.flags, "-O" + (level if level != "0" else "1"), "-x", "ir", "-c",
               lowered, "-o", output, "-ffunction-sections", "-fdata-sections", "-fno-pic"]
