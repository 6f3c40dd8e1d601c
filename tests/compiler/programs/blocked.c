// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Threads blocked in read, poll, select, epoll, futex and a join while others compute and then wake them. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>
#include "try.h"

static int to_read[2], to_poll[2], to_select[2], to_epoll, sock[2];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int go;
static long results[7];

static NOINLINE int work(int n)
{
	return n ? work(n - 1) + 1 : 0;
}

static void *reads(void *arg)
{
	char s[16] = "";
	int n, sum = 0;

	while ((n = read(to_read[0], s, 4)) > 0)
		for (int i = 0; i < n; i++)
			sum = sum * 31 % 100003 + s[i];
	results[0] = sum;
	return arg;
}

static void *polls(void *arg)
{
	struct pollfd p = { .fd = to_poll[0], .events = POLLIN };
	int timeouts = 0;
	char c;

	while (poll(&p, 1, 3) == 0 && timeouts < 2)
		timeouts++;
	if (poll(&p, 1, -1) != 1 || read(to_poll[0], &c, 1) != 1)
		c = 0;
	results[1] = c * 10 + p.revents;
	return arg;
}

static void *selects(void *arg)
{
	fd_set set;
	char c = 0;

	FD_ZERO(&set);
	FD_SET(to_select[0], &set);
	results[2] = select(to_select[0] + 1, &set, NULL, NULL, NULL);
	if (FD_ISSET(to_select[0], &set) && read(to_select[0], &c, 1) == 1)
		results[2] = results[2] * 1000 + c;
	return arg;
}

static void *epolls(void *arg)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 0x123456789abcull }, got[4];
	int ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t v = 0;

	epoll_ctl(ep, EPOLL_CTL_ADD, to_epoll, &e);
	results[3] = epoll_wait(ep, got, 4, -1);
	if (got[0].data.u64 == e.data.u64 && read(to_epoll, &v, 8) == 8)
		results[3] = results[3] * 100 + v;
	close(ep);
	return arg;
}

static void *futex(void *arg)
{
	pthread_mutex_lock(&lock);
	while (!go)
		pthread_cond_wait(&cond, &lock);
	results[4] = go;
	pthread_mutex_unlock(&lock);
	return arg;
}

static void *talks(void *arg)
{
	char s[32];
	int n;

	while ((n = recv(sock[1], s, sizeof(s), 0)) > 0) {
		for (int i = 0; i < n; i++)
			s[i] ^= 0x20;
		if (send(sock[1], s, n, 0) != n)
			break;
		results[5] += n;
	}
	return arg;
}

static void *joins(void *arg)
{
	void *r;

	pthread_join(*(pthread_t *)arg, &r);
	results[6] = r == &results[0];
	return NULL;
}

int main(void)
{
	static void *(*const f[])(void *) = { reads, polls, selects, epolls, futex, talks };
	pthread_t t[6], j;
	char s[32] = "";
	uint64_t one = 42;
	long sum = 0;

	to_epoll = eventfd(0, EFD_CLOEXEC);
	if (pipe(to_read) || pipe(to_poll) || pipe(to_select) || to_epoll < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, sock))
		return 1;
	for (int i = 0; i < 6; i++)
		if (pthread_create(&t[i], NULL, f[i], &results[0]))
			return 1;
	if (pthread_create(&j, NULL, joins, &t[4]))
		return 1;
	for (int i = 0; i < 400; i++)
		sum += work(i % 30);
	usleep(20000);
	for (int i = 0; i < 8; i++) {
		int n = snprintf(s, sizeof(s), "message %d", i);

		if (send(sock[0], s, n, 0) != n || recv(sock[0], s, sizeof(s), 0) != n)
			return 1;
		sum += s[0] + s[n - 1] + work(i);
		if (write(to_read[1], s, n) != n)
			return 1;
	}
	shutdown(sock[0], SHUT_WR);
	close(to_read[1]);
	if (write(to_poll[1], "p", 1) != 1 || write(to_select[1], "s", 1) != 1 || write(to_epoll, &one, 8) != 8)
		return 1;
	pthread_mutex_lock(&lock);
	go = 9;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
	pthread_join(j, NULL);
	for (int i = 0; i < 6; i++)
		if (i != 4)
			pthread_join(t[i], NULL);
	for (int i = 0; i < 7; i++)
		printf("%ld ", results[i]);
	printf("sum %ld\n", sum);
	return 0;
}
