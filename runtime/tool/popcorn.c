// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * popcorn: look at the inter-kernel layer, find out why it doesn't run, and run programs
 * that share memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <popcorn/version.h>

#include "tool.h"

static const char usage[] =
"usage: popcorn [-R DIR] COMMAND [-j]\n"
"\n"
"  peers         all nodes: id, address, state and transport; * is a node of this kernel\n"
"  stat [-j]     what was sent and received, by peer, class and message type\n"
"  waits         who has waited for a peer for more than a second: peer, type, pid\n"
"  doctor [-j]   check modules, signing, nodes, RDMA device, MTU, firewall, key, clock, memory,\n"
"                and say what mends what is wrong\n"
"  run           a program as several nodes of this machine, without root and modules:\n"
"                popcorn run --nodes local:4 PROGRAM; see popcorn run --help\n"
"  bench dsm     what shared memory costs here: popcorn bench dsm --nodes local:2\n"
"  dsm-prof      which pages move between nodes, by whom and why; see popcorn dsm-prof --help\n"
"  checkpoint    a process that popcorn-cc has built, to a file: popcorn checkpoint PID FILE\n"
"  restore       goes on with it, on any of its ISAs: popcorn restore FILE\n"
"\n"
"  -j, --json    JSON\n"
"  -R, --root DIR  read /proc, /sys and /etc below DIR\n"
"  -h, --help    this\n"
"  -V, --version\n"
"\n"
"Exit status: 0, 1 if something is wrong, 2 if the command line is.\n";

/* --------------------------------------------------------------- doctor */

static enum level worst;
static bool json;
static unsigned int count[3];

void verdict(enum level level, const char *topic, const char *mend, const char *fmt, ...)
{
	static const char *const name[] = { "ok", "WARN", "FAIL" };
	static const char *const key[] = { "ok", "warn", "fail" };
	va_list ap;
	char *text;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		exit(EXIT_FAILED);
	va_end(ap);
	if (level > worst)
		worst = level;
	if (json) {
		printf("%s\n  {\"level\": \"%s\", \"topic\": \"%s\", \"text\": ",
		       count[0] + count[1] + count[2] ? "," : "[", key[level], topic);
		json_string(text);
		if (mend) {
			printf(", \"mend\": ");
			json_string(mend);
		}
		printf("}");
	} else {
		printf("%-4s  %-8s  %s\n", name[level], topic, text);
		if (mend)
			printf("%18s-> %s\n", "", mend);
	}
	count[level]++;
	free(text);
}

static int cmd_doctor(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-j") && strcmp(argv[i], "--json")) {
			fprintf(stderr, "popcorn: doctor takes only -j, not '%s'\n", argv[i]);
			return EXIT_USAGE;
		}
		json = true;
	}
	check_kernel();
	check_modules();
	check_signing();
	check_nodes();
	check_rdma();
	check_mtu();
	check_firewall();
	check_key();
	check_clock();
	check_memory();
	check_peers();
	if (json)
		printf("\n]\n");
	else
		printf("%u ok, %u to look at, %u wrong\n", count[OK], count[WARN], count[FAIL]);
	return worst == FAIL ? EXIT_FAILED : EXIT_OK;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "peers", cmd_peers },
	{ "stat", cmd_stat },
	{ "waits", cmd_waits },
	{ "doctor", cmd_doctor },
	{ "run", cmd_run },
	{ "bench", cmd_bench },
	{ "dsm-prof", cmd_dsm_prof },
	{ "checkpoint", cmd_checkpoint },
	{ "restore", cmd_restore },
};

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "root", required_argument, NULL, 'R' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 }
	};
	size_t i;
	int c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((c = getopt_long(argc, argv, "+R:hV", options, NULL)) != -1)
		switch (c) {
		case 'R':
			root = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_OK;
		case 'V':
			puts("popcorn " POPCORN_VERSION);
			return EXIT_OK;
		default:
			fputs("popcorn: see popcorn --help\n", stderr);
			return EXIT_USAGE;
		}
	argc -= optind;
	argv += optind;
	if (!argc) {
		fputs(usage, stderr);
		return EXIT_USAGE;
	}
	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) &&
	    strcmp(*argv, "run") && strcmp(*argv, "bench") && strcmp(*argv, "dsm-prof") &&
	    strcmp(*argv, "checkpoint") && strcmp(*argv, "restore")) {
		fputs(usage, stdout);
		return EXIT_OK;
	}
	for (i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(commands[i].name, *argv))
			return commands[i].run(argc, argv);
	fprintf(stderr, "popcorn: unknown command '%s': peers, stat, waits, doctor, run, bench, dsm-prof, "
		"checkpoint or restore\n", *argv);
	return EXIT_USAGE;
}
