// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Calls with a timeout, interrupted again and again by the runtime's signal, end when their time is over, and
 * neither before nor never; those without end when there is something to return.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "check.h"

enum { MS = 150 };

static long long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static struct timespec in_ms(clockid_t clock, long ms)
{
	long long ns = now(clock) + ms * 1000000ll;

	return (struct timespec){ ns / 1000000000, ns % 1000000000 };
}

#define TAKES(call, result)                                                                            \
	do {                                                                                           \
		long long start = now(CLOCK_MONOTONIC), ns;                                            \
		CHECK((call) == (result));                                                             \
		ns = now(CLOCK_MONOTONIC) - start;                                                     \
		if (ns < (MS - 2) * 1000000ll) {                                                       \
			printf("line %d: over too early\n", __LINE__);                                 \
			failed = 1;                                                                    \
		}                                                                                      \
	} while (0)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int p[2];

static void *late(void *arg)
{
	usleep(MS * 1000);
	CHECK(write(p[1], "x", 1) == 1);
	return arg;
}

int main(void)
{
	struct timespec t = { 0, MS * 1000000 }, at;
	struct timeval tv = { 0, MS * 1000 };
	struct epoll_event ev;
	pthread_condattr_t ca;
	pthread_cond_t cond;
	pthread_t thread;
	sem_t sem;
	sigset_t set;
	pid_t me = getpid(), pid = fork();
	char c;
	int e;

	if (!pid) {
		for (int i = 0; i < 4000 && !kill(me, 35); i++)
			usleep(7000);
		_exit(0);
	}
	CHECK(!pipe(p));
	TAKES(nanosleep(&t, NULL), 0);
	TAKES(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL), 0);
	at = in_ms(CLOCK_MONOTONIC, MS);
	TAKES(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL), 0);
	TAKES(poll(&(struct pollfd){ .fd = p[0], .events = POLLIN }, 1, MS), 0);
	TAKES(ppoll(&(struct pollfd){ .fd = p[0], .events = POLLIN }, 1, &t, NULL), 0);
	TAKES(select(0, NULL, NULL, NULL, &tv), 0);
	TAKES(pselect(0, NULL, NULL, NULL, &t, NULL), 0);
	e = epoll_create1(0);
	TAKES(epoll_wait(e, &ev, 1, MS), 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	TAKES(sigtimedwait(&set, NULL, &t), -1);
	CHECK(errno == EAGAIN);
	sem_init(&sem, 0, 0);
	at = in_ms(CLOCK_REALTIME, MS);
	TAKES(sem_timedwait(&sem, &at), -1);
	CHECK(errno == ETIMEDOUT);
	pthread_condattr_init(&ca);
	pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
	pthread_cond_init(&cond, &ca);
	pthread_mutex_lock(&lock);
	at = in_ms(CLOCK_MONOTONIC, MS);
	TAKES(pthread_cond_timedwait(&cond, &lock, &at), ETIMEDOUT);
	pthread_mutex_unlock(&lock);
	TAKES(pthread_create(&thread, NULL, late, NULL) + read(p[0], &c, 1), 1);
	TAKES(pthread_create(&thread, NULL, late, NULL) + pthread_join(thread, NULL), 0);
	kill(pid, SIGKILL);
	CHECK(waitpid(pid, NULL, 0) == pid);
	puts(failed ? "failed" : "ok");
	return failed;
}
