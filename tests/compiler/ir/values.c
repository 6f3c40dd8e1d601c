/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Every type of value that is live across a move, and every type through "...". */
#include "bed.h"

typedef __int128 i128;
typedef float v4 __attribute__((vector_size(16)));
typedef short v16 __attribute__((vector_size(32)));
struct bits { unsigned a : 3, b : 13; long c : 40; unsigned char d; };
struct mix { float f; double d; int i; };
struct one { char c; };
struct three { char c[3]; };
struct aligned { long a; } __attribute__((aligned(16)));

static _Atomic int count;
static _Complex double cacc;
static _Thread_local long tls = 5;
static _Thread_local char tlsz[3];

static __attribute__((noinline)) i128 power(i128 b, int e)
{
	i128 r = 1;

	for (int i = 0; i < e; i++)
		r = r * b + i;
	return e > 1 ? r + power(b + 1, e - 1) : r;
}

static __attribute__((noinline)) struct mix mix(struct mix m, int k)
{
	struct mix r;

	if (!k)
		return m;
	m.f += k;
	m.d *= 1.1;
	m.i ^= k;
	r = mix(m, k - 1);
	r.i += m.i;
	return r;
}

static __attribute__((noinline)) struct bits bits(struct bits b, int k)
{
	b.a += k;
	b.b += b.a;
	b.c -= k;
	b.d++;
	return k ? bits(b, k - 1) : b;
}

static __attribute__((noinline)) _Complex double cplx(_Complex double z, int k)
{
	_Complex double w = z + cacc;

	cacc = w * 0.5;
	return k ? w + cplx(w * 0.25, k - 1) : w;
}

static __attribute__((noinline)) _Complex float cplxf(_Complex float z, int k)
{
	_Complex float w = z + 1.5f;

	return k ? w + cplxf(w * 0.5f, k - 1) : w;
}

static __attribute__((noinline)) v4 vec(v4 a, int k)
{
	v4 b = a * 1.5f + (v4){ 1, 2, 3, 4 };

	return k ? b + vec(b * 0.25f, k - 1) : b;
}

static __attribute__((noinline)) v16 wide(v16 a, int k)
{
	v16 b = a * 3;

	return k ? b + wide(b + 1, k - 1) : b;
}

static __attribute__((noinline)) float flt(float x, int k)
{
	float y = x * 1.25f;

	return k ? y - flt(y + 1, k - 1) : y;
}

static __attribute__((noinline)) _Bool flag(_Bool a, signed char c, short s, int k)
{
	tls += c;
	tlsz[k % 3]++;
	return k ? flag(!a, c + 1, s * 2, k - 1) ^ (s > c) : a;
}

static double sum(int n, va_list ap)
{
	double s = 0;

	while (n--) {
		s += va_arg(ap, double);
		s += va_arg(ap, struct mix).d;
		s += va_arg(ap, struct one).c;
		s += (long)va_arg(ap, i128);
		s += va_arg(ap, int);
		s += va_arg(ap, struct three).c[2];
		s += va_arg(ap, struct aligned).a;
		s += __imag__ va_arg(ap, _Complex double);
		s += va_arg(ap, struct bits).c;
		s += va_arg(ap, long);
	}
	return s;
}

static __attribute__((noinline)) double sums(int n, ...)
{
	va_list ap, aq;
	double r;

	va_start(ap, n);
	va_copy(aq, ap);
	r = sum(n, ap);
	r += sum(n, aq);
	va_end(aq);
	va_end(ap);
	count++;
	return r;
}

static int unprototyped();

static __attribute__((noinline)) int old_style(void)
{
	return unprototyped(3, 4L, 'x');
}

static int unprototyped(int a, long b, int c)
{
	return a + b * 2 + c + tls;
}

int main(void)
{
	struct mix m = { 1.5f, 2.5, 3 };

	for (int it = 1; it < 4; it++) {
		i128 p = power(it + 7, 12);
		struct mix r = mix(m, it + 3);
		struct bits b = bits((struct bits){ 1, 2, 3, 4 }, it * 2);
		_Complex double z = cplx(0.3 + 0.1i * it, 4);
		_Complex float f = cplxf(0.5f + 0.25if * it, 3);
		v4 w = vec((v4){ 1, 2, 3, it }, 3);
		v16 x = wide((v16){ 1, 2, it, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 }, 3);
		double s = sums(2, 1.0, m, (struct one){ 3 }, (i128)it << 40, 5, (struct three){ { 1, 2, 3 } },
				(struct aligned){ 7 }, z, b, -4L, 3.0, r, (struct one){ -3 }, (i128)5, -9,
				(struct three){ { 4, 5, 6 } }, (struct aligned){ 8 }, z, b, 4L);

		m = r;
		printf("%wd | %f %f %d | %d %d %ld %d | %f %f | %f %f\n", p, (double)r.f, r.d, r.i, b.a, b.b,
		       (long)b.c, b.d, __real__ z, __imag__ z, (double)__real__ f, (double)__imag__ f);
		printf("%f %f | %d %d | %f | %f %d %d\n", (double)w[0], (double)w[3], x[2], x[15], s,
		       (double)flt(it, 5), flag(it & 1, it, it, 5), count);
	}
	printf("tls %ld %d%d%d old %d char %d\n", tls, tlsz[0], tlsz[1], tlsz[2], old_style(), (char)255 < 0);
	return 3;
}
