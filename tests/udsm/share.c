// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Programs that share memory, one a scenario: each node runs it and ends with 0 if what it
 * saw was coherent. tests/test_udsm.py starts them; they use popcorn.h alone, so that they
 * run in both modes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <popcorn/popcorn.h>

#define PAGE	4096
#define PAGES	64
#define BOUND_S	100	/* no scenario takes longer, or it hangs */

static popcorn_t *p;
static popcorn_region_t *r;
static unsigned char *mem;
static unsigned int me, nodes, rounds = 2000;

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *fmt, ...)
{
	va_list ap;

	printf("node %u: ", me);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

#define CHECK(what) do { if (!(what)) fail("%s:%d: %s", __FILE__, __LINE__, #what); } while (0)

static void is(const char *what, int got, int want)
{
	if (got != want)
		fail("%s: %s, not %s", what, got < 0 ? strerror(-got) : "a value",
		     want < 0 ? strerror(-want) : "0");
}

static void meet(void)
{
	is("barrier", popcorn_barrier(r, 0, nodes), 0);
}

static void begin(void)
{
	is("open", popcorn_open(NULL, &p), 0);
	me = popcorn_self(p);
	nodes = popcorn_nodes(p);
	is("region", me ? popcorn_attach(p, 0, 1, &r) : popcorn_create(p, 1, PAGES * PAGE, NULL, &r),
	   0);
	CHECK(popcorn_bytes(r) == PAGES * PAGE);
	mem = popcorn_map(r, NULL);
	CHECK(mem);
	meet();
}

static void end(void)
{
	meet();
	if (me)
		is("detach", popcorn_detach(r), 0);
	popcorn_close(p);
}

/* ---------------------------------------------------------------- coherence */

/* Atomic increments of one word by all. */
static void counter(void)
{
	_Atomic unsigned int *n = (_Atomic unsigned int *)mem;
	unsigned int i;

	for (i = 0; i < rounds; i++)
		atomic_fetch_add(n, 1);
	meet();
	CHECK(atomic_load(n) == rounds * nodes);
}

/* The same of a plain word under a lock, and of one that straddles two pages. */
static void locked(void)
{
	unsigned int i, v;

	for (i = 0; i < rounds; i++) {
		is("lock", popcorn_lock(r, 7), 0);
		memcpy(&v, mem + PAGE - 2, sizeof(v));
		v++;
		memcpy(mem + PAGE - 2, &v, sizeof(v));
		++*(volatile unsigned int *)(mem + 3 * PAGE);
		is("unlock", popcorn_unlock(r, 7), 0);
	}
	meet();
	memcpy(&v, mem + PAGE - 2, sizeof(v));
	CHECK(v == rounds * nodes);
	CHECK(*(volatile unsigned int *)(mem + 3 * PAGE) == v);
}

/* Each node its own word of one page: nobody's is lost. */
static void shared(void)
{
	volatile unsigned int *w = (volatile unsigned int *)mem;
	unsigned int i;

	for (i = 1; i <= rounds * 10; i++) {
		CHECK(w[me] == i - 1);
		w[me] = i;
	}
	meet();
	for (i = 0; i < nodes; i++)
		CHECK(w[i] == rounds * 10);
}

/* Mutual exclusion by loads and stores alone, of two nodes, flags on pages of their own. */
static void peterson(void)
{
	_Atomic int *flag[2] = { (_Atomic int *)mem, (_Atomic int *)(mem + PAGE) };
	_Atomic int *turn = (_Atomic int *)(mem + 2 * PAGE);
	volatile unsigned int *n = (volatile unsigned int *)(mem + 3 * PAGE);
	unsigned int i, other = !me;

	for (i = 0; me < 2 && i < rounds; i++) {
		atomic_store(flag[me], 1);
		atomic_store(turn, other);
		while (atomic_load(flag[other]) && atomic_load(turn) == (int)other)
			;
		++*n;
		atomic_store(flag[me], 0);
	}
	meet();
	CHECK(*n == 2 * rounds);
}

/* Node 0 writes pages, then says so; the others see all of it. */
static void message(void)
{
	_Atomic unsigned int *said = (_Atomic unsigned int *)mem, *seen = said + 16;
	unsigned int i, k;

	for (i = 1; i <= rounds / 4; i++) {
		if (!me) {
			for (k = 1; k < 8; k++)
				*(volatile unsigned int *)(mem + k * PAGE + i % 1000 * 4) = i;
			atomic_store_explicit(said, i, memory_order_release);
			while (atomic_load(seen) != i * (nodes - 1))
				;
		} else {
			while (atomic_load_explicit(said, memory_order_acquire) < i)
				;
			for (k = 1; k < 8; k++)
				CHECK(*(volatile unsigned int *)(mem + k * PAGE + i % 1000 * 4) == i);
			atomic_fetch_add(seen, 1);
			while (atomic_load(said) == i && atomic_load(seen) < i * (nodes - 1))
				;
		}
	}
}

static void *adder(void *arg)
{
	_Atomic unsigned int *n = arg;
	unsigned int i;

	for (i = 0; i < rounds; i++) {
		atomic_fetch_add(n + i % PAGES * (PAGE / 4), 1);
		if (i % 16 == 0) {
			is("lock", popcorn_lock(r, 3), 0);
			is("unlock", popcorn_unlock(r, 3), 0);
		}
	}
	return NULL;
}

/* Several threads a node fault on the same pages, and want the same lock. */
static void threads(void)
{
	unsigned int i, sum = 0;
	pthread_t t[4];

	for (i = 0; i < 4; i++)
		CHECK(!pthread_create(&t[i], NULL, adder, mem));
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	meet();
	for (i = 0; i < PAGES; i++)
		sum += *(volatile unsigned int *)(mem + i * PAGE);
	CHECK(sum == 4 * rounds * nodes);
}

static void *arrive(void *arg)
{
	unsigned int i;

	(void)arg;
	for (i = 1; i <= rounds / 5; i++) {
		atomic_fetch_add((_Atomic unsigned int *)mem, 1);
		is("barrier", popcorn_barrier(r, 1, 3 * nodes), 0);
		CHECK(atomic_load((_Atomic unsigned int *)mem) == i * 3 * nodes);
		is("barrier", popcorn_barrier(r, 2, 3 * nodes), 0);
	}
	return NULL;
}

/* Barriers of several threads a node; then of another number of them at each. */
static void barriers(void)
{
	unsigned int i;
	pthread_t t[3];

	for (i = 0; i < 3; i++)
		CHECK(!pthread_create(&t[i], NULL, arrive, NULL));
	for (i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	for (i = 0; i < 20; i++) {
		is("one each", popcorn_barrier(r, 1, nodes), 0);
		is("one each", popcorn_barrier(r, 2, nodes), 0);
	}
}

/* Every page goes round, whole. */
static void pages(void)
{
	unsigned int i, k, b;

	for (i = 0; i < 4 * nodes; i++) {
		if (i % nodes == me)
			for (k = 0; k < PAGES; k++)
				memset(mem + k * PAGE, i + k, PAGE);
		meet();
		for (k = 0; k < PAGES; k++)
			for (b = 0; b < PAGE; b += 61)
				CHECK(mem[k * PAGE + b] == (unsigned char)(i + k));
		meet();
	}
}

/* A scan is fetched ahead, and still right when somebody writes into it. */
static void scan(void)
{
	struct popcorn_ioc_stat st;
	unsigned int i, k;

	for (k = 0; k < 10; k++) {
		if (!me)
			for (i = 0; i < PAGES; i++)
				*(volatile unsigned int *)(mem + i * PAGE) = k * 100 + i;
		meet();
		for (i = 0; me && i < PAGES; i++)
			CHECK(*(volatile unsigned int *)(mem + i * PAGE) == k * 100 + i);
		meet();
	}
	is("stat", popcorn_stat(r, &st), 0);
	if (me)
		CHECK(st.ahead > 0 && st.faults_read > 0);
	else
		CHECK(st.supplied > 0);
	is("advise", popcorn_advise(r, 0, PAGES * PAGE, POPCORN_ADVISE_DONTNEED), 0);
	is("advise", popcorn_advise(r, 0, PAGES * PAGE, POPCORN_ADVISE_WILLNEED), 0);
	for (i = 0; i < PAGES; i++)
		CHECK(*(volatile unsigned int *)(mem + i * PAGE) == 900 + i);
}

/* System calls reach shared memory, also pages that aren't here. */
static void calls(void)
{
	int fd[2], back;

	CHECK(!pipe(fd));
	if (!me)
		strcpy((char *)mem + 5 * PAGE, "hello");
	meet();
	if (me) {
		CHECK(write(fd[1], mem + 5 * PAGE, 6) == 6);
		CHECK(read(fd[0], mem + 6 * PAGE + 16 * me, 6) == 6);
	}
	meet();
	for (back = 1; back < (int)nodes; back++)
		CHECK(!strcmp((char *)mem + 6 * PAGE + 16 * back, "hello"));
}

/* A child has no part in it, and does no harm. */
static void child(void)
{
	pid_t pid;
	int st;

	mem[me] = 1;
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		_exit(0);
	CHECK(waitpid(pid, &st, 0) == pid && !st);
	meet();
	CHECK(mem[0] == 1 && mem[nodes - 1] == 1);
}

/* Members come and go, and what they wrote stays. */
static void again(void)
{
	unsigned int i;

	for (i = 0; i < 5; i++) {
		if (me) {
			mem[8 * PAGE + me] = i + 1;
			memset(mem + (10 + me) * PAGE, i, PAGE);
			is("detach", popcorn_detach(r), 0);
			is("attach", popcorn_attach(p, 0, 1, &r), 0);
			mem = popcorn_map(r, NULL);
			CHECK(mem && mem[8 * PAGE + me] == i + 1);
			CHECK(mem[(10 + me) * PAGE + 77] == i);
		}
	}
}

/* ---------------------------------------------------------------- arguments */

static void arguments(void)
{
	struct popcorn_ioc_stat st;
	popcorn_region_t *x;
	popcorn_t *q;
	void *at;

	is("no handle", popcorn_open("user:0:shm:127.0.0.1", NULL), -EINVAL);
	is("unknown mode", popcorn_open("telepathy", &q), -EINVAL);
	is("no number", popcorn_open("user:x:shm:127.0.0.1", &q), -EINVAL);
	is("no wire", popcorn_open("user:0:string:127.0.0.1", &q), -EINVAL);
	is("no address", popcorn_open("user:0:shm:nowhere", &q), -EINVAL);
	is("not in the list", popcorn_open("user:7:shm:127.0.0.1", &q), -EINVAL);
	is("no id", popcorn_open("kernel:x", &q), -EINVAL);
	is("no region", popcorn_create(p, 9, 0, NULL, &x), -EINVAL);
	is("too large", popcorn_create(p, 9, ~(size_t)0 - PAGE, NULL, &x), -EINVAL);
	is("nowhere to put it", popcorn_create(p, 9, PAGE, NULL, NULL), -EINVAL);
	is("bad mode", popcorn_create(p, 9, PAGE, &(struct popcorn_region_opts){ .perm = 07777 }, &x),
	   -EINVAL);
	is("taken", popcorn_create(p, 1, PAGE, NULL, &x), -EEXIST);
	is("own", popcorn_attach(p, me, 5, &x), -EINVAL);
	is("no node", popcorn_attach(p, 77, 5, &x), -EINVAL);
	is("no id", popcorn_attach(p, !me, 0, &x), -EINVAL);
	is("twice", me ? popcorn_attach(p, 0, 1, &x) : -EEXIST, -EEXIST);
	CHECK(popcorn_map(r, NULL) == mem);
	CHECK(!popcorn_map(r, (void *)16) && errno == EINVAL);
	CHECK(!popcorn_map(NULL, NULL) && errno == EINVAL);
	is("advice", popcorn_advise(r, 0, PAGE, 99), -EINVAL);
	is("behind the end", popcorn_advise(r, PAGE, PAGES * PAGE, POPCORN_ADVISE_NORMAL), -EINVAL);
	is("wraps", popcorn_advise(r, PAGE, ~(size_t)0, POPCORN_ADVISE_WILLNEED), -EINVAL);
	is("stat", popcorn_stat(r, NULL), -EINVAL);
	is("stat", popcorn_stat(NULL, &st), -EINVAL);
	is("lock", popcorn_lock(r, POPCORN_SYNC_MAX), -EINVAL);
	is("unlock", popcorn_unlock(r, POPCORN_SYNC_MAX), -EINVAL);
	is("not held", popcorn_unlock(r, 5), -EPERM);
	is("barrier", popcorn_barrier(r, POPCORN_SYNC_MAX, 1), -EINVAL);
	is("barrier of none", popcorn_barrier(r, 0, 0), -EINVAL);
	is("detach", popcorn_detach(NULL), -EINVAL);
	popcorn_close(NULL);
	/* Something else is there. */
	at = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	is("create", popcorn_create(p, 100 + me, PAGE, NULL, &x), 0);
	CHECK(!popcorn_map(x, at) && errno == EEXIST);
	munmap(at, PAGE);
	CHECK(popcorn_map(x, at) == at);
	*(char *)at = 1;
	is("detach", popcorn_detach(x), 0);
	/* An id of the home's choice. */
	is("create", popcorn_create(p, 0, 1, NULL, &x), 0);
	CHECK(popcorn_bytes(x) == PAGE);
	is("detach", popcorn_detach(x), 0);
}

/* --------------------------------------------------------------------- death */

static sigjmp_buf jump;
static void *volatile where;

static void on_bus(int sig, siginfo_t *info, void *uc)
{
	(void)sig;
	(void)uc;
	where = info->si_addr;
	siglongjmp(jump, 1);
}

static void catch(void)
{
	struct sigaction sa = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGBUS, &sa, NULL);
}

/* Does a touch end in SIGBUS, at its address? */
static int gone(volatile unsigned char *at, bool write)
{
	if (sigsetjmp(jump, 1)) {
		CHECK(((uintptr_t)where ^ (uintptr_t)at) < PAGE);
		return 1;
	}
	if (write)
		*at = 1;
	else
		(void)*at;
	return 0;
}

static void sleep_ms(unsigned int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000l };

	nanosleep(&t, NULL);
}

/* The last node dies with pages that only it had, and with a lock. */
static void killed(void)
{
	unsigned int last = nodes - 1, i;
	int e;

	if (me == last) {
		for (i = 0; i < 4; i++)
			mem[i * PAGE] = 7;
		is("lock", popcorn_lock(r, 1), 0);
	} else {
		mem[(8 + me) * PAGE] = 9;
	}
	meet();
	if (me == last)
		(void)*(volatile unsigned char *)(mem + 8 * PAGE); /* a copy that others have, too */
	meet();
	if (me == last)
		raise(SIGKILL);
	e = popcorn_lock(r, 1);
	if (e != -EOWNERDEAD)
		is("lock", e, 0);
	is("unlock", popcorn_unlock(r, 1), 0);
	for (i = 0; i < 4; i++)
		CHECK(gone(mem + i * PAGE + 100, i % 2));
	for (i = 0; i < last; i++)
		CHECK(mem[(8 + i) * PAGE] == 9 || i == me);
	/* Nobody waits for the dead one, however late; with another count all is well. */
	is("barrier", popcorn_barrier(r, 0, nodes), -EOWNERDEAD);
	is("barrier", popcorn_barrier(r, 0, nodes), -EOWNERDEAD);
	nodes--;
	meet();
	mem[(8 + me) * PAGE] = 10 + me;
	mem[20 * PAGE + me] = 1;
	meet();
	for (i = 0; i < last; i++)
		CHECK(mem[(8 + i) * PAGE] == 10 + i && mem[20 * PAGE + i] == 1);
	end();
	exit(0);
}

/* The home dies: the region is over for all others. */
static void home(void)
{
	struct timespec t0, t;
	unsigned int i;

	mem[me * PAGE] = 1;
	if (!me)
		is("lock", popcorn_lock(r, 9), 0);
	meet();
	if (!me) {
		sleep_ms(300); /* the others have heard of the barrier */
		raise(SIGKILL);
	}
	clock_gettime(CLOCK_MONOTONIC, &t0);
	is("lock", popcorn_lock(r, 9), -EHOSTDOWN);
	for (i = 0; i < 4; i++)
		CHECK(gone(mem + i * PAGE, i % 2));
	is("barrier", popcorn_barrier(r, 1, 2), -EHOSTDOWN);
	is("unlock", popcorn_unlock(r, 9), -EHOSTDOWN);
	clock_gettime(CLOCK_MONOTONIC, &t);
	printf("node %u: over after %ld s\n", me, (long)(t.tv_sec - t0.tv_sec));
	is("detach", popcorn_detach(r), 0);
	popcorn_close(p);
	exit(0);
}

/* The home doesn't answer for a while (the test stops it) when others leave; nothing is lost. */
static void patient(void)
{
	unsigned int i;

	if (me)
		memset(mem + me * PAGE, me, PAGE);
	meet();
	if (me) {
		printf("leaves\n");
		fflush(stdout);
		sleep_ms(500);
		is("detach", popcorn_detach(r), 0);
	} else {
		printf("stays\n");
		fflush(stdout);
		sleep_ms(1000);
		for (i = 1; i < nodes; i++)
			CHECK(mem[i * PAGE + 5] == i);
	}
	popcorn_close(p);
	exit(0);
}

/* Once cut off (the test stops it until others think it dead), a node finds out, and does no harm. */
static void cut(void)
{
	unsigned int last = nodes - 1;
	int e;

	mem[me * PAGE] = me + 1;
	meet();
	CHECK(mem[0] == 1);	/* all have a copy */
	if (me == last)
		is("lock", popcorn_lock(r, 1), 0);
	meet();
	printf("ready\n");
	fflush(stdout);
	if (me != last) {
		e = popcorn_lock(r, 1);
		CHECK(!e || e == -EOWNERDEAD);
		is("unlock", popcorn_unlock(r, 1), 0);
		if (!me)
			mem[0] = 77;
		CHECK(gone(mem + last * PAGE, me));
		nodes--;
		meet();
		printf("went on\n");
		fflush(stdout);
		for (e = 0; e < 50 && mem[0] == 77; e++)
			sleep_ms(100);
		CHECK(mem[0] == 77 && gone(mem + last * PAGE, me));
		end();
	} else {
		sleep_ms(200);	/* it is stopped here */
		e = popcorn_unlock(r, 1);
		if (!e)
			e = popcorn_lock(r, 1);
		is("lock", e, -EHOSTDOWN);
		CHECK(gone(mem, true) && gone(mem + last * PAGE, true));
		is("detach", popcorn_detach(r), 0);
		popcorn_close(p);
	}
	exit(0);
}

/* The home ends the region while others use it. */
static void ended(void)
{
	meet();
	printf("ready\n");
	fflush(stdout);
	if (me) {
		while (!gone(mem + me * PAGE, true))
			sleep_ms(1);
		is("lock", popcorn_lock(r, 1), -EHOSTDOWN);
		is("detach", popcorn_detach(r), 0);
	} else {
		sleep_ms(100);
		is("detach", popcorn_detach(r), 0);
	}
	popcorn_close(p);
	exit(0);
}

static const struct {
	const char *name;
	void (*run)(void);
} scenarios[] = {
	{ "counter", counter }, { "locked", locked }, { "shared", shared },
	{ "peterson", peterson }, { "message", message }, { "threads", threads },
	{ "pages", pages }, { "scan", scan }, { "calls", calls }, { "child", child },
	{ "again", again }, { "barriers", barriers }, { "arguments", arguments }, { "killed", killed }, { "home", home },
	{ "ended", ended }, { "patient", patient }, { "cut", cut },
};

int main(int argc, char **argv)
{
	unsigned int i;

	if (argc < 2)
		return 2;
	if (argc > 2)
		rounds = strtoul(argv[2], NULL, 10);
	alarm(BOUND_S);
	for (i = 0; i < sizeof(scenarios) / sizeof(*scenarios); i++) {
		if (strcmp(scenarios[i].name, argv[1]))
			continue;
		if (scenarios[i].run == killed || scenarios[i].run == home ||
		    scenarios[i].run == ended || scenarios[i].run == cut)
			catch();
		begin();
		scenarios[i].run();
		end();
		return 0;
	}
	return 2;
}
