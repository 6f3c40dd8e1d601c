// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Nodes of the user engine: made from options, ended in order, and their log. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

#define LINKS_SIZE	(PT_NODES_MAX * sizeof(struct ue_link *))
#define LOG_BURST	20	/* lines in LOG_MS at most: strangers must not fill a disk */
#define LOG_MS		5000

static const struct pt_env env = { .hmac = ue_key_hmac, .random = ue_key_random };

/**
 * ue_log() - tell the user
 * @n:   node
 * @fmt: one line, without newline
 */
void ue_log(struct popcorn_node *n, const char *fmt, ...)
{
	u64 now = ue_clock_ms();
	char line[256];
	va_list ap;
	int at;

	if (now - n->log_time >= LOG_MS) {
		n->log_time = now;
		n->log_count = 0;
	}
	if (++n->log_count > LOG_BURST)
		return;
	at = snprintf(line, sizeof(line), "popcorn: node %u: ", n->pt.id);
	va_start(ap, fmt);
	vsnprintf(line + at, sizeof(line) - at, fmt, ap);
	va_end(ap);
	if (n->o.log)
		n->o.log(line);
	else
		fprintf(stderr, "%s\n", line);
}

/**
 * popcorn_opts_init() - default options
 * @o: options; nodes must still be set
 */
void popcorn_opts_init(struct popcorn_opts *o)
{
	*o = (struct popcorn_opts){
		.self = -1,
		.cluster = "popcorn",
		.port = 7471,
		.spin_us = 20,
		.service = true,
		.frames = 1024,
		.backlog = 64,
		.cfg = {
			.window = 32, .slots = 32, .prepaid = 32, .hb_ms = 500,
			.lease_ms = 10000, .dead_ms = 20000, .connect_ms = 3000,
			.backoff_ms = 50,
		},
	};
}

u16 popcorn_node_id(const struct popcorn_node *n)
{
	return n->pt.id;
}

u32 popcorn_node_count(const struct popcorn_node *n)
{
	return __atomic_load_n(&n->table.n, __ATOMIC_ACQUIRE);
}

/**
 * popcorn_node_add() - a node joins the cluster
 * @n:    node
 * @addr: its address; the same order of additions on all nodes
 *
 * Return: its id; -EINVAL, -EEXIST, -ENOSPC, -ENOMEM.
 */
int popcorn_node_add(struct popcorn_node *n, const char *addr)
{
	int r;

	pthread_mutex_lock(&n->grow);
	r = ue_table_add(&n->table, addr);
	pthread_mutex_unlock(&n->grow);
	return r;
}

static bool is_local(const struct pt_addr *a)
{
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6 };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return false;
	memcpy(&sa.sin6_addr, a->ip, 16);
	r = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	close(fd);
	return !r;
}

static int find_self(struct popcorn_node *n)
{
	u32 i;

	if (n->o.self >= 0)
		return (u32)n->o.self < n->table.n ? n->o.self : -EINVAL;
	for (i = 0; i < n->table.n; i++)
		if (is_local(pt_table_addr(&n->table, i)))
			return i;
	return -EADDRNOTAVAIL;
}

/* Real time in ns; later than that of any earlier node of this process. */
static u64 new_incarnation(void)
{
	static _Atomic u64 last;
	struct timespec t;
	u64 now, was = atomic_load(&last);

	clock_gettime(CLOCK_REALTIME, &t);
	now = (u64)t.tv_sec * 1000000000 + t.tv_nsec;
	do {
		if (now <= was)
			now = was + 1;
	} while (!atomic_compare_exchange_weak(&last, &was, now));
	return now;
}

static u8 arch(void)
{
#if defined(__x86_64__)
	return PW_ARCH_X86_64;
#elif defined(__aarch64__)
	return PW_ARCH_AARCH64;
#else
	return PW_ARCH_RISCV64;
#endif
}

static void node_destroy(struct popcorn_node *n)
{
	u32 i;

	ue_conn_free_all(n);
	for (i = 0; i < n->nmade; i++)
		ue_link_free(n->made[i]);
	if (n->links)
		munmap(n->links, LINKS_SIZE);
	if (n->made)
		munmap(n->made, LINKS_SIZE);
	if (n->listen_fd >= 0)
		close(n->listen_fd);
	if (n->kick_fd >= 0)
		close(n->kick_fd);
	ue_pool_free(n);
	ue_table_free(&n->table);
	free(n->live);
	free(n->pfd);
	free(n->pfd_conn);
	if (n->key)
		explicit_bzero(n->key, n->key_len);
	free(n->key);
	pthread_mutex_destroy(&n->grow);
	free(n);
}

/**
 * popcorn_node_new() - make a node and listen
 * @o:   options; strings need not stay
 * @out: the node
 *
 * Peers are connected to on first use. Return: 0; -EINVAL for limits or addresses
 * that can't be, -EEXIST for an address given twice, -EADDRNOTAVAIL if no address
 * is local, -EADDRINUSE, -EACCES for a key file that others may read, -ENOMEM, or
 * what the system gave.
 */
int popcorn_node_new(const struct popcorn_opts *o, struct popcorn_node **out)
{
	struct popcorn_node *n;
	int r;

	if (!o->nodes || !o->cluster || !o->backlog || pt_cfg_check(&o->cfg) ||
	    (o->single && o->service))
		return -EINVAL;
	if (sysconf(_SC_PAGESIZE) != UE_PAGE)
		return -EOPNOTSUPP;
	n = ue_alloc(sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->o = *o;
	n->drv = o->wire == POPCORN_SHM ? &ue_shm : &ue_tcp;
	n->pool.fd = n->listen_fd = n->kick_fd = -1;
	n->now = ue_clock_ms();
	if (o->single)
		n->wait_lock = n->pool_lock = UE_UNSHARED;
	pthread_mutex_init(&n->grow, NULL);
	pt_table_init(&n->table, o->cluster);
	r = ue_table_load(&n->table, o->nodes);
	if (!r)
		r = find_self(n);
	if (r < 0)
		goto fail;
	n->pt = (struct pt_node){
		.id = r, .incarnation = new_incarnation(), .cfg = o->cfg, .table = &n->table,
		.env = &env, .ctx = n, .has_key = o->keyfile, .arch = arch(),
		.page_shift = UE_PAGE_SHIFT,
	};
	if (o->keyfile) {
		r = ue_key_load(o->keyfile, &n->key, &n->key_len);
		if (r)
			goto fail;
	}
	r = ue_pool_make(n);
	if (r)
		goto fail;
	r = -ENOMEM;
	n->links = ue_map(LINKS_SIZE);
	n->made = ue_map(LINKS_SIZE);
	if (!n->links || !n->made)
		goto fail;
	n->kick_fd = ue_inject() ? -1 : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (n->kick_fd < 0)
		goto fail;
	r = ue_inject() ?: n->drv->listen(n);
	if (r < 0)
		goto fail;
	n->listen_fd = r;
	r = o->service ? ue_service_start(n) : 0;
	if (r)
		goto fail;
	n->o.nodes = n->o.cluster = n->o.keyfile = NULL;	/* the caller's */
	*out = n;
	return 0;
fail:
	node_destroy(n);
	return r;
}

/* Polls until no link is in the way, or for @ms. */
static void settle(struct popcorn_node *n, bool (*busy)(const struct ue_link *ul), u32 ms)
{
	u64 end = ue_clock_ms() + ms;
	bool left;
	u32 i;

	do {
		left = false;
		popcorn_poll(n, 100);
		for (i = 0; i < ue_made(n); i++)
			left |= busy(n->made[i]);
	} while (left && ue_clock_ms() < end);
}

static bool is_up(const struct ue_link *ul)
{
	return ul->pt.state == PT_LINK_UP;
}

static bool is_dying(const struct ue_link *ul)
{
	return ul->pt.dying || ul->todo;
}

/**
 * popcorn_node_free() - end a node
 * @n: node; no other thread uses it
 *
 * Peers are told; requests that still wait are completed with -ESHUTDOWN.
 */
void popcorn_node_free(struct popcorn_node *n)
{
	struct ue_link *ul;
	u32 i;

	ue_service_stop(n);
	for (i = 0; i < ue_made(n); i++) {
		ul = n->made[i];
		ue_lock(&ul->lock);
		if (is_up(ul))
			pt_link_bye(&ul->pt);
		ue_link_finish(ul, NULL);
	}
	/* Who is told closes; closing first could cut our last words off. */
	settle(n, is_up, 200);
	for (i = 0; i < ue_made(n); i++) {
		ul = n->made[i];
		ue_lock(&ul->lock);
		pt_link_kill(&ul->pt, -ESHUTDOWN, ue_now(n));
		ue_link_finish(ul, NULL);
	}
	settle(n, is_dying, 1000);
	node_destroy(n);
}
