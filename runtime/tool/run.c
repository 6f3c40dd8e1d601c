// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * popcorn run: a program as several nodes of this machine, in user mode. Each process gets
 * its place in the environment, where popcorn_open() finds it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool.h"

#define NODES_MAX	64	/* what a region can have */

static const char usage[] =
"usage: popcorn run --nodes local:N [OPTION]... PROGRAM [ARGUMENT]...\n"
"\n"
"  -n, --nodes local:N    N processes of this machine, 1 to 64\n"
"  -w, --wire tcp|shm     how they speak, default shm\n"
"  -f, --fault thread|sigbus  who serves a fault: a thread of the library's, or the\n"
"                         thread that faults; default thread\n"
"  -s, --spin             look for messages rather than sleep; wants a core each\n"
"  -d, --dead MS          a node is dead that was not heard for so long, default 20000\n"
"\n"
"Exit status: the worst of the processes'; 128 + signal if one died by a signal.\n";

static volatile sig_atomic_t asked;	/* a signal that we were told to end by */
static pid_t pid[NODES_MAX];		/* 0: not there, or over */

static void end_all(int sig)
{
	unsigned int i;

	for (i = 0; i < NODES_MAX; i++)
		if (pid[i] > 0)
			kill(pid[i], sig);
}

static void on_signal(int sig)
{
	asked = sig;
	end_all(sig);
}

/* Signals that end us: kept back while processes are made, so that each gets them. */
static void hold_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(how, &set, NULL);
}

/* "local:N". Return: N or 0. */
static unsigned int parse_nodes(const char *s)
{
	char *end;
	unsigned long n;

	if (strncmp(s, "local:", 6))
		return 0;
	n = strtoul(s + 6, &end, 10);
	return end == s + 6 || *end || n > NODES_MAX ? 0 : n;
}

/*
 * Loopback addresses and a port below the ephemeral ones that are ours as long as we
 * live: both follow from the pid.
 */
#define PORTS		20000
#define PORT_FIRST	10000

static char *addresses(unsigned int n)
{
	char *s = xprintf("%s", ""), *more;
	unsigned int i;

	for (i = 0; i < n; i++) {
		more = xprintf("%s%s127.%u.0.%u", s, i ? "," : "",
			       1 + (unsigned int)getpid() / PORTS % 250, i + 1);
		free(s);
		s = more;
	}
	return s;
}

static pid_t start(unsigned int i, const char *wire, const char *nodes, unsigned int port,
		   char **argv)
{
	char *node = xprintf("user:%u:%s:%s", i, wire, nodes), *number = xprintf("%u", port);
	pid_t parent = getpid(), p = fork();

	if (p)
		goto out;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILED);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	hold_signals(SIG_UNBLOCK);
	setenv("POPCORN_NODE", node, 1);
	setenv("POPCORN_PORT", number, 1);
	execvp(*argv, argv);
	fprintf(stderr, "popcorn: %s: %s\n", *argv, strerror(errno));
	_exit(127);
out:
	free(node);
	free(number);
	return p;
}

/* Waits for all; when one dies by a signal, the others are ended. Return: the worst status. */
static int wait_all(unsigned int n)
{
	int worst = 0, status, code;
	unsigned int left = n, i;
	bool ended = false;
	pid_t p;

	while (left) {
		p = waitpid(-1, &status, 0);
		if (p < 0 && errno != EINTR)
			break;
		ended |= asked;
		for (i = 0; i < n && p > 0; i++) {
			if (pid[i] != p)
				continue;
			pid[i] = 0;
			left--;
			code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
			if (WIFSIGNALED(status) && !ended) {
				fprintf(stderr, "popcorn: node %u: %s; ending the others\n", i,
					strsignal(WTERMSIG(status)));
				end_all(SIGTERM);
				ended = true;
				worst = code;
			} else if (!ended && code > worst) {
				worst = code;
			}
		}
	}
	return asked && !worst ? 128 + asked : worst;
}

int cmd_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "nodes", required_argument, NULL, 'n' },
		{ "wire", required_argument, NULL, 'w' },
		{ "fault", required_argument, NULL, 'f' },
		{ "spin", no_argument, NULL, 's' },
		{ "dead", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	struct sigaction sa = { .sa_handler = on_signal };
	unsigned int n = 0, i;
	const char *wire = "shm";
	char *nodes;
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, "+n:w:f:sd:h", options, NULL)) != -1)
		switch (c) {
		case 'n':
			n = parse_nodes(optarg);
			if (n)
				break;
			fprintf(stderr, "popcorn: --nodes is local:N, N from 1 to %u, not '%s'\n",
				NODES_MAX, optarg);
			return EXIT_USAGE;
		case 'w':
			wire = optarg;
			break;
		case 'f':
			setenv("POPCORN_FAULT", optarg, 1);
			break;
		case 's':
			setenv("POPCORN_SPIN", "1", 1);
			break;
		case 'd':
			setenv("POPCORN_DEAD_MS", optarg, 1);
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_OK;
		default:
			fputs("popcorn: see popcorn run --help\n", stderr);
			return EXIT_USAGE;
		}
	if (strcmp(wire, "tcp") && strcmp(wire, "shm")) {
		fprintf(stderr, "popcorn: --wire is tcp or shm, not '%s'\n", wire);
		return EXIT_USAGE;
	}
	if (!n || optind == argc) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	nodes = addresses(n);
	hold_signals(SIG_BLOCK);
	for (i = 0; i < n; i++) {
		pid[i] = start(i, wire, nodes, PORT_FIRST + getpid() % PORTS, argv + optind);
		if (pid[i] < 0) {
			fprintf(stderr, "popcorn: fork: %s\n", strerror(errno));
			pid[i] = 0;
			end_all(SIGTERM);
			wait_all(i);
			return EXIT_FAILED;
		}
	}
	free(nodes);
	hold_signals(SIG_UNBLOCK);
	return wait_all(n);
}

/**
 * exec_own - become another program of ours, which is beside this one or in PATH
 * @argv: its name and arguments
 *
 * Return: only if that fails, an exit status.
 */
int exec_own(char **argv)
{
	char self[4096], *slash, *path;
	ssize_t len;

	len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (len > 0) {
		self[len] = 0;
		slash = strrchr(self, '/');
		if (slash) {
			*slash = 0;
			path = xprintf("%s/%s", self, *argv);
			execv(path, argv);
			if (errno == ENOENT && !access(path, X_OK)) {
				fprintf(stderr, "popcorn: %s needs python3: apt install python3\n", path);
				return EXIT_FAILED;
			}
			free(path);
		}
	}
	execvp(*argv, argv);
	fprintf(stderr, "popcorn: %s: %s\n", *argv, strerror(errno));
	return EXIT_FAILED;
}

int cmd_bench(int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[1], "dsm")) {
		fputs("usage: popcorn bench dsm --nodes local:N [OPTION]...; see popcorn bench dsm "
		      "--help\n", stderr);
		return EXIT_USAGE;
	}
	argv[1] = "popcorn-bench-dsm";
	return exec_own(argv + 1);
}
