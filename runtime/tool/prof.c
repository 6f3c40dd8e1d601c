// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * popcorn dsm-prof: record where shared memory waits for pages while a command runs.
 * In user mode the library writes it down, told so by POPCORN_DSM_PROF; in kernel
 * mode tracepoints of popcorn.ko do, read here. popcorn-dsm-report makes tables of it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

#define OUTPUT		"dsm-prof.data"
#define BUFFER_KB	"4096"	/* of events, each CPU */
#define LOOK_MS		100

static const char usage[] =
"usage: popcorn dsm-prof record [-k] [-o DIR] [--] COMMAND [ARGUMENT]...\n"
"       popcorn dsm-prof report [OPTION]... [DIR]...\n"
"\n"
"record: which accesses of COMMAND wait for pages of shared memory, and where these come from\n"
"  -o, --output DIR  new directory, default " OUTPUT "\n"
"  -k, --kernel      kernel mode: all that this machine's popcorn.ko does meanwhile, as root\n"
"\n"
"report: the pages that move most, variables that share a page and shouldn't, instructions that\n"
"wait; of all machines whose DIRs are given, default " OUTPUT ". See report --help.\n";

static int __attribute__((format(printf, 1, 2))) fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("popcorn: dsm-prof: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	return EXIT_FAILED;
}

/* ---------------------------------------------------------------- the command */

static pid_t child;

/* What ends us ends the command, and then its recording is finished. */
static void on_signal(int sig)
{
	if (child > 0 && sig != SIGINT)	/* SIGINT is the whole terminal's */
		kill(child, sig);
}

static int start(char **argv)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa = { .sa_handler = on_signal }, old;
	size_t i;

	for (i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)	/* nohup */
			sigaction(signals[i], &sa, NULL);
	child = fork();
	if (child < 0)
		return fail("fork: %s", strerror(errno));
	if (child)
		return 0;
	execvp(*argv, argv);
	fprintf(stderr, "popcorn: %s: %s\n", *argv, strerror(errno));
	_exit(127);
}

static int exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* -------------------------------------------------------------- kernel mode */

static char *instance;		/* of tracefs */

static const char *const events[] = { "fault", "end", "data", "inv" };

/* Return: 0 or -errno. */
static int put(const char *file, const char *text)
{
	char *path = xprintf("%s/%s", instance, file);
	int fd = open(path, O_WRONLY), e;

	e = fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	free(path);
	return e;
}

static void instance_end(void)
{
	int tries;

	put("events/enable", "0");
	for (tries = 0; rmdir(instance) && errno == EBUSY && tries < 10; tries++)
		usleep(10000);
	free(instance);
	instance = NULL;
}

/* An instance of tracefs for our events alone; the name keeps out a second one. */
static int instance_begin(void)
{
	char *file;
	size_t i;
	int e;

	if (!exists("/sys/kernel/tracing/instances"))
		return fail("%s", geteuid() ? "kernel mode is recorded by root" :
			    "no tracefs here: mount -t tracefs tracefs /sys/kernel/tracing");
	if (!exists("/sys/kernel/tracing/events/popcorn/popcorn_dsm_fault"))
		return fail("%s", exists("/sys/module/popcorn") ?
			    "the popcorn.ko that is loaded has no events of shared memory" :
			    "popcorn.ko isn't loaded: modprobe msg_rdma or msg_socket");
	instance = xprintf("%s/sys/kernel/tracing/instances/popcorn-dsm-prof", root);
	if (mkdir(instance, 0700) && errno == EEXIST) {
		if (rmdir(instance))	/* nobody's, if one was killed */
			return fail("another one records: %s", instance);
		mkdir(instance, 0700);
	}
	e = put("trace_clock", "mono") ?: put("buffer_size_kb", BUFFER_KB);
	for (i = 0; !e && i < sizeof(events) / sizeof(*events); i++) {
		file = xprintf("events/popcorn/popcorn_dsm_%s/enable", events[i]);
		e = put(file, "1");
		free(file);
	}
	if (!e)
		return 0;
	fail("tracefs: %s", strerror(-e));
	instance_end();
	return EXIT_FAILED;
}

static void copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY), out = -1;
	char buf[4096];
	ssize_t n;

	if (in >= 0)
		out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0644);
	while (out >= 0 && (n = read(in, buf, sizeof(buf))) > 0 && write(out, buf, n) == n)
		;
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
}

/* A line of the trace: the first of a process: where is its code? (The library says so, too.) */
static void see(const char *dir, const char *line)
{
	static unsigned long *seen;
	static size_t n;
	const char *at = strstr(line, " tgid=");
	unsigned long tgid = at ? strtoul(at + 6, NULL, 10) : 0;
	char *from, *to;
	size_t i;

	for (i = 0; i < n && seen[i] != tgid; i++)
		;
	if (!tgid || i < n)
		return;
	seen = grow(seen, n, sizeof(*seen));
	seen[n++] = tgid;
	from = xprintf("/proc/%lu/maps", tgid);
	to = xprintf("%s/%lu.maps", dir, tgid);
	copy(from, to);
	free(from);
	free(to);
}

/* What the trace has now. Return: 0 or -errno. */
static int drain(int pipe, FILE *out, const char *dir)
{
	static char line[512];
	static size_t used;
	char buf[16384];
	ssize_t n, i;

	while ((n = read(pipe, buf, sizeof(buf))) > 0) {
		if (fwrite(buf, 1, n, out) != (size_t)n)
			return -errno;
		for (i = 0; i < n; i++) {
			if (buf[i] != '\n') {
				if (used < sizeof(line) - 1)
					line[used++] = buf[i];
				continue;
			}
			line[used] = 0;
			used = 0;
			see(dir, line);
		}
	}
	return !n || errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static unsigned long long ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int record_kernel(const char *dir, char **argv)
{
	char *name = xprintf("%s/kernel", dir), *path;
	struct pollfd p = { .events = POLLIN };
	FILE *out = fopen(name, "we");
	int status = 0, e = 0;
	bool over = false;

	if (!out)
		return fail("%s: %s", name, strerror(errno));
	if (instance_begin())
		return EXIT_FAILED;
	path = xprintf("%s/trace_pipe", instance);
	p.fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	fprintf(out, "# popcorn dsm-prof 1 wall %llu\n", ns(CLOCK_REALTIME) - ns(CLOCK_MONOTONIC));
	if (p.fd < 0)
		fail("%s: %s", path, strerror(errno));
	if (p.fd < 0 || start(argv)) {
		instance_end();
		return EXIT_FAILED;
	}
	while (!over && !e) {
		poll(&p, 1, LOOK_MS);
		over = waitpid(child, &status, WNOHANG) == child;
		if (over)
			put("events/enable", "0");
		e = drain(p.fd, out, dir);
	}
	close(p.fd);
	instance_end();
	if (!over)
		waitpid(child, &status, 0);
	if (fclose(out) && !e)
		e = -errno;
	if (e)
		return fail("the recording ends early: %s", strerror(-e));
	free(name);
	free(path);
	return exit_status(status);
}

/* ----------------------------------------------------------------- user mode */

static bool is_any(const char *name, void *arg)
{
	(void)name;
	(void)arg;
	return true;
}

static bool is_record(const char *name, void *arg)
{
	(void)arg;
	return !strncmp(name, "user.", 5);
}

static int record_user(const char *dir, char **argv)
{
	int status;

	if (start(argv))
		return EXIT_FAILED;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (!each_name(dir, is_record, NULL))
		fail("nothing was recorded: '%s' opened no node in user mode", *argv);
	return exit_status(status);
}

static int cmd_record(int argc, char **argv)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "kernel", no_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	const char *dir = OUTPUT;
	bool kernel = false;
	char *full;
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, "+o:kh", options, NULL)) != -1)
		switch (c) {
		case 'o':
			dir = optarg;
			break;
		case 'k':
			kernel = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_OK;
		default:
			fputs("popcorn: see popcorn dsm-prof --help\n", stderr);
			return EXIT_USAGE;
		}
	if (optind == argc) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	if (mkdir(dir, 0755) && errno != EEXIST)
		return fail("%s: %s", dir, strerror(errno));
	if (each_name(dir, is_any, NULL))
		return fail("%s isn't an empty directory: remove it, or name another one with -o", dir);
	full = realpath(dir, NULL);
	if (!full || setenv("POPCORN_DSM_PROF", full, 1))
		return fail("%s: %s", dir, strerror(errno));
	return kernel ? record_kernel(full, argv + optind) : record_user(full, argv + optind);
}

int cmd_dsm_prof(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "record"))
		return cmd_record(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "report")) {
		argv[1] = "popcorn-dsm-report";
		return exec_own(argv + 1);
	}
	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	fputs(usage, stderr);
	return EXIT_USAGE;
}
