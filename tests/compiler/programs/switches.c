// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* switch: dense, sparse, ranges, of 64 bits, on strings' hashes, falling through, into loops. */
#include "try.h"

static NOINLINE int point(int n)
{
	return n ? point(n - 1) : 0;
}

static NOINLINE int dense(int v)
{
	switch (v) {
	case 0: return 5 + point(1);
	case 1: return dense(0) * 3;
	case 2: return 77;
	case 3: return dense(2) - dense(1);
	case 4: return 12;
	case 5: return dense(4) + 1;
	case 6: return 8;
	case 7: return dense(3) ^ dense(5);
	case 8: return -1;
	case 9: return dense(8) + dense(7);
	default: return v < 0 ? -v : dense(v - 10);
	}
}

static NOINLINE const char *sparse(long long v)
{
	switch (v) {
	case -1000000000000: return "minus tera";
	case -1: return "minus";
	case 0: return "zero";
	case 17: return "17";
	case 1000: return "kilo";
	case 65536: return "64 K";
	case 0x7fffffffffffffff: return "max";
	case 2000 ... 2999: return "two thousand";
	default: return "other";
	}
}

static NOINLINE int words(const char *s)
{
	unsigned int h = 5381;

	while (*s)
		h = h * 33 + *s++;
	switch (h % 64) {
	case 3: case 9: case 31: h += point(2); /* fall through */
	case 4: case 10: h ^= 5; /* fall through */
	case 5: return h % 1000;
	case 60 ... 63: return -1;
	}
	return h % 100;
}

static NOINLINE unsigned int checksum(const unsigned char *p, size_t n)
{
	unsigned int a = 1, b = 0;
	size_t rounds = (n + 7) / 8;

	if (!n)
		return 1;
	switch (n % 8) {
	case 0: do { a += *p++; b += a; /* fall through */
	case 7: a += *p++; b += a; /* fall through */
	case 6: a += *p++; b += a; /* fall through */
	case 5: a += *p++; b += a; /* fall through */
	case 4: a += *p++; b += a + point(1); /* fall through */
	case 3: a += *p++; b += a; /* fall through */
	case 2: a += *p++; b += a; /* fall through */
	case 1: a += *p++; b += a;
		} while (--rounds);
	}
	return b % 65521 << 16 | a % 65521;
}

enum state { START, SIGN, INT, DOT, FRAC, EXP, ESIGN, EDIGITS, BAD };

static NOINLINE enum state scan(const char *s)
{
	enum state st = START;

	for (; *s && st != BAD; s++) {
		point(1);
		switch (st) {
		case START:
			st = *s == '-' ? SIGN : *s >= '0' && *s <= '9' ? INT : BAD;
			break;
		case SIGN:
			st = *s >= '0' && *s <= '9' ? INT : BAD;
			break;
		case INT:
			st = *s == '.' ? DOT : *s == 'e' ? EXP : *s >= '0' && *s <= '9' ? INT : BAD;
			break;
		case DOT: case FRAC:
			st = *s == 'e' ? EXP : *s >= '0' && *s <= '9' ? FRAC : BAD;
			break;
		case EXP:
			st = *s == '-' ? ESIGN : *s >= '0' && *s <= '9' ? EDIGITS : BAD;
			break;
		case ESIGN: case EDIGITS:
			st = *s >= '0' && *s <= '9' ? EDIGITS : BAD;
			break;
		case BAD:
			break;
		}
	}
	return st;
}

int main(void)
{
	static const long long v[] = { -1000000000000, -1, 0, 1, 17, 1000, 65536, INT64_MAX, 2500, 3000 };
	static const char *const w[] = { "a", "word", "another", "switch", "case", "default", "x", "yz", "" };
	static const char *const n[] = { "1", "-12.5", "1e9", "-1.5e-7", ".5", "1.", "--1", "1e", "12a" };
	unsigned char bytes[61];
	int s = 0;

	for (int i = -5; i < 40; i++)
		s = (s * 7 + dense(HIDE(i))) % 1000003;
	printf("dense %d\n", s);
	for (size_t i = 0; i < ARRAY_SIZE(v); i++)
		printf("%s, ", sparse(HIDE(v[i])));
	for (size_t i = 0; i < ARRAY_SIZE(w); i++)
		printf("%d ", words(w[i]));
	for (int i = 0; i < 61; i++)
		bytes[i] = i * 11;
	for (int i = 0; i < 61; i += 7)
		printf("%x ", checksum(bytes, i));
	for (size_t i = 0; i < ARRAY_SIZE(n); i++)
		printf("%d", scan(n[i]));
	puts("");
	return 0;
}
