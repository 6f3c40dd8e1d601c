// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Floor: bare shared memory between two processes, spinning or sleeping on a futex. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "floor.h"

#define SLOTS 64	/* at least the largest window: the rows never overrun a lane */

/* The sequence number is part of the message, so that 64 B are one cache line. */
struct slot {
	_Alignas(64) _Atomic uint32_t seq;
	char data[FLOOR_MAX - sizeof(uint32_t)];
};

struct lane {
	_Alignas(64) _Atomic uint32_t asleep;
	struct slot slot[SLOTS];
};

struct shm_chan {
	struct floor_chan chan;
	struct lane *out, *in;
	uint32_t sent, got;
	int busy;
	char buf[FLOOR_MAX];
};

static long futex(_Atomic uint32_t *word, int op, uint32_t val)
{
	return syscall(SYS_futex, word, op, val, NULL, NULL, 0);
}

static inline void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static int shm_send(struct floor_chan *c, size_t size)
{
	struct shm_chan *s = (struct shm_chan *)c;
	struct slot *slot = &s->out->slot[s->sent++ % SLOTS];

	memcpy(slot->data, s->buf, size - sizeof(slot->seq));
	if (s->busy) {
		atomic_store_explicit(&slot->seq, s->sent, memory_order_release);
		return 0;
	}
	/* Order against the sleeper: it sets asleep, then looks at seq again. */
	atomic_store(&slot->seq, s->sent);
	if (atomic_load(&s->out->asleep))
		futex(&slot->seq, FUTEX_WAKE, 1);
	return 0;
}

static int shm_recv(struct floor_chan *c, size_t size)
{
	struct shm_chan *s = (struct shm_chan *)c;
	struct slot *slot = &s->in->slot[s->got++ % SLOTS];
	uint32_t seen;

	while ((seen = atomic_load_explicit(&slot->seq, memory_order_acquire)) != s->got) {
		if (s->busy) {
			relax();
			continue;
		}
		atomic_store(&s->in->asleep, 1);
		if (atomic_load(&slot->seq) == seen)
			futex(&slot->seq, FUTEX_WAIT, seen);
		atomic_store(&s->in->asleep, 0);
	}
	memcpy(s->buf, slot->data, size - sizeof(slot->seq));
	return 0;
}

static int run(const struct floor_opts *o, int busy)
{
	static struct shm_chan s;
	struct lane *lane;
	char name[64];
	int pid, err, fd;

	snprintf(name, sizeof(name), "%s_%s", o->name ? o->name : "shm", busy ? "busy" : "block");
	fd = memfd_create("floor_shm", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, 2 * sizeof(*lane)))
		floor_die("memfd", errno);
	lane = mmap(NULL, 2 * sizeof(*lane), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
		    0);
	if (lane == MAP_FAILED)
		floor_die("mmap", errno);
	close(fd);
	s = (struct shm_chan){
		.chan = { .send = shm_send, .recv = shm_recv },
		.busy = busy, .out = &lane[0], .in = &lane[1],
	};
	pid = fork();
	if (pid < 0)
		floor_die("fork", errno);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		floor_pin(1);
		s.out = &lane[1];
		s.in = &lane[0];
		_exit(!!floor_rows(&s.chan, o, FLOOR_SERVER, name));
	}
	floor_pin(0);
	err = floor_rows(&s.chan, o, FLOOR_CLIENT, name);
	munmap(lane, 2 * sizeof(*lane));
	return floor_reap(pid, err);
}

int main(int argc, char **argv)
{
	struct floor_opts o;
	int bad = 0;

	floor_options(argc, argv, "Bare shared memory between two processes.", "busy, block", &o);
	if (floor_mode_on(&o, "busy"))
		bad |= run(&o, 1);
	if (floor_mode_on(&o, "block"))
		bad |= run(&o, 0);
	return bad;
}
