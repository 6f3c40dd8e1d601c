// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * popcorn-bench-dsm: what shared memory costs, between user-mode nodes of this machine or
 * those of popcorn.ko.
 *
 * In user mode every row is measured in rounds, each after a round of its floor (the bare exchange
 * over the same wire, without this project's code), by new processes: a machine that
 * changes its pace hits both. Kernel mode has its floors in modules: microbench/run has
 * both. Node 0 is the home, node 1 measures.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <popcorn/popcorn.h>

#include "args.h"
#include "pin.h"

#define PAGE		4096
#define NODES_MAX	16
#define SAMPLES		2048	/* of a round */
#define ROUNDS_MAX	100
#define SCAN_PAGES	4096
#define SETTLE_US	1500000
#define SHARE_MS	100	/* of a round of false_sharing */
#define HEAD		64	/* bytes of a bare message */
#define ROUND_S		200	/* a round that takes longer has failed; a slow wire, a busy machine is none */

enum wire { SHM, TCP, KERNEL };

static const char *const wire_name[] = { "shm", "tcp", "kernel" };

static struct {
	const char *row;
	unsigned int nodes;
	unsigned int rounds;
	int wire;		/* -1: both of user mode */
	int self;		/* kernel: only this node, the others are elsewhere; -1: all */
	unsigned int pause;	/* microseconds before each timed access */
	bool sigbus;
	bool block;
	bool json;
} opt = { .nodes = 2, .rounds = 1, .wire = -1, .self = -1 };

/* What a round's processes tell their parent. */
static struct results {
	unsigned int n;
	double us[SAMPLES];
	double count[NODES_MAX];
	_Atomic bool stop;
} *res;

static popcorn_t *self;
static popcorn_region_t *region;
static volatile unsigned char *mem;
static unsigned int me;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

static void check(const char *what, int error)
{
	if (error)
		die("node %u: %s: %s", me, what, strerror(-error));
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* Pages in an order that no stream is seen in, the same each time. */
static void shuffle(unsigned int *order, unsigned int n)
{
	unsigned int i, j, x, seed = 1;

	for (i = 0; i < n; i++)
		order[i] = i;
	for (i = n - 1; i; i--) {
		seed = seed * 1103515245 + 12345;
		j = (seed >> 8) % (i + 1);
		x = order[i];
		order[i] = order[j];
		order[j] = x;
	}
}

/* ------------------------------------------------------------------ floors */

static void sock_read(int fd, void *buf, size_t n)
{
	size_t got = 0;
	ssize_t r;

	while (got < n) {
		r = recv(fd, (char *)buf + got, n - got, opt.block ? 0 : MSG_DONTWAIT);
		if (!r || (r < 0 && errno != EAGAIN && errno != EINTR))
			exit(r != 0);
		got += r > 0 ? r : 0;
	}
}

/* The bare exchange: @ask bytes there, @answer bytes back. */
static void floor_tcp(unsigned int node, int listener, size_t ask, size_t answer)
{
	static char buf[PAGE + HEAD];
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	int fd, one = 1;
	unsigned int i;
	double t, last;

	getsockname(listener, (struct sockaddr *)&sa, &len);
	if (!node) {
		fd = accept(listener, NULL, NULL);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		for (;;) {
			sock_read(fd, buf, ask);
			if (send(fd, buf, answer, MSG_NOSIGNAL) < 0)
				exit(0);
		}
	}
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&sa, len))
		die("connect: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (i = 0, last = now_us(); i < SAMPLES + SAMPLES / 8; i++, last = t) {
		if (send(fd, buf, ask, MSG_NOSIGNAL) != (ssize_t)ask)
			die("send: %s", strerror(errno));
		sock_read(fd, buf, answer);
		t = now_us();
		if (i >= SAMPLES / 8)
			res->us[res->n++] = t - last;
	}
	exit(0);
}

struct bare {
	_Atomic unsigned int ask __attribute__((aligned(64)));
	_Atomic unsigned int answer __attribute__((aligned(64)));
	char data[PAGE] __attribute__((aligned(64)));
};

static void floor_shm(unsigned int node, struct bare *b, size_t answer)
{
	static char mine[PAGE];
	double t, last = now_us();
	unsigned int i;

	for (i = 1; i <= SAMPLES + SAMPLES / 8; i++) {
		if (!node) {
			while (atomic_load_explicit(&b->ask, memory_order_acquire) != i)
				if (res->stop)
					exit(0);
			memcpy(b->data, mine, answer);
			atomic_store_explicit(&b->answer, i, memory_order_release);
			continue;
		}
		atomic_store_explicit(&b->ask, i, memory_order_release);
		while (atomic_load_explicit(&b->answer, memory_order_acquire) != i)
			;
		memcpy(mine, b->data, answer);
		t = now_us();
		if (i > SAMPLES / 8)
			res->us[res->n++] = t - last;
		last = t;
	}
	exit(0);
}

/* -------------------------------------------------------------------- rows */

static void meet(void)
{
	check("barrier", popcorn_barrier(region, 0, opt.nodes));
}

static void all_written(unsigned int by, unsigned int pages)
{
	unsigned int i;

	if (me == by)
		for (i = 0; i < pages; i++)
			mem[i * PAGE] = 1;
	meet();
}

static void touch_all(bool write, bool timed)
{
	static unsigned int order[SAMPLES];
	volatile unsigned char *p;
	unsigned int i;
	double t;

	shuffle(order, SAMPLES);
	for (i = 0; i < SAMPLES; i++) {
		p = mem + order[i] * PAGE;
		if (timed && opt.pause)
			usleep(opt.pause);
		t = now_us();
		if (write)
			*p = 2;
		else
			(void)*p;
		if (timed)
			res->us[res->n++] = now_us() - t;
	}
}

static void row_read(void)
{
	all_written(0, SAMPLES);
	if (me == 1)
		touch_all(false, true);
}

static void row_write(void)
{
	all_written(0, SAMPLES);
	if (me == 1)
		touch_all(true, true);
}

static void row_upgrade(void)
{
	all_written(0, SAMPLES);
	if (me == 1) {
		touch_all(false, false);
		touch_all(true, true);
	}
}

static void row_three_hop(void)
{
	all_written(2, SAMPLES);
	if (me == 1)
		touch_all(false, true);
}

static void in_order(bool write, bool timed)
{
	unsigned int i, part = SCAN_PAGES / 16;
	double t;

	for (t = now_us(), i = 0; i < SCAN_PAGES; i++) {
		if (write)
			mem[i * PAGE] = 2;
		else
			(void)mem[i * PAGE];
		if (timed && (i + 1) % part == 0) {
			res->us[res->n++] = (now_us() - t) / part;
			t = now_us();
		}
	}
}

/*
 * Written twice: then both nodes have the memory that the pages take. And, in kernel mode, until
 * the messages of that don't count any more to who sends bulk: as in the floor.
 */
static void seq_begin(void)
{
	check("advise", popcorn_advise(region, 0, 0, POPCORN_ADVISE_NORMAL));
	all_written(0, SCAN_PAGES);
	if (me == 1)
		in_order(false, false);
	meet();
	all_written(0, SCAN_PAGES);
	if (opt.pause)
		usleep(SETTLE_US);
}

static void row_scan(void)
{
	seq_begin();
	if (me == 1)
		in_order(false, true);
}

static void row_seq_write(void)
{
	seq_begin();
	if (me == 1)
		in_order(true, true);
}

/* All nodes have read what one of them writes then. */
static void row_seq_upgrade(void)
{
	seq_begin();
	in_order(false, false);
	meet();
	if (me == 1)
		in_order(true, true);
}

/* All nodes read and, one in eight, write pages at random. */
static void row_random(void)
{
	unsigned int i, seed = me + 1, page;
	double t;

	all_written(0, 256);
	for (i = 0; i < SAMPLES; i++) {
		seed = seed * 1103515245 + 12345;
		page = (seed >> 8) % 256;
		t = now_us();
		if ((seed >> 20) % 8)
			(void)mem[page * PAGE];
		else
			mem[page * PAGE + me] = i;
		if (me == 1)
			res->us[res->n++] = now_us() - t;
	}
}

/* Two words of one page, each written by one node as fast as it can. */
static void row_false(void)
{
	volatile unsigned long *word = (volatile unsigned long *)mem + 8 * me;
	double end = now_us() + SHARE_MS * 1e3;
	unsigned long n = 0;

	meet();
	if (me < 2)
		for (end = now_us() + SHARE_MS * 1e3; n % 64 || now_us() < end; n++)
			++*word;
	res->count[me] = n;
	meet();
	if (me == 1)
		res->us[res->n++] = SHARE_MS * 1e3 / (res->count[0] + res->count[1]);
}

/* What passes between two holders, each on its node: half a round. */
static void row_lock(void)
{
	unsigned int i;
	double t = 0;

	meet();
	for (i = 0; me < 2 && i < SAMPLES; i++) {
		check("lock", popcorn_lock(region, 1));
		if (me == 1 && i)
			res->us[res->n++] = (now_us() - t) / 2;
		t = now_us();
		check("unlock", popcorn_unlock(region, 1));
	}
}

static void row_barrier(void)
{
	unsigned int i;
	double t;

	for (i = 0; i < SAMPLES; i++) {
		t = now_us();
		meet();
		if (me == 1)
			res->us[res->n++] = now_us() - t;
	}
}

/**
 * struct row - what is measured
 * @ask, @answer: bytes of the bare exchange that is its floor; 0: it has none
 */
static const struct row {
	const char *name;
	void (*run)(void);
	unsigned int nodes;
	size_t ask;
	size_t answer;
	const char *note;
} rows[] = {
	{ "read_fault", row_read, 2, HEAD, PAGE, "" },
	{ "write_fault", row_write, 2, HEAD, PAGE, "" },
	{ "upgrade", row_upgrade, 2, HEAD, HEAD, "" },
	{ "three_hop", row_three_hop, 3, HEAD, PAGE, "" },
	{ "seq_scan", row_scan, 2, HEAD, PAGE, "a page" },
	{ "seq_write", row_seq_write, 2, HEAD, PAGE, "a page" },
	{ "seq_upgrade", row_seq_upgrade, 2, HEAD, HEAD, "a page" },
	{ "random", row_random, 2, 0, 0, "an access" },
	{ "false_sharing", row_false, 2, 0, 0, "a write" },
	{ "lock", row_lock, 2, HEAD, HEAD, "a hand-over" },
	{ "barrier", row_barrier, 2, HEAD, HEAD, "" },
};

/* ------------------------------------------------------------------- rounds */

static void wait_children(pid_t *pid, unsigned int n, unsigned int last)
{
	unsigned int i;
	int status;

	/* The one who measures first; those of a floor serve until told. */
	for (i = 0; i < n; i++) {
		unsigned int at = (last + i) % n;

		if (waitpid(pid[at], &status, 0) != pid[at] || status)
			die("node %u failed", at);
		res->stop = true;
	}
}

static void child(unsigned int node)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(ROUND_S);
	pin(node);
	me = node;
}

static void floor_round(const struct row *row, enum wire wire)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct bare *b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int i;
	pid_t pid[2];

	if (b == MAP_FAILED || bind(listener, (struct sockaddr *)&sa, sizeof(sa)) ||
	    listen(listener, 1))
		die("floor: %s", strerror(errno));
	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		child(i);
		if (wire == TCP)
			floor_tcp(i, listener, row->ask, row->answer);
		else
			floor_shm(i, b, row->answer);
	}
	close(listener);
	wait_children(pid, 2, 1);
	munmap(b, sizeof(*b));
}

static void node_main(const struct row *row, enum wire wire, unsigned int node,
		      unsigned int nodes)
{
	unsigned int i, at, pid = getppid();
	char spec[64 + NODES_MAX * 16], port[16];

	child(node);
	opt.nodes = nodes;
	snprintf(spec, sizeof(spec), "kernel:%u", node);
	snprintf(port, sizeof(port), "%u", 10000 + pid % 20000);
	setenv("POPCORN_PORT", port, 1);
	setenv("POPCORN_FAULT", opt.sigbus ? "sigbus" : "thread", 1);
	/* A third node that spins takes a core from those that are measured. */
	setenv("POPCORN_SPIN", opt.block ? "0" : "1", 1);
	at = wire == KERNEL ? 0 : snprintf(spec, sizeof(spec), "user:%u:%s:", node,
					   wire_name[wire]);
	for (i = 0; at && i < nodes; i++)
		at += snprintf(spec + at, sizeof(spec) - at, "%s127.%u.1.%u", i ? "," : "",
			       1 + pid / 20000 % 250, i + 1);
	check("open", popcorn_open(spec, &self));
	if (node)
		check("attach", popcorn_attach(self, 0, 1, &region));
	else
		check("create", popcorn_create(self, 1, (size_t)SCAN_PAGES * PAGE, NULL, &region));
	mem = popcorn_map(region, NULL);
	if (!mem)
		die("map: %s", strerror(errno));
	check("advise", popcorn_advise(region, 0, 0, POPCORN_ADVISE_RANDOM));
	meet();
	row->run();
	meet();
	if (node)
		popcorn_detach(region);
	popcorn_close(self);
}

static void dsm_round(const struct row *row, enum wire wire)
{
	unsigned int nodes = row->nodes > opt.nodes ? row->nodes : opt.nodes, i;
	pid_t pid[NODES_MAX];

	if (opt.self >= 0) {
		node_main(row, wire, opt.self, nodes);
		return;
	}
	for (i = 0; i < nodes; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			die("fork: %s", strerror(errno));
		if (!pid[i]) {
			node_main(row, wire, i, nodes);
			exit(0);
		}
	}
	wait_children(pid, nodes, 1);
}

/* ------------------------------------------------------------------ results */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(double *v, unsigned int n, double q)
{
	unsigned int i = n * q;

	qsort(v, n, sizeof(*v), by_value);
	return v[i < n ? i : n - 1];
}

/* Who serves faults. */
static const char *server(int wire)
{
	return wire == KERNEL ? "kernel" : opt.sigbus ? "sigbus" : "thread";
}

static void measure(const struct row *row, enum wire wire)
{
	double floor[ROUNDS_MAX], ours[ROUNDS_MAX], p99[ROUNDS_MAX], share = 1, least, all;
	unsigned int i, k;
	bool floors = row->ask && wire != KERNEL;
	double f = 0, us, tail;

	for (i = 0; i < opt.rounds; i++) {
		if (floors) {
			memset(res, 0, sizeof(*res));
			floor_round(row, wire);
			floor[i] = quantile(res->us, res->n, 0.5);
		}
		memset(res, 0, sizeof(*res));
		dsm_round(row, wire);
		if (opt.self >= 0 && opt.self != 1)
			continue;
		if (!res->n)
			die("%s: nothing was measured", row->name);
		ours[i] = quantile(res->us, res->n, 0.5);
		p99[i] = quantile(res->us, res->n, 0.99);
		if (row->run != row_false)
			continue;
		for (k = 0, all = 0, least = 1e300; k < 2; k++) {
			all += res->count[k];
			least = res->count[k] < least ? res->count[k] : least;
		}
		share = least / all < share ? least / all : share;
	}
	if (opt.self >= 0 && opt.self != 1)
		return;
	us = quantile(ours, opt.rounds, 0.5);
	tail = quantile(p99, opt.rounds, 0.5);
	if (floors)
		f = quantile(floor, opt.rounds, 0.5);
	if (opt.json) {
		printf("{\"suite\": \"dsm\", \"name\": \"%s\", \"engine\": \"%s\", "
		       "\"transport\": \"%s\", \"fault\": \"%s\", \"poll\": \"%s\", "
		       "\"nodes\": %u, \"size\": %zu, \"unit\": \"us\", \"median\": %.3f, "
		       "\"p99\": %.3f", row->name,
		       wire == KERNEL ? "kernel" : "user", wire_name[wire],
		       server(wire), opt.block ? "block" : "busy",
		       row->nodes > opt.nodes ? row->nodes : opt.nodes,
		       row->answer ? row->answer : PAGE, us, tail);
		if (floors)
			printf(", \"floor_name\": \"%s %zu/%zu\", \"floor\": %.3f, "
			       "\"added\": %.3f, \"ratio\": %.2f",
			       wire == TCP ? "tcp" : "spin", row->ask, row->answer, f, us - f,
			       us / f);
		if (row->run == row_false)
			printf(", \"share\": %.2f", share);
		printf("}\n");
	} else {
		printf("%-14s %-4s %9.2f %9.2f", row->name, wire_name[wire], us, tail);
		if (floors)
			printf(" %9.2f %9.2f %7.2f", f, us - f, us / f);
		else
			printf(" %9s %9s %7s", "", "", "");
		if (row->run == row_false)
			printf("  smaller share %.0f %%", share * 100);
		printf("  %s\n", row->note);
	}
	fflush(stdout);
}

/* ------------------------------------------------------------------ options */

static const char usage[] =
"usage: popcorn bench dsm [OPTION]...\n"
"What shared memory costs between user-mode nodes of this machine, in microseconds: medians\n"
"of rounds, each beside its floor, the bare exchange over the same wire.\n"
"\n"
"  -n, --nodes local:N    nodes (default local:2; three_hop has three at least)\n"
"  -w, --wire tcp|shm     only this one\n"
"  -r, --row ROW          only read_fault, write_fault, upgrade, three_hop, seq_scan,\n"
"                         seq_write, seq_upgrade, random, false_sharing, lock or barrier\n"
"  -f, --fault thread|sigbus  who serves faults (default thread)\n"
"  -p, --poll busy|block  look for messages, or sleep (default busy)\n"
"  -R, --rounds N         1 to 100 (default 1: an answer in seconds)\n"
"  -k, --kernel N         kernel mode: N nodes of popcorn.ko, here; no floors\n"
"  -s, --self ID          with -k: only node ID, the others run elsewhere\n"
"  -P, --pause US         sleep before each timed access, so that nothing is left of the last\n"
"  -j, --json             one JSON object a line\n";

static void options(int argc, char **argv)
{
	static const char *const faults[] = { "thread", "sigbus" };
	static const char *const polls[] = { "busy", "block" };
	static const struct option longs[] = {
		{ "nodes", 1, NULL, 'n' }, { "wire", 1, NULL, 'w' }, { "row", 1, NULL, 'r' },
		{ "fault", 1, NULL, 'f' }, { "poll", 1, NULL, 'p' }, { "rounds", 1, NULL, 'R' },
		{ "kernel", 1, NULL, 'k' }, { "self", 1, NULL, 's' }, { "pause", 1, NULL, 'P' },
		{ "json", 0, NULL, 'j' }, { "help", 0, NULL, 'h' }, { 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "n:w:r:f:p:R:k:s:P:jh", longs, NULL)) != -1)
		switch (c) {
		case 'n':
			if (strncmp(optarg, "local:", 6))
				wrong("--nodes takes local:N, not '%s'", optarg);
			opt.nodes = number("nodes", optarg + 6, 2, NODES_MAX);
			break;
		case 'w':
			opt.wire = choice("wire", optarg, wire_name, KERNEL);
			break;
		case 'r':
			opt.row = optarg;
			break;
		case 'f':
			opt.sigbus = choice("fault", optarg, faults, 2);
			break;
		case 'p':
			opt.block = choice("poll", optarg, polls, 2);
			break;
		case 'R':
			opt.rounds = number("rounds", optarg, 1, ROUNDS_MAX);
			break;
		case 'k':
			opt.nodes = number("kernel", optarg, 2, NODES_MAX);
			opt.wire = KERNEL;
			break;
		case 's':
			opt.self = number("self", optarg, 0, NODES_MAX - 1);
			break;
		case 'P':
			opt.pause = number("pause", optarg, 0, 1000000);
			break;
		case 'j':
			opt.json = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			exit(2);
		}
	if (optind < argc)
		wrong("what is '%s'?", argv[optind]);
	if (opt.self >= 0 && (opt.wire != KERNEL || (unsigned int)opt.self >= opt.nodes))
		wrong("--self is for --kernel, and one of its nodes");
}

int main(int argc, char **argv)
{
	const struct row *row, *end = rows + sizeof(rows) / sizeof(*rows);
	bool any = false;
	int wire;

	options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	res = mmap(NULL, sizeof(*res), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (res == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	if (!opt.json)
		printf("%s mode, %s, faults by %s; microseconds\n%-14s %-4s %9s %9s %9s %9s %7s\n",
		       opt.wire == KERNEL ? "kernel" : "user", opt.block ? "sleeping" : "spinning",
		       server(opt.wire), "row", "wire", "median", "99%", "floor", "added", "ratio");
	for (wire = SHM; wire <= KERNEL; wire++) {
		if (opt.wire >= 0 ? opt.wire != wire : wire == KERNEL)
			continue;
		for (row = rows; row < end; row++) {
			if (opt.row && strcmp(opt.row, row->name))
				continue;
			measure(row, wire);
			any = true;
		}
	}
	if (!any)
		wrong("--row doesn't know '%s'", opt.row);
	return 0;
}
