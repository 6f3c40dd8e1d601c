// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * popcorn-bench: what messages cost between user-mode nodes of this machine. Forks
 * a process a node; node 0 measures against node 1.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <runtime/transport.h>

#include "args.h"
#include "pin.h"

#define PAGE		4096
#define ASK		64	/* bytes of a request for a page */
#define BATCH		64	/* streams are timed over so many */
#define RATE_BATCH	256	/* rate: the same, sent by all threads together */
#define RATE_INTERVALS	8	/* rate: samples at least */
#define NODES_MAX	64
#define WINDOW_MAX	256
#define SLOTS		32	/* the engine's default */
#define THREADS_MAX	64
#define TIMEOUT_MS	60000	/* a busy machine may keep a process waiting */
#define TURNS		20	/* parts of urgent_under_bulk, with and without urgent */

enum { T_ECHO = PW_T_USER, T_PAGE, T_COPY, T_SINK };

static const char *const class_names[PW_CLASSES] = { "urgent", "sync", "bulk" };
static const char *const rows[] = { "rtt", "fetch", "stream", "rate", "urgent_under_bulk" };

/* Command line. */
static struct {
	const char *row;
	u32 nodes;
	u32 size;
	u32 iters;
	u32 window;
	u32 threads;
	u32 pace;
	int class;
	bool shm;
	bool block;
	bool one_class;
	bool bounce;
} opt = { .row = "rtt", .nodes = 2, .iters = 10000, .threads = 1, .pace = 50,
	  .class = -1 };

static struct popcorn_node *node;
static u8 page[PAGE] __attribute__((aligned(PAGE)));

static void die(const char *what, int error)
{
	fprintf(stderr, "popcorn-bench: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The class of a row's message, which an ablation may override. */
static u8 class_of(u8 class)
{
	return opt.one_class ? PW_SYNC : class;
}

/* --------------------------------------------------------------- handlers */

static void echo(struct popcorn_msg *m)
{
	popcorn_answer(m, 0, m->data, m->len);
}

static void give_page(struct popcorn_msg *m)
{
	popcorn_answer_page(m, page, NULL);	/* the page stays as it is */
}

static void give_copy(struct popcorn_msg *m)
{
	popcorn_answer(m, 0, page, PAGE);
}

static void sink(struct popcorn_msg *m)
{
	popcorn_msg_done(m);
}

static const struct popcorn_msg_ops ops[] = {
	{ "echo", echo }, { "page", give_page }, { "copy", give_copy }, { "sink", sink },
};

/* ---------------------------------------------------------------- results */

static int by_value(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return (x > y) - (x < y);
}

static double median(u64 *ns, u32 n)
{
	qsort(ns, n, sizeof(*ns), by_value);
	return ns[n / 2] / 1e3;
}

/* @ns: times of @per operations each. @more: further JSON members, or "". */
static void report(u32 size, u64 *ns, u32 n, u32 per, const char *more)
{
	double sum = 0, us = 1e3 * per;
	u32 i;

	qsort(ns, n, sizeof(*ns), by_value);
	for (i = 0; i < n; i++)
		sum += ns[i];
	printf("{\"name\": \"%s\", \"row\": \"%s\", \"size\": %u, \"class\": \"%s\", "
	       "\"transport\": \"%s\", \"poll\": \"%s\", \"unit\": \"us\", \"median\": %.3f, "
	       "\"p99\": %.3f, \"p999\": %.3f, \"min\": %.3f, \"avg\": %.3f, \"iters\": %u%s}\n",
	       opt.row, opt.row, size, class_names[opt.class], opt.shm ? "shm" : "tcp",
	       opt.block ? "block" : "busy", ns[n / 2] / us, ns[(u64)n * 99 / 100] / us,
	       ns[(u64)n * 999 / 1000] / us, ns[0] / us, sum / n / us, n * per, more);
	fflush(stdout);
}

static u64 *times(u32 n)
{
	u64 *ns = calloc(n, sizeof(*ns));

	if (!ns)
		die("times", ENOMEM);
	return ns;
}

/* ------------------------------------------------------------------- rows */

static void ping(u8 class, u32 size, u32 n, u64 *ns)
{
	static u8 out[PW_MSG_MAX], in[PW_MSG_MAX];
	u32 i, warm = n / 10;
	u64 t, last = now_ns();
	int r;

	for (i = 0; i < warm + n; i++, last = t) {
		r = popcorn_request(node, 1, class_of(class), T_ECHO, out, size, in, size,
				    TIMEOUT_MS);
		if (r != (int)size)
			die("round trip", r < 0 ? r : EPROTO);
		t = now_ns();
		if (i >= warm)
			ns[i - warm] = t - last;
	}
}

static void row_rtt(void)
{
	u64 *ns = times(opt.iters);

	ping(opt.class, opt.size, opt.iters, ns);
	report(opt.size, ns, opt.iters, 1, "");
}

static void row_fetch(void)
{
	u64 *ns = times(opt.iters), t, last;
	struct popcorn_frame *f = popcorn_frame_alloc(node);
	u32 i, warm = opt.iters / 10;
	u8 ask[ASK] = { 0 };
	static u8 bounce[PAGE];
	int r;

	for (i = 0, last = now_ns(); i < warm + opt.iters; i++, last = t) {
		if (opt.bounce) {
			r = popcorn_request(node, 1, class_of(opt.class), T_COPY, ask, ASK, bounce,
					    PAGE, TIMEOUT_MS);
			memcpy(f->data, bounce, PAGE);
		} else {
			r = popcorn_request_page(node, 1, class_of(opt.class), T_PAGE, ask, ASK,
						 &f, TIMEOUT_MS);
		}
		if (r < 0)
			die("fetch", r);
		t = now_ns();
		if (i >= warm)
			ns[i - warm] = t - last;
	}
	report(PAGE, ns, opt.iters, 1, "");
}

/* A stream of pages: as many requests as the window on their way, one for each answer. */
struct flow {
	struct popcorn_async async;
	struct popcorn_frame *frame;
	struct flow *next;	/* found no free slot: asks again at the next answer */
	u8 bounce[PAGE];
};

static struct flow flows[WINDOW_MAX];
static u64 flow_pages;
static u32 flows_open;
static struct flow *flows_idle;
static bool flow_on;

static void flow_next(struct flow *f);

static void flow_retry(void)
{
	struct flow *f = flows_idle;

	if (f) {
		flows_idle = f->next;
		flow_next(f);
	}
}

static void flow_done(struct popcorn_done *d)
{
	struct flow *f = (struct flow *)d;

	flows_open--;
	if (d->status)
		die("stream", d->status);
	if (opt.bounce)
		memcpy(f->frame->data, f->bounce, PAGE);
	flow_pages++;
	if (!flow_on)
		return;
	flow_next(f);
	flow_retry();
}

static void flow_next(struct flow *f)
{
	static const u8 ask[ASK];
	int r;

	f->async.done.fn = flow_done;
	f->async.frame = opt.bounce ? NULL : f->frame;
	r = popcorn_request_async(node, 1, class_of(PW_BULK), opt.bounce ? T_COPY : T_PAGE, ask,
				  ASK, f->bounce, PAGE, TIMEOUT_MS, POPCORN_NOWAIT, &f->async);
	if (r == -EAGAIN) {
		f->next = flows_idle;
		flows_idle = f;
	} else if (r) {
		die("stream", r);
	} else {
		flows_open++;
	}
}

static void flow_start(void)
{
	u32 i;

	flow_on = true;
	for (i = 0; i < opt.window; i++) {
		if (!flows[i].frame)
			flows[i].frame = popcorn_frame_alloc(node);
		flow_next(&flows[i]);
	}
}

static void flow_stop(void)
{
	flow_on = false;
	flows_idle = NULL;
	while (flows_open)
		popcorn_poll(node, 1000);
}

static void row_stream(void)
{
	u32 n = opt.iters / BATCH ?: 1, i, warm = n / 10;
	u64 *ns = times(n), last, t, goal;

	flow_start();
	goal = flow_pages;
	for (i = 0, last = now_ns(); i < warm + n; i++, last = t) {
		goal += BATCH;
		while (flow_pages < goal)
			popcorn_poll(node, 1000000);
		t = now_ns();
		if (i >= warm)
			ns[i - warm] = t - last;
	}
	flow_stop();
	report(PAGE, ns, n, BATCH, "");
}

/* All threads send; whoever sends the last message of an interval notes the time. */
static struct {
	u64 *when;
	u32 total;
	_Atomic u32 sent;
} rate;

static void *send_many(void *arg)
{
	const u8 buf[PW_PAYLOAD] = { 0 };
	u32 i;
	int r;

	(void)arg;
	while ((i = atomic_fetch_add(&rate.sent, 1) + 1) <= rate.total) {
		r = popcorn_send(node, 1, class_of(opt.class), T_SINK, buf, opt.size, 0);
		if (r)
			die("send", r);
		if (i % RATE_BATCH == 0)
			rate.when[i / RATE_BATCH] = now_ns();
	}
	return NULL;
}

/* Intervals of all threads together; the last ends when the peer has handled everything. */
static void row_rate(void)
{
	u32 n = (opt.iters + RATE_BATCH - 1) / RATE_BATCH, i;
	pthread_t thread[THREADS_MAX];
	char more[32] = "", end[8];
	int r;

	if (n < RATE_INTERVALS)
		n = RATE_INTERVALS;
	rate.total = n * RATE_BATCH;
	rate.when = times(n + 1);
	rate.when[0] = now_ns();
	for (i = 1; i < opt.threads; i++)
		if (pthread_create(&thread[i], NULL, send_many, NULL))
			die("thread", EAGAIN);
	send_many(NULL);
	for (i = 1; i < opt.threads; i++)
		pthread_join(thread[i], NULL);
	r = popcorn_request(node, 1, class_of(opt.class), T_ECHO, more, sizeof(end), end,
			    sizeof(end), TIMEOUT_MS);
	if (r != sizeof(end))
		die("last answer", r < 0 ? r : EPROTO);
	rate.when[n] = now_ns();
	/* Threads may note neighbouring intervals in the wrong order. */
	qsort(rate.when, n + 1, sizeof(*rate.when), by_value);
	for (i = 0; i < n; i++)
		rate.when[i] = rate.when[i + 1] - rate.when[i];
	if (opt.threads > 1)
		snprintf(more, sizeof(more), ", \"threads\": %u", opt.threads);
	report(opt.size, rate.when, n, RATE_BATCH, more);
}

/*
 * Bulk flows for @n intervals of @pace microseconds, each with an urgent round trip
 * if @ns is given. @gap: picoseconds a page took in each interval.
 */
static void bulk_intervals(u32 n, u64 *ns, u64 *gap)
{
	static u8 out[PW_MSG_MAX], in[PW_MSG_MAX];
	u64 begin, end, pages, t, empty = 0;
	u32 i;
	int r;

	for (i = 0; i < n; i++) {
		pages = flow_pages;
		begin = now_ns();
		end = begin + opt.pace * 1000ull;
		while ((t = now_ns()) < end)
			popcorn_poll(node, (end - t) / 1000 + 1);
		if (ns) {
			r = popcorn_request(node, 1, class_of(opt.class), T_ECHO, out, opt.size,
					    in, opt.size, TIMEOUT_MS);
			if (r != (int)opt.size)
				die("urgent round trip", r < 0 ? r : EPROTO);
			ns[i] = now_ns() - t;
		}
		/* Nothing at all: the other side had no CPU. That is no interval. */
		if (flow_pages == pages) {
			i -= empty++ < n * 1000ull;
			continue;
		}
		gap[i] = (now_ns() - begin) * 1000 / (flow_pages - pages);
	}
}

/* Mean of the middle half: intervals in which a CPU was taken away don't count. */
static double middle(u64 *v, u32 n)
{
	double sum = 0;
	u32 i;

	qsort(v, n, sizeof(*v), by_value);
	for (i = n / 4; i < n - n / 4; i++)
		sum += v[i];
	return sum / (n - n / 4 * 2);
}

static void row_urgent(void)
{
	u32 part = (opt.iters + TURNS - 1) / TURNS, n = part * TURNS, i;
	u64 *ns = times(n), *idle = times(n), *solo = times(n), *loaded = times(n);
	double us, ratio;
	char more[128];

	/* In turns, so that a machine that changes its pace hits all of them. */
	for (i = 0; i < TURNS; i++) {
		ping(opt.class, opt.size, part, idle + i * part);
		flow_start();
		bulk_intervals(part, NULL, solo + i * part);
		bulk_intervals(part, ns + i * part, loaded + i * part);
		flow_stop();
	}
	us = middle(solo, n) / 1e6;
	ratio = us * 1e6 / middle(loaded, n);
	snprintf(more, sizeof(more),
		 ", \"idle\": %.3f, \"bulk_share\": %.3f, \"bulk_page_us\": %.3f, \"pace\": %u",
		 median(idle, n), ratio, us, opt.pace);
	report(opt.size, ns, n, 1, more);
}

/* ------------------------------------------------------------------ nodes */

/* Comings and goings are no news here; what fails is reported by who asked. */
static void quiet(const char *line)
{
	if (getenv("POPCORN_DEBUG"))
		fprintf(stderr, "%s\n", line);
}

static void make_node(u32 id, const char *list)
{
	struct popcorn_opts o;
	u32 i;
	int r;

	popcorn_opts_init(&o);
	o.nodes = list;
	o.self = id;
	o.wire = opt.shm ? POPCORN_SHM : POPCORN_TCP;
	/* A third node that spins would take a core from those that are measured. */
	o.mode = opt.block || id > 1 ? POPCORN_BLOCK : POPCORN_BUSY;
	o.service = false;
	o.single = opt.threads == 1;
	o.log = quiet;
	o.cfg.lease_ms = TIMEOUT_MS;
	o.cfg.dead_ms = 2 * TIMEOUT_MS;
	if (!strcmp(opt.row, "rate"))
		o.backlog = opt.window;
	if (opt.window > o.cfg.slots)
		o.cfg.slots = o.cfg.window = o.cfg.prepaid = opt.window;
	if (opt.bounce && opt.window * 2 > o.cfg.prepaid)
		o.cfg.prepaid = opt.window * 2;
	for (i = 0; i < sizeof(ops) / sizeof(*ops); i++)
		popcorn_msg_register(T_ECHO + i, &ops[i]);
	r = popcorn_node_new(&o, &node);
	if (r)
		die("node", r);
}

static int serve(u32 id, const char *list, const _Atomic bool *over)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(id);
	make_node(id, list);
	popcorn_serve(node, over);
	popcorn_node_free(node);
	return 0;
}

/* A loopback network of this run's own, so that two runs don't meet. */
static void make_list(char *list, size_t size)
{
	u32 pid = getpid(), i;
	int at = 0;

	for (i = 0; i < opt.nodes; i++)
		at += snprintf(list + at, size - at, "%s127.%u.%u.%u", i ? "," : "",
			       1 + pid / 250 % 250, pid % 250, i + 1);
}

static int run(void)
{
	_Atomic bool *over = mmap(NULL, sizeof(*over), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char list[NODES_MAX * 16];
	pid_t pid[NODES_MAX];
	int bad = 0, status, r;
	u32 i;

	if (over == MAP_FAILED)
		die("mmap", errno);
	make_list(list, sizeof(list));
	for (i = 1; i < opt.nodes; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			die("fork", errno);
		if (!pid[i])
			exit(serve(i, list, over));
	}
	pin(0);
	make_node(0, list);
	for (i = 1; i < opt.nodes; i++) {
		r = popcorn_connect(node, i, TIMEOUT_MS);
		if (r)
			die("connect", r);
	}
	if (!strcmp(opt.row, "rtt"))
		row_rtt();
	else if (!strcmp(opt.row, "fetch"))
		row_fetch();
	else if (!strcmp(opt.row, "stream"))
		row_stream();
	else if (!strcmp(opt.row, "rate"))
		row_rate();
	else
		row_urgent();
	atomic_store(over, true);
	popcorn_node_free(node);
	for (i = 1; i < opt.nodes; i++)
		if (waitpid(pid[i], &status, 0) != pid[i] || status)
			bad = 1;
	return bad;
}

/* ---------------------------------------------------------------- options */

static void usage(void)
{
	printf("Usage: popcorn-bench transport [OPTION]...\n"
	       "What messages cost between user-mode nodes, a process each on this machine.\n\n"
	       "  --nodes N          nodes (default 2); node 0 measures against node 1\n"
	       "  --transport NAME   tcp or shm (default tcp)\n"
	       "  --row ROW          rtt, fetch, stream, rate or urgent_under_bulk (default rtt)\n"
	       "  --size BYTES       of a message, 0 to 65536; rate: to 4064 (default 64)\n"
	       "  --class CLASS      urgent, sync or bulk (default: as the row is used)\n"
	       "  --iters N          operations that are measured (default 10000)\n"
	       "  --poll MODE        busy or block (default busy)\n"
	       "  --window N         pages or messages on their way (default 16;\n"
	       "                     urgent_under_bulk: 32)\n"
	       "  --threads N        rate: threads that send (default 1)\n"
	       "  --pace US          urgent_under_bulk: microseconds between round trips (default 50)\n"
	       "  --ablation WHAT    one-class: all messages in one class;\n"
	       "                     bounce: pages through a buffer and a copy\n"
	       "  --help             this text\n\n"
	       "Prints one JSON object; times are microseconds an operation, round trips whole.\n");
}

static void options(int argc, char **argv)
{
	static const char *const transports[] = { "tcp", "shm" };
	static const char *const polls[] = { "busy", "block" };
	static const char *const ablations[] = { "one-class", "bounce" };
	static const struct option longs[] = {
		{ "nodes", 1, NULL, 'N' }, { "transport", 1, NULL, 't' }, { "row", 1, NULL, 'r' },
		{ "size", 1, NULL, 's' }, { "class", 1, NULL, 'c' }, { "iters", 1, NULL, 'n' },
		{ "poll", 1, NULL, 'p' }, { "window", 1, NULL, 'w' }, { "threads", 1, NULL, 'T' },
		{ "pace", 1, NULL, 'P' }, { "ablation", 1, NULL, 'a' }, { "help", 0, NULL, 'h' },
		{ 0 }
	};
	int c;

	opt.size = 64;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'N':
			opt.nodes = number("nodes", optarg, 2, NODES_MAX);
			break;
		case 't':
			opt.shm = choice("transport", optarg, transports, 2);
			break;
		case 'r':
			opt.row = rows[choice("row", optarg, rows, 5)];
			break;
		case 's':
			opt.size = number("size", optarg, 0, PW_MSG_MAX);
			break;
		case 'c':
			opt.class = choice("class", optarg, class_names, PW_CLASSES);
			break;
		case 'n':
			opt.iters = number("iters", optarg, 10, 100000000);
			break;
		case 'p':
			opt.block = choice("poll", optarg, polls, 2);
			break;
		case 'w':
			opt.window = number("window", optarg, 1, WINDOW_MAX);
			break;
		case 'T':
			opt.threads = number("threads", optarg, 1, THREADS_MAX);
			break;
		case 'P':
			opt.pace = number("pace", optarg, 1, 1000000);
			break;
		case 'a':
			if (choice("ablation", optarg, ablations, 2))
				opt.bounce = true;
			else
				opt.one_class = true;
			break;
		case 'h':
			usage();
			exit(0);
		default:
			exit(2);
		}
	}
	if (optind >= argc || strcmp(argv[optind], "transport"))
		wrong("say what to measure: transport");
	if (optind + 1 < argc)
		wrong("what is '%s'?", argv[optind + 1]);
	if (!strcmp(opt.row, "rate") && opt.size > PW_PAYLOAD)
		wrong("--row rate takes messages of one frame, at most %u bytes", PW_PAYLOAD);
	/* Saturated: as many pages on their way as there are slots. */
	if (!opt.window)
		opt.window = !strcmp(opt.row, "urgent_under_bulk") ? SLOTS : 16;
	if (opt.class < 0)
		opt.class = !strcmp(opt.row, "urgent_under_bulk") ? PW_URGENT :
			    !strcmp(opt.row, "stream") ? PW_BULK : PW_SYNC;
}

int main(int argc, char **argv)
{
	options(argc, argv);
	return run();
}
