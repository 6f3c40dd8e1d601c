// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Rows of the user-space floors (round trip, fetch, stream, rate), run over any channel. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "floor.h"

/* Time per page or message is taken over this many of them, so that bursts even out. */
#define BATCH 64

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void floor_die(const char *what, int err)
{
	if (err)
		fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(err));
	else
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
	exit(1);
}

static void usage(FILE *f, const char *what, const char *modes)
{
	fprintf(f,
		"Usage: %s [OPTION]... [ADDRESS]\n"
		"%s\n\n"
		"  --row ROW      rtt, fetch, stream, rate or all (default all)\n"
		"  --mode MODE    %s or all (default all)\n"
		"  --size BYTES   one size for rtt (default: 64 to 65536)\n"
		"  --iters N      measured operations a row (default 10000)\n"
		"  --window N     messages on their way, stream and rate (default 16)\n"
		"  --name NAME    prefix of \"name\" in the output\n\n"
		"Prints one JSON object a line; times are microseconds per operation.\n",
		program_invocation_short_name, what, modes);
}

static size_t number(const char *opt, const char *s, size_t min, size_t max)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || end == s || *s == '-' || v < min || v > max) {
		fprintf(stderr, "%s: --%s takes a number from %zu to %zu, not '%s'\n",
			program_invocation_short_name, opt, min, max, s);
		exit(2);
	}
	return v;
}

static int one_of(const char *s, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(s, *list))
			return 1;
	return 0;
}

void floor_options(int argc, char **argv, const char *what, const char *modes,
		   struct floor_opts *o)
{
	static const char *const rows[] = { "rtt", "fetch", "stream", "rate", "all", NULL };
	static const struct option longs[] = {
		{ "row", required_argument, NULL, 'r' },
		{ "mode", required_argument, NULL, 'm' },
		{ "size", required_argument, NULL, 's' },
		{ "iters", required_argument, NULL, 'n' },
		{ "window", required_argument, NULL, 'w' },
		{ "name", required_argument, NULL, 'N' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	int c;

	*o = (struct floor_opts){ .row = "all", .mode = "all", .iters = 10000, .window = 16 };
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (c) {
		case 'r':
			o->row = optarg;
			break;
		case 'm':
			o->mode = optarg;
			break;
		case 's':
			o->size = number("size", optarg, 8, FLOOR_MAX);
			break;
		case 'n':
			o->iters = number("iters", optarg, 10, 100000000);
			break;
		case 'w':
			o->window = number("window", optarg, 2, 64);
			break;
		case 'N':
			o->name = optarg;
			break;
		case 'h':
			usage(stdout, what, modes);
			exit(0);
		default:
			exit(2);
		}
	}
	if (!one_of(o->row, rows)) {
		fprintf(stderr, "%s: no row '%s' (rtt, fetch, stream, rate, all)\n",
			program_invocation_short_name, o->row);
		exit(2);
	}
	if (strcmp(o->mode, "all") && !strstr(modes, o->mode)) {
		fprintf(stderr, "%s: no mode '%s' (%s)\n", program_invocation_short_name, o->mode,
			modes);
		exit(2);
	}
	if (optind < argc)
		o->arg = argv[optind++];
	if (optind < argc)
		floor_die("too many arguments (see --help)", 0);
	/* Lines must not wait in a buffer that a fork would print twice. */
	setvbuf(stdout, NULL, _IOLBF, 0);
}

int floor_mode_on(const struct floor_opts *o, const char *mode)
{
	return !strcmp(o->mode, "all") || !strcmp(o->mode, mode);
}

void floor_pin(int nth)
{
	/* Remembered: a process that is pinned already sees only its own CPU. */
	static cpu_set_t all;
	cpu_set_t one;
	int cpu, n;

	if (!CPU_COUNT(&all) && (sched_getaffinity(0, sizeof(all), &all) || !CPU_COUNT(&all)))
		return;
	n = nth % CPU_COUNT(&all);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && n-- == 0)
			break;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		fprintf(stderr, "%s: can't pin to CPU %d, figures will be noisier\n",
			program_invocation_short_name, cpu);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void report(const char *name, const char *row, size_t size, uint64_t *ns, size_t n,
		   unsigned int per)
{
	double sum = 0, us = 1e3 * per;
	size_t i;

	qsort(ns, n, sizeof(*ns), by_value);
	for (i = 0; i < n; i++)
		sum += (double)ns[i];
	printf("{\"name\": \"%s\", \"row\": \"%s\", \"size\": %zu, \"unit\": \"us\", "
	       "\"median\": %.3f, \"p99\": %.3f, \"p999\": %.3f, \"min\": %.3f, \"avg\": %.3f, "
	       "\"iters\": %zu}\n", name, row, size, (double)ns[n / 2] / us,
	       (double)ns[n * 99 / 100] / us, (double)ns[n * 999 / 1000] / us, (double)ns[0] / us,
	       sum / (double)n / us, n * per);
}

/* One request, one answer; the answer is a page in a fetch. */
static int row_ping(struct floor_chan *c, enum floor_side side, size_t ask, size_t answer,
		    size_t iters, uint64_t *ns)
{
	int (*reply)(struct floor_chan *, size_t) = ask != answer && c->put ? c->put : c->send;
	size_t i, warm = iters / 10;
	uint64_t t, last;
	int err;

	for (i = 0, last = now_ns(); i < warm + iters; i++, last = t) {
		if (side == FLOOR_CLIENT)
			err = c->send(c, ask) ?: c->recv(c, answer);
		else
			err = c->recv(c, ask) ?: reply(c, answer);
		if (err)
			return err;
		t = now_ns();
		if (i >= warm)
			ns[i - warm] = t - last;
	}
	return 0;
}

/*
 * The server sends without a pause while fewer than @window messages are unacknowledged; the
 * client acknowledges each half window. @n is a multiple of BATCH and of half the window.
 */
static int row_window(struct floor_chan *c, enum floor_side side, size_t size, size_t n,
		      size_t window, uint64_t *ns)
{
	int (*put)(struct floor_chan *, size_t) = size == FLOOR_PAGE && c->put ? c->put : c->send;
	size_t i, half = window / 2, room = half * 2;
	uint64_t t, last;
	int err;

	if (side == FLOOR_SERVER) {
		err = c->recv(c, FLOOR_REQUEST);
		for (i = 0; !err && i < n; i++) {
			if (!room) {
				err = c->recv(c, FLOOR_REQUEST);
				room = half;
			}
			err = err ?: put(c, size);
			room--;
		}
		/* What is still unacknowledged: the next row must find an empty wire. */
		for (i = (half * 2 - room) / half; !err && i; i--)
			err = c->recv(c, FLOOR_REQUEST);
		return err;
	}
	err = c->send(c, FLOOR_REQUEST);
	for (i = 1, last = now_ns(); !err && i <= n; i++) {
		err = c->recv(c, size);
		if (!err && i % half == 0)
			err = c->send(c, FLOOR_REQUEST);
		if (i % BATCH == 0) {
			t = now_ns();
			ns[i / BATCH - 1] = t - last;
			last = t;
		}
	}
	return err;
}

static int wanted(const struct floor_opts *o, const char *row)
{
	return !strcmp(o->row, "all") || !strcmp(o->row, row);
}

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

int floor_rows(struct floor_chan *c, const struct floor_opts *o, enum floor_side side,
	       const char *name)
{
	size_t from = o->size ? o->size : FLOOR_REQUEST, to = o->size ? o->size : FLOOR_MAX;
	size_t half = o->window / 2, n = round_up(o->iters, BATCH * half), size;
	uint64_t *ns = calloc(o->iters, sizeof(*ns));
	uint64_t *batch = calloc(n / BATCH, sizeof(*batch));
	int err = ns && batch ? 0 : -ENOMEM;

	for (size = from; !err && wanted(o, "rtt") && size <= to; size *= 4) {
		err = row_ping(c, side, size, size, o->iters, ns);
		if (!err && side == FLOOR_CLIENT)
			report(name, "rtt", size, ns, o->iters, 1);
	}
	if (!err && wanted(o, "fetch")) {
		err = row_ping(c, side, FLOOR_REQUEST, FLOOR_PAGE, o->iters, ns);
		if (!err && side == FLOOR_CLIENT)
			report(name, "fetch", FLOOR_PAGE, ns, o->iters, 1);
	}
	if (!err && wanted(o, "stream")) {
		err = row_window(c, side, FLOOR_PAGE, n, o->window, batch);
		if (!err && side == FLOOR_CLIENT)
			report(name, "stream", FLOOR_PAGE, batch, n / BATCH, BATCH);
	}
	if (!err && wanted(o, "rate")) {
		err = row_window(c, side, FLOOR_REQUEST, n, o->window, batch);
		if (!err && side == FLOOR_CLIENT)
			report(name, "rate", FLOOR_REQUEST, batch, n / BATCH, BATCH);
	}
	/* The client goes only when it knows that its last acknowledgement has arrived. */
	if (!err)
		err = side == FLOOR_SERVER ? c->send(c, FLOOR_REQUEST) : c->recv(c, FLOOR_REQUEST);
	if (err)
		fprintf(stderr, "%s: %s end: %s\n", program_invocation_short_name,
			side == FLOOR_SERVER ? "answering" : "asking", strerror(-err));
	free(batch);
	free(ns);
	return err;
}

int floor_reap(int pid, int err)
{
	int status;

	if (err)
		kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid)
		return 1;
	return err || !WIFEXITED(status) || WEXITSTATUS(status);
}
