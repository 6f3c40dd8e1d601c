// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* siglongjmp() out of handlers, at whatever instruction the signal has come: timeouts, faults, threads, nested ones. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "try.h"

static sigjmp_buf expired, inner, fault;
static volatile sig_atomic_t ticks, jumps_now;
static uint64_t done;

static void arm(int us, int again)
{
	struct itimerval it = { { 0, again }, { 0, us } };

	setitimer(ITIMER_REAL, &it, NULL);
}

static void handle(int sig, void (*f)(int), int flags)
{
	struct sigaction sa = { .sa_handler = f, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

static int blocked(int sig)
{
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	return sigismember(&set, sig);
}

static NOINLINE uint64_t work(int n)
{
	char room[24];

	memset(room, n, sizeof(room));
	return n ? work(n - 1) + (unsigned char)room[n % 24] : done;
}

static void on_alarm(int sig)
{
	ticks++;
	if (work(3) != 6 + done)
		abort();
	if (jumps_now)
		siglongjmp(expired, sig);
}

/* Endless work, ended by the clock; what was local before it is as it was. */
static NOINLINE int expires(int n, int bytes)
{
	uint32_t kept[8];
	volatile int left = 1;
	char many[bytes];

	for (int i = 0; i < 8; i++)
		kept[i] = i * n;
	memset(many, n, bytes);
	jumps_now = 1;
	if (!sigsetjmp(expired, 1)) {
		arm(400 + n * 30, 0);
		for (;;)
			work(left++ % 40);
	}
	jumps_now = 0;
	for (int i = 0; i < 8; i++)
		if (kept[i] != (uint32_t)(i * n) || many[i] != n)
			return 0;
	return left > 0 && !blocked(SIGALRM);
}

/* Nothing is called here that could move; the address of a local is. */
static NOINLINE unsigned int counts(unsigned int *to)
{
	volatile unsigned int n = 0;

	if (sigsetjmp(expired, 0))
		return *to == 77;
	*to = 77;
	raise(SIGUSR2);
	n++;
	return 1000 + n;
}

static void on_user2(int sig)
{
	siglongjmp(expired, sig);
}

static void on_user1(int sig)
{
	volatile int rounds = 0;

	if (sigsetjmp(inner, 1) < 5) {
		rounds++;
		raise(SIGQUIT);
	}
	for (int i = 0; i < 1000; i++) {	/* still in a handler: it can't move here */
		int n = i % 200;

		if (work(n) != (uint64_t)n * (n + 1) / 2 + done)
			abort();
	}
	done += rounds * sig;
}

static void on_quit(int sig)
{
	static int n;

	(void)sig;
	siglongjmp(inner, ++n);
}

static sigjmp_buf out;

static NOINLINE int throws(int n)
{
	if (!n)
		siglongjmp(out, 3);
	return throws(n - 1) + 1;
}

/* A handler that comes while frames return for a longjmp() runs to its end. */
static NOINLINE int crossing(void)
{
	volatile int thrown = 0;

	ticks = 0;
	arm(300, 300);
	while (ticks < 20) {
		if (sigsetjmp(out, 0) == 3)
			thrown++;
		else
			throws(30);
	}
	arm(0, 0);
	return thrown > 0;
}

static void on_fault(int sig)
{
	siglongjmp(fault, sig);
}

static int compare(const void *a, const void *b)
{
	if (*(const int *)a + *(const int *)b == 27 && *(const int *)a / 13 + *(const int *)b / 13 == 2)
		*(volatile int *)HIDE(0ul) = 1;
	return *(const int *)a - *(const int *)b;
}

static NOINLINE int faults(int n)
{
	int v[32];

	if (n)
		return faults(n - 1);
	for (int i = 0; i < 32; i++)
		v[i] = 31 - i;
	qsort(v, 32, sizeof(int), compare);
	return -1;
}

static _Thread_local sigjmp_buf mine;
static _Thread_local volatile sig_atomic_t ready;
static volatile int hits[3];

static void on_thread(int sig)
{
	if (ready)
		siglongjmp(mine, sig);
}

static void *thread(void *arg)
{
	volatile int *hit = arg;
	volatile unsigned int n = 0;

	while (*hit < 20) {
		if (sigsetjmp(mine, 1)) {
			ready = 0;
			++*hit;
		} else {
			ready = 1;
			for (;;)
				work(n++ % 10);
		}
	}
	return NULL;
}

static NOINLINE void threads(void)
{
	struct timespec t = { 0, 300000 };
	pthread_t id[3];

	handle(SIGUSR1, on_thread, 0);
	for (int i = 0; i < 3; i++)
		pthread_create(&id[i], NULL, thread, (void *)&hits[i]);
	for (int i = 0; i < 3; i++) {
		while (hits[i] < 20) {
			pthread_kill(id[i], SIGUSR1);
			nanosleep(&t, NULL);
		}
		pthread_join(id[i], NULL);
	}
	printf("threads %d %d %d\n", hits[0], hits[1], hits[2]);
}

int main(void)
{
	static char stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	unsigned int to = 0, n = 0;
	int r;

	handle(SIGALRM, on_alarm, 0);
	for (int i = 0; i < 40; i++)
		n += expires(i, HIDE(8 + i * 16));
	printf("expired %u\n", n);
	handle(SIGUSR2, on_user2, 0);
	n = counts(&to);
	printf("counts %u, blocked %d\n", n, blocked(SIGUSR2));
	handle(SIGUSR1, on_user1, 0);
	handle(SIGQUIT, on_quit, 0);
	raise(SIGUSR1);
	printf("nested %d, blocked %d\n", (int)done / SIGUSR1, blocked(SIGUSR1) + blocked(SIGQUIT));
	printf("crossing %d\n", crossing());
	sigaltstack(&ss, NULL);
	handle(SIGSEGV, on_fault, SA_ONSTACK);
	for (volatile int i = 0; i < 3; i++) {
		r = sigsetjmp(fault, 1);
		printf("fault %d ", r ? r : faults(20));
	}
	sigaltstack(NULL, &ss);
	printf("on the stack %d\n", ss.ss_flags);
	threads();
	return 0;
}
