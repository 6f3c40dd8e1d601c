// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* What test_debug.py looks at: frames with locals of every kind, stopped at in shown(). */
#include <stdio.h>
#include <string.h>

struct node {
	int value;
	struct node *next;
};

static volatile int seen;

__attribute__((noinline)) static void shown(const char *name, int total)
{
	seen += *name + total;
}

__attribute__((noinline)) static int sum(struct node *n, int depth)
{
	struct node here = { depth, n };
	double half = depth / 2.0;
	char name[16];
	int total = 0;

	snprintf(name, sizeof(name), "depth %d", depth);
	if (depth)
		total = sum(&here, depth - 1);
	for (struct node *p = &here; p; p = p->next)
		total += p->value;
	shown(name, total);
	return total + (int)half + (int)strlen(name) + depth;
}

int main(int argc, char **argv)
{
	int got = sum(NULL, 3 + argc);

	printf("%s: %d\n", *argv ? "sum" : "", got + seen);
	return 0;
}
