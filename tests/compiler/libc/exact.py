# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""What reading and writing floating-point numbers must give, from exact fractions, and cases to try."""

import random
import sys
from fractions import Fraction

sys.set_int_max_str_digits(0)
NEAREST, TO_ZERO, DOWN, UP = range(4)
# type: (bits of the significand, the exponent of the smallest number, of the first that is too large)
TYPES = {"f": (24, -149, 128), "d": (53, -1074, 1024), "L": (113, -16494, 16384)}
WIDTH = {"f": 32, "d": 64, "L": 128}


def rounded(x, mode, negative):
    """x >= 0, the size of a number of that sign, as an integer."""
    n, rest = divmod(x.numerator, x.denominator)
    half = 2 * rest - x.denominator
    up = {NEAREST: half > 0 or (half == 0 and n & 1), TO_ZERO: False, DOWN: negative, UP: not negative}[mode]
    return n + (1 if rest and up else 0)


def log2(x):
    """The e of 2^e <= x < 2^(e+1), for x > 0."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if x >= Fraction(2) ** e else e - 1


def value(text):
    """(negative, the exact size) of what strtod() takes."""
    negative, text = text[0] == "-", text.lstrip("+-").lower()
    if text.startswith("0x"):
        digits, _, exponent = text[2:].partition("p")
        whole, _, part = digits.partition(".")
        return negative, int(whole + part, 16) * Fraction(2) ** (int(exponent or 0) - 4 * len(part))
    digits, _, exponent = text.partition("e")
    whole, _, part = digits.partition(".")
    return negative, int(whole + part) * Fraction(10) ** (int(exponent or 0) - len(part))


def read(kind, mode, text):
    """What numbers.c prints for a number that is read."""
    (bits, emin, emax), width = TYPES[kind], WIDTH[kind]
    negative, x = value(text)
    n, exponent = 0, emin
    if x:
        exponent = max(log2(x) - bits + 1, emin)
        n = rounded(x / Fraction(2) ** exponent, mode, negative)
        if n >> bits:
            n, exponent = n >> 1, exponent + 1
    tiny = n * Fraction(2) ** exponent != x and not n >> (bits - 1)
    large = exponent + bits > emax and n >> (bits - 1)
    if large:
        finite = mode == TO_ZERO or mode == (UP if negative else DOWN)
        n, exponent = ((1 << bits) - 1, emax - bits) if finite else (1 << (bits - 1), emax - bits + 1)
    fields = (exponent - emin << bits - 1) + n if n >> (bits - 1) else n
    fields |= negative << (width - 1)
    return f"{fields >> 64:x}{fields & (1 << 64) - 1:016x} {'range' if tiny or large else '-'}"


def split(kind, pattern):
    """(negative, the exact size) of a finite number's bits."""
    (bits, emin, _), width = TYPES[kind], WIDTH[kind]
    exponent, n = pattern >> (bits - 1) & (1 << width - bits) - 1, pattern & (1 << bits - 1) - 1
    if exponent:
        n, exponent = n | 1 << bits - 1, exponent - 1
    return pattern >> (width - 1), n * Fraction(2) ** (exponent + emin)


def decimal(x, precision, mode, negative):
    """(the digits of one before the point and precision behind it, exponent)"""
    if not x:
        return "0" * (precision + 1), 0
    e = len(str(x.numerator)) - len(str(x.denominator))
    e -= x < Fraction(10) ** e
    digits = str(rounded(x / Fraction(10) ** (e - precision), mode, negative))
    return (digits, e) if len(digits) == precision + 1 else (digits[:-1], e + 1)


def written(form, kind, mode, pattern):
    """printf() of one conversion: form is its letter, with a precision or None."""
    letter, precision = form
    negative, x = split(kind, pattern)
    sign = "-" if negative else ""
    if letter == "a":
        e = log2(x) if x else 0
        n = x / Fraction(2) ** e * 2 ** 112
        if precision is None:
            digits = f"{int(n):029x}".rstrip("0") or "0"
        else:
            digits = f"{rounded(n / 2 ** (112 - 4 * precision), mode, negative):0{precision + 1}x}"
        return f"{sign}0x{digits[0]}{'.' + digits[1:] if digits[1:] else ''}p{e:+d}"
    precision = 6 if precision is None else precision
    strip = letter == "g"
    if strip:
        precision = max(precision, 1)
        e = decimal(x, precision - 1, mode, negative)[1]
        letter, precision = ("f", precision - 1 - e) if precision > e >= -4 else ("e", precision - 1)
    if letter == "f":
        digits = str(rounded(x * 10 ** precision, mode, negative)).rjust(precision + 1, "0")
        whole, part, tail = digits[:len(digits) - precision], digits[len(digits) - precision:], ""
    else:
        digits, e = decimal(x, precision, mode, negative)
        whole, part, tail = digits[0], digits[1:], f"e{'-' if e < 0 else '+'}{abs(e):02d}"
    part = part.rstrip("0") if strip else part
    return sign + whole + ("." + part if part else "") + tail


def pattern(r, kind):
    """Bits of a finite number: any, few bits set, near a power of two, without a fraction, subnormal."""
    (bits, emin, emax), width = TYPES[kind], WIDTH[kind]
    top = (1 << width - bits) - 1
    exponent = r.choice((r.randrange(top), 0, 1, top - 1, 1 - emin - bits + r.randrange(-9, bits + 9)))
    n = r.choice((r.getrandbits(bits - 1), 0, 1, (1 << bits - 1) - 1, r.getrandbits(9) << bits - 10, r.getrandbits(9)))
    return r.getrandbits(1) << (width - 1) | exponent % top << bits - 1 | n


def short(x):
    """A fraction whose denominator has only twos and fives, with all its digits."""
    places = x.denominator.bit_length() - 1
    return f"{x * 10 ** places}e-{places}"


def texts(r, kind):
    """One number to read: of few digits or many, near what the type has and half-way between two, in hexadecimal."""
    bits, emin, emax = TYPES[kind]
    sign = r.choice(("", "-"))
    which = r.randrange(8)
    if which < 3:
        digits = str(r.getrandbits(r.choice((5, 24, 30, 54, 60, 64, 130, 400))))
        at = r.randrange(len(digits) + 1)
        exponent = r.choice(("", f"e{r.randrange(-30, 30)}", f"e{r.randrange(-400, 400)}"))
        return f"{sign}{digits[:at] or '0'}.{digits[at:]}{exponent}"
    if which == 3:
        return f"{sign}{r.getrandbits(9)}{'0' * r.randrange(30)}" + r.choice(("", f"e{r.randrange(-5100, 5100)}"))
    if which == 4:
        digits = f"{r.getrandbits(r.choice((4, 53, 54, 112, 113, 114, 120, 200))):x}"
        at = r.randrange(len(digits) + 1)
        exponent = r.choice((emin, emin + bits, emax, 0)) + r.randrange(-bits - 9, bits + 9)
        return f"{sign}0x{digits[:at] or '0'}.{digits[at:]}p{exponent}"
    _, x = split(kind, pattern(r, kind))
    if kind == "L" and r.random() < 0.8:         # those of many digits are the slow ones
        _, x = split(kind, r.getrandbits(112) | 16383 + r.randrange(-150, 150) << 112)
    half = Fraction(2) ** (log2(x) - bits) if x else Fraction(2) ** (emin - 1)
    x += r.choice((0, half, half, half * 2))
    return sign + short(x if which < 7 else abs(x + half * Fraction(r.choice((1, -1)), 1 << 40)))


def cases(seed, count):
    """(line for numbers.c, what it must print)"""
    r = random.Random(seed)
    for _ in range(count):
        mode = r.randrange(4)
        if r.random() < 0.6:
            kind = r.choice("fddL")
            text = texts(r, kind)
            yield f"{mode} {kind} {text}", read(kind, mode, text)
        else:
            kind = r.choice("ddL")
            bits = pattern(r, kind)
            letter = r.choice("aefg")
            precision = r.choice((None, 0, 1, 3, r.randrange(20), r.randrange(27), r.randrange(50)))
            if letter == "a" and (precision or 0) > 26:
                precision = 26
            point = "" if precision is None else f".{precision}"
            form = f"%{point}{'L' if kind == 'L' else ''}{letter}"
            yield (f"{mode} {kind} {form} {bits >> 64:016x}{bits & (1 << 64) - 1:016x}",
                   written((letter, precision), kind, mode, bits))
