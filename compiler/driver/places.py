# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Where in the sources something stands that can't work, from the debug information of a module's text."""

import re


class Places:
    """text: a module as llvm-dis prints it."""

    def __init__(self, text):
        self.text = text
        self.nodes = dict(re.findall(r"^(!\d+) = (.*)$", text, re.M))

    def _field(self, node, name):
        m = re.search(rf"\b{name}: (\"[^\"]*\"|[^,)]+)", self.nodes.get(node, ""))
        return m[1].strip('"') if m else ""

    def _place(self, node):
        line, scope = self._field(node, "line"), node
        while scope and not self._field(scope, "file"):
            scope = self._field(scope, "scope")
        name = self._field(self._field(scope, "file"), "filename")
        return f"{name}:{line}: " if name and line else ""

    def assembly(self):
        """(place, text) of inline assembly that isn't empty."""
        for m in re.finditer(r"^.*\basm [^\"\n]*\"((?:[^\"])+)\",.*$", self.text, re.M):
            node = re.search(r"!dbg (!\d+)", m[0])
            yield self._place(node[1]) if node else "", m[1].replace("\\09", " ").replace("\\0A", "; ").strip()

    def ifuncs(self):
        """(place of its resolver, name) of each."""
        for name, resolver in re.findall(r"^@([\w.$]+) = .*\bifunc .*, ptr @([\w.$]+)", self.text, re.M):
            m = re.search(rf"^define .*@{re.escape(resolver)}\(.*!dbg (!\d+)", self.text, re.M)
            yield self._place(m[1]) if m else "", name
