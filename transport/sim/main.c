// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * popcorn-sim: run the transport core on many simulated nodes, from a seed or
 * from many seeds at once. A seed that fails prints how to run it again.
 */
#include <getopt.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim.h"

const char *const bug_name[BUGS] = {
	"none", "free-on-timeout", "no-drain", "forget-replay", "dup-deliver", "over-consume",
	"slow-clock", "early-reuse", "lose-answer"
};

const char *const fault_name[] = {
	"lane", "cut", "oneway", "split", "crash", "bye", "pause", "stop", "slow", "refuse",
	"forever", NULL
};

#define SEED_SECONDS	200		/* of CPU time: no run hangs */

static int hmac(void *ctx, const void *data, u32 len, u8 out[32])
{
	/* Not a MAC: the sim has no adversary. The handshake's tests have. */
	const u8 *p = data;
	u64 h = 0x9e3779b97f4a7c15ull;
	int i;

	(void)ctx;
	while (len--)
		h = sim_mix(h ^ *p++);
	for (i = 0; i < 4; i++) {
		u64 x = sim_mix(h + i);

		memcpy(out + 8 * i, &x, 8);
	}
	return 0;
}

static void draw_bytes(void *ctx, void *buf, u32 len)
{
	struct snode *n = ctx;
	u8 *p = buf;

	while (len--)
		*p++ = sim_rand(n->s);
}

static const struct pt_env env = { hmac, draw_bytes };

/* Neighbours on a ring and a few far away: links are sparse in large clusters. */
static void meet_neighbours(struct sim *s, struct snode *n)
{
	u32 max = s->n - 1 < 6 ? s->n - 1u : 6, i;

	n->neighbour = sim_alloc(s, max * sizeof(*n->neighbour));
	n->neighbours = max;
	for (i = 0; i < max; i++) {
		u16 id;

		if (s->n <= 7)
			id = i;
		else
			id = i < 3 ? (n->id + 1 + i) % s->n : sim_below(s, s->n - 1);
		if (s->n <= 7 || i >= 3)
			id += id >= n->id;
		n->neighbour[i] = id;
	}
}

/* Sizes and times of this run. Times are short, so that much happens in little. */
static void draw_config(struct sim *s)
{
	u32 kind = sim_below(s, 100);

	if (!s->n)
		s->n = kind < 90 ? 2 + sim_below(s, 9) : kind < 98 ? 11 + sim_below(s, 30) : 200;
	if (!s->time)
		s->time = s->n >= 100 ? 1 * SEC : s->n > 10 ? 2 * SEC : 3 * SEC;
	s->cfg.window = PW_FRAMES_MAX + sim_below(s, 32);
	s->cfg.slots = 4 + sim_below(s, 29);
	s->cfg.prepaid = 32 + sim_below(s, 16);
	s->cfg.hb_ms = 20 + sim_below(s, 80);
	s->cfg.lease_ms = s->cfg.hb_ms * (3 + sim_below(s, 8));
	s->cfg.dead_ms = s->cfg.lease_ms + 50 + sim_below(s, 500);
	s->cfg.connect_ms = 100 + sim_below(s, 200);
	s->cfg.backoff_ms = 1 + sim_below(s, 20);
	s->lat_lo = 1 + sim_below(s, 50);
	s->lat_hi = s->lat_lo + sim_spread(s, 1, 20000);
	s->think = sim_spread(s, 500, 10000);
	s->fault_gap = sim_spread(s, s->n < 50 ? 20 : 2, 500);
	s->retry_lo = 5 + sim_below(s, 100);
	s->retry_hi = s->retry_lo + 1 + sim_below(s, 1000);
	s->sq = 1 + sim_spread(s, 0, 64);
	s->frames = 1 + sim_spread(s, 1, 40);
	s->mix_imm = sim_chance(s, 500);
	s->imm = sim_chance(s, 600);
	if (s->n > 10)
		s->think *= s->n < 100 ? 3 : 8;
	if (!s->reconnects)
		return;
	/* Nothing but pages, wires that fail all the time, and a handful of frames. */
	s->faults = F_LANE;
	s->cfg.backoff_ms = 1;
	s->lat_hi = s->lat_lo + 200;
	s->think = 60;
	s->fault_gap = 4;
	s->frames = 6;
	s->mix_imm = true;
	s->time = FOREVER;
}

void sim_init(struct sim *s)
{
	struct snode *n;
	void *blk;
	u16 i;

	s->rng = sim_mix(s->seed ^ 0x706f70636f726eull);
	draw_config(s);
	if (pt_cfg_check(&s->cfg))
		sim_fail(s, "impossible configuration");
	s->nodes = sim_alloc(s, s->n * sizeof(*s->nodes));
	s->cut = sim_alloc(s, s->n * s->n);
	pt_table_init(&s->table, "sim");
	for (i = 0; i < s->n; i++) {
		struct pt_addr a = { { [10] = 0xff, [11] = 0xff, [12] = 10, [14] = i >> 8, [15] = i } };
		bool took;

		blk = i & 255 ? NULL : sim_alloc(s, 256 * sizeof(struct pt_table_entry));
		if (pt_table_add(&s->table, &a, blk, &took) != i)
			sim_fail(s, "node table");
	}
	for (i = 0; i < s->n; i++) {
		n = &s->nodes[i];
		n->s = s;
		n->id = i;
		n->clock_off = SEC + sim_below(s, 1000 * SEC);
		n->clock_ppm = (s32)sim_below(s, 401) - 200;
		if (s->bug == BUG_SLOW_CLOCK && !(i % 2))
			n->clock_ppm = -666667;
		n->pn.id = i;
		n->pn.cfg = s->cfg;
		if (sim_chance(s, 200)) {
			n->pn.cfg.slots = 4 + sim_below(s, 29);
			n->pn.cfg.window = PW_FRAMES_MAX + sim_below(s, 64);
		}
		n->pn.table = &s->table;
		n->pn.env = &env;
		n->pn.ctx = n;
		n->pn.has_key = s->seed & 1;
		n->pn.arch = PW_ARCH_X86_64;
		n->pn.page_shift = 12;
		n->link = sim_alloc(s, s->n * sizeof(*n->link));
		meet_neighbours(s, n);
	}
	for (i = 0; i < s->n; i++)
		node_boot(s, &s->nodes[i]);
}

/* Long enough that whoever can answer has answered, and whoever can't is dead. */
static u64 settle(const struct sim *s)
{
	return (2 * s->cfg.dead_ms + 100 * s->cfg.backoff_ms + 4 * s->cfg.connect_ms + 2000) * MS +
	       2ull * s->retry_hi * MS;
}

void sim_run(struct sim *s)
{
	u64 end = s->time;

	faults_start(s);
	while (!(s->reconnects && s->st.sessions >= 2 * s->reconnects) && sim_step(s, end))
		;
	s->quiet = true;
	faults_heal(s);
	end = s->now + settle(s);
	while (sim_step(s, end))
		;
	load_quiet(s, !(s->faults & F_FOREVER));
}

static void report(const struct sim *s)
{
	printf("seed %llu: %u nodes, %.1f s: %llu messages (%llu delivered), %llu requests "
	       "(%llu answered, %llu timed out, %llu killed, %llu failed), %llu pages, "
	       "%llu sessions, %llu faults, %llu crashes, %llu deaths, %llu leases lost, "
	       "%llu late answers, %llu receives missed, %llu events, %llu KiB\n",
	       (unsigned long long)s->seed, s->n, s->now / 1e6, (unsigned long long)s->st.sent,
	       (unsigned long long)s->st.delivered, (unsigned long long)s->st.asked,
	       (unsigned long long)s->st.answered, (unsigned long long)s->st.timeouts,
	       (unsigned long long)s->st.killed, (unsigned long long)s->st.failed,
	       (unsigned long long)s->st.pages, (unsigned long long)s->st.sessions,
	       (unsigned long long)s->st.faults, (unsigned long long)s->st.crashes,
	       (unsigned long long)s->st.deaths, (unsigned long long)s->st.lease_lost,
	       (unsigned long long)s->st.late, (unsigned long long)s->st.rnr,
	       (unsigned long long)s->st.events, (unsigned long long)s->mem_max >> 10);
}

static const char usage[] =
"usage: popcorn-sim [options]\n"
"Run the transport core on a simulated cluster that fails in random ways.\n"
"  --seed N          run this seed (default 1)\n"
"  --seeds A-B       run all of these\n"
"  -j, --jobs N      processes for --seeds (default: one a CPU)\n"
"  --nodes N         nodes, 2 to 4000 (default: drawn from the seed)\n"
"  --time MS         virtual time of work (default: by number of nodes)\n"
"  --faults LIST     lane,cut,oneway,split,crash,bye,pause,stop,slow,refuse,forever;\n"
"                    all (default: all but forever, and that for each eighth seed), none\n"
"  --scenario reconnect[:N]   N (10000) reconnects with pages in flight\n"
"  --bug NAME        do something wrong that the checks must catch: free-on-timeout,\n"
"                    no-drain, forget-replay, dup-deliver, over-consume, slow-clock,\n"
"                    early-reuse, lose-answer\n"
"  -v, --verbose     say what happens\n"
"Exit status: 0 all is well, 1 a check failed, 2 bad usage.\n";

static void __attribute__((noreturn)) bad(const char *what, const char *arg)
{
	fprintf(stderr, "popcorn-sim: %s '%s'; see --help\n", what, arg);
	exit(2);
}

static u64 number(const char *arg)
{
	char *end;
	u64 n = strtoull(arg, &end, 0);

	if (*end || end == arg)
		bad("not a number", arg);
	return n;
}

static u32 parse_faults(char *list)
{
	u32 set = 0, i;
	char *name;

	for (name = strtok(list, ","); name; name = strtok(NULL, ",")) {
		if (!strcmp(name, "all")) {
			set |= F_ALL & ~F_FOREVER;
			continue;
		}
		if (!strcmp(name, "none"))
			continue;
		for (i = 0; fault_name[i] && strcmp(fault_name[i], name); i++)
			;
		if (!fault_name[i])
			bad("no such fault", name);
		set |= 1u << i;
	}
	return set;
}

static void run_one(const struct sim *conf, u64 seed, const char *args, bool faults_given)
{
	struct sim s = *conf;

	setrlimit(RLIMIT_CPU, &(struct rlimit){ SEED_SECONDS, SEED_SECONDS });
	s.seed = seed;
	if (!faults_given)
		s.faults = F_ALL & ~(seed % 8 ? F_FOREVER : 0);
	snprintf(s.rerun, sizeof(s.rerun), "build/bin/popcorn-sim --seed %llu%s",
		 (unsigned long long)seed, args);
	sim_init(&s);
	sim_run(&s);
	if (conf->verbose >= 0)
		report(&s);
}

/* Each seed in a process of its own: one that crashes or hangs is one that fails. */
static int run_many(const struct sim *conf, u64 from, u64 to, long jobs, const char *args,
		    bool faults_given)
{
	u64 next = from, failed = 0, done = 0;
	struct { pid_t pid; u64 seed; } job[64] = { 0 };
	long running = 0, i;

	if (jobs < 1)
		jobs = 1;
	if (jobs > 64)
		jobs = 64;
	while (next <= to || running) {
		int status;
		pid_t pid;

		if (next <= to && running < jobs && failed < 10) {
			for (i = 0; job[i].pid; i++)
				;
			fflush(stdout);
			job[i].seed = next++;
			job[i].pid = fork();
			if (job[i].pid < 0) {
				perror("popcorn-sim: fork");
				return 1;
			}
			if (!job[i].pid) {
				run_one(conf, job[i].seed, args, faults_given);
				fflush(stdout);
				_exit(0);
			}
			running++;
			continue;
		}
		if (!running)
			break;
		pid = wait(&status);
		for (i = 0; i < jobs && job[i].pid != pid; i++)
			;
		if (i == jobs)
			continue;
		job[i].pid = 0;
		running--;
		done++;
		if (status) {
			failed++;
			if (WIFSIGNALED(status))
				printf("seed %llu: %s\nrun it again: build/bin/popcorn-sim --seed %llu%s\n",
				       (unsigned long long)job[i].seed,
				       WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGXCPU ? "never ends" :
				       strsignal(WTERMSIG(status)),
				       (unsigned long long)job[i].seed, args);
			else if (WEXITSTATUS(status) != 1)
				printf("seed %llu: exit %d\n", (unsigned long long)job[i].seed,
				       WEXITSTATUS(status));
		}
	}
	printf("%llu seeds, %llu failed\n", (unsigned long long)done, (unsigned long long)failed);
	return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	enum { SEED = 256, SEEDS, NODES, TIME, FAULTS, SCENARIO, BUG };
	static const struct option opts[] = {
		{ "seed", 1, NULL, SEED }, { "seeds", 1, NULL, SEEDS },
		{ "nodes", 1, NULL, NODES }, { "time", 1, NULL, TIME },
		{ "faults", 1, NULL, FAULTS }, { "scenario", 1, NULL, SCENARIO },
		{ "bug", 1, NULL, BUG }, { "jobs", 1, NULL, 'j' },
		{ "verbose", 0, NULL, 'v' }, { "help", 0, NULL, 'h' }, { 0 }
	};
	struct sim conf = { 0 };
	u64 from = 1, to = 1;
	long jobs = sysconf(_SC_NPROCESSORS_ONLN);
	bool faults_given = false, many = false;
	char args[256] = "", *dash;
	int o;

	while ((o = getopt_long(argc, argv, "j:vh", opts, NULL)) != -1) {
		size_t used = strlen(args);

		switch (o) {
		case SEED:
			from = to = number(optarg);
			continue;
		case SEEDS:
			dash = strchr(optarg, '-');
			if (!dash)
				bad("not a range A-B", optarg);
			*dash = 0;
			from = number(optarg);
			to = number(dash + 1);
			many = true;
			continue;
		case 'j':
			jobs = number(optarg);
			continue;
		case 'v':
			conf.verbose++;
			continue;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case NODES:
			conf.n = number(optarg);
			if (number(optarg) < 2 || number(optarg) > 4000)
				bad("--nodes is 2 to 4000, not", optarg);
			snprintf(args + used, sizeof(args) - used, " --nodes %s", optarg);
			break;
		case TIME:
			conf.time = number(optarg) * MS;
			snprintf(args + used, sizeof(args) - used, " --time %s", optarg);
			break;
		case FAULTS:
			snprintf(args + used, sizeof(args) - used, " --faults %s", optarg);
			conf.faults = parse_faults(optarg);
			faults_given = true;
			break;
		case SCENARIO:
			snprintf(args + used, sizeof(args) - used, " --scenario %s", optarg);
			if (strncmp(optarg, "reconnect", 9) || (optarg[9] && optarg[9] != ':'))
				bad("no such scenario", optarg);
			conf.reconnects = optarg[9] ? number(optarg + 10) : 10000;
			if (!conf.n)
				conf.n = 2;
			faults_given = true;
			break;
		case BUG:
			snprintf(args + used, sizeof(args) - used, " --bug %s", optarg);
			for (conf.bug = 0; conf.bug < BUGS && strcmp(bug_name[conf.bug], optarg);
			     conf.bug++)
				;
			if (conf.bug == BUGS)
				bad("no such bug", optarg);
			break;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind < argc)
		bad("what is", argv[optind]);
	if (!many) {
		run_one(&conf, from, args, faults_given);
		fflush(stdout);
		_exit(0);
	}
	conf.verbose--;
	return run_many(&conf, from, to, jobs, args, faults_given);
}
