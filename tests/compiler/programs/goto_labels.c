// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Computed goto: tables local and static, differences of labels, a label handed about in a variable. */
#include "try.h"

static NOINLINE int work(int n)
{
	return n ? work(n - 1) + 1 : 0;
}

static NOINLINE int local_table(const char *s)
{
	void *t[] = { &&add, &&sub, &&mul, &&end };
	int v = 1, i = 0;

	goto *t[s[i++] - '0'];
add:
	v += 5 + work(2);
	goto *t[s[i++] - '0'];
sub:
	v -= 3;
	goto *t[s[i++] - '0'];
mul:
	v = v * 2 % 10007;
	goto *t[s[i++] - '0'];
end:
	return v;
}

static NOINLINE int static_table(const unsigned char *s)
{
	static const void *const t[] = { [0 ... 255] = &&other, ['a'] = &&a, ['b'] = &&b, ['\0'] = &&end };
	int na = 0, nb = 0, no = 0;

	for (;; s++) {
		goto *t[*s];
a:
		na += 1 + work(1) * 0;
		continue;
b:
		nb++;
		continue;
other:
		no++;
		continue;
end:
		return na * 10000 + nb * 100 + no;
	}
}

/* Offsets from one label, as interpreters keep them to save relocations. */
static NOINLINE int offsets(int n)
{
	static const int t[] = { &&l0 - &&l0, &&l1 - &&l0, &&l2 - &&l0 };
	int s = 0;

	for (int i = 0; i < n; i++) {
		goto *(&&l0 + t[i % 3]);
l0:
		s += 1;
		continue;
l1:
		s += work(2) * 10;
		continue;
l2:
		s += 100;
	}
	return s;
}

/* A coroutine whose state is the label to go on at. */
struct gen { void *at; int i, j; };

static NOINLINE int next(struct gen *g)
{
	if (!g->at)
		goto begin;
	goto *g->at;
begin:
	for (g->i = 0; g->i < 5; g->i++) {
		for (g->j = 0; g->j < g->i; g->j++) {
			g->at = &&again;
			return g->i * 10 + g->j + work(1) * 0;
again:;
		}
		g->at = &&outer;
		return -g->i;
outer:;
	}
	g->at = &&done;
done:
	return 1000;
}

static NOINLINE int variable(int n)
{
	void *p = n & 1 ? &&odd : &&even;
	void *save[2];
	int s = 0;

	save[0] = p;
	save[1] = &&out;
	goto *save[0];
odd:
	s += 3;
	p = &&even;
	if (work(n) > 3)
		p = save[1];
	goto *p;
even:
	s += 5;
	if (n > 20)
		goto *save[1];
	n += 7;
	p = n & 1 ? &&odd : &&even;
	goto *p;
out:
	return s * 100 + n + (p == save[1]) * 10000;
}

int main(void)
{
	struct gen g = { 0 };
	int v, s = 0;

	printf("local %d\n", local_table("0120210012201120012010201213"));
	printf("static %d\n", static_table((const unsigned char *)"abacabadabacabaxyzzy"));
	printf("offsets %d\n", offsets(HIDE(31)));
	while ((v = next(&g)) != 1000) {
		printf("%d ", v);
		s += v;
	}
	printf("\nsum %d again %d\n", s, next(&g));
	printf("variable %d %d\n", variable(HIDE(3)), variable(HIDE(2)));
	return 0;
}
