// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Memory and string functions at all alignments and lengths, checked against the plainest loops. */
#include "try.h"

static unsigned char a[400], b[400], c[400];

static NOINLINE void fill(unsigned char *p, int n, int k)
{
	for (int i = 0; i < n; i++)
		p[i] = i * 7 + k;
}

static NOINLINE int same(const unsigned char *p, const unsigned char *q, int n)
{
	for (int i = 0; i < n; i++)
		if (p[i] != q[i])
			return 0;
	return 1;
}

static NOINLINE void slow_move(unsigned char *to, const unsigned char *from, int n)
{
	static unsigned char t[400];

	for (int i = 0; i < n; i++)
		t[i] = from[i];
	for (int i = 0; i < n; i++)
		to[i] = t[i];
}

static NOINLINE int copies(int to, int from, int n)
{
	int bad = 0;

	fill(a, 400, 1);
	fill(b, 400, 9);
	fill(c, 400, 9);
	memcpy(b + to, a + from, n);
	slow_move(c + to, a + from, n);
	bad += !same(b, c, 400);
	memmove(b + to, b + from, n);
	slow_move(c + to, c + from, n);
	bad += !same(b, c, 400);
	memset(b + to, n, n);
	for (int i = 0; i < n; i++)
		c[to + i] = n;
	return bad + !same(b, c, 400);
}

static NOINLINE int strings(int at, int n)
{
	char *s = (char *)a + at, *t = (char *)b + (at * 3 & 15);
	int bad = 0;

	fill(a, 400, 3);
	for (int i = 0; i < n; i++)
		s[i] = 'a' + i % 23;
	s[n] = 0;
	bad += strlen(s) != (size_t)n;
	bad += strcpy(t, s) != t || strcmp(t, s) || memcmp(t, s, n + 1);
	bad += strchr(s, 0) != s + n || memchr(s, 0, n + 1) != s + n;
	bad += n > 22 && strchr(s, 'w') != s + 22;
	bad += strnlen(s, n / 2) != (size_t)n / 2;
	if (n) {
		t[n - 1]++;
		bad += strcmp(s, t) >= 0 || memcmp(t, s, n) <= 0 || strncmp(s, t, n - 1);
		t[n - 1]--;
	}
	strcat(t, "tail");
	return bad + (strlen(t) != (size_t)n + 4) + !!strcmp(t + n, "tail");
}

/* Copies of structs that the compiler makes calls of. */
struct big { char c[177]; };

static NOINLINE struct big move(struct big *v, int i)
{
	v[i] = v[(i + 1) & 3];
	return v[(i + 2) & 3];
}

int main(void)
{
	struct big v[4];
	int bad = 0, n = 0;
	uint64_t s;

	for (int to = 0; to < 17; to += 2)
		for (int from = 0; from < 17; from += 3)
			for (int len = 0; len < 140; len += len < 20 ? 1 : 13, n++)
				bad += copies(HIDE(to), HIDE(from), HIDE(len));
	for (int at = 0; at < 16; at++)
		for (int len = 0; len < 70; len += 1 + len / 8, n++)
			bad += strings(at, HIDE(len));
	memset(v, 0, sizeof(v));
	for (int i = 0; i < 4; i++)
		fill((unsigned char *)v[i].c, 177, i);
	for (int i = 0; i < 20; i++) {
		struct big m = move(v, i & 3);

		v[i * 3 & 3].c[i] ^= m.c[i + 5];
	}
	s = try_mix_bytes(0, v, sizeof(v));
	printf("%d tried, bad %d\n", n, bad);
	try_say("moved", s);
	return bad;
}
