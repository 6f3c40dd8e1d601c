// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Signals: handlers while computing, with SA_SIGINFO, masks, pending ones, sigsuspend, own stacks, faults caught. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>
#include "try.h"

static volatile sig_atomic_t ticks, got, value, nested;
static sigjmp_buf fault;

static NOINLINE int work(int n)
{
	return n ? work(n - 1) + 1 : 0;
}

static void tick(int sig)
{
	(void)sig;
	ticks++;
	if (work(5) != 5)
		abort();
}

static void info(int sig, siginfo_t *si, void *context)
{
	int old = errno;

	got = sig;
	if (si->si_code == SI_QUEUE)
		value = si->si_value.sival_int;
	else if (si->si_code == SI_TKILL || si->si_code == SI_USER)
		value = si->si_pid == getpid();
	if (!context)
		abort();
	if (sig == SIGUSR2 && nested < 3) {
		nested++;
		raise(SIGUSR1);
	}
	errno = old;
}

static void on_fault(int sig, siginfo_t *si, void *context)
{
	(void)context;
	siglongjmp(fault, sig * 10 + (si->si_addr == NULL));
}

static void set(int sig, void (*f)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = f, .sa_flags = SA_SIGINFO | flags };

	sigfillset(&sa.sa_mask);
	if (sig == SIGUSR2)
		sigemptyset(&sa.sa_mask);
	if (sigaction(sig, &sa, NULL))
		exit(1);
}

static NOINLINE void computing(void)
{
	struct itimerval it = { { 0, 1500 }, { 0, 1500 } }, off = { 0 };
	long sum = 0;
	int n = 0;

	signal(SIGALRM, tick);
	setitimer(ITIMER_REAL, &it, NULL);
	while (ticks < 5 && n < 100000000) {
		sum += work(n % 20) - n % 20;
		n++;
	}
	setitimer(ITIMER_REAL, &off, NULL);
	signal(SIGALRM, SIG_DFL);
	printf("ticks %d sum %ld\n", ticks >= 5, sum);
}

static NOINLINE void masks(void)
{
	sigset_t block, old, pending;
	union sigval v = { .sival_int = 77 };

	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigaddset(&block, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &block, &old);
	got = value = 0;
	raise(SIGUSR1);
	printf("blocked %d ", got);
	sigpending(&pending);
	printf("pending %d ", sigismember(&pending, SIGUSR1));
	sigsuspend(&old);
	printf("suspended %d by own %d\n", got == SIGUSR1, value);
	sigqueue(getpid(), SIGRTMIN + 3, v);
	v.sival_int = 78;
	sigqueue(getpid(), SIGRTMIN + 3, v);
	got = value = 0;
	sigprocmask(SIG_SETMASK, &old, NULL);
	printf("queued %d %d\n", got == SIGRTMIN + 3, value);
}

static NOINLINE void waits(void)
{
	struct timespec t = { 0, 2000000 };
	sigset_t set, old;
	siginfo_t si;
	int r, sig = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &old);
	kill(getpid(), SIGUSR1);
	r = sigwait(&set, &sig);
	printf("sigwait %d %d ", r, sig == SIGUSR1);
	r = sigtimedwait(&set, &si, &t);
	printf("timed out %d\n", r == -1 && errno == EAGAIN);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static NOINLINE void faults(void)
{
	static char stack[65536];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	int *volatile null = NULL, r;

	sigaltstack(&ss, NULL);
	set(SIGSEGV, on_fault, SA_ONSTACK | SA_NODEFER);
	for (int i = 0; i < 3; i++) {
		r = sigsetjmp(fault, 1);
		if (!r)
			*null = 5;
		printf("fault %d ", r);
	}
	puts("");
	signal(SIGSEGV, SIG_DFL);
}

int main(void)
{
	set(SIGUSR1, info, 0);
	set(SIGUSR2, info, SA_NODEFER);
	set(SIGRTMIN + 3, info, 0);
	computing();
	masks();
	nested = 0;
	raise(SIGUSR2);
	printf("nested %d\n", nested);
	waits();
	faults();
	return 0;
}
