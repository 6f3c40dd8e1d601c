#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Random C programs of what csmith has not: variable arguments, setjmp, arrays of variable length, callbacks, TLS,
structs by value, computed goto, long double, __int128, frames whose locals others write to.

usage: gen.py SEED

The program has no undefined behaviour, needs some milliseconds, prints a trail of checksums, the same with
every compiler that has int of 32 and long of 64 bits and -ffp-contract=off. Compare with gcc: clang for x86-64 takes
a variable argument of type __int128 from the wrong place if one register is left for it.

How it ends: a function calls only ones with a lower number, or itself with less depth, and each entry and each round of
a loop burns fuel. How it stays defined: integers are unsigned, calls stand alone in their statement (no
order of evaluation), float and double go into the trail through fold(), long double holds eighths that any format
has exactly, and between setjmp() and longjmp() only volatile locals change.
"""

import random
import sys

HEAD = """\
#include <alloca.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef unsigned __int128 u128;
typedef long double ld;
typedef u64 (*callback)(void *ctx, u64 v);
#define NOINLINE __attribute__((noinline))

struct guard { jmp_buf b; struct guard *outer; };
static struct guard *guards;
static long fuel = %d;
static u64 sum = %d, steps;
static _Thread_local u64 tls_a = 5, tls_v[8];
static _Thread_local double tls_d = 1.25;

static NOINLINE void trail(u64 v)
{
	sum = (sum ^ v) * 0xff51afd7ed558ccdu;
	sum ^= sum >> 29;
	if (++steps %% 61 == 0)
		printf("%%u %%016llx\\n", (unsigned int)steps, (unsigned long long)sum);
}

static u64 fold(double d)
{
	return d > -1e15 && d < 1e15 ? (u64)(int64_t)(d * 16) : 7;
}

static ld eighths(ld v)
{
	return v > -1e12L && v < 1e12L ? v : 2.5L;
}

static u64 fold_ld(ld v)
{
	return (u64)(int64_t)(v * 8);
}

static double tame(double d)
{
	return d > -1e30 && d < 1e30 ? d : 0.5;
}

static NOINLINE void throw_it(int v)
{
	struct guard *g = guards;

	if (!g)
		return;
	guards = g->outer;
	longjmp(g->b, v & 0xffff | 1);
}

static NOINLINE u64 sum_v(const char *f, va_list ap)
{
	u64 s = 1;

	for (; *f; f++)
		switch (*f) {
		case 'i': s = s * 3 + (u32)va_arg(ap, int); break;
		case 'l': s = s * 5 + va_arg(ap, u64); break;
		case 'd': s = s * 7 + fold(va_arg(ap, double)); break;
		case 'L': s = s * 11 + fold_ld(va_arg(ap, ld)); break;
		case 'q': s = s * 13 + (u64)(va_arg(ap, u128) >> 30); break;
		case 'p': s = s * 17 + ++*va_arg(ap, u64 *); break;
%s		}
	return s;
}

static NOINLINE u64 sums(int depth, const char *f, ...)
{
	va_list ap, aq;
	u64 s, t;

	va_start(ap, f);
	va_copy(aq, ap);
	s = sum_v(f, ap);
	t = depth > 0 ? sum_v(f, aq) : 3;
	va_end(aq);
	va_end(ap);
	return s * 31 + t;
}

static u64 cb_add(void *ctx, u64 v)
{
	return *(u64 *)ctx += v %% 1000;
}

static u64 cb_mix(void *ctx, u64 v)
{
	u64 *p = ctx, t = *p;

	if (fuel-- > 0 && v %% 3)
		return cb_mix(p, v / 3) ^ t;
	*p = t * 7 + v;
	return t;
}

static u64 cb_throw(void *ctx, u64 v)
{
	*(u64 *)ctx += 3;
	if (v %% 5 == 2)
		throw_it(v);
	return v + 1;
}

static NOINLINE u64 each(callback f, void *ctx, u64 n)
{
	u64 s = 0;

	for (u64 i = 0; i < n %% 8; i++)
		s = s * 9 + f(ctx, i + n);
	return s;
}

static u64 order_salt;

static int order(const void *a, const void *b)
{
	u64 x = *(const u64 *)a ^ order_salt, y = *(const u64 *)b ^ order_salt;

	return x < y ? -1 : x > y;
}
"""

INTS = ("u8", "u16", "u32", "u64")
FLOATS = ("float", "double")
CALLBACKS = ("cb_add", "cb_mix", "cb_throw")


class Struct:
    def __init__(self, r, n):
        self.name = f"struct s{n}"
        kinds = r.choice((("u8",), ("float",), ("double",), ("u32", "float"), ("u64", "double"), INTS + FLOATS,
                          INTS + FLOATS + ("ld",), ("u16", "u8"), ("u64",)))
        self.fields = [(f"f{i}", r.choice(kinds), r.choice((0, 0, 0, 3))) for i in range(r.choice((1, 2, 2, 3, 4, 7)))]
        self.bits = r.random() < .25

    def text(self):
        lines = [f"\t{t} {f}{f'[{n}]' if n else ''};" for f, t, n in self.fields]
        if self.bits:
            lines.append("\tu32 b1 : 5, b2 : 11;\n\tu64 b3 : 37;")
        return f"{self.name} {{\n" + "\n".join(lines) + "\n};\n"

    def leaves(self):
        out = [(f"{f}[{i}]" if n else f, t) for f, t, n in self.fields for i in range(n or 1)]
        return out + ([("b1", "u32"), ("b2", "u32"), ("b3", "u64")] if self.bits else [])


class Function:
    def __init__(self, number, ret, params, variadic):
        self.name, self.ret, self.params, self.variadic = f"f{number}", ret, params, variadic

    def head(self):
        args = ["int depth", *(f"{self.spell(t)}p{i}" for i, t in enumerate(self.params))]
        args += ["const char *format", "..."] if self.variadic else []
        return f"static NOINLINE {self.ret} {self.name}({', '.join(args)})"

    def pointer(self, name):
        args = ["int", *self.params, *(["const char *", "..."] if self.variadic else [])]
        return f"{self.ret} (*{name})({', '.join(args)})"

    @staticmethod
    def spell(t):
        return t if t.endswith("*") else t + " "


class Program:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.out = []
        self.structs = [Struct(self.r, i) for i in range(self.r.randint(2, 5))]
        self.by_name = {s.name: s for s in self.structs}
        self.functions = []
        self.fresh = 0

    def name(self, prefix):
        self.fresh += 1
        return f"{prefix}{self.fresh}"

    def emit(self, text):
        self.out.append("\t" * self.depth + text)

    def block(self, head, body, tail="}"):
        self.emit(head)
        self.depth += 1
        keep = {k: list(v) for k, v in self.vars.items()}
        body()
        self.vars = keep
        self.depth -= 1
        self.emit(tail)

    # Expressions, of values that are in scope; never with a side effect.

    def var(self, t):
        """One of these to read."""
        return self.r.choice(self.vars[t]) if self.vars.get(t) else None

    def integer(self, n=2):
        r = self.r
        if n == 0 or r.random() < .25:
            c = [str(r.randrange(1000)) + "u", hex(r.getrandbits(60)) + "u", "tls_a", "(u64)depth"]
            c += [v for v in (self.var(t) for t in INTS) if v] * 2
            return r.choice(c)
        a, b = self.integer(n - 1), self.integer(n - 1)
        k = r.randrange(12)
        if k < 5:
            return f"((u64){a} {r.choice('+-*^&|')} {b})"
        if k == 5:
            return f"((u64){a} {r.choice(('<<', '>>'))} ({b} & 31))"
        if k == 6:
            return f"({a} {r.choice('/%')} (({b}) % 97 + 1))"
        if k == 7:
            return f"({a} {r.choice(('<', '==', '>='))} {b} ? {a} : (u64){b})"
        if k == 8:
            return f"fold({self.real(1)})"
        if k == 9 and self.var("ld"):
            return f"fold_ld({self.var('ld')})"
        if k == 10 and self.var("u128"):
            return f"(u64)({self.var('u128')} >> {r.randrange(90)})"
        return f"tls_v[({a}) % 8]"

    def real(self, n=2):
        r = self.r
        if n == 0 or r.random() < .3:
            c = [f"{r.randrange(1, 400) / 8}", "tls_d", f"(double)(u32)({self.integer(0)})"]
            return r.choice(c + [v for v in (self.var(t) for t in FLOATS) if v] * 2)
        return f"({self.real(n - 1)} {r.choice('+-*')} {self.real(n - 1)})"

    def value(self, t):
        """A value of any type."""
        r = self.r
        if t in INTS:
            return f"({t})({self.integer()})"
        if t in FLOATS:
            return f"({t})tame({self.real()})"
        if t == "ld":
            a = self.var("ld") or "1.5L"
            return r.choice((f"eighths({a} + {r.randrange(99)} / 8.0L)", f"eighths({a} * {r.randrange(1, 9)})",
                             f"(ld)({self.integer(1)} & 0xfffff) / 8"))
        if t == "u128":
            a = self.var("u128") or "(u128)77"
            return r.choice((f"({a} * {r.randrange(3, 9999)}u + ((u128)({self.integer(1)}) << {r.randrange(64)}))",
                             f"({a} / ((({self.integer(1)}) & 0xffff) + 3))", f"({a} >> {r.randrange(60)} ^ ~{a})"))
        if t == "u64 *":
            return self.var(t) if self.var(t) and not self.trying else "&tls_a"
        if t == "callback":
            return self.var(t) or r.choice(CALLBACKS)
        v = self.var(t)
        if v and r.random() < .7:
            return v
        s = self.by_name[t]
        return f"({t}){{ .{s.fields[0][0]} = {'{ 1 }' if s.fields[0][2] else self.value(s.fields[0][1])} }}"

    def kind(self):
        return self.r.choice(INTS + INTS + FLOATS + ("ld", "u128") + tuple(self.by_name) * 2)

    def into_trail(self, v, t):
        if t in INTS:
            return f"trail({v});"
        if t in FLOATS:
            return f"trail(fold({v}));"
        if t == "ld":
            return f"trail(fold_ld({v}));"
        if t == "u128":
            return f"trail((u64)({v} >> 64) * 3 + (u64){v});"
        return " ".join(self.into_trail(f"{v}.{f}", u) for f, u in self.by_name[t].leaves())

    # Statements.

    def declare(self, t=None):
        t = t or self.kind()
        v = self.name("v")
        if t in self.by_name and self.r.random() < .5:
            self.emit(f"{t} {v};")
            self.emit(f"memset(&{v}, 0, sizeof({v}));")
            for f, u in self.by_name[t].leaves():
                self.emit(f"{v}.{f} = {self.value(u)};")
        else:
            self.emit(f"{Function.spell(t)}{v} = {self.value(t)};")
        self.vars.setdefault(t, []).append(v)
        self.mine.add(v)
        return v

    def assign(self):
        r = self.r
        t = r.choice([t for t in self.vars if self.vars[t] and t not in ("u64 *", "callback")] or ["none"])
        own = [v for v in self.vars.get(t, []) if v in self.mine and not self.trying]
        if not own or r.random() < .2:
            self.emit(r.choice((f"tls_a = {self.integer()};", f"tls_v[{self.integer(1)} % 8] ^= {self.integer()};",
                                f"tls_d = tame({self.real()});")))
            return
        v = r.choice(own)
        if t in self.by_name and r.random() < .7:
            f, u = r.choice(self.by_name[t].leaves())
            self.emit(f"{v}.{f} = {self.value(u)};")
        else:
            self.emit(f"{v} = {self.value(t)};")

    def pointer(self):
        """The address of a local, for others to write to."""
        own = [v for v in self.vars.get("u64", []) if v in self.mine]
        p = self.name("ptr")
        v = self.r.choice(own) if own and not self.trying else "tls_a"
        self.emit(f"u64 *{p} = &{v};")
        if self.r.random() < .5:
            self.emit(f"*{p} += {self.integer()};")
        self.vars.setdefault("u64 *", []).append(p)

    def call(self):
        r = self.r
        below = self.functions[:self.number]
        own = self.number < len(self.functions) and r.random() < .3
        if not below and not own:
            return self.each()
        f = self.functions[self.number] if own else r.choice(below)
        args = [self.value(t) for t in f.params]
        if f.variadic:
            args += self.variadic_args()
        call = f"{f.name}({', '.join(['depth - 1', *args])})"
        if own:
            self.emit("if (depth > 0) {")
            self.depth += 1
            self.store(call, f.ret)
            self.depth -= 1
            self.emit("}")
        elif r.random() < .3:
            p = self.name("g")
            same = [g for g in below if g.pointer("") == f.pointer("")] or [f]
            self.emit(f"{f.pointer(p)} = {self.integer(0)} % 3 ? {f.name} : {r.choice(same).name};")
            self.store(call.replace(f.name, p, 1), f.ret)
        else:
            self.store(call, f.ret)
        return None

    def store(self, call, t):
        v = self.name("c")
        self.emit(f"{t} {v} = {call};")
        self.emit(self.into_trail(v, t))
        if self.trying:
            self.emit(f"{self.trying} += {'1' if t not in INTS else v};")

    def variadic_args(self):
        """A format for sum_v() and its arguments."""
        kinds = {"i": "(int)(" + self.integer(1) + ")", "l": self.value("u64"), "d": f"tame({self.real(1)})",
                 "L": self.value("ld"), "q": self.value("u128"), "p": self.value("u64 *")}
        f = ""
        args = []
        for _ in range(self.r.randrange(1, 9)):
            k = self.r.choice(["i", "l", "d", "L", "q", "p", *map(chr, range(65, 65 + len(self.structs)))])
            f += k
            args.append(kinds[k] if k in kinds else self.value(self.structs[ord(k) - 65].name))
        return [f'"{f}"', *args]

    def variadic(self):
        v = self.name("c")
        self.emit(f"u64 {v} = sums({', '.join(['depth', *self.variadic_args()])});")
        self.emit(f"trail({v});")

    def each(self):
        ctx = self.name("ctx")
        self.emit(f"u64 {ctx} = {self.integer(1)};")
        self.emit(f"trail(each({self.value('callback')}, &{ctx}, {self.integer(1)}) + {ctx});")

    def vla(self):
        n, v, i = self.name("n"), self.name("a"), self.name("i")
        self.emit(f"u32 {n} = {self.integer(1)} % 13 + 2;")
        if self.vlas:
            self.emit(f"u64 {v}[{n}];")
        else:
            self.emit(f"u64 *{v} = alloca({n} * sizeof(u64));")
        self.emit(f"for (u32 {i} = 0; {i} < {n}; {i}++)")
        self.emit(f"\t{v}[{i}] = {i} * ({self.integer(1)});")
        if self.r.random() < .5:
            self.emit(f"order_salt = {self.integer(1)};")
            self.emit(f"qsort({v}, {n}, sizeof(u64), order);")
        if self.r.random() < .5:
            self.emit(f"trail(each({self.r.choice(CALLBACKS)}, &{v}[{self.integer(0)} % {n}], {n}));")
        self.vars.setdefault("u64", []).append(f"{v}[{n} - 1]")

    def goto(self):
        """A loop over states, by a table of labels."""
        r = self.r
        n = r.randint(2, 5)
        label, st, left = self.name("L"), self.name("st"), self.name("left")
        static = r.choice(("static const ", ""))
        self.emit(f"{static}void *const {label}_t[] = {{ {', '.join(f'&&{label}_{i}' for i in range(n + 1))} }};")
        self.emit(f"u32 {st} = {self.integer(1)} % {n}, {left} = {r.randint(1, 9)};")
        self.emit(f"goto *{label}_t[{st}];")
        keep = {k: list(v) for k, v in self.vars.items()}
        for i in range(n):
            self.emit(f"{label}_{i}:")
            if r.random() < .6 and not self.trying:
                self.block("{", self.few)
            else:
                self.emit(f"tls_a = tls_a * 3 + {i};")
            self.vars = {k: list(v) for k, v in keep.items()}
            self.emit(f"{st} = ({st} * 5 + {r.randrange(7)} + (u32)tls_a) % {n};")
            self.emit(f"goto *{label}_t[{left}-- ? {st} : {n}];")
        self.emit(f"{label}_{n}:;")

    def few(self):
        for _ in range(self.r.randint(1, 3)):
            self.statement()

    def loop(self):
        i = self.name("i")
        head = f"for (u32 {i} = 0; {i} < {self.r.randint(1, 6)} && fuel-- > 0; {i}++) {{"

        def body():
            self.vars.setdefault("u32", []).append(i)
            self.few()
            if self.r.random() < .2:
                self.emit(f"if ({self.integer(1)} % 5 == 1)")
                self.emit(f"\t{self.r.choice(('break', 'continue'))};")
        self.block(head, body)

    def branch(self):
        self.block(f"if ({self.integer()} % {self.r.randint(2, 4)}) {{", self.few,
                   "} else {" if self.r.random() < .5 else "}")
        if self.out[-1].endswith("else {"):
            self.depth += 1
            keep = {k: list(v) for k, v in self.vars.items()}
            self.few()
            self.vars = keep
            self.depth -= 1
            self.emit("}")

    def switch(self):
        n = self.r.randint(2, 7)
        self.emit(f"switch ({self.integer()} % {n + 1}) {{")
        for i in range(n):
            self.block(f"case {i * self.r.choice((1, 1, 1))}: {{", self.few, "}")
            if self.r.random() < .75:
                self.emit("break;")
            else:
                self.emit("/* fall through */")
        self.emit("default:\n" + "\t" * self.depth + "\tbreak;")
        self.emit("}")

    def setjmp(self):
        """Only volatile variables change in the tried part."""
        g, t = self.name("g"), self.name("t")
        self.emit(f"volatile u64 {t} = {self.integer(1)};")
        self.emit(f"struct guard {g};")
        self.emit(f"{g}.outer = guards;")
        self.emit(f"guards = &{g};")
        self.emit(f"int {g}_v = 0;")
        old = self.trying
        depth = self.depth

        def body():
            self.trying = t
            self.few()
            self.call()
            if self.r.random() < .6:
                self.emit(f"if ({self.integer(1)} % 3 == 0)")
                self.emit(f"\tthrow_it((int)({self.integer(1)}));")
            self.emit(f"guards = {g}.outer;")
            self.trying = old
        self.block(f"if (!setjmp({g}.b)) {{", body, "} else {")
        assert self.depth == depth
        self.emit(f"\t{t} = {t} * 7 + 1;")
        self.emit("}")
        self.emit(f"trail({t} + {g}_v);")

    def throw(self):
        self.emit(f"if ({self.integer(1)} % {self.r.randint(3, 9)} == 0)")
        self.emit(f"\tthrow_it((int)({self.integer(1)}));")

    def statement(self):
        r = self.r
        if self.depth > 4 or self.size > 45:
            return r.choice((self.assign, self.assign, self.variadic))()
        self.size += 1
        choices = [self.declare, self.declare, self.assign, self.assign, self.assign, self.call, self.call, self.loop,
                   self.branch, self.variadic, self.each, self.vla, self.throw, self.pointer]
        if not self.trying:
            choices += [self.setjmp]
            if self.depth < 3:
                choices += [self.switch] + [self.goto] * (not self.vlas)     # no jump into an array's scope
        return r.choice(choices)()

    def function(self, number):
        r = self.r
        f = Function(number, r.choice(("u64", "u32", "double", "float", "ld", "u128") + tuple(self.by_name) * 2),
                     [r.choice((self.kind(), self.kind(), "u64 *", "callback")) for _ in range(r.randrange(7))],
                     r.random() < .25)
        self.number, self.depth, self.size, self.trying, self.vlas = number, 1, 0, None, r.random() < .5
        self.vars = {}
        for i, t in enumerate(f.params):
            self.vars.setdefault(t, []).append(f"p{i}")
        self.mine = {f"p{i}" for i in range(len(f.params))}
        self.out += ["", f.head(), "{"]
        self.functions.append(f)
        res = self.name("v")
        self.emit(f"{f.ret} {res} = {self.value(f.ret)};")
        self.vars.setdefault(f.ret, []).append(res)
        self.mine.add(res)
        self.emit("if (depth <= 0 || fuel-- <= 0)")
        self.emit(f"\treturn {res};")
        if f.variadic:
            self.emit("va_list ap;")
            self.emit("va_start(ap, format);")
            self.emit("trail(sum_v(format, ap));")
            self.emit("va_end(ap);")
        for _ in range(r.randint(4, 9)):
            self.statement()
        for t, vs in self.vars.items():
            if t not in ("u64 *", "callback"):
                for v in vs[:3]:
                    self.emit(self.into_trail(v, t))
        self.emit(f"return {res};")
        self.out.append("}")

    def main(self):
        self.out += ["", "int main(void)", "{"]
        self.number, self.depth, self.size, self.trying, self.vars, self.mine = len(self.functions), 1, 0, None, {}, set()
        self.emit("int depth = 4;")
        for _ in range(4):
            self.declare()
        self.emit("for (volatile int round = 0; round < 3; round++) {")
        self.depth = 2
        for f in reversed(self.functions):
            self.emit("{")
            args = [self.value(t) for t in f.params] + (self.variadic_args() if f.variadic else [])
            self.depth += 1
            self.store(f"{f.name}({', '.join(['depth', *args])})", f.ret)
            self.emit("fuel += 300;")
            self.depth -= 1
            self.emit("}")
        self.emit("}")
        self.depth = 1
        self.emit("for (int i = 0; i < 8; i++)")
        self.emit("\ttrail(tls_v[i]);")
        self.emit("trail(tls_a + fold(tls_d));")
        self.emit('printf("end %u %016llx\\n", (unsigned int)steps, (unsigned long long)sum);')
        self.emit("return 0;")
        self.out.append("}")

    def text(self):
        for i in range(self.r.randint(4, 9)):
            self.function(i)
        self.main()
        takes = ""
        for i, s in enumerate(self.structs):
            takes += (f"\t\tcase '{chr(65 + i)}': {{\n\t\t\t{s.name} v = va_arg(ap, {s.name});\n\n" +
                      "\n".join(f"\t\t\ts = s * 19 + {self.folded('v.' + f, t)};" for f, t in s.leaves()) +
                      "\n\t\t\tbreak;\n\t\t}\n")
        head, tail = HEAD.split("struct guard {", 1)
        fill = (self.r.randrange(300, 1500), self.r.randrange(1 << 30), takes)
        structs = "".join(s.text() for s in self.structs)
        body = head.replace("%%", "%") + structs + ("struct guard {" + tail) % fill
        return body + "\n".join(self.out) + "\n"

    @staticmethod
    def folded(v, t):
        return v if t in INTS else f"fold_ld({v})" if t == "ld" else f"fold({v})"


def program(seed):
    return Program(seed).text()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit(__doc__.split("\n\n")[1])
    sys.stdout.write(program(int(sys.argv[1])))
