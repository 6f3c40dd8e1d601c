// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * popcorn-dsm-sim: run the coherence protocol on many simulated nodes, from one seed or
 * many. A seed that fails prints how to run it again.
 */
#include <getopt.h>
#include <stdlib.h>

#include "sim.h"

const char *const bug_name[BUGS] = {
	"none", "drop-ack", "stale-grant", "early-write", "early-done", "silent-supplier",
	"early-ack", "no-protect", "short-notice"
};

const char *const fault_name[] = {
	"crash", "slow", "split", "dup", "nomem", "pin", "drop", NULL
};

static void usage(FILE *f)
{
	u32 i;

	fprintf(f, "usage: popcorn-dsm-sim [options]\n"
		"  --seed N, --seeds A-B   what to run (1)\n"
		"  --nodes N               of a region, 2 to 64 (drawn from the seed, as all below)\n"
		"  --regions N  --pages N  --threads N (of a node)  --ops N (in all)  --hold US\n"
		"  --faults LIST           none, all or some of");
	for (i = 0; fault_name[i]; i++)
		fprintf(f, "%s%s", i ? "," : " ", fault_name[i]);
	fprintf(f, " (all)\n  --bug NAME              break it:");
	for (i = 1; i < BUGS; i++)
		fprintf(f, " %s", bug_name[i]);
	fprintf(f, "\n"
		"  --barriers              barriers instead of pages; with --seed 0: what they cost the home\n"
		"  --fair                  nodes that do nothing but write to one page: the least share\n"
		"  --table FILE            refuse transitions that FILE doesn't list\n"
		"  --print-table           print the transitions that were taken\n"
		"  --trace                 print every event\n");
}

static bool number(const char *s, u64 lo, u64 hi, u64 *v)
{
	char *end;

	errno = 0;
	*v = strtoull(s, &end, 10);
	return !errno && end != s && !*end && *s != '-' && *v >= lo && *v <= hi;
}

static bool faults(const char *list, u32 *mask)
{
	char *word, copy[64];
	u32 i;

	*mask = 0;
	if (!strcmp(list, "none"))
		return true;
	if (!strcmp(list, "all")) {
		*mask = F_ALL;
		return true;
	}
	snprintf(copy, sizeof(copy), "%s", list);
	for (word = strtok(copy, ","); word; word = strtok(NULL, ",")) {
		for (i = 0; fault_name[i] && strcmp(word, fault_name[i]); i++)
			;
		if (!fault_name[i])
			return false;
		*mask |= 1u << i;
	}
	return true;
}

enum { O_SEED = 256, O_SEEDS, O_NODES, O_REGIONS, O_PAGES, O_THREADS, O_OPS, O_HOLD, O_FAULTS,
       O_BUG, O_TABLE, O_PRINT, O_FAIR, O_BARRIERS, O_TRACE, O_HELP };

static const struct option options[] = {
	{ "seed", 1, NULL, O_SEED }, { "seeds", 1, NULL, O_SEEDS }, { "nodes", 1, NULL, O_NODES },
	{ "regions", 1, NULL, O_REGIONS }, { "pages", 1, NULL, O_PAGES },
	{ "threads", 1, NULL, O_THREADS }, { "ops", 1, NULL, O_OPS }, { "hold", 1, NULL, O_HOLD },
	{ "faults", 1, NULL, O_FAULTS }, { "bug", 1, NULL, O_BUG }, { "table", 1, NULL, O_TABLE },
	{ "fair", 0, NULL, O_FAIR }, { "barriers", 0, NULL, O_BARRIERS }, { "print-table", 0, NULL, O_PRINT }, { "trace", 0, NULL, O_TRACE },
	{ "help", 0, NULL, O_HELP }, { NULL, 0, NULL, 0 }
};

/* What was given on the command line, but for the seeds. */
static void again(int argc, char **argv, u64 seed)
{
	int i;

	printf("run it again: build/bin/popcorn-dsm-sim --seed %llu", (unsigned long long)seed);
	for (i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "--seed", 6)) {
			i += !strchr(argv[i], '=');
			continue;
		}
		printf(" %s", argv[i]);
	}
	putchar('\n');
}

static int run_barriers(int argc, char **argv, u64 first, u64 last, u32 nodes)
{
	u64 seed, failed = 0;
	const char *why;

	if (!last) {
		for (nodes = 2; nodes <= PD_NODES; nodes *= 2)
			failed += bar_cost(nodes) != NULL;
		return failed != 0;
	}
	for (seed = first; seed <= last; seed++) {
		why = bar_run(seed, nodes);
		if (!why)
			continue;
		printf("seed %llu: %s\n", (unsigned long long)seed, why);
		again(argc, argv, seed);
		failed++;
	}
	printf("%llu seeds, %llu failed\n", (unsigned long long)(last - first + 1),
	       (unsigned long long)failed);
	return failed != 0;
}

int main(int argc, char **argv)
{
	static struct sim s;
	struct sim_cfg cfg = { .faults = F_ALL };
	u64 first = 1, last = 1, v = 0, seed, failed = 0;
	char line[256], *dash;
	bool print = false, ok = true, barriers = false;
	int o, i;

	while (ok && (o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case O_SEED:
			ok = number(optarg, 0, ~0ull, &first);
			last = first;
			break;
		case O_SEEDS:
			dash = strchr(optarg, '-');
			if (!dash) {
				ok = false;
				break;
			}
			*dash = 0;
			ok = number(optarg, 0, ~0ull - 1, &first) &&
			     number(dash + 1, first, ~0ull - 1, &last);
			*dash = '-';
			break;
		case O_NODES:
			ok = number(optarg, 2, PD_NODES, &v);
			cfg.nodes = v;
			break;
		case O_REGIONS:
			ok = number(optarg, 1, 1000, &v);
			cfg.regions = v;
			break;
		case O_PAGES:
			ok = number(optarg, 1, 10000, &v);
			cfg.pages = v;
			break;
		case O_THREADS:
			ok = number(optarg, 1, 100, &v);
			cfg.threads = v;
			break;
		case O_OPS:
			ok = number(optarg, 1, 10000000, &v);
			cfg.ops = v;
			break;
		case O_HOLD:
			ok = number(optarg, 1, 1000000, &v);
			cfg.hold_us = v;
			break;
		case O_FAULTS:
			ok = faults(optarg, &cfg.faults);
			break;
		case O_BUG:
			for (i = 1; i < BUGS && strcmp(optarg, bug_name[i]); i++)
				;
			ok = i < BUGS;
			cfg.bug = i;
			break;
		case O_TABLE:
			o = table_load(optarg);
			if (o) {
				fprintf(stderr, "%s: %s\n", optarg, strerror(-o));
				return 2;
			}
			break;
		case O_BARRIERS:
			barriers = true;
			break;
		case O_FAIR:
			cfg.fair = true;
			break;
		case O_PRINT:
			print = true;
			break;
		case O_TRACE:
			cfg.trace = true;
			break;
		case O_HELP:
			usage(stdout);
			return 0;
		default:
			ok = false;
		}
	}
	if (!ok || optind < argc) {
		usage(stderr);
		return 2;
	}
	if (barriers)
		return run_barriers(argc, argv, first, last, cfg.nodes);
	for (seed = first; seed <= last; seed++) {
		cfg.seed = seed;
		o = sim_run(&s, &cfg);
		while (!cfg.bug && table_unknown(line, sizeof(line))) {
			printf("seed %llu: not in the table: %s\n", (unsigned long long)seed, line);
			o = 1;
		}
		if (s.why[0])
			printf("seed %llu: at %llu: %s\n", (unsigned long long)seed,
			       (unsigned long long)s.now, s.why);
		if (cfg.fair && !o)
			printf("seed %llu: %u writers, least share %u %%\n",
			       (unsigned long long)seed, s.cfg.nodes, sim_share(&s));
		if (o) {
			again(argc, argv, seed);
			failed++;
		}
		if (first == last && !print)
			printf("%sseed %llu: %u nodes, %u regions, %u pages, %llu operations, %llu faults, "
			       "%llu messages, %llu put off, %llu deaths, %llu lost\n", o ? "# " : "",
			       (unsigned long long)seed, s.cfg.nodes, s.cfg.regions, s.cfg.pages,
			       (unsigned long long)s.ops, (unsigned long long)s.faults,
			       (unsigned long long)s.msgs, (unsigned long long)s.deferred,
			       (unsigned long long)s.deaths, (unsigned long long)s.lost);
	}
	if (print)
		table_print(stdout);
	else
		printf("%llu seeds, %llu failed\n", (unsigned long long)(last - first + 1),
		       (unsigned long long)failed);
	return failed != 0;
}
