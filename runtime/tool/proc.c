// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What popcorn.ko shows in /proc, for people and for programs.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tool.h"

#define WORDS	12

/* The file's text; with an error told if it isn't there. */
static char *proc_file(const char *name)
{
	char *s = slurp("/proc/popcorn_%s", name);

	if (s)
		return s;
	if (errno == ENOENT)
		fprintf(stderr, "popcorn: popcorn.ko is not loaded: modprobe msg_rdma (or msg_socket);"
			" popcorn doctor says what is missing\n");
	else
		fprintf(stderr, "popcorn: /proc/popcorn_%s: %s\n", name, strerror(errno));
	return NULL;
}

/* Cuts the next line off *s and into words; the last word has the rest. */
static int words(char **s, char *w[WORDS], int max)
{
	char *line = strsep(s, "\n");
	int n = 0;

	while (line && *(line += strspn(line, " \t")))
		if (n == max - 1) {
			w[n++] = line;
			break;
		} else {
			w[n++] = strsep(&line, " \t");
		}
	return n;
}

static bool no_options(int argc, char **argv)
{
	if (argc > 1)
		fprintf(stderr, "popcorn: %s takes no '%s'; see popcorn --help\n", argv[0], argv[1]);
	return argc == 1;
}

static bool only_json(int argc, char **argv, bool *json)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-j") && strcmp(argv[i], "--json")) {
			fprintf(stderr, "popcorn: %s takes only -j, not '%s'\n", argv[0], argv[i]);
			return false;
		}
		*json = true;
	}
	return true;
}

/* ------------------------------------------------------------------- peers */

/* Columns of /proc/popcorn_peers. */
enum { MARK, NODE, ID, ADDRESS, STATE, WIRE, SESSIONS, ATTEMPTS, ERROR, REFUSAL, COLUMNS };

struct peer {
	char *w[COLUMNS];
};

static struct peer *peers_read(char *text, size_t *n)
{
	struct peer *peers = NULL;
	char *w[WORDS];

	*n = 0;
	while (text)
		if (words(&text, w, COLUMNS) == COLUMNS && *w[MARK] != '#') {
			peers = grow(peers, *n, sizeof(*peers));
			memcpy(peers[(*n)++].w, w, sizeof(peers->w));
		}
	return peers;
}

/* What keeps a link from being up, or "". */
static const char *trouble(const struct peer *p)
{
	static char buf[96];
	int error = -atoi(p->w[ERROR]);

	if (!strcmp(p->w[STATE], "up") || !strcmp(p->w[STATE], "own"))
		return "";
	if (strcmp(p->w[REFUSAL], "-"))
		return p->w[REFUSAL];
	if (!error)
		return "";
	snprintf(buf, sizeof(buf), "%s", strerror(error));
	return buf;
}

int cmd_peers(int argc, char **argv)
{
	struct peer *peers;
	char *text;
	size_t i, n;
	int locals = 0, width = 7;

	if (!no_options(argc, argv))
		return EXIT_USAGE;
	text = proc_file("peers");
	if (!text)
		return EXIT_FAILED;
	peers = peers_read(text, &n);
	for (i = 0; i < n; i++) {
		locals += *peers[i].w[MARK] == '*';
		if ((int)strlen(peers[i].w[ADDRESS]) > width)
			width = strlen(peers[i].w[ADDRESS]);
	}
	if (!n)
		printf("no nodes yet: load msg_rdma or msg_socket\n");
	for (i = 0; i < n; i++) {
		char **w = peers[i].w;

		/* One table for each node of this kernel. */
		if (!i || strcmp(w[NODE], peers[i - 1].w[NODE])) {
			if (locals > 1)
				printf("%snode %s sees:\n", i ? "\n" : "", w[NODE]);
			printf("  %5s  %-*s  %-10s  %s\n", "id", width, "address", "state",
			       "transport");
		}
		printf("%c %5s  %-*s  %-10s  %s%s%s\n", *w[MARK] == '*' ? '*' : ' ', w[ID], width,
		       w[ADDRESS], w[STATE], w[WIRE], *trouble(&peers[i]) ? "  " : "",
		       trouble(&peers[i]));
	}
	free(peers);
	free(text);
	return EXIT_OK;
}

void check_peers(void)
{
	char *text = slurp("/proc/popcorn_peers"), *mend;
	struct peer *peers;
	size_t i, n, up = 0, told = 0, links = 0;

	if (!text)
		return;
	peers = peers_read(text, &n);
	for (i = 0; i < n; i++) {
		char **w = peers[i].w;

		if (*w[MARK] == '*')
			continue;
		links++;
		if (!strcmp(w[STATE], "up") || !strcmp(w[STATE], "idle")) {
			up += *w[STATE] == 'u';
			continue;
		}
		if (++told > 16)
			continue;
		mend = xprintf("popcorn doctor there; ping -c 3 %s", w[ADDRESS]);
		verdict(WARN, "peers", mend, "node %s to node %s (%s): %s%s%s", w[NODE], w[ID],
			w[ADDRESS], w[STATE], *trouble(&peers[i]) ? ": " : "", trouble(&peers[i]));
		free(mend);
	}
	if (links)
		verdict(OK, "peers", NULL, "links: %zu, up %zu, idle %zu", links, up,
			links - up - told);
	free(peers);
	free(text);
}

/* -------------------------------------------------------------------- stat */

static void json_value(const char *s)
{
	char *end;

	strtod(s, &end);
	if (*s && !*end)
		printf("%s", s);
	else
		json_string(s);
}

/*
 * "NAME VALUE" lines are members. Lines after a "# KIND column ..." heading
 * begin with KIND and are objects of an array, named by the columns.
 */
static void stat_json(char *text)
{
	char head[WORDS][32], kind[32] = "", *w[WORDS];
	int n, i, columns = 0;
	bool first = true, in_array = false;

	printf("{");
	while (text) {
		n = words(&text, w, WORDS);
		if (!n)
			continue;
		if (*w[0] == '#') {
			if (in_array)
				printf("]");
			snprintf(kind, sizeof(kind), "%s", n > 1 ? w[1] : "");
			columns = n - 2;
			for (i = 0; i < columns; i++)
				snprintf(head[i], sizeof(head[i]), "%s", w[i + 2]);
			printf("%s\n  ", first ? "" : ",");
			json_string(kind);
			printf(": [");
			in_array = true;
			first = true;
		} else if (in_array && !strcmp(w[0], kind)) {
			/* A row may have its own name first, which the heading hasn't. */
			int extra = n - 1 - columns;

			printf("%s\n    {", first ? "" : ",");
			for (i = 1; i < n; i++) {
				const char *name = i <= extra ? "name" : head[i - 1 - extra];

				printf("%s", i > 1 ? ", " : "");
				json_string(name);
				printf(": ");
				json_value(w[i]);
			}
			printf("}");
			first = false;
		} else if (n > 1) {
			printf("%s\n  ", first ? "" : ",");
			json_string(w[0]);
			printf(": ");
			json_value(w[1]);
			first = false;
		}
	}
	printf("%s\n}\n", in_array ? "]" : "");
}

int cmd_stat(int argc, char **argv)
{
	bool json = false;
	char *text;

	if (!only_json(argc, argv, &json))
		return EXIT_USAGE;
	text = proc_file("stat");
	if (!text)
		return EXIT_FAILED;
	if (json)
		stat_json(text);
	else
		puts(text);
	free(text);
	return EXIT_OK;
}

/* ------------------------------------------------------------------- waits */

/* Columns of /proc/popcorn_waits. */
enum { W_NODE, W_PEER, W_CLASS, W_TYPE, W_PID, W_MS, W_COLUMNS };

int cmd_waits(int argc, char **argv)
{
	char *text, *rest, *w[WORDS];
	bool any = false;

	if (!no_options(argc, argv))
		return EXIT_USAGE;
	text = proc_file("waits");
	if (!text)
		return EXIT_FAILED;
	for (rest = text; rest;) {
		char *comm;

		if (words(&rest, w, W_COLUMNS) != W_COLUMNS || *w[W_NODE] == '#')
			continue;
		if (!any)
			printf("%5s %5s  %-6s %5s %8s %9s  %s\n", "node", "peer", "class", "type", "pid",
			       "seconds", "program");
		any = true;
		comm = slurp("/proc/%s/comm", w[W_PID]);
		printf("%5s %5s  %-6s %5s %8s %9.1f  %s\n", w[W_NODE], w[W_PEER], w[W_CLASS],
		       w[W_TYPE], w[W_PID], atof(w[W_MS]) / 1000, comm ? comm : "-");
		free(comm);
	}
	if (!any)
		printf("nobody has waited for more than a second\n");
	free(text);
	return EXIT_OK;
}
