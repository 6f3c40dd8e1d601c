// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Polling: one thread of a node at a time looks at the wires, for all that wait.
 *
 * A thread that waits takes the poll role if it is free; else it sleeps until it
 * is answered or handed the role. The service thread keeps the role when no other
 * wants it. It is not woken when the role becomes free (a system call for every
 * request): it looks by itself, a little later.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

#define TICK_MS		10
#define SPINS		200	/* looks before a thread sleeps that can't poll: what a sleep costs */
#define HOT		1000	/* empty polls after which a lane counts as cold */
#define COLD_EVERY	4	/* rounds between polls of one cold lane */
#define CATCH_UP	64	/* rounds at most before a tick that comes late */
#define PARK_US		200	/* how late the service thread sees that nobody polls */

u64 ue_clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (u64)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static u64 clock_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* What this thread waits for while it polls. */
static __thread struct ue_waiter *own;

/* This thread woke another, which may be waiting for this one's CPU. */
static __thread bool woke;

int ue_futex_wait(_Atomic u32 *word, u32 val, u32 us, bool shared)
{
	struct timespec t = { us / 1000000, us % 1000000 * 1000 };

	return syscall(SYS_futex, word, shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, val,
		       us ? &t : NULL, NULL, 0);
}

void ue_futex_wake(_Atomic u32 *word, bool shared)
{
	woke |= !shared;
	syscall(SYS_futex, word, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/**
 * ue_kick() - wake the poller
 * @n: node
 *
 * Any thread; any lock may be held.
 */
void ue_kick(struct popcorn_node *n)
{
	u64 one = 1;

	if (n->drv == &ue_shm) {
		atomic_fetch_add(&n->pool.bell->seq, 1);
		ue_futex_wake(&n->pool.bell->seq, true);
	} else if (write(n->kick_fd, &one, sizeof(one)) < 0) {
		/* Full: it has been kicked often enough. */
	}
}

/* ------------------------------------------------------------------ lanes */

/**
 * ue_live_add() - poll a connection from now on
 * @n: node
 * @c: its lane's, UE_CONN_LIVE
 *
 * Poller only, and not from a handler. Return: 0 or -ENOMEM.
 */
int ue_live_add(struct popcorn_node *n, struct ue_conn *c)
{
	struct ue_conn **p;
	u32 i;

	if (n->nlive == n->live_max) {
		p = ue_alloc((n->live_max + 32) * sizeof(*p));
		if (!p)
			return -ENOMEM;
		if (n->nlive)
			memcpy(p, n->live, n->nlive * sizeof(*p));
		free(n->live);
		n->live = p;
		n->live_max += 32;
	}
	for (i = n->nlive++; i && n->live[i - 1]->class > c->class; i--)
		n->live[i] = n->live[i - 1];
	n->live[i] = c;
	return 0;
}

void ue_live_del(struct popcorn_node *n, struct ue_conn *c)
{
	u32 i;

	for (i = 0; i < n->nlive && n->live[i] != c; i++)
		;
	if (i == n->nlive)
		return;
	for (n->nlive--; i < n->nlive; i++)
		n->live[i] = n->live[i + 1];
}

/* Links with work left to the poller. */
static void work(struct popcorn_node *n)
{
	u32 i;

	atomic_store(&n->work, false);
	for (i = 0; i < ue_made(n); i++)
		if (atomic_load_explicit(&n->made[i]->todo, memory_order_relaxed))
			ue_link_work(n->made[i]);
}

/*
 * One look at the wires, URGENT first. A lane on which something was sent or came
 * lately is looked at each time; of the others one in a few rounds,
 * since a look costs a system call over TCP. Return: frames.
 */
static int look(struct popcorn_node *n)
{
	u32 i, turn = n->nlive;
	int got = 0, r;

	if (unlikely(!(++n->round % COLD_EVERY)) && !n->drv->cheap) {
		if (++n->cold >= n->nlive)
			n->cold = 0;
		turn = n->cold;
	}
	for (i = 0; i < n->nlive; i++) {
		struct ue_conn *c = n->live[i];

		/* A round has one piece of bulk, in or out: what is urgent waits for no more. */
		if (c->class == PW_BULK && !n->yielded && i != turn &&
		    unlikely(atomic_load_explicit(&n->work, memory_order_relaxed))) {
			n->yielded = true;
			break;
		}
		n->yielded = false;
		if (c->stamp) {
			/* A message seldom fits one line: let both come at once. */
			__builtin_prefetch((char *)c->stamp + 64);
			if (likely(atomic_load_explicit(c->stamp, memory_order_acquire) !=
				   c->next_stamp))
				continue;
			r = c->ops->rx(c);
		} else if (ue_idle(c) < HOT || i == turn) {
			r = c->ops->rx(c);
			ue_set_idle(c, r > 0 ? 0 : ue_idle(c) + 1);
		} else {
			continue;
		}
		if (r <= 0)
			continue;
		got += r;
		if (c->class == PW_BULK)
			return got;
	}
	if (unlikely(atomic_load_explicit(&n->work, memory_order_relaxed)))
		work(n);
	return got;
}

/* ------------------------------------------------------------------- time */

static void tick(struct popcorn_node *n, u64 now)
{
	u32 i;

	n->tick_next = now + TICK_MS;
	for (i = 0; i < ue_made(n); i++)
		ue_link_tick(n->made[i], now);
	ue_conn_tick(n, now);
}

/*
 * Descriptors that are not looked at in every round: whoever connects, handshakes,
 * and, with @all, the lanes' too. Return: their number.
 */
static u32 gather(struct popcorn_node *n, bool all)
{
	struct ue_conn *c;
	u32 k = 0;

	n->pfd[k++] = (struct pollfd){ .fd = n->kick_fd, .events = POLLIN };
	n->pfd[k++] = (struct pollfd){ .fd = n->listen_fd, .events = POLLIN };
	for (c = n->conns; c; c = c->next) {
		short ev = POLLIN | POLLRDHUP;

		if (c->state == UE_CONN_LIVE && n->drv != &ue_shm && !all)
			continue;
		if (c->state == UE_CONN_CONNECT || (c->state == UE_CONN_LIVE && c->full))
			ev |= POLLOUT;
		n->pfd_conn[k] = c;
		n->pfd[k++] = (struct pollfd){ .fd = c->fd, .events = ev };
	}
	return k;
}

/* Room for all connections that there are. */
static bool pfd_room(struct popcorn_node *n)
{
	u32 want = n->nconns + 2;
	struct pollfd *p;
	struct ue_conn **q;

	if (want <= n->pfd_max)
		return true;
	want += 32;
	p = ue_alloc(want * sizeof(*p));
	q = ue_alloc(want * sizeof(*q));
	if (!p || !q) {
		free(p);
		free(q);
		return false;
	}
	free(n->pfd);
	free(n->pfd_conn);
	n->pfd = p;
	n->pfd_conn = q;
	n->pfd_max = want;
	return true;
}

/* Waits up to @us, on all wires if that isn't 0, and serves what isn't a lane's data. */
static void watch(struct popcorn_node *n, u32 us)
{
	struct timespec t = { us / 1000000, us % 1000000 * 1000 };
	u64 kicks;
	u32 i, k;
	int r;

	if (!pfd_room(n))
		return;
	k = gather(n, us);
	r = ppoll(n->pfd, k, &t, NULL);
	if (r <= 0)
		return;
	if (n->pfd[0].revents && read(n->kick_fd, &kicks, sizeof(kicks)) < 0)
		kicks = 0;
	/* Connections are only freed by the tick: the list stays as gathered. */
	for (i = 2; i < k; i++)
		if (n->pfd[i].revents)
			ue_conn_events(n, n->pfd_conn[i], n->pfd[i].revents);
	if (n->pfd[1].revents)
		ue_conn_accept(n);
}

/*
 * This process did not run for a while. What its peers said meanwhile is heard before
 * they are judged silent.
 */
static void catch_up(struct popcorn_node *n)
{
	u32 i;

	for (i = 0; i < n->nlive; i++)
		ue_set_idle(n->live[i], 0);
	for (i = 0; i < CATCH_UP && look(n); i++)
		;
}

/* What time brings. */
static void clockwork(struct popcorn_node *n)
{
	u64 now = ue_clock_ms();

	if (now == ue_now(n))
		return;
	atomic_store_explicit(&n->now, now, memory_order_relaxed);
	watch(n, 0);
	if (now >= n->tick_next) {
		if (unlikely(now - n->tick_next >= n->pt.cfg.hb_ms))
			catch_up(n);
		tick(n, now);
	}
	if (atomic_load(&n->work))
		work(n);
}

static void doze(struct popcorn_node *n, u32 us)
{
	struct ue_bell *bell = n->pool.bell;
	u32 seq = atomic_load(&bell->seq);

	if (us > TICK_MS * 1000)
		us = TICK_MS * 1000;
	atomic_store(&n->asleep, true);
	if (n->drv == &ue_shm) {
		atomic_store(&bell->asleep, 1);
		if (!look(n) && !atomic_load(&n->work)) {
			if (n->handshakes)
				watch(n, 1000);
			else
				ue_futex_wait(&bell->seq, seq, us, true);
		}
		atomic_store(&bell->asleep, 0);
	} else if (!atomic_load(&n->work)) {
		watch(n, us);
	}
	atomic_store(&n->asleep, false);
}

/* ------------------------------------------------------------------- role */

static bool role_take(struct popcorn_node *n)
{
	u32 none = 0;

	if (n->o.single)
		return true;
	return !atomic_load_explicit(&n->role, memory_order_relaxed) &&
	       atomic_compare_exchange_strong(&n->role, &none, 1);
}

static void role_drop(struct popcorn_node *n)
{
	struct ue_waiter *w;
	u32 was;

	if (n->o.single)
		return;
	atomic_store(&n->role, 0);
	while (unlikely(atomic_load(&n->sleepers))) {
		ue_lock(&n->wait_lock);
		w = atomic_load(&n->sleepers);
		was = UE_SLEEPING;
		if (w)
			atomic_store(&n->sleepers, w->sleep_next);
		if (w && !atomic_compare_exchange_strong(&w->state, &was, UE_POLL_NOW))
			was = UE_WAITING;	/* it is done: the next one */
		ue_unlock(&n->wait_lock);
		if (w && was == UE_SLEEPING)
			ue_futex_wake(&w->state, false);
		if (!w || was == UE_SLEEPING)
			return;
	}
}

static void sleepers_del(struct popcorn_node *n, struct ue_waiter *w)
{
	struct ue_waiter *p, *prev = NULL;

	ue_lock(&n->wait_lock);
	for (p = atomic_load(&n->sleepers); p && p != w; p = p->sleep_next)
		prev = p;
	if (p && prev)
		prev->sleep_next = w->sleep_next;
	else if (p)
		atomic_store(&n->sleepers, w->sleep_next);
	ue_unlock(&n->wait_lock);
}

/* Somebody else polls: wait until it is done, or nobody does any more. */
static void sleep_on(struct popcorn_node *n, struct ue_waiter *w, u64 deadline)
{
	u32 was = UE_WAITING, i;

	for (i = 0; i < SPINS; i++) {
		if (atomic_load_explicit(&w->state, memory_order_acquire) == UE_DONE ||
		    !atomic_load_explicit(&n->role, memory_order_relaxed))
			return;
		ue_relax();
	}
	ue_lock(&n->wait_lock);
	w->sleep_next = atomic_load(&n->sleepers);
	atomic_store(&n->sleepers, w);
	ue_unlock(&n->wait_lock);
	if (atomic_compare_exchange_strong(&w->state, &was, UE_SLEEPING)) {
		while (atomic_load(&n->role) && atomic_load(&w->state) == UE_SLEEPING) {
			ue_futex_wait(&w->state, UE_SLEEPING, deadline ? TICK_MS * 1000 : 0,
				      false);
			if (deadline && ue_clock_ms() >= deadline)
				break;
		}
	}
	sleepers_del(n, w);
	was = UE_SLEEPING;
	if (!atomic_compare_exchange_strong(&w->state, &was, UE_WAITING)) {
		was = UE_POLL_NOW;
		atomic_compare_exchange_strong(&w->state, &was, UE_WAITING);
	}
}

/*
 * Polls until @w is done or, without one, something came or @stop says so. @until:
 * us, 0 for ever.
 */
static int poll_until(struct popcorn_node *n, struct ue_waiter *w, u64 until, u64 deadline)
{
	const bool busy = n->o.mode == POPCORN_BUSY;
	const u32 often = n->drv->cheap ? 255 : 31;
	u64 idle_since = 0, us;
	int got;

	for (;;) {
		bool late;

		got = look(n);
		late = !(n->round & often);
		if (unlikely(late))
			clockwork(n);
		if (w && atomic_load_explicit(&w->state, memory_order_relaxed) == UE_DONE)
			return 0;
		if (!w && got)
			return got;
		if (got) {
			idle_since = 0;
		} else if (unlikely(woke)) {
			woke = false;
			sched_yield();
		}
		if (likely(!late))
			continue;
		if (deadline && ue_now(n) >= deadline)
			return -ETIMEDOUT;
		if (unlikely(atomic_load_explicit(&n->want, memory_order_relaxed)) && n->service_polls)
			return 0;
		if (atomic_load_explicit(&n->stop, memory_order_relaxed) && n->service_polls)
			return 0;
		if (busy && !until)
			continue;
		us = clock_us();
		if (until && us >= until)
			return 0;
		if (!idle_since)
			idle_since = us;
		if (busy || us - idle_since < n->o.spin_us)
			continue;
		doze(n, until ? until - us : TICK_MS * 1000);
		idle_since = 0;
	}
}

/* Only who has the role writes it. */
static void count_poll(struct popcorn_node *n)
{
	u32 polls = atomic_load_explicit(&n->app_polls, memory_order_relaxed);

	atomic_store_explicit(&n->app_polls, polls + 1, memory_order_relaxed);
}

/* The service thread gives way to whoever waits. */
static void role_claim(struct popcorn_node *n)
{
	if (n->service_polls && atomic_load(&n->asleep))
		ue_kick(n);
}

/**
 * ue_waits_here() - does the calling thread wait for it, and poll meanwhile?
 * @w: waiter
 */
bool ue_waits_here(const struct ue_waiter *w)
{
	return w == own;
}

/**
 * ue_wait() - wait until a waiter is completed, polling meanwhile
 * @n:        node
 * @w:        waiter of this thread
 * @deadline: ms; 0: whoever completes it keeps the time
 *
 * Return: @w->status, or -ETIMEDOUT: it is not completed.
 */
int ue_wait(struct popcorn_node *n, struct ue_waiter *w, u64 deadline)
{
	bool wanted = false;
	int r = 0;

	while (atomic_load_explicit(&w->state, memory_order_acquire) != UE_DONE && !r) {
		if (likely(role_take(n))) {
			count_poll(n);
			own = w;
			r = poll_until(n, w, 0, deadline);
			own = NULL;
			role_drop(n);
			continue;
		}
		if (!wanted && n->has_service) {
			wanted = true;
			atomic_fetch_add(&n->want, 1);
			role_claim(n);
		}
		sleep_on(n, w, deadline);
		if (deadline && ue_clock_ms() >= deadline)
			r = -ETIMEDOUT;
	}
	if (unlikely(wanted))
		atomic_fetch_sub(&n->want, 1);
	/* The role may have been handed to a thread that goes without it. */
	if (unlikely(r) && role_take(n))
		role_drop(n);
	if (atomic_load_explicit(&w->state, memory_order_acquire) == UE_DONE)
		return w->status;
	return r;
}

/**
 * popcorn_poll() - look for messages
 * @n:          node
 * @timeout_us: how long to look, or sleep, until something came
 *
 * Not from a handler. Return: frames that came, 0 after the time or if another
 * thread polls.
 */
int popcorn_poll(struct popcorn_node *n, u32 timeout_us)
{
	u64 until = clock_us() + timeout_us;
	int got = 0;

	do {
		if (role_take(n)) {
			count_poll(n);
			if (timeout_us) {
				got = poll_until(n, NULL, until, 0);
			} else {
				got = look(n);
				clockwork(n);
			}
			role_drop(n);
			return got;
		}
		usleep(timeout_us < 100 ? timeout_us : 100);
	} while (clock_us() < until);
	return 0;
}

/**
 * popcorn_look() - look once at the wires, if nobody else does
 * @n: node
 *
 * Not from a handler. For threads that also look elsewhere. Return: frames that
 * came, or -EBUSY: another thread polls.
 */
int popcorn_look(struct popcorn_node *n)
{
	int got;

	if (!role_take(n))
		return -EBUSY;
	count_poll(n);
	got = look(n);
	if (unlikely(!(n->round & (n->drv->cheap ? 255 : 31))))
		clockwork(n);
	role_drop(n);
	return got;
}

/**
 * popcorn_serve() - poll until told to stop
 * @n:    node
 * @stop: set by another thread or process, or by a handler
 *
 * For a thread that has nothing else to do; not from a handler.
 */
void popcorn_serve(struct popcorn_node *n, const _Atomic bool *stop)
{
	u64 until;

	while (!atomic_load_explicit(stop, memory_order_relaxed)) {
		if (!role_take(n)) {
			usleep(PARK_US);
			continue;
		}
		count_poll(n);
		until = clock_us() + TICK_MS * 1000;
		while (!atomic_load_explicit(stop, memory_order_relaxed) &&
		       poll_until(n, NULL, until, 0) > 0)
			;
		role_drop(n);
	}
}

/* ---------------------------------------------------------------- service */

static void *service(void *arg)
{
	struct popcorn_node *n = arg;
	u32 seen = 0;

	while (!atomic_load(&n->stop)) {
		u32 polls = atomic_load(&n->app_polls);

		if (polls == seen && !atomic_load(&n->want) && role_take(n)) {
			n->service_polls = true;
			while (!atomic_load(&n->stop) && !atomic_load(&n->want))
				poll_until(n, NULL, clock_us() + TICK_MS * 1000, 0);
			n->service_polls = false;
			role_drop(n);
		}
		seen = polls;
		usleep(PARK_US);
	}
	return NULL;
}

/**
 * ue_service_start() - start the node's own thread
 * @n: node
 *
 * Return: 0 or -errno.
 */
int ue_service_start(struct popcorn_node *n)
{
	int r = ue_inject() ?: -pthread_create(&n->service, NULL, service, n);

	n->has_service = !r;
	return r;
}

void ue_service_stop(struct popcorn_node *n)
{
	if (!n->has_service)
		return;
	atomic_store(&n->stop, true);
	ue_kick(n);
	pthread_join(n->service, NULL);
	n->has_service = false;
}
