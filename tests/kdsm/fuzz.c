// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Senseless calls of /dev/popcorn: ioctls, mappings and accesses of children that are killed at any
 * moment. The kernel is to survive it, and nobody else's memory to change.
 *
 *	kdsm-fuzz MS SEED [UID]
 *
 * Its regions have ids from 1000 on. Prints which calls succeeded how often; status 0 unless a child
 * doesn't die.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <popcorn/uapi.h>

#define PAGE	4096ul
#define FILES	6
#define MAPS	8
#define WORKERS	3
#define KINDS	9
#define DIE_S	20

static const unsigned long cmds[] = {
	POPCORN_IOC_INFO, POPCORN_IOC_CREATE, POPCORN_IOC_ATTACH, POPCORN_IOC_ADVISE, POPCORN_IOC_STAT,
	POPCORN_IOC_LOCK, POPCORN_IOC_UNLOCK, POPCORN_IOC_BARRIER,
};

static _Atomic unsigned int *done;	/* shared: what succeeded, by kind */
static int fds[FILES];
static struct { unsigned char *at; size_t bytes; } maps[MAPS];
static uint64_t seed;
static sigjmp_buf jump;
static unsigned char *edge;		/* the last 16 bytes before an unmapped page */

static uint32_t any(void)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return seed >> 33;
}

static uint32_t below(uint32_t n)
{
	return any() % n;
}

static uint64_t odd(void)
{
	static const uint64_t v[] = {
		0, 1, 2, 3, 4095, 4096, 4097, 65536, 1 << 20, 0x7fffffff, 0x80000000, ~0u, 1ull << 40,
		(1ull << 40) + 1, 1ull << 41, 1ull << 63, ~0ull, ~4095ull, 0xffff, 63, 64,
	};

	return below(4) ? v[below(sizeof(v) / sizeof(*v))] : (uint64_t)any() << 32 | any();
}

static void on_fault(int sig)
{
	(void)sig;
	siglongjmp(jump, 1);
}

static uint32_t bytes(void)
{
	return (1 + below(40)) * PAGE - below(2) * below(PAGE);
}

/* An argument that is nearly right, for a command. */
static void fill(unsigned long cmd, void *arg)
{
	memset(arg, 0, 128);
	if (cmd == POPCORN_IOC_CREATE || cmd == POPCORN_IOC_ATTACH)
		*(struct popcorn_ioc_region *)arg = (struct popcorn_ioc_region){
			.id = 1000 + below(6), .node = below(6) ? POPCORN_NODE_ANY : odd(),
			.home = below(8) ? below(4) : odd(),
			.bytes = cmd == POPCORN_IOC_CREATE ? below(6) ? bytes() : odd() :
				 below(6) ? 0 : odd(),
			.perm = below(4) ? 0666 : odd(), .hold_us = below(4) ? below(2000) : odd(),
		};
	else if (cmd == POPCORN_IOC_ADVISE)
		*(struct popcorn_ioc_advise *)arg = (struct popcorn_ioc_advise){
			.offset = below(4) ? below(40) * PAGE : odd(), .bytes = below(4) ? bytes() : odd(),
			.advice = below(7), .zero = below(10) ? 0 : odd(),
		};
	else if (cmd == POPCORN_IOC_INFO)
		((struct popcorn_ioc_info *)arg)->node = below(4) ? below(3) : odd();
	else		/* timeout 0 is for ever: these die while they wait */
		*(struct popcorn_ioc_sync *)arg = (struct popcorn_ioc_sync){
			.number = below(4) ? below(3) : odd(), .count = below(4) ? 1 + below(3) : odd(),
			.timeout_ms = below(12) ? 1 + below(8) : odd(), .zero = below(20) ? 0 : odd(),
		};
}

static int an_ioctl(void)
{
	unsigned long cmd = cmds[below(sizeof(cmds) / sizeof(*cmds))];
	unsigned char arg[128];
	void *at = arg;

	fill(cmd, arg);
	if (!below(12))
		arg[below(32)] = odd();
	if (!below(16))
		cmd = below(2) ? odd() : cmd ^ 1ul << below(32);
	if (!below(16))
		at = below(2) ? (void *)(uintptr_t)odd() : edge + below(16);
	return ioctl(fds[below(FILES)], cmd, at);
}

static int a_map(void)
{
	unsigned int k = below(MAPS);
	static const int prot[] = { PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_WRITE, 7 };
	size_t n = below(8) ? bytes() : odd();
	void *at;

	if (maps[k].at)
		munmap(maps[k].at, maps[k].bytes);
	at = mmap(NULL, n, prot[below(6)], (below(8) ? MAP_SHARED : MAP_PRIVATE) |
		  (below(6) ? 0 : MAP_POPULATE | MAP_LOCKED | MAP_NORESERVE), fds[below(FILES)],
		  below(3) ? 0 : below(3) ? below(40) * PAGE : odd() & ~(PAGE - 1));
	maps[k].at = at == MAP_FAILED ? NULL : at;
	maps[k].bytes = n;
	return at == MAP_FAILED ? -1 : 0;
}

static int an_access(void)
{
	unsigned int k = below(MAPS);
	volatile unsigned char *at;

	if (!maps[k].at)
		return -1;
	at = maps[k].at + below(maps[k].bytes);
	if (sigsetjmp(jump, 1))
		return -1;
	if (below(2))
		*at = any();
	else
		(void)*at;
	return 0;
}

static int a_change(void)
{
	static const int advice[] = { MADV_DONTNEED, MADV_WILLNEED, MADV_COLD, MADV_PAGEOUT, MADV_DOFORK,
				      MADV_DONTFORK, MADV_POPULATE_READ, MADV_POPULATE_WRITE };
	unsigned int k = below(MAPS);
	unsigned char *at;
	size_t n;

	if (!maps[k].at || maps[k].bytes < PAGE)
		return -1;
	at = maps[k].at + below(maps[k].bytes / PAGE) * PAGE;
	n = (1 + below(4)) * PAGE;
	if (at + n > maps[k].at + maps[k].bytes)
		n = PAGE;
	switch (below(5)) {
	case 0:
		return mprotect(at, n, below(4));
	case 1:
		return madvise(at, n, advice[below(sizeof(advice) / sizeof(*advice))]);
	case 2:
		return munmap(at, n);
	case 3:
		return msync(at, n, MS_SYNC);
	default:
		return mremap(at, n, below(4) ? n : 2 * n, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0;
	}
}

static int a_file(void)
{
	unsigned int k = below(FILES);

	if (below(2)) {
		close(fds[k]);
		fds[k] = open("/dev/popcorn", below(8) ? O_RDWR : O_RDONLY);
	} else {
		dup2(fds[below(FILES)], fds[k]);
	}
	return fds[k] < 0 ? -1 : 0;
}

static int a_call(void)
{
	struct iovec l = { edge, 16 }, r = { maps[0].at, 16 };
	char c[16] = "";

	switch (below(4)) {
	case 0:
		return read(fds[below(FILES)], c, sizeof(c));
	case 1:
		return write(fds[below(FILES)], c, sizeof(c));
	case 2:
		return lseek(fds[below(FILES)], odd(), below(4));
	default:
		return process_vm_readv(getpid(), &l, 1, &r, 1, 0) == 16 ? 0 : -1;
	}
}

static int a_child(void)
{
	pid_t child = fork();

	if (child)
		return child < 0 || waitpid(child, NULL, 0) != child ? -1 : 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned int k = below(20); k; k--)
		below(2) ? an_access() : an_ioctl();
	_exit(0);
}

static int (*const kinds[KINDS])(void) = {
	an_ioctl, an_ioctl, a_map, an_access, an_access, a_change, a_file, a_call, a_child,
};

static void worker(uint64_t with)
{
	unsigned int k;

	seed = with;
	alarm(0);
	for (k = 0; k < FILES; k++)
		fds[k] = open("/dev/popcorn", O_RDWR);
	for (;;) {
		k = below(KINDS);
		if (kinds[k] == a_child && below(8))
			continue;
		if (kinds[k]() >= 0)
			atomic_fetch_add(&done[k], 1);
	}
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static void too_long(int sig)
{
	static const char what[] = "a child can't be killed\n";

	(void)sig;
	_exit(write(1, what, sizeof(what) - 1) > 0 ? 1 : 1);
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	pid_t pids[WORKERS] = { 0 };
	uint64_t end;
	unsigned int k, killed = 0;

	if (argc < 3)
		return 2;
	end = now_ms() + atoi(argv[1]);
	seed = atoi(argv[2]);
	if (argc > 3 && setuid(atoi(argv[3])))
		return 2;
	edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	done = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (edge == MAP_FAILED || done == MAP_FAILED || munmap(edge + PAGE, PAGE))
		return 2;
	edge += PAGE - 16;
	signal(SIGALRM, too_long);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	while (now_ms() < end || killed < WORKERS) {
		k = below(WORKERS);
		if (pids[k]) {
			kill(pids[k], SIGKILL);
			alarm(DIE_S);
			if (waitpid(pids[k], NULL, 0) != pids[k])
				return 1;
			alarm(0);
			killed++;
		}
		pids[k] = fork();
		if (!pids[k])
			worker(any());
		usleep(1000 * below(150));
	}
	alarm(DIE_S);
	for (k = 0; k < WORKERS; k++)
		if (pids[k]) {
			kill(pids[k], SIGKILL);
			waitpid(pids[k], NULL, 0);
		}
	printf("killed %u; succeeded: ioctl %u, mmap %u, access %u, change %u, file %u, call %u, child %u\n",
	       killed, done[0] + done[1], done[2], done[3] + done[4], done[5], done[6], done[7], done[8]);
	return 0;
}
