// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Who looks for messages and faults: a node's threads, and those of the program that wait.
 *
 * Spinning: one engine thread looks at the wires and for faults, and gives
 * way after each fault. Blocking: the engine thread sleeps on the wires, another one
 * on the faults. With SIGBUS the thread that faults does all itself, in its handler,
 * and the engine serves other nodes.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dsm.h"

#define SLEEP_US	10000	/* a sleeper looks at least so often */
#define SPIN_NS		20000	/* before it sleeps */

/*
 * Looks that found nothing before a spinning thread lets others have its core: soon when it
 * waits for nothing in particular, later when it does, which the peer's thread that is
 * to answer may do as well on the same core.
 */
#define IDLE_LOOKS	4
#define WAIT_LOOKS	64

/* This thread let another one go on that may want its core. */
__thread bool dsm_woke;

/* ----------------------------------------------------------------- waiting */

/*
 * Pages that were asked for together come together: take what is here already before the
 * thread that waits for one of them goes on, and needs the next.
 */
void dsm_take_more(struct dsm *d)
{
	u32 i;

	for (i = 0; i < PD_BATCH && atomic_load_explicit(&d->aheads, memory_order_relaxed); i++)
		if (popcorn_look(d->n) <= 0)
			break;
}

/*
 * A thread that waits looks. Return: frames, 0 or -EBUSY. What is due after something
 * came is left to the engine if that is awake: this thread may have what it waits for.
 */
static int look(struct dsm *d, u32 *idle)
{
	int got = popcorn_look(d->n);

	if (got <= 0 || !d->spin)
		dsm_work(d);
	*idle = got > 0 ? 0 : *idle + 1;
	if (got == -EBUSY || *idle % WAIT_LOOKS == WAIT_LOOKS - 1)
		sched_yield();
	return got;
}

/* One step of waiting until the page's bucket has news, by a thread that serves itself. */
void dsm_wait_news(struct dsm_region *r, u32 page, u32 seq, u64 *since, u32 *idle)
{
	_Atomic u32 *word = &r->seq[dsm_bucket(page)];
	int got = look(r->d, idle);

	if (r->d->spin || got > 0)
		return;
	if (!*since)
		*since = dsm_now();
	if (dsm_now() - *since < SPIN_NS)
		return;
	atomic_fetch_add(&r->sleepers, 1);
	ue_futex_wait(word, seq, SLEEP_US, false);
	atomic_fetch_sub(&r->sleepers, 1);
}

/**
 * dsm_step() - look once for messages, and do what is due
 * @d: node
 *
 * Not from a handler, no lock held. Return: frames, or -EBUSY: another thread looks.
 */
int dsm_step(struct dsm *d)
{
	int got = popcorn_look(d->n);

	dsm_work(d);
	return got;
}

/**
 * dsm_wait() - wait until dsm_wake()
 * @d:        node
 * @w:        the caller's, zeroed before it was shown to anybody
 * @deadline: ns, 0: none
 *
 * Return: its status, or -ETIMEDOUT: whoever knows of @w still does.
 */
int dsm_wait(struct dsm *d, struct dsm_wait *w, u64 deadline)
{
	u64 since = 0, now;
	u32 was, idle = 0;
	int got;

	while (atomic_load_explicit(&w->state, memory_order_acquire) != 2) {
		got = look(d, &idle);
		if (got > 0 || (d->spin && !deadline))
			continue;
		now = dsm_now();
		since = since ?: now;
		if (deadline && now >= deadline)
			return -ETIMEDOUT;
		if (d->spin || now - since < SPIN_NS)
			continue;
		was = 0;
		if (atomic_compare_exchange_strong(&w->state, &was, 1) || was == 1)
			ue_futex_wait(&w->state, 1, SLEEP_US, false);
	}
	return w->status;
}

/* Ends a wait; @w may be gone on return. */
void dsm_wake(struct dsm_wait *w, int status)
{
	w->status = status;
	if (atomic_exchange_explicit(&w->state, 2, memory_order_acq_rel) == 1)
		ue_futex_wake(&w->state, false);
	dsm_woke = true;
}

/* ----------------------------------------------------------------- threads */

static void *engine_spins(void *arg)
{
	struct dsm *d = arg;
	u32 idle = 0, most;
	bool found;

	while (!atomic_load_explicit(&d->stop, memory_order_relaxed)) {
		dsm_woke = false;
		found = !d->sigbus && dsm_faults_read(d);
		found |= popcorn_look(d->n) > 0;
		/* Others wait for it, but less than who was just woken. */
		if (dsm_woke)
			dsm_take_more(d);
		else
			dsm_work(d);
		idle = found ? 0 : idle + 1;
		most = atomic_load(&d->asks) ? WAIT_LOOKS : IDLE_LOOKS;
		if (dsm_woke || idle % most == most - 1)
			sched_yield();
	}
	return NULL;
}

/* Until the next thing is due, at most SLEEP_US. */
static u32 sleep_us(struct dsm *d)
{
	u64 due = atomic_load(&d->due), now;

	if (due == ~0ull)
		return SLEEP_US;
	now = dsm_now();
	if (due <= now)
		return 1;
	due = (due - now) / 1000 + 1;
	return due < SLEEP_US ? due : SLEEP_US;
}

/* Who serves others should not wait for those who compute; where that is allowed. */
static void go_first(void)
{
	setpriority(PRIO_PROCESS, syscall(SYS_gettid), -20);
}

static void *engine_sleeps(void *arg)
{
	struct dsm *d = arg;

	go_first();
	while (!atomic_load(&d->stop)) {
		popcorn_poll(d->n, sleep_us(d));
		dsm_work(d);
	}
	return NULL;
}

static void *faults_sleep(void *arg)
{
	struct dsm *d = arg;
	struct pollfd p[2] = {
		{ .fd = d->uffd, .events = POLLIN }, { .fd = d->stop_fd, .events = POLLIN },
	};

	go_first();
	while (!atomic_load(&d->stop))
		if (!dsm_faults_read(d))
			poll(p, 2, -1);
	return NULL;
}

/* Signals are the program's: handlers that touch the region would wait for themselves. */
static int start(pthread_t *t, void *(*fn)(void *), struct dsm *d)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(t, NULL, fn, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

/**
 * dsm_threads_start() - open userfaultfd and start the node's threads
 * @d: node; n, spin, sigbus and copies are set
 *
 * Return: 0; -EPERM: not allowed here; -EOPNOTSUPP: the kernel is too old; -errno.
 */
int dsm_threads_start(struct dsm *d)
{
	int r;

	r = dsm_map_open(d);
	if (r)
		return r;
	d->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (d->stop_fd < 0)
		return -errno;
	r = d->sigbus ? dsm_sigbus_start(d) : 0;
	if (r)
		return r;
	r = start(&d->engine, d->spin ? engine_spins : engine_sleeps, d);
	d->has_engine = !r;
	if (r || d->spin || d->sigbus)
		return r;
	r = start(&d->faults, faults_sleep, d);
	d->has_faults = !r;
	return r;
}

void dsm_threads_stop(struct dsm *d)
{
	u64 one = 1;

	atomic_store(&d->stop, true);
	if (d->stop_fd >= 0 && write(d->stop_fd, &one, sizeof(one)) < 0)
		dsm_log(d, "eventfd: %s", strerror(errno));
	if (d->has_engine) {
		ue_kick(d->n);
		pthread_join(d->engine, NULL);
	}
	if (d->has_faults)
		pthread_join(d->faults, NULL);
	if (d->sigbus)
		dsm_sigbus_stop(d);
	if (d->stop_fd >= 0)
		close(d->stop_fd);
	if (d->uffd >= 0)
		close(d->uffd);
	d->has_engine = d->has_faults = false;
	d->uffd = d->stop_fd = -1;
}
