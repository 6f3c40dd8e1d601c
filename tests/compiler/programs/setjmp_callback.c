// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* longjmp() out of callbacks that the libc called, out of a signal's handler, and with sigsetjmp's mask. */
#define _GNU_SOURCE
#include <search.h>
#include <setjmp.h>
#include <signal.h>
#include "try.h"

static jmp_buf out;
static sigjmp_buf sigout;
static int left;

static NOINLINE int deeper(int n)
{
	if (!n)
		longjmp(out, left + 100);
	return deeper(n - 1) + 1;
}

static int compare(const void *a, const void *b)
{
	if (--left == 0)
		return deeper(4);
	return *(const int *)a - *(const int *)b;
}

static NOINLINE int sorts(int limit)
{
	int v[40];
	volatile int tries = 0;

	for (int i = 0; i < 40; i++)
		v[i] = i * 29 % 40;
	left = limit;
	switch (setjmp(out)) {
	case 0:
		qsort(v, 40, sizeof(int), compare);
		break;
	default:
		tries++;
		left = limit * 2 + tries;
		if (tries < 9)
			qsort(v, 40, sizeof(int), compare);
	}
	return tries;
}

static void *root;

static void visit(const void *node, VISIT v, int depth)
{
	(void)depth;
	if ((v == postorder || v == leaf) && **(int *const *)node == left)
		deeper(2);
}

static NOINLINE int walks(void)
{
	static int keys[20];

	for (int i = 0; i < 20; i++) {
		keys[i] = i * 7 % 20;
		left = 1000;
		tsearch(&keys[i], &root, compare);
	}
	for (volatile int want = 0; want < 20; want += 6) {
		left = want;
		if (!setjmp(out)) {
			twalk(root, visit);
			return -1;
		}
	}
	return 1;
}

static void handler(int sig)
{
	siglongjmp(sigout, sig);
}

static int blocked(int sig)
{
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	return sigismember(&set, sig);
}

/* With the mask saved the signal is free again after the jump, without it it stays blocked. */
static NOINLINE void signals(void)
{
	struct sigaction sa = { .sa_handler = handler };
	volatile int rounds = 0;
	sigset_t set;
	int sig;

	sigemptyset(&sa.sa_mask);
	sigaction(SIGUSR1, &sa, NULL);
	sig = sigsetjmp(sigout, 1);
	if (sig)
		rounds++;
	if (rounds < 5)
		raise(SIGUSR1);
	printf("saved: %d rounds, blocked %d\n", rounds, blocked(SIGUSR1));
	rounds = 0;
	sig = sigsetjmp(sigout, 0);
	if (!sig)
		raise(SIGUSR1);
	printf("not saved: %d, blocked %d\n", sig == SIGUSR1, blocked(SIGUSR1));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main(void)
{
	printf("sorts %d %d\n", sorts(HIDE(10)), sorts(HIDE(10000)));
	printf("walks %d\n", walks());
	signals();
	return 0;
}
