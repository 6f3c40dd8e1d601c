// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Blocked calls and signals: EINTR, SA_RESTART, the rest of a sleep, pause(), and pipes between threads. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "try.h"

static volatile sig_atomic_t alarms;
static int p[2];

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
	if (alarms == 3 && write(p[1], "x", 1) != 1)
		abort();
}

static void arm(int flags, int us)
{
	struct itimerval it = { { 0, 0 }, { 0, us } };
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = flags };

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static NOINLINE void sleeps(void)
{
	struct timespec t = { 0, 60000000 }, rest = { 9, 9 };
	double start = now(), slept;
	int r;

	arm(0, 10000);
	r = nanosleep(&t, &rest);
	printf("nanosleep %d %d rest %d\n", r, r ? errno == EINTR : 0, rest.tv_sec == 0 && rest.tv_nsec > 0);
	while (nanosleep(&rest, &rest))
		;
	slept = now() - start;
	printf("slept %d\n", slept > 0.055 && slept < 30);
	start = now();
	t = (struct timespec) { 0, 20000000 };
	r = clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
	usleep(1000);
	printf("clock_nanosleep %d %d\n", r, now() - start > 0.02);
}

static void *later(void *arg)
{
	struct timespec t = { 0, 15000000 };

	nanosleep(&t, NULL);
	if (write(p[1], arg, 1) != 1)
		abort();
	return NULL;
}

int main(void)
{
	pthread_t t;
	sigset_t set;
	char c = 0;
	int r;

	if (pipe(p))
		return 1;
	sleeps();
	arm(0, 10000);
	r = read(p[0], &c, 1);
	printf("read %d %d alarms %d\n", r, errno == EINTR, alarms);
	/* The handler itself writes what read(), begun again, gets. */
	arm(SA_RESTART, 10000);
	r = read(p[0], &c, 1);
	printf("read %d %c alarms %d\n", r, c, alarms);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (pthread_create(&t, NULL, later, "y"))
		return 1;
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	r = read(p[0], &c, 1);
	printf("read %d %c\n", r, c);
	pthread_join(t, NULL);
	arm(0, 10000);
	r = pause();
	printf("pause %d %d alarms %d\n", r, errno == EINTR, alarms);
	return 0;
}
